"""Dropout for CPUs, where drawing one random number for every value takes longer than the product that it is drawn for."""

import torch
from peft import PeftModel
from torch import Tensor, nn

_STEPS = 1 << 16
"""A mask compares 16 random bits per value: the share that is dropped is a multiple of 1 / 65536."""
_PER_DRAW = 4
"""Values that one drawn number of 64 bits serves."""


class SharedDrawDropout(nn.Module):
    """Sets a share of its values to 0 while training, and makes up for it in the others; otherwise does nothing.

    The draws are those of torch's default generator, so that a seed repeats them.
    """

    def __init__(self, p: float) -> None:
        """Get ready.

        Args:
            p: share of values to drop, in [0, 1), rounded to a multiple of 1 / 65536.
        """
        super().__init__()
        self.p = p

    def forward(self, values: Tensor) -> Tensor:
        """Values of any shape, some of them dropped while training."""
        dropped = round(self.p * _STEPS)
        if not self.training or not dropped:
            return values
        draws = torch.empty(-(-values.numel() // _PER_DRAW), dtype=torch.int64).random_(-(2**63), None)
        bits = draws.view(torch.int16)[: values.numel()].view(values.shape)
        kept = torch.ge(bits, dropped - _STEPS // 2, out=torch.empty(values.shape, dtype=values.dtype))
        return values * kept.mul_(_STEPS / (_STEPS - dropped))

    def extra_repr(self) -> str:
        """The share, for a printed model."""
        return f"p={self.p}"


def speed_up(model: PeftModel) -> None:
    """Give the adapters of a model on the CPU this dropout; what is saved of them stays the same."""
    for module in model.modules():
        places = getattr(module, "lora_dropout", None)
        if not isinstance(places, nn.ModuleDict) or next(module.parameters()).device.type != "cpu":
            continue
        for name, own in places.items():
            if isinstance(own, nn.Dropout):
                places[name] = SharedDrawDropout(own.p).train(own.training)
