"""Products of matrices in half precision, on processors that multiply them slowly: in float32, with the same weights.

torch multiplies bfloat16 at a seventh to a tenth of the speed of float32 on processors that have AVX2 alone. With AVX-512 it is
a fifth, and with the AVX-512 BF16 of Intel's processors half. Here a matrix is taken to float32 in pieces, at each product.
The weights in memory stay as they are. Sums are in float32, and the result is rounded once at its end, as torch does.
"""

import functools
from collections.abc import Callable, Iterable, Iterator
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from transformers.pytorch_utils import Conv1D

from analysis.core import host

PIECE = 8 << 20
"""Bytes of a piece in float32 at most, but for a matrix with longer rows; it mostly stays in the processor's caches."""
FEW_ROWS = 4
"""Rows from which on a product takes longer than the way of its matrix to float32."""

Pieces = Callable[[], Iterator[tuple[slice, Tensor]]]
"""Yields the rows of a matrix piece by piece, each with its slice: (rows, n_in)."""


@functools.cache
def is_here(dtype: torch.dtype) -> bool:
    """Return whether this processor multiplies a half precision faster by float32. Only x86 processors were measured."""
    flags = host.cpuinfo("flags").split()
    if "avx2" not in flags:
        return False
    if dtype == torch.bfloat16:
        is_fast = "avx512_bf16" in flags and host.cpuinfo("vendor_id") == "AuthenticAMD"
        return not is_fast and "amx_bf16" not in flags
    return dtype == torch.float16 and "avx512_fp16" not in flags


def dtype_of_products(dtype: torch.dtype) -> torch.dtype:
    """Return the dtype in which products of this dtype are computed on this processor."""
    return torch.float32 if is_here(dtype) else dtype


def is_plain(module: nn.Module) -> bool:
    """Return whether a module is a plain matrix, in torch's way or in ours."""
    return type(module) in (nn.Linear, InFloat32)


def product(inputs: Tensor, matrix: Tensor) -> Tensor:
    """Return a product (rows, n_out) of inputs (rows, n_in) and a small matrix (n_in, n_out), both on a CPU.

    No gradient flows through.
    """
    if not is_here(inputs.dtype):
        return inputs @ matrix
    return (inputs.float() @ matrix.float()).to(inputs.dtype)


def add_product(total: Tensor, inputs: Tensor, matrix: Tensor) -> None:
    """Add the product of `inputs` and `matrix`, as `product` takes them, to (rows, n_out) in its place."""
    if is_here(total.dtype):
        total += inputs.float() @ matrix.float()
    else:
        total.addmm_(inputs, matrix)


class InFloat32(nn.Linear):
    """A matrix in half precision that multiplies in float32."""

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002 - the name that torch gives it
        """Return inputs times the transposed matrix, plus the bias, in the dtype of both."""
        inputs = _as_multiplied(input)
        return _of_whole(inputs, self.weight, self.bias) if _is_slow(inputs, self.weight) else super().forward(inputs)


class Conv1DInFloat32(Conv1D):
    """The same for the matrices of GPT-2, which are stored the other way round, (n_in, n_out)."""

    def forward(self, x: Tensor) -> Tensor:
        """Return inputs times the matrix, plus the bias, in the dtype of both."""
        inputs = _as_multiplied(x)
        return _of_whole(inputs, self.weight.T, self.bias) if _is_slow(inputs, self.weight) else super().forward(inputs)


KINDS: dict[type[nn.Module], type[nn.Module]] = {nn.Linear: InFloat32, Conv1D: Conv1DInFloat32}
"""By torch's and transformers' kind of matrix, the one that multiplies in float32."""


class _OfExperts(TorchFunctionMode):
    """Gives transformers' code of experts, which are stored in one tensor, its products in float32."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Return the value of a function of torch."""
        named = kwargs or {}
        if func is nn.functional.linear and _is_slow(inputs := _as_multiplied(args[0]), args[1]):
            return _of_whole(inputs, args[1], *args[2:], **named)
        if func in _GROUPED and "offs" in named and _is_slow(args[0], args[1]):
            return _grouped(args[0], args[1], named["offs"].tolist())
        return func(*args, **named)


_PLACES = ((nn.functional, "grouped_mm"), (torch, "_grouped_mm"))
_GROUPED = [getattr(place, name) for place, name in _PLACES if hasattr(place, name)]
"""Products of groups of rows by one matrix each; torch 2.9 has the second only."""


def _grouped(inputs: Tensor, matrices: Tensor, ends: list[int]) -> Tensor:
    """Return the products of groups of rows (rows, n_in) by a matrix each (groups, n_in, n_out); 0 behind the last end."""
    groups = zip([0, *ends[:-1]], ends, matrices, strict=True)
    parts = [_of_whole(inputs[begin:end], matrix.T) for begin, end, matrix in groups if begin < end]
    return torch.cat([*parts, inputs.new_zeros(len(inputs) - ends[-1], matrices.shape[-1])])


