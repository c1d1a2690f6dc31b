"""Three steps of a layer that write over arrays which exist already: the same bits, from fewer large arrays.

* The product of a gated feed-forward part, `down(act(gate(x)) * up(x))`, is written over its gate.
* Rotary positions turn each half of a head by itself. transformers first makes the negated and swapped halves of all heads.
* A norm by the root mean square writes its result over the squares that it needed before.

With many tokens these arrays no longer fit into a processor's caches. To write one more of them then takes longer than to
compute it (`docs/speed.md`). A function is known by its very code, so nothing else in it can be left out.
"""

import functools
import types
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor, nn


def _returned(self: Any, x: Tensor) -> Any:
    return self.down_proj(self.act_fn(self.gate_proj(x)) * self.up_proj(x))


def _named(self: Any, x: Tensor) -> Any:
    down_proj = self.down_proj(self.act_fn(self.gate_proj(x)) * self.up_proj(x))
    return down_proj  # noqa: RET504 - as transformers writes it


def _normed(self: Any, x: Tensor) -> Any:
    input_dtype = x.dtype
    x = x.to(torch.float32)
    variance = x.pow(2).mean(-1, keepdim=True)
    x = x * torch.rsqrt(variance + self.variance_epsilon)
    return self.weight * x.to(input_dtype)


def rotate_half(x: Any) -> Any:
    """Turn by a quarter, as most families do."""
    x1 = x[..., : x.shape[-1] // 2]
    x2 = x[..., x.shape[-1] // 2 :]
    return torch.cat((-x2, x1), dim=-1)


def apply_rotary_pos_emb(q: Any, k: Any, cos: Any, sin: Any, unsqueeze_dim: int = 1) -> Any:
    """Turn queries and keys by their positions, as most families do."""
    cos = cos.unsqueeze(unsqueeze_dim)
    sin = sin.unsqueeze(unsqueeze_dim)
    q_embed = (q * cos) + (rotate_half(q) * sin)
    k_embed = (k * cos) + (rotate_half(k) * sin)
    return q_embed, k_embed


def _instructions(function: Any) -> tuple[Any, ...]:
    """Return all that a function does, less the text that describes it."""
    code = getattr(function, "__code__", None)
    if code is None:
        return ()
    first = [None if value == function.__doc__ else value for value in code.co_consts[:1]]
    constants = (*first, *code.co_consts[1:])
    return code.co_code, code.co_names, constants, code.co_argcount, code.co_freevars, function.__defaults__


_ROTARY = apply_rotary_pos_emb.__name__
"""Its name in the modules of transformers."""


def _over_gate(self: Any, x: Tensor) -> Any:
    gate, up = self.act_fn(self.gate_proj(x)), self.up_proj(x)
    return self.down_proj(gate.mul_(up) if gate.dtype == up.dtype else gate * up)


def _over_squares(self: Any, x: Tensor) -> Tensor:
    wide = x.to(torch.float32)
    squares = wide.pow(2)
    scale = torch.rsqrt(squares.mean(-1, keepdim=True) + self.variance_epsilon)
    normed = torch.mul(wide, scale, out=squares).to(x.dtype)
    weighted: Tensor = normed.mul_(self.weight) if normed.dtype == self.weight.dtype else self.weight * normed
    return weighted


_STEPS = [(_instructions(_returned), _over_gate), (_instructions(_named), _over_gate), (_instructions(_normed), _over_squares)]
"""Code of a forward pass in transformers, and the step that stands for it."""


def prepare(modules: Iterable[nn.Module]) -> None:
    """Let modules write over their arrays where no gradient flows; leave all others as they are."""
    for module in modules:
        kind: Any = type(module)
        does = _instructions(kind.forward)
        step = next((step for known, step in _STEPS if known == does), None)
        if step is not None:
            module.__class__ = _stepping(kind, step)
        elif _turns(inner_function(kind.forward)):
            module.__class__ = _turning_in_place(kind)


@functools.cache
def _stepping(original: Any, step: Callable[[Any, Tensor], Any]) -> type[nn.Module]:
    """Return a class of modules as the original one, which takes a step instead where no gradient flows."""

    def forward(self: Any, *inputs: Tensor, **named: Tensor) -> Any:
        if torch.is_grad_enabled() or named:
            return original.forward(self, *inputs, **named)
        return step(self, *inputs)

    return _with_forward(original, forward)


def _with_forward(original: Any, forward: Callable[..., Any]) -> type[nn.Module]:
    about = {"__module__": original.__module__, "__qualname__": original.__qualname__, "stands_for": original}
    return type(original.__name__, (original,), {"forward": forward, **about})


def undo(modules: Iterable[nn.Module]) -> None:
    """Give modules their classes of transformers back."""
    for module in modules:
        module.__class__ = vars(type(module)).get("stands_for", type(module))


def inner_function(function: Any) -> Any:
    """Return the function that decorators were put around; None where a decorator is none that can be copied."""
    while (inner := getattr(function, "__wrapped__", None)) is not None:
        if not isinstance(function, types.FunctionType) or not any(_holds(cell, inner) for cell in function.__closure__ or ()):
            return None
        function = inner
    return function


def _holds(cell: types.CellType, value: Any) -> bool:
    try:
        return cell.cell_contents is value
    except ValueError:  # an empty one
        return False


def _turns(function: Any) -> bool:
    """Return whether a forward pass turns queries and keys by the very code of `apply_rotary_pos_emb`."""
    if not isinstance(function, types.FunctionType) or _ROTARY not in function.__code__.co_names:
        return False
    names = function.__globals__
    return all(
        _instructions(names.get(known.__name__)) == _instructions(known) for known in (apply_rotary_pos_emb, rotate_half)
    )


@functools.cache
def _turning_in_place(original: Any) -> type[nn.Module]:
    """Return a class of modules as the original one, but for the function that turns queries and keys."""
    function = inner_function(original.forward)
    plainly = function.__globals__[_ROTARY]

    def in_place(q: Tensor, k: Tensor, cos: Tensor, sin: Tensor, unsqueeze_dim: int = 1) -> tuple[Tensor, Tensor]:
        if torch.is_grad_enabled():
            turned: tuple[Tensor, Tensor] = plainly(q, k, cos, sin, unsqueeze_dim)
            return turned
        cos, sin = cos.unsqueeze(unsqueeze_dim), sin.unsqueeze(unsqueeze_dim)
        return _turned(q, cos, sin), _turned(k, cos, sin)

    return _with_forward(original, _turning_by(in_place, original.forward))


def _turned(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Return vectors turned by their angles; a number with its sign changed, added or taken away, rounds the same."""
    n_first = x.shape[-1] // 2
    n_last = x.shape[-1] - n_first
    turned = x * cos
    turned[..., :n_last].sub_(x[..., n_first:] * sin[..., :n_last])
    turned[..., n_last:].add_(x[..., :n_first] * sin[..., n_last:])
    return turned


def _turning_by(turn: Callable[..., Any], function: Any) -> Any:
    """Return a copy of a forward pass that turns queries and keys by another function, inside the decorators around it."""
    inner, cells, names = getattr(function, "__wrapped__", None), function.__closure__, function.__globals__
    if inner is None:
        names = {**names, _ROTARY: turn}
    else:
        copy = _turning_by(turn, inner)
        cells = tuple(types.CellType(copy) if _holds(cell, inner) else cell for cell in cells)
    copied = types.FunctionType(function.__code__, names, function.__name__, function.__defaults__, cells)
    copied.__kwdefaults__ = function.__kwdefaults__
    copied.__dict__.update(vars(function) if inner is None else {**vars(function), "__wrapped__": copy})
    return copied
