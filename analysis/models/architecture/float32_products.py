"""Matrix products in half precision, computed in float32 on CPUs with slow half-precision
instructions.

Without this, a curve in bfloat16 takes 4 times as long on CPUs with AVX2 only, and 2.6 times with
AVX-512. Each product casts its matrix to float32 in pieces, so that weights in memory are
unchanged. Sums are in float32, and the result is rounded once, as in torch.
"""

import functools
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import torch
from torch import Tensor, nn

from analysis.core import host

PIECE = 8 << 20
"""Maximum size of a piece in float32 in bytes, to fit CPU caches. A single row may be larger."""
MIN_ROWS = 4
"""Minimum number of input rows for which the cast of the matrix pays off."""

Pieces = Callable[[], Iterator[tuple[slice, Tensor]]]
"""Function that yields pieces of a matrix, (rows, n_in), each with the slice of its rows."""


@functools.cache
def is_here(dtype: torch.dtype) -> bool:
    """Return whether this CPU multiplies a half-precision dtype faster in float32; False on other
    CPUs than x86.
    """
    flags = host.cpuinfo("flags").split()
    if "avx2" not in flags:
        return False
    if dtype == torch.bfloat16:
        is_fast = "avx512_bf16" in flags and host.cpuinfo("vendor_id") == "AuthenticAMD"
        return not is_fast and "amx_bf16" not in flags and _is_right(dtype)
    return dtype == torch.float16 and "avx512_fp16" not in flags and _is_right(dtype)


def _is_right(dtype: torch.dtype) -> bool:
    """Compare a product with torch's own, as a self-test."""
    generator = torch.Generator().manual_seed(0)
    inputs, matrix = (
        torch.randn(shape, generator=generator).to(dtype) for shape in ((8, 64), (48, 64))
    )
    product: Tensor = _Product.apply(
        inputs, None, functools.partial(rows, matrix), len(matrix), torch.float32
    )
    return torch.allclose(
        product.double(), inputs.double() @ matrix.double().T, rtol=0.02, atol=0.02
    )


def dtype_of_products(dtype: torch.dtype) -> torch.dtype:
    """Return the compute dtype of products of a dtype on this CPU."""
    return torch.float32 if is_here(dtype) else dtype


def is_plain(module: nn.Module) -> bool:
    """Return whether a module is an unquantized linear module."""
    return type(module) in (nn.Linear, InFloat32)


class InFloat32(nn.Linear):
    """A frozen linear module in half precision that multiplies in float32."""

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002 - the name that torch gives it
        """Return inputs times the transposed matrix, plus the bias, in the dtype of both."""
        inputs = (
            input.to(torch.get_autocast_dtype("cpu")) if torch.is_autocast_enabled("cpu") else input
        )
        is_usual = (
            inputs.device.type == "cpu"
            and inputs.dtype == self.weight.dtype
            and is_here(inputs.dtype)
        )
        is_trained = torch.is_grad_enabled() and self.weight.requires_grad
        if not is_usual or is_trained or inputs.shape[:-1].numel() < MIN_ROWS:
            return super().forward(input)
        return multiplied(inputs, functools.partial(rows, self.weight), len(self.weight), self.bias)


def prepare(modules: Iterable[Any]) -> None:
    """Make linear modules in half precision multiply in float32 if that is faster."""
    for module in modules:
        if type(module) is nn.Linear and is_here(module.weight.dtype):
            module.__class__ = InFloat32


def multiplied(inputs: Tensor, pieces: Pieces, n_out: int, bias: Tensor | None) -> Tensor:
    """Return inputs (..., n_in) times the transpose of a matrix in pieces, plus a bias (n_out,), in
    the dtype of the inputs.

    Args:
        inputs: on a CPU. Gradients flow into them and into the bias.
        pieces: the matrix, (n_out, n_in), in the dtype of the inputs. The backward pass calls it
            again.
        n_out: number of rows of the matrix.
        bias: in the dtype of the inputs.
    """
    dtype = (
        dtype_of_products(inputs.dtype) if inputs.shape[:-1].numel() >= MIN_ROWS else inputs.dtype
    )
    result: Tensor = _Product.apply(inputs, bias, pieces, n_out, dtype)
    return result


class _Product(torch.autograd.Function):
    """Product of inputs and a transposed matrix in pieces."""

    @staticmethod
    def forward(
        ctx: Any,
        inputs: Tensor,
        bias: Tensor | None,
        pieces: Pieces,
        n_out: int,
        dtype: torch.dtype,
    ) -> Tensor:
        ctx.pieces = pieces
        ctx.dtype = dtype
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
        change = gradient.to(ctx.dtype)
        of_inputs: Tensor | None = None
        with torch.autocast("cpu", enabled=False):
            if ctx.needs_input_grad[0]:
                for places, piece in ctx.pieces():
                    part = change[..., places] @ piece.to(ctx.dtype)
                    of_inputs = part if of_inputs is None else of_inputs.add_(part)
            of_bias = (
                change.flatten(0, -2).sum(0).to(gradient.dtype) if ctx.needs_input_grad[1] else None
            )
        return (
            None if of_inputs is None else of_inputs.to(gradient.dtype),
            of_bias,
            None,
            None,
            None,
        )


def n_rows_of_piece(weight: Tensor) -> int:
    """Return the number of rows of a matrix that fit into `PIECE` in float32, at least one."""
    return max(1, PIECE // (weight.shape[1] * torch.float32.itemsize))


def rows(weight: Tensor) -> Iterator[tuple[slice, Tensor]]:
    """Yield the rows of a matrix with their slices, as many at a time as fit into `PIECE` in
    float32.
    """
    step = n_rows_of_piece(weight)
    for first in range(0, len(weight), step):
        places = slice(first, first + step)
        yield places, weight[places].detach()
