"""Dropout of an adapter that is cheap on a CPU."""

import numpy as np
import torch
from peft import PeftModel
from torch import Tensor, nn

_STEPS = 1 << 16
"""A mask compares 16 random bits per value: the share that is dropped is a multiple of 1 / 65536."""
_PER_DRAW = 4
"""Values that one drawn number of 64 bits serves."""


class SharedDrawDropout(nn.Module):
    """Dropout that sets a share of its values to 0 in training and scales up the others; does nothing otherwise.

    The draws depend on torch's default generator alone, so that a seed repeats them.
    """

    def __init__(self, p: float) -> None:
        """Get ready.

        Args:
            p: share of values to drop, in [0, 1), rounded to a multiple of 1 / 65536.
        """
        super().__init__()
        self.p = p

    @property
    def scale(self) -> float:
        """Factor of the values that are kept."""
        return _STEPS / (_STEPS - round(self.p * _STEPS))

    def forward(self, values: Tensor) -> Tensor:
        """Values of any shape, some of them dropped while training."""
        kept = self.kept(values)
        return values if kept is None else values * kept.mul_(self.scale)

    def kept(self, values: Tensor) -> Tensor | None:
        """Return a tensor like the values, 0 for those to drop and 1 for the others; None where none are dropped."""
        if not self.training or self.scale == 1:
            return None
        n, seed = values.numel(), int(torch.empty((), dtype=torch.int64).random_())
        bits = torch.from_numpy(np.random.Generator(np.random.SFC64(seed)).integers(0, 2**64, -(-n // _PER_DRAW), np.uint64))
        threshold = round(self.p * _STEPS) - _STEPS // 2
        return torch.ge(bits.view(torch.int16)[:n], threshold, out=torch.empty(n, dtype=values.dtype)).view(values.shape)

    def extra_repr(self) -> str:
        """The share, for a printed model."""
        return f"p={self.p}"


def speed_up(model: PeftModel) -> None:
    """Give the adapters of a model on the CPU this dropout; their saved files stay the same."""
    for module in model.modules():
        places = getattr(module, "lora_dropout", None)
        if not isinstance(places, nn.ModuleDict) or next(module.parameters()).device.type != "cpu":
            continue
        for name, dropout in places.items():
            if isinstance(dropout, nn.Dropout):
                places[name] = SharedDrawDropout(dropout.p).train(dropout.training)
