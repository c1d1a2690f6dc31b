"""Dropout of an adapter that processes share sequence by sequence, and that is cheap on a CPU."""

from collections.abc import Callable

import torch
from peft import PeftModel
from torch import Tensor, nn

_STEPS = 1 << 16
"""A mask compares 16 random bits per value: the share that is dropped is a multiple of 1 / 65536."""
_PER_DRAW = 4
"""Values that one drawn number of 64 bits serves."""


class PartDropout(nn.Module):
    """Dropout that sets a share of its values to 0 in training and scales up the others; does nothing otherwise.

    The draws are those of torch's default generator, so that a seed repeats them. Values of some sequences of a batch get the
    draws that these sequences have in the whole batch. So processes that share a batch drop the same values as one process.
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

    def forward(self, values: Tensor) -> Tensor:
        """Values of any shape, some of them dropped while training."""
        if not self.training or not self.p:
            return values
        per_row, rest = divmod(values.numel(), len(self.part))
        if rest or self.of == len(self.part):  # tokens that an expert was given are no rows
            return self._dropped(values, values.numel(), 0)
        return self._dropped(values, self.of * per_row, self.part.start * per_row)

    def _dropped(self, values: Tensor, n: int, first: int) -> Tensor:
        """Values that stand at `first` and behind it among `n` that are drawn for."""
        mask = nn.functional.dropout(values.new_ones(n), self.p)
        return values * mask[first : first + values.numel()].view(values.shape)

    def extra_repr(self) -> str:
        """The share, for a printed model."""
        return f"p={self.p}"


class SharedDrawDropout(PartDropout):
    """The same, with draws that are cheap on a CPU."""

    def _dropped(self, values: Tensor, n: int, first: int) -> Tensor:
        dropped = round(self.p * _STEPS)
        if not dropped:
            return values
        draws = torch.empty(-(-n // _PER_DRAW), dtype=torch.int64).random_(-(2**63), None)
        bits = draws.view(torch.int16)[first : first + values.numel()].view(values.shape)
        mask = torch.ge(bits, dropped - _STEPS // 2, out=torch.empty(values.shape, dtype=values.dtype))
        return values * mask.mul_(_STEPS / (_STEPS - dropped))


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
