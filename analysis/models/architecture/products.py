"""Products of a model's weight matrices on processors where oneDNN is faster than torch's usual way.

oneDNN multiplies by a matrix in its own order. In half precision torch hands it the plain order, which it then changes for
each product. Here a reordered copy stays in memory. In float32 torch takes another library, which is slower on AMD processors
with AVX-512 (`docs/speed.md`).

A product with a copy equals one without to the last bit. So it does not matter when a copy is made. A copy belongs to one
state of one parameter. Another parameter, other memory or other numbers end it.
torch does not notice who writes through `parameter.data`, so nothing here does.
"""

import functools
import weakref
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn

from analysis.core import host
from analysis.models.architecture.decoder import Decoder

_MOST_BYTES = 1 << 30
"""Bytes of reordered copies of a model at most."""
_MANY_ROWS = 32
"""Rows from which on a copy is worth its time."""


@functools.cache
def is_here(dtype: torch.dtype) -> bool:
    """Return whether this processor multiplies faster in this way. It was measured on AMD processors with AVX-512 alone."""
    flags = host.cpuinfo("flags").split()
    is_known = {
        torch.float32: "avx512f" in flags and host.cpuinfo("vendor_id") == "AuthenticAMD",
        torch.bfloat16: "avx512_bf16" in flags and "amx_bf16" not in flags,
    }
    return is_known.get(dtype, False) and torch.backends.mkldnn.is_available() and _is_right(dtype)


def _is_right(dtype: torch.dtype) -> bool:
    """Try a product with and without a copy. torch may drop or change these operations, which are internal."""
    draw = torch.Generator().manual_seed(0)
    inputs, weight = (torch.randn(shape, generator=draw).to(dtype) for shape in ((3, 64), (48, 64)))
    try:
        values = [product(inputs, matrix) for matrix in (weight, reordered(weight))]
    except (AttributeError, RuntimeError):
        return False
    expected = inputs.double() @ weight.double().T
    return torch.equal(*values) and bool(torch.allclose(values[0].double(), expected, rtol=0.02, atol=0.02))


def reordered(matrix: Tensor) -> Tensor:
    """Return a copy of a matrix, (n_out, n_in), in the order of oneDNN, as `product` takes it."""
    copy: Tensor = torch.ops.mkldnn._reorder_linear_weight(matrix)
    return copy


def product(inputs: Tensor, matrix: Tensor, bias: Tensor | None = None) -> Tensor:
    """Return inputs (..., n_in) times a transposed matrix, plus a bias (n_out,) that is added before the sum is rounded.

    Args:
        inputs: dense, on the CPU. No gradient flows through.
        matrix: (n_out, n_in), or a `reordered` copy of it, in the dtype of the inputs.
        bias: in this dtype.
    """
    result: Tensor = torch.ops.mkldnn._linear_pointwise(inputs, matrix, bias, "none", [], "")
    return result


def prepare(decoder: Decoder, free_bytes: int) -> None:
    """Let the matrices of a model's layers multiply in this way, where the processor is faster so.

    Args:
        decoder: the model, with its weights or without.
        free_bytes: memory that is free beside the model at work. Copies take half of it at most.
    """
    matrices = [module for layer in decoder.layers for module in layer.modules() if type(module) is nn.Linear]
    n_bytes = sum(module.weight.numel() * module.weight.element_size() for module in matrices)
    fits = decoder.on_disk is None and n_bytes <= min(_MOST_BYTES, free_bytes // 2)
    for module in matrices:
        dtype = module.weight.dtype
        # In half precision torch's own way takes the same product, only without a copy.
        if (module.weight.device.type in ("cpu", "meta")) and is_here(dtype) and (fits or dtype == torch.float32):
            module.__class__ = Reordered if fits else Direct


class Direct(nn.Linear):
    """A matrix that multiplies by oneDNN where no gradient flows."""

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002 - the name that torch gives it
        """Return inputs times the transposed matrix, plus the bias."""
        weight = self.weight
        needs_gradient = torch.is_grad_enabled() and (input.requires_grad or weight.requires_grad)
        # A single row is another product with a copy than without.
        if needs_gradient or input.shape[:-1].numel() < 2 or input.device.type != "cpu" or input.dtype != weight.dtype:
            return super().forward(input)
        return product(input, self._matrix(input), self.bias)

    def _matrix(self, inputs: Tensor) -> Tensor:
        return self.weight


class Reordered(Direct):
    """A matrix with a copy in the order of oneDNN, which is made when many rows come."""

    def _matrix(self, inputs: Tensor) -> Tensor:
        weight, kept = self.weight, _copies.get(self)
        if weight.is_inference():  # torch does not count who writes to it
            return weight
        if kept is not None and kept[0]() is weight and kept[1:3] == (weight._version, weight.data_ptr()):
            return kept[3]
        if inputs.shape[:-1].numel() < _MANY_ROWS:
            return weight
        copy = reordered(weight.detach())
        _copies[self] = (weakref.ref(weight), weight._version, weight.data_ptr(), copy)
        return copy


_copies: WeakKeyDictionary[nn.Module, tuple[weakref.ref, int, int, Tensor]] = WeakKeyDictionary()
"""By module the parameter, its version, its memory, and the copy of it."""
