"""Products of quantized weights on CPUs: matrices are dequantized in pieces, with exact gradients
of 4-bit weights.

bitsandbytes dequantizes a full matrix for each product. The C library returns freed blocks of more
than 32 MB to the system, so a larger matrix gets new memory each time, which the system clears
first. That makes the product of one token 4 to 11 times slower. Pieces reuse their memory and fit
CPU caches.
"""

import functools
import warnings
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from analysis.models.architecture import float32_products
from analysis.models.architecture.float32_products import PIECE

LARGE = 32 << 20
"""Maximum bytes of a dequantized 4-bit matrix; larger ones are dequantized in pieces."""
_INT8 = "bitsandbytes::int8_linear_matmul"
"""Operator of the product of 8-bit inputs and weights."""
_UNPACK = "bitsandbytes::dequantize_4bit"


def prepare(model: Any) -> None:
    """Use these products for the quantized modules of a model.

    On CPUs with AVX512-BF16, bitsandbytes would repack 4-bit weights at the first evaluation, for a
    kernel that rounds to bfloat16 and has no backward pass. Gradients of training would then be
    wrong without an error.

    Args:
        model: model with modules of bitsandbytes.
    """
    for module in model.modules():
        if hasattr(module, "support_avx512bf16_for_cpu"):
            _unpack_all_widths()
            module.support_avx512bf16_for_cpu = False
            dtype = module.compute_dtype or torch.float32
            is_large = module.in_features * module.out_features * dtype.itemsize > LARGE
            is_slow = is_large or float32_products.is_here(dtype)
            if is_slow and module.in_features % 2 == 0 and not hasattr(module, "is_in_pieces"):
                module.__class__ = _in_pieces(module.__class__)
                module.is_large = is_large
        elif hasattr(getattr(module, "state", None), "has_fp16_weights"):
            _multiply_int8_in_pieces()


@functools.cache
def _unpack_all_widths() -> None:
    """Replace the dequantization of bitsandbytes if it is wrong: on CPUs with AVX-512, for widths
    such as 96.

    Its kernel starts each row with a new scale, although a scale applies to a fixed number of
    consecutive weights, across rows. Such a matrix is therefore dequantized in a shape with one row
    per scale.
    """
    packed = torch.arange(96, dtype=torch.uint8)[:, None]
    scales = torch.tensor([1.0, 2.0, 3.0])
    rows, blocks = (
        torch.ops.bitsandbytes.dequantize_4bit(packed, scales, 64, "nf4", shape, torch.float32)
        for shape in ((2, 96), (3, 64))
    )
    if torch.equal(rows.flatten(), blocks.flatten()):
        return
    kernel = torch.library.get_kernel(_UNPACK, "CPU")

    def unpacked(
        keys: Any,
        matrix: Tensor,
        scales: Tensor,
        n_per_scale: int,
        kind: str,
        shape: Sequence[int],
        dtype: torch.dtype,
    ) -> Tensor:
        by_scale = list(shape)
        n_weights = torch.Size(shape).numel()
        if by_scale[-1] % n_per_scale:
            by_scale = [scales.numel(), n_per_scale]
            matrix = matrix.reshape(-1).view(torch.uint8)
            matrix = nn.functional.pad(matrix, (0, scales.numel() * n_per_scale // 2 - len(matrix)))
        result: Tensor = kernel.call_boxed(keys, matrix, scales, n_per_scale, kind, by_scale, dtype)
        return result.flatten()[:n_weights].reshape(list(shape))

    with warnings.catch_warnings():  # torch warns about a replaced kernel
        warnings.simplefilter("ignore")
        _kernels.impl(_UNPACK, unpacked, "CPU", with_keyset=True, allow_override=True)


_kernels = torch.library.Library("bitsandbytes", "FRAGMENT")
"""Registration of the replaced kernels, for the lifetime of the process."""


def _multiply_int8_in_pieces() -> None:
    """Register a product of 8-bit matrices on CPUs without AVX-512, for which bitsandbytes has
    none.
    """
    if not torch._C._dispatch_has_kernel_for_dispatch_key(_INT8, "CPU"):
        torch.library.register_kernel(_INT8, "cpu")(_int8_product)


def _int8_product(inputs: Tensor, weight: Tensor) -> Tensor:
    """Multiply inputs (..., in_features) by the transposed weight (out_features, in_features), both
    int8; the result is int32.

    It multiplies in float32, as bitsandbytes does on such CPUs, which is exact up to sums of 2^24.
    """
    product = inputs.new_empty(*inputs.shape[:-1], weight.shape[0], dtype=torch.int32)
    inputs = inputs.float()
    step = max(1, PIECE // (4 * weight.shape[1]))
    for first in range(0, weight.shape[0], step):
        product[..., first : first + step] = inputs @ weight[first : first + step].float().t()
    return product


@functools.cache
def _in_pieces(matrix: type[nn.Module]) -> type[nn.Module]:
    """Return a subclass of a bitsandbytes module with a product in pieces. Importing bitsandbytes
    takes seconds.
    """
    from bitsandbytes.nn.modules import fix_4bit_weight_quant_state_from_module

    class InPieces(matrix):  # type: ignore[misc,valid-type]
        is_in_pieces = True

        def forward(self, x: Tensor) -> Tensor:
            fix_4bit_weight_quant_state_from_module(self)
            state = self.weight.quant_state
            is_usual = x.device.type == "cpu" and tuple(state.shape) == (
                self.out_features,
                self.in_features,
            )
            if not is_usual or not (
                self.is_large or x.shape[:-1].numel() >= float32_products.MIN_ROWS
            ):
                return super().forward(x)
            inputs = x.to(self.compute_dtype or x.dtype)
            bias = None if self.bias is None else self.bias.to(inputs.dtype)
            pieces = functools.partial(_pieces, self.weight.data, state, inputs.dtype)
            return float32_products.multiplied(inputs, pieces, self.out_features, bias).to(x.dtype)

    InPieces.__name__ = InPieces.__qualname__ = matrix.__name__
    return InPieces


def _pieces(packed: Tensor, state: Any, dtype: torch.dtype) -> Iterator[tuple[slice, Tensor]]:
    """Yield the rows of a matrix piece by piece, each with its slice: (rows, in_features).

    Args:
        packed: two weights per byte, row after row.
        state: quantization state of bitsandbytes, with one scale per `blocksize` weights. A piece
            starts with a new scale.
        dtype: dtype of the dequantized weights.
    """
    from bitsandbytes import functional

    n_rows, n_columns = state.shape
    packed = packed.reshape(-1).view(torch.uint8)
    scales = state.absmax
    if state.nested:
        scales = functional.dequantize_blockwise(scales, state.state2) + state.offset
    step = max(1, PIECE // (n_columns * float32_products.dtype_of_products(dtype).itemsize))
    while step * n_columns % state.blocksize:
        step += 1
    for first in range(0, n_rows, step):
        last = min(n_rows, first + step)
        begin = first * n_columns
        end = last * n_columns
        piece = torch.ops.bitsandbytes.dequantize_4bit(
            packed[begin // 2 : end // 2],
            scales[begin // state.blocksize : -(-end // state.blocksize)].float(),
            state.blocksize,
            state.quant_type,
            (last - first, n_columns),
            dtype,
        )
        yield slice(first, last), piece
