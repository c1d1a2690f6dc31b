"""Quantized matrices are multiplied piece by piece, with the results and gradients of the whole
matrix.
"""

import gc
import weakref

import pytest
import torch
from torch import nn

from analysis.models.architecture import float32_products
from analysis.models.loading import quantized_products

SHAPES = [(200, 96), (130, 64), (64, 130), (33, 2)]
"""Rows and columns. Columns that are no multiple of the 64 weights of a scale need pieces of
several rows."""


@pytest.fixture(autouse=True)
def small(monkeypatch):
    monkeypatch.setattr(quantized_products, "LARGE", 64)
    monkeypatch.setattr(quantized_products, "PIECE", 64 * 96 * 4)


def matrix(n_rows, n_columns, *, nested=True, bias=False, dtype=torch.float32, seed=0):
    from bitsandbytes.nn import Linear4bit, Params4bit

    torch.manual_seed(seed)
    made = Linear4bit(
        n_columns,
        n_rows,
        bias=bias,
        quant_type="nf4",
        compress_statistics=nested,
        compute_dtype=dtype,
    )
    weight = torch.randn(n_rows, n_columns, dtype=dtype)
    made.weight = Params4bit(
        weight, requires_grad=False, quant_type="nf4", compress_statistics=nested
    )
    made = made.to("cpu")
    made.support_avx512bf16_for_cpu = False
    return made


def of(layer, inputs):
    """The product and the gradients of inputs and bias."""
    inputs = inputs.clone().requires_grad_()
    result = layer(inputs)
    (result * torch.linspace(-1, 1, result.shape[-1], dtype=result.dtype)).sum().backward()
    return [result.detach(), inputs.grad, *([] if layer.bias is None else [layer.bias.grad])]


@pytest.mark.parametrize("nested", [True, False])
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("shape", SHAPES)
def test_pieces_give_products_and_gradients_of_the_whole(shape, bias, nested):
    whole, parts = (matrix(*shape, nested=nested, bias=bias) for _ in range(2))
    quantized_products.prepare(nn.ModuleList([parts]))
    assert parts.is_in_pieces
    inputs = torch.randn(3, 5, shape[1])
    for wanted, found in zip(of(whole, inputs), of(parts, inputs), strict=True):
        torch.testing.assert_close(found, wanted)


@pytest.mark.parametrize("is_slow", [True, False])
def test_products_in_half_precision_are_the_same(is_slow, monkeypatch):
    monkeypatch.setattr(
        float32_products, "is_here", lambda dtype: is_slow and dtype == torch.bfloat16
    )
    whole, parts = (matrix(200, 96, dtype=torch.bfloat16) for _ in range(2))
    quantized_products.prepare(nn.ModuleList([parts]))
    inputs = torch.randn(7, 96)
    with torch.inference_mode():
        assert parts(inputs).dtype == torch.float32
        torch.testing.assert_close(parts(inputs), whole(inputs))
    for wanted, found in zip(
        of(whole, inputs.bfloat16()), of(parts, inputs.bfloat16()), strict=True
    ):
        assert (wanted.double() - found.double()).norm() < 4e-3 * wanted.double().norm()


def test_small_matrices_stay_as_they_are(monkeypatch):
    monkeypatch.setattr(quantized_products, "LARGE", 200 * 96 * 4)
    layer = matrix(200, 96)
    kind = type(layer)
    quantized_products.prepare(nn.ModuleList([layer]))
    assert type(layer) is kind


@pytest.mark.parametrize(
    ("n_inputs", "shape"),
    [((3,), (200, 96)), ((), (130, 64)), ((2, 5), (33, 40)), ((4,), (1, 20_000))],
)
def test_8_bit_pieces_give_the_exact_product(n_inputs, shape):
    torch.manual_seed(0)
    inputs, weight = (
        torch.randint(-127, 128, size, dtype=torch.int8) for size in ((*n_inputs, shape[1]), shape)
    )
    found = quantized_products._int8_product(inputs, weight)
    assert found.dtype == torch.int32
    assert torch.equal(found.long(), inputs.long() @ weight.long().t())


def test_matrix_is_prepared_once_and_freed_at_once():
    layer = matrix(200, 96)
    quantized_products.prepare(nn.ModuleList([layer]))
    kind = type(layer)
    quantized_products.prepare(nn.ModuleList([layer]))
    assert type(layer) is kind
    with torch.inference_mode():
        layer(torch.randn(2, 96))
    seen = weakref.ref(layer)
    gc.disable()
    try:
        del layer
        assert seen() is None
    finally:
        gc.enable()


@pytest.mark.parametrize(
    "shape", [(2, 96), (40, 32), (7, 160), (1, 96), (3, 32), (5, 64), (33, 2), (9, 33)]
)
def test_unpacked_weights_follow_their_scales_at_every_width(shape):
    from bitsandbytes import functional

    quantized_products.prepare(nn.ModuleList([matrix(64, 64)]))
    torch.manual_seed(0)
    packed, state = functional.quantize_4bit(torch.randn(shape), quant_type="nf4", blocksize=64)
    n_weights = shape[0] * shape[1]
    halves = packed.flatten()
    numbers = torch.stack([halves >> 4, halves & 15], dim=1).flatten()[:n_weights].long()
    wanted = state.code[numbers] * state.absmax.repeat_interleave(64)[:n_weights]
    assert torch.equal(functional.dequantize_4bit(packed, state), wanted.reshape(shape))
