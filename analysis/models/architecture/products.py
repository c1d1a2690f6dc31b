"""Matrix products by oneDNN, on processors where it is faster so than in torch's usual way.

oneDNN multiplies by a matrix in an order of its own. It reorders plain weights for each product. Here a reordered copy of a
layer's weights stays in memory. The product is the same to the last bit, so it does not matter when a copy is made.

In half precision torch takes oneDNN itself. In float32 it takes another library, slower on AMD processors with AVX-512. That
library adds the terms of a long sum in parts, and oneDNN adds one after another. So sums of many terms stay with torch: their
rounding errors would grow over the layers (`docs/speed.md`).

A copy belongs to one state of one parameter. Another parameter, other memory or other numbers end it. torch does not notice
who writes through `parameter.data`, so nothing here does. PEFT does when it merges an adapter: call `forget` then.
"""

import functools
import weakref
from typing import Any, cast
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn

from analysis.core import host
from analysis.models.architecture import float32_products
from analysis.models.architecture.decoder import Decoder

_INSTRUCTIONS = {torch.float32: "avx512f", torch.bfloat16: "avx512_bf16"}
"""Flags of the processors that were measured."""
_MOST_BYTES = 1 << 30
"""Bytes of reordered copies of a model at most."""
_MANY_ROWS = 32
"""Rows from which on a copy is worth its time."""
_MOST_TERMS = 1024
"""Most terms of a sum in float32. Its rounding error is at most 1.6 times that of torch's library."""


@functools.cache
def is_here(dtype: torch.dtype) -> bool:
    """Return whether this processor multiplies faster by oneDNN, as AMD's do. On an Intel Xeon both took the same time."""
    is_measured = _INSTRUCTIONS.get(dtype) in host.cpuinfo("flags").split() and host.cpuinfo("vendor_id") == "AuthenticAMD"
    return is_measured and torch.backends.mkldnn.is_available() and _is_right(dtype)


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
    """Let the matrices of a model multiply in the fastest way of this processor: by oneDNN, or in float32.

    Args:
        decoder: the model, with all its weights or with its layers on the disk.
        free_bytes: memory that is free beside the model at work. Copies take half of it at most, or there are none.
    """
    modules: list[Any] = [module for layer in decoder.layers for module in layer.modules()] + [decoder.head]
    float32_products.prepare(modules)
    matrices = [module for module in modules[:-1] if type(module) is nn.Linear and _is_faster(module)]
    matrices = [module for module in matrices if module.weight.device.type in ("cpu", "meta")]
    n_bytes = sum(module.weight.numel() * module.weight.element_size() for module in matrices)
    for module in matrices:
        module.__class__ = Reordered
        # Without copies the library is the same: numbers in float32 must not depend on the memory that is free.
        cast(Reordered, module).may_copy = n_bytes <= min(_MOST_BYTES, free_bytes // 2)


def _is_faster(matrix: nn.Linear) -> bool:
    dtype = matrix.weight.dtype
    return is_here(dtype) and (dtype != torch.float32 or matrix.in_features <= _MOST_TERMS)


def forget(model: nn.Module) -> None:
    """End the copies of a model's weights, which somebody wrote to in a way that torch does not count."""
    for module in model.modules():
        _copies.pop(module, None)


class Reordered(nn.Linear):
    """A matrix that multiplies by oneDNN, with a copy in its order that is made when many rows come.

    No gradient flows through such a product. Where one is wanted, torch multiplies as ever.
    """

    may_copy = True
    """Whether there is memory for a copy."""

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002 - the name that torch gives it
        """Return inputs times the transposed matrix, plus the bias."""
        weight = self.weight
        needs_gradient = torch.is_grad_enabled() and (input.requires_grad or weight.requires_grad)
        if needs_gradient or input.device.type != "cpu" or input.dtype != weight.dtype or not _is_faster(self):
            return super().forward(input)
        copy = self._copy(input.shape[:-1].numel())
        return product(input, weight if copy is None else copy, self.bias)

    def _copy(self, n_rows: int) -> Tensor | None:
        """Return the copy of the present weights; None where there is none and a few rows are not worth one."""
        weight, kept = self.weight, _copies.get(self)
        if not self.may_copy or weight.is_inference():  # torch does not count who writes to weights of inference mode
            return None
        if n_rows == 1 and weight.dtype == torch.float32:  # oneDNN multiplies plain weights in a way that rounds otherwise
            return None
        if kept is not None and kept[0]() is weight and kept[1:3] == (weight._version, weight.data_ptr()):
            return kept[3]
        if n_rows < _MANY_ROWS:
            return None
        copy = reordered(weight.detach())
        _copies[self] = (weakref.ref(weight), weight._version, weight.data_ptr(), copy)
        return copy


_copies: WeakKeyDictionary[nn.Module, tuple[weakref.ref, int, int, Tensor]] = WeakKeyDictionary()
"""By module the parameter, its version, its memory, and the copy of it."""
