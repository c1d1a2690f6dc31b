"""Matrix products by a library that keeps a matrix in an order of its own, on processors where they are faster so.

oneDNN and MKL multiply by a matrix in their own order, and would reorder plain weights for each product. Here a reordered copy
of a layer's weights stays in memory. The product is the same to the last bit, so it does not matter when a copy is made.

On AMD processors with AVX-512 oneDNN is the library. In half precision torch takes it itself. In float32 torch takes MKL,
slower there. MKL adds the terms of a long sum in parts, and oneDNN adds one after another. So a sum of many terms goes to
oneDNN in parts as well: its rounding errors would grow over the layers (`docs/speed.md`).

On Intel's processors with AVX-512 MKL is the library, in float32. It is torch's own, and it takes other steps for a few rows.
So each number of rows is tried first (`packed_product`).

A copy belongs to one state of one parameter. Another parameter, other memory or other numbers end it. torch does not notice
who writes through `parameter.data`, so nothing here does. PEFT does when it merges an adapter: call `forget` then.
"""

import functools
import weakref
from collections.abc import Callable, Sequence
from typing import Any, cast
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn

from analysis.core import host
from analysis.models.architecture import float32_products, in_place
from analysis.models.architecture.decoder import Decoder

_INSTRUCTIONS = {torch.float32: "avx512f", torch.bfloat16: "avx512_bf16"}
"""Flags of the processors that were measured."""
_MOST_BYTES = 1 << 30
"""Bytes of reordered copies of a model at most."""
MANY_ROWS = 32
"""Rows from which on a copy is worth its time, and a packed head is faster than one row of a product for each token."""
_MOST_ROWS = 1024
"""Rows up to which a packed matrix is faster. To pack a plain one takes little of the time of more."""
_MOST_TERMS = 1024
"""Most terms of a part of a sum in float32. The rounding error is at most 1.6 times that of torch's library."""
_USUAL_ROWS = 256
"""Rows for which MKL packs a matrix. It packs the same way for any number."""
_PIECE = 4096
"""Rows of the head in a packed piece."""


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
        twice = product(inputs, reordered(weight), onto=values[0])
    except (AttributeError, RuntimeError):
        return False
    expected = inputs.double() @ weight.double().T
    sums = [(values[0], expected), (twice, 2 * expected)]
    return torch.equal(*values) and all(torch.allclose(found.double(), sum_, rtol=0.02, atol=0.02) for found, sum_ in sums)


@functools.cache
def packs(dtype: torch.dtype) -> bool:
    """Return whether this processor multiplies faster by matrices that MKL has packed, as Intel's do."""
    is_measured = "avx512f" in host.cpuinfo("flags").split() and host.cpuinfo("vendor_id") == "GenuineIntel"
    return dtype == torch.float32 and is_measured and _can_pack()


def _can_pack() -> bool:
    """Try to pack a matrix. torch may have no MKL, and may drop or change these operations, which are internal."""
    inputs, matrix = (torch.ones(shape) for shape in ((MANY_ROWS, 64), (48, 64)))
    try:
        return torch.equal(_by_packed(inputs, matrix, packed(matrix), None), nn.functional.linear(inputs, matrix))
    except (AttributeError, RuntimeError):
        return False


def reordered(matrix: Tensor) -> Tensor:
    """Return a copy of a matrix, (n_out, n_in), in the order of oneDNN, as `product` takes it."""
    copy: Tensor = torch.ops.mkldnn._reorder_linear_weight(matrix)
    return copy


def product(inputs: Tensor, matrix: Tensor, bias: Tensor | None = None, *, onto: Tensor | None = None) -> Tensor:
    """Return inputs (..., n_in) times a transposed matrix, plus a bias (n_out,) that is added before the sum is rounded.

    Args:
        inputs: on the CPU. No gradient flows through.
        matrix: (n_out, n_in), or a `reordered` copy of it, in the dtype of the inputs.
        bias: in this dtype.
        onto: a product (..., n_out) that this one is added to, in the same way.
    """
    added: tuple[Any, ...] = (matrix, bias, "none", [], "") if onto is None else (onto, matrix, bias, "add")
    result: Tensor = torch.ops.mkldnn._linear_pointwise(inputs, *added)
    return result


def packed(matrix: Tensor) -> Tensor:
    """Return a copy of a matrix, (n_out, n_in) in float32, in the order of MKL, as `packed_product` takes it."""
    copy: Tensor = torch.ops.mkl._mkl_reorder_linear_weight(matrix, _USUAL_ROWS)
    return copy


