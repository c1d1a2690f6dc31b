"""Dropout of an adapter that processes share sequence by sequence, and that is cheap on a CPU."""

from collections.abc import Callable

import numpy as np
import torch
from peft import PeftModel
from torch import Tensor, nn

_STEPS = 1 << 16
"""A mask compares 16 random bits per value: the share that is dropped is a multiple of 1 / 65536."""
_PER_DRAW = 4
"""Values that one drawn number of 64 bits serves."""


class PartDropout(nn.Module):
    """Dropout that sets a share of its values to 0 in training and scales up the others; does nothing otherwise.

    The draws depend on torch's default generator alone, so that a seed repeats them. Values of some sequences of a batch get
    the draws that these sequences have in the whole batch. So processes that share a batch drop the same values as one process.
    """

    def __init__(self, p: float) -> None:
        """Get ready.

        Args:
            p: share of values to drop, in [0, 1), in `SharedDrawDropout` rounded to a multiple of 1 / 65536.
        """
        super().__init__()
        self.p = p
        self.part, self.of = range(1), 1
        """The sequences of the values, and the number in the whole batch."""

    @property
    def scale(self) -> float:
        """Factor of the values that are kept."""
        return 1 / (1 - self.p)

    def forward(self, values: Tensor) -> Tensor:
        """Values of any shape, some of them dropped while training."""
        kept = self.kept(values)
        return values if kept is None else values * kept.mul_(self.scale)

    def kept(self, values: Tensor) -> Tensor | None:
        """Return a tensor like the values, 0 for those to drop and 1 for the others; None where none are dropped."""
        if not self.training or self.scale == 1:
            return None
        n, first = values.numel(), 0
        per_row, rest = divmod(n, len(self.part))
        if not rest and self.of != len(self.part):  # tokens that an expert was given are no rows
            n, first = self.of * per_row, self.part.start * per_row
        return self._drawn(values, n)[first : first + values.numel()].view(values.shape)

    def _drawn(self, values: Tensor, n: int) -> Tensor:
        """Return (n,) of 0 and 1, where the values are and in their dtype."""
        return nn.functional.dropout(values.new_ones(n), self.p).sign()

    def extra_repr(self) -> str:
        """The share, for a printed model."""
        return f"p={self.p}"


class SharedDrawDropout(PartDropout):
    """The same, with draws that are cheap on a CPU."""

    @property
    def scale(self) -> float:
        """Factor of the values that are kept."""
        return _STEPS / (_STEPS - round(self.p * _STEPS))

    def _drawn(self, values: Tensor, n: int) -> Tensor:
        seed = int(torch.empty((), dtype=torch.int64).random_())
        bits = torch.from_numpy(np.random.Generator(np.random.SFC64(seed)).integers(0, 2**64, -(-n // _PER_DRAW), np.uint64))
        threshold = round(self.p * _STEPS) - _STEPS // 2
        return torch.ge(bits.view(torch.int16)[:n], threshold, out=torch.empty(n, dtype=values.dtype))


def speed_up(model: PeftModel) -> None:
    """Give the adapters of a model on the CPU this dropout; their saved files stay the same."""
    _replace_dropout(model, SharedDrawDropout, lambda device: device == "cpu")


def drop_for(model: PeftModel, part: range, of: int) -> None:
    """Let the adapters drop, from now on, the values that some sequences drop in the whole batch.

    Args:
        model: whose adapters.
        part: the sequences that every pass holds.
        of: sequences of the whole batch.
    """
    if len(part) < of:
        _replace_dropout(model, PartDropout, lambda device: device != "cpu")
    for module in model.modules():
        if isinstance(module, PartDropout):
            module.part, module.of = part, of


def _replace_dropout(model: PeftModel, kind: type[PartDropout], is_replaced: Callable[[str], bool]) -> None:
    for module in model.modules():
        places = getattr(module, "lora_dropout", None)
        if not isinstance(places, nn.ModuleDict) or not is_replaced(next(module.parameters()).device.type):
            continue
        for name, dropout in places.items():
            if isinstance(dropout, nn.Dropout):
                places[name] = kind(dropout.p).train(dropout.training)
