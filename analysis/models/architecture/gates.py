"""The product of a gated feed-forward part, written over its gate: the same bits, from one large array less.

Most families compute `down(act(gate(x)) * up(x))`. With many tokens these arrays no longer fit into a processor's caches. To
write the product into memory of its own then takes longer than the activation (`docs/speed.md`). A class is known by the very
code of its `forward`, so nothing else in it can be left out.
"""

import functools
from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn


def _returned(self: Any, x: Tensor) -> Any:
    return self.down_proj(self.act_fn(self.gate_proj(x)) * self.up_proj(x))


def _named(self: Any, x: Tensor) -> Any:
    down_proj = self.down_proj(self.act_fn(self.gate_proj(x)) * self.up_proj(x))
    return down_proj  # noqa: RET504 - as transformers writes it


def _instructions(function: Any) -> tuple[Any, ...]:
    code = getattr(function, "__code__", None)
    return () if code is None else (code.co_code, code.co_names, code.co_consts, code.co_argcount, code.co_freevars)


_KNOWN = {_instructions(_returned), _instructions(_named)}
"""Code of the forward passes that are gated so."""


def prepare(modules: Iterable[nn.Module]) -> None:
    """Let gated feed-forward parts write over their gate where no gradient flows; leave all others as they are."""
    for module in modules:
        kind: Any = type(module)
        if _instructions(kind.forward) in _KNOWN:
            module.__class__ = _over_gate(kind)


@functools.cache
def _over_gate(original: Any) -> type[nn.Module]:
    """Return a class of modules as the original one, but for its forward pass."""

    def forward(self: Any, *inputs: Tensor, **named: Tensor) -> Any:
        if torch.is_grad_enabled() or named:
            return original.forward(self, *inputs, **named)
        (x,) = inputs
        gate, up = self.act_fn(self.gate_proj(x)), self.up_proj(x)
        return self.down_proj(gate.mul_(up) if gate.dtype == up.dtype else gate * up)

    names = {"forward": forward, "__module__": original.__module__, "__qualname__": original.__qualname__}
    return type(original.__name__, (original,), names)