def _by_packed(inputs: Tensor, matrix: Tensor, copy: Tensor, bias: Tensor | None) -> Tensor:
    result: Tensor = torch.ops.mkl._mkl_linear(inputs, copy, matrix, bias, inputs.shape[:-1].numel())
    return result


def packed_product(inputs: Tensor, matrix: Tensor, copy: Tensor | None, bias: Tensor | None = None) -> Tensor:
    """Return inputs (..., n_in) times a transposed matrix, plus a bias (n_out,), with the very bits of torch's usual product.

    Each number of rows of each shape is tried once. Where the packed copy gives other bits, torch multiplies as ever.

    Args:
        inputs: on the CPU, in float32. No gradient flows through.
        matrix: (n_out, n_in), in float32.
        copy: the `packed` matrix; None to multiply in torch's way.
        bias: in float32.
    """
    trial = (inputs.shape[:-1].numel(), *matrix.shape, bias is None, torch.get_num_threads())
    if copy is not None and _same_bits.get(trial):
        return _by_packed(inputs, matrix, copy, bias)
    usual = nn.functional.linear(inputs, matrix, bias)
    if copy is not None and trial not in _same_bits:
        tried = _by_packed(inputs, matrix, copy, bias)
        _same_bits[trial] = torch.allclose(tried, usual, rtol=0, atol=0, equal_nan=True)
    return usual


_same_bits: dict[tuple[int, ...], bool] = {}
"""Results of the trials, by rows, shape, whether there is no bias, and threads."""