@functools.cache
def _experts(kind: Any) -> type[nn.Module]:
    """Return a kind of experts that multiplies in float32."""

    class Experts(kind):
        is_in_float32 = True

        def forward(self, *args: Any, **named: Any) -> Any:
            with _OfExperts():
                return super().forward(*args, **named)

    Experts.__name__ = Experts.__qualname__ = kind.__name__
    return Experts


def prepare(modules: Iterable[Any]) -> None:
    """Let matrices and experts in half precision multiply in float32, where that is faster."""
    for module in modules:
        usual: Any = type(module)
        kind = KINDS.get(usual)
        if kind is None and hasattr(usual, "_apply_gate") and not hasattr(usual, "is_in_float32"):
            kind = _experts(usual)  # transformers marks experts in one tensor so
        first = next(module.parameters(recurse=False), None) if kind is not None else None
        if first is not None and is_here(first.dtype):
            module.__class__ = kind


def _as_multiplied(inputs: Tensor) -> Tensor:
    """Return inputs in the dtype that a product takes them in, which mixed precision sets."""
    return inputs.to(torch.get_autocast_dtype("cpu")) if torch.is_autocast_enabled("cpu") else inputs


def _is_slow(inputs: Tensor, weight: Tensor) -> bool:
    """Return whether torch's product would take longer."""
    is_usual = inputs.device.type == "cpu" and inputs.dtype == weight.dtype and is_here(weight.dtype)
    return is_usual and inputs.shape[:-1].numel() >= FEW_ROWS


def _of_whole(inputs: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    return multiplied(inputs, functools.partial(rows, weight), len(weight), weight, bias)


def multiplied(inputs: Tensor, pieces: Pieces, n_out: int, weight: Tensor | None, bias: Tensor | None) -> Tensor:
    """Return inputs (..., n_in) times a transposed matrix that comes in pieces, plus a bias (n_out,), in the inputs' dtype.

    Args:
        inputs: on a CPU. Gradients flow into them, into the bias, and into `weight`.
        pieces: the matrix, (n_out, n_in), in the dtype of the inputs. The way back asks for it once more.
        n_out: its rows.
        weight: the whole matrix, where it may be trained.
        bias: in the dtype of the inputs.
    """
    result: Tensor = _Product.apply(inputs, weight, bias, pieces, n_out)
    return result


class _Product(torch.autograd.Function):
    """Inputs times the transposed matrix that comes in pieces."""

    @staticmethod
    def forward(ctx: Any, inputs: Tensor, weight: Tensor | None, bias: Tensor | None, pieces: Pieces, n_out: int) -> Tensor:
        dtype = _dtype(inputs)
        ctx.pieces = pieces
        ctx.save_for_backward(inputs if ctx.needs_input_grad[1] else None, weight)
        result = inputs.new_empty(*inputs.shape[:-1], n_out)
        with torch.autocast("cpu", enabled=False):
            wide = inputs.to(dtype)
            for places, piece in pieces():
                added = None if bias is None else bias[places].to(dtype)
                result[..., places] = nn.functional.linear(wide, piece.to(dtype), added)
        return result

    @staticmethod
    def backward(ctx: Any, *outer: Tensor) -> tuple[Tensor | None, ...]:
        (gradient,) = outer
        inputs, weight = ctx.saved_tensors
        dtype = _dtype(gradient)
        change = gradient.to(dtype)
        of_inputs: Tensor | None = None
        with torch.autocast("cpu", enabled=False):
            if ctx.needs_input_grad[0]:
                for places, piece in ctx.pieces():
                    part = change[..., places] @ piece.to(dtype)
                    of_inputs = part if of_inputs is None else of_inputs.add_(part)
            flat = change.flatten(0, -2)
            of_weight = flat.T @ inputs.flatten(0, -2).to(dtype) if ctx.needs_input_grad[1] else None
            of_bias = flat.sum(0) if ctx.needs_input_grad[2] else None
        return (
            None if of_inputs is None else of_inputs.to(gradient.dtype),
            None if of_weight is None else of_weight.to(cast(Tensor, weight).dtype),
            None if of_bias is None else of_bias.to(gradient.dtype),
            None,
            None,
        )


def _dtype(inputs: Tensor) -> torch.dtype:
    return dtype_of_products(inputs.dtype) if inputs.shape[:-1].numel() >= FEW_ROWS else inputs.dtype


def n_rows_of_piece(weight: Tensor) -> int:
    """Return how many rows of a matrix fit into `PIECE` in float32, at least one."""
    return max(1, PIECE // (weight.shape[1] * torch.float32.itemsize))


def rows(weight: Tensor) -> Iterator[tuple[slice, Tensor]]:
    """Yield the rows of a matrix with their slices, as many at a time as fit into `PIECE` in float32."""
    step = n_rows_of_piece(weight)
    for first in range(0, len(weight), step):
        places = slice(first, first + step)
        yield places, weight[places].detach()