def prepare(decoder: Decoder, free_bytes: int) -> None:
    """Let the matrices of a model multiply in the fastest way of this processor: by oneDNN, by MKL, or in float32.

    Args:
        decoder: the model, with all its weights or with its layers on the disk.
        free_bytes: memory that is free beside the model at work. Copies take half of it at most, or there are none.
    """
    modules: list[Any] = [module for layer in decoder.layers for module in layer.modules()] + [decoder.head]
    float32_products.prepare(modules)
    in_place.prepare(modules)
    room = min(_MOST_BYTES, free_bytes // 2)
    for kind in (Reordered, Packed):
        matrices = [module for module in modules[:-1] if type(module) is nn.Linear and kind.is_for(module)]
        for are_long in (False, True):
            group = [module for module in matrices if _is_long(module) == are_long]
            n_bytes = sum(map(_n_bytes, group))
            for module in group:
                module.__class__ = kind
                # Without copies the library is the same: numbers in float32 must not depend on the memory that is free.
                cast(Any, module).may_copy = n_bytes <= room
            room -= n_bytes if n_bytes <= room else 0
    if packs_head(decoder.head):
        cast(Any, decoder.head).may_copy = _n_bytes(decoder.head) <= room
        _pack([module for module in modules if type(module) is Packed], cast(nn.Linear, decoder.head))


def square(n: int, dtype: torch.dtype) -> nn.Linear:
    """Return a random matrix (n, n) on the CPU that multiplies as those of a prepared model with enough memory do."""
    matrix: Any = nn.Linear(n, n, bias=False, dtype=dtype).requires_grad_(False)
    matrix.__class__ = next((kind for kind in (Reordered, Packed) if kind.is_for(matrix)), nn.Linear)
    matrix.may_copy = True
    return cast(nn.Linear, matrix)


def _pack(matrices: list[nn.Linear], head: nn.Linear) -> None:
    """Make the packed copies of a model at once.

    MKL asks for 2 to 20 times the memory that it writes to. The rest takes none in pages that were never used. Between the
    operations of a model, pages would be those that it has just used, and a gigabyte of them would be taken for nothing.
    """
    host.hand_back_freed_memory()
    for matrix in matrices:
        _copy(matrix, packed, MANY_ROWS)
    pieces(head)


def _n_bytes(matrix: nn.Module) -> int:
    weight = cast(Tensor, matrix.weight)
    return weight.numel() * weight.element_size()


def forget(model: nn.Module) -> None:
    """End the copies of a model's weights, which somebody wrote to in a way that torch does not count."""
    for module in model.modules():
        _copies.pop(module, None)


class _Copied(nn.Linear):
    """A matrix that multiplies by a copy. No gradient flows through it. Where one is wanted, torch multiplies as ever."""

    may_copy = True
    """Whether there is memory for a copy."""


class Reordered(_Copied):
    """A matrix that multiplies by oneDNN, with a copy in its order that is made when many rows come."""

    @staticmethod
    def is_for(matrix: nn.Linear) -> bool:
        """Return whether a matrix is faster so."""
        return is_here(matrix.weight.dtype) and matrix.weight.device.type in ("cpu", "meta")

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002 - the name that torch gives it
        """Return inputs times the transposed matrix, plus the bias."""
        if not _may_leave_torch(self, input) or not self.is_for(self):
            return super().forward(input)
        n_rows = input.shape[:-1].numel()
        if n_rows < MANY_ROWS and _is_long(self):
            return super().forward(input)  # to lay out the parts would take longer
        # oneDNN multiplies one row by plain weights in a way that rounds otherwise.
        has_copy = n_rows > 1 or self.weight.dtype != torch.float32
        copies = _copy(self, reordered_parts, n_rows) if has_copy else None
        return product_of_parts(input, copies or _parts(self.weight), self.bias)


def _n_terms(weight: Tensor) -> int:
    return min(weight.shape[1], _MOST_TERMS) if weight.dtype == torch.float32 else weight.shape[1]


def _is_long(matrix: nn.Linear) -> bool:
    """Return whether sums of a matrix are added in parts."""
    return _n_terms(matrix.weight) < matrix.in_features


def _parts(weight: Tensor) -> list[Tensor]:
    """Return the columns of a matrix whose terms are added at once; oneDNN rounds otherwise where they lie apart."""
    return [part.contiguous() for part in weight.split(_n_terms(weight), dim=1)]


def reordered_parts(weight: Tensor) -> list[Tensor]:
    """Return `reordered` copies of a matrix, (n_out, n_in): of so many columns each as are added at once."""
    return [reordered(part) for part in _parts(weight)]


def product_of_parts(inputs: Tensor, parts: Sequence[Tensor], bias: Tensor | None = None) -> Tensor:
    """Return inputs (..., n_in) times a transposed matrix that comes in parts of its columns, as `product`."""
    total = None
    for columns, part in zip(inputs.split([part.shape[1] for part in parts], dim=-1), parts, strict=True):
        total = product(columns, part, bias if total is None else None, onto=total)
    return cast(Tensor, total)


class Packed(_Copied):
    """A matrix that multiplies by MKL, with a copy in its order that is made when the model is loaded."""

    @staticmethod
    def is_for(matrix: nn.Linear) -> bool:
        """Return whether a matrix is faster so."""
        return packs(matrix.weight.dtype) and matrix.weight.device.type == "cpu"

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002 - the name that torch gives it
        """Return inputs times the transposed matrix, plus the bias."""
        n_rows = input.shape[:-1].numel()
        if not MANY_ROWS <= n_rows <= _MOST_ROWS or not _may_leave_torch(self, input) or not self.is_for(self):
            return super().forward(input)
        return packed_product(input, self.weight, _copy(self, packed, n_rows), self.bias)


def packs_head(matrix: nn.Module) -> bool:
    """Return whether a vocabulary head is faster by packed pieces."""
    return type(matrix) is nn.Linear and Packed.is_for(matrix)


def pieces(matrix: nn.Linear) -> list[tuple[Tensor, Tensor | None]]:
    """Return the rows of a large matrix piece by piece, each with its packed copy for `packed_product`.

    Args:
        matrix: the vocabulary head of a prepared model, where `packs_head`. Where memory is short, there is no copy.
    """
    weights = matrix.weight.detach().split(_PIECE)
    copies = _copy(matrix, lambda weight: [packed(piece) for piece in weight.split(_PIECE)], MANY_ROWS)
    return list(zip(weights, copies or [None] * len(weights), strict=True))


def _may_leave_torch(matrix: nn.Linear, inputs: Tensor) -> bool:
    """Return whether a product has no gradient, one dtype, and is on the CPU."""
    weight = matrix.weight
    needs_gradient = torch.is_grad_enabled() and (inputs.requires_grad or weight.requires_grad)
    return not needs_gradient and inputs.device.type == "cpu" and inputs.dtype == weight.dtype


def _copy(matrix: nn.Linear, make: Callable[[Tensor], Any], n_rows: int) -> Any:
    """Return the copy of the present weights; None where there is none and a few rows are not worth one."""
    weight, kept = matrix.weight, _copies.get(matrix)
    if not getattr(matrix, "may_copy", False) or weight.is_inference():
        return None  # torch does not count who writes to weights of inference mode
    if kept is not None and kept[0]() is weight and kept[1:3] == (weight._version, weight.data_ptr()):
        return kept[3]
    if n_rows < MANY_ROWS:
        return None
    copy = make(weight.detach())
    _copies[matrix] = (weakref.ref(weight), weight._version, weight.data_ptr(), copy)
    return copy


_copies: WeakKeyDictionary[nn.Module, tuple[weakref.ref, int, int, Any]] = WeakKeyDictionary()
"""By module the parameter, its version, its memory, and the copy of it."""
