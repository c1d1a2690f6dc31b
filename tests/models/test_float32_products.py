"""Products in half precision by float32: right values and gradients, in pieces too, and only where
a processor is slow.
"""

import copy

import pytest
import torch
from torch import nn

from analysis.core import host
from analysis.models.architecture import decoder as architecture
from analysis.models.architecture import float32_products, residual
from analysis.models.architecture.float32_products import InFloat32
from tests.support.families import build
from tests.support.matrices import in_float64, linear, prepared

HALF = (torch.bfloat16, torch.float16)


@pytest.fixture(autouse=True)
def anywhere(monkeypatch):
    """Multiply so on any processor."""
    monkeypatch.setattr(float32_products, "is_here", lambda dtype: dtype in HALF)


def matrix(dtype=torch.bfloat16, **named):
    return linear(InFloat32, dtype=dtype, **named)


def exact(layer, inputs):
    """The product in float64, rounded once."""
    return in_float64(layer, inputs).to(inputs.dtype)


@pytest.mark.parametrize("piece", [float32_products.PIECE, 7 * 96 * 4, 1])
@pytest.mark.parametrize("rows", [(4,), (2, 50), (1, 700), (3, 2, 5)])
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("dtype", HALF)
def test_products_are_rounded_once(dtype, bias, rows, piece, monkeypatch):
    monkeypatch.setattr(float32_products, "PIECE", piece)
    layer, inputs = matrix(bias=bias, dtype=dtype), torch.randn(*rows, 96, dtype=dtype)
    with torch.inference_mode():
        found = layer(inputs)
    assert found.dtype == dtype
    # A sum in float32 beside the middle of two numbers may go to the other one.
    assert (found == exact(layer, inputs)).float().mean() > 0.98
    torch.testing.assert_close(found, exact(layer, inputs), rtol=torch.finfo(dtype).eps, atol=1e-5)


def test_matrices_come_in_pieces_of_whole_rows(monkeypatch):
    monkeypatch.setattr(float32_products, "PIECE", 7 * 96 * 4 + 3)
    layer = matrix()
    pieces = list(float32_products.rows(layer.weight))
    assert [len(piece) for _, piece in pieces] == [7, 7, 7, 7, 7, 7, 6]
    assert torch.equal(torch.cat([piece for _, piece in pieces]), layer.weight)
    assert torch.equal(torch.cat([layer.weight[rows] for rows, _ in pieces]), layer.weight)


@pytest.mark.parametrize("rows", [1, 3])
def test_a_few_rows_are_multiplied_as_ever(rows):
    layer, inputs = matrix(), torch.randn(rows, 96, dtype=torch.bfloat16)
    assert torch.equal(layer(inputs), nn.functional.linear(inputs, layer.weight, layer.bias))


@pytest.mark.parametrize("kind", [torch.float32, torch.float64])
def test_other_precisions_are_multiplied_as_ever(kind):
    layer, inputs = matrix(dtype=kind), torch.randn(40, 96, dtype=kind)
    assert torch.equal(layer(inputs), nn.functional.linear(inputs, layer.weight, layer.bias))


def gradients(layer, inputs, *, autocast=False):
    inputs = inputs.clone().requires_grad_()
    with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
        result = layer(inputs)
    outer = torch.linspace(-1, 1, result.numel(), dtype=torch.float64).reshape(result.shape)
    (result.double() * outer).sum().backward()
    return [
        result.detach(),
        inputs.grad,
        *(weight.grad for weight in (layer.weight, layer.bias) if weight.requires_grad),
    ]


@pytest.mark.parametrize("trained", [True, False])
@pytest.mark.parametrize("piece", [float32_products.PIECE, 7 * 96 * 4])
def test_gradients_are_right(piece, trained, monkeypatch):
    monkeypatch.setattr(float32_products, "PIECE", piece)
    layer, inputs = matrix(), torch.randn(2, 30, 96, dtype=torch.bfloat16)
    layer.requires_grad_(trained)
    wanted = gradients(copy.deepcopy(layer).double(), inputs.double())
    found = gradients(layer, inputs)
    assert len(found) == (4 if trained else 2)
    for value, right in zip(found, wanted, strict=True):
        assert value.dtype == torch.bfloat16
        assert (
            value.double() - right
        ).norm() < 4e-3 * right.norm()  # outer gradients are rounded to bfloat16 as well


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32])
def test_mixed_precision_multiplies_so_too(dtype, monkeypatch):
    asked = []
    multiplied = float32_products.multiplied
    monkeypatch.setattr(
        float32_products,
        "multiplied",
        lambda inputs, *given: asked.append(inputs.dtype) or multiplied(inputs, *given),
    )
    inputs = torch.randn(40, 96, dtype=dtype)
    found = gradients(matrix().requires_grad_(False), inputs, autocast=True)
    assert asked == [torch.bfloat16]
    assert [value.dtype for value in found] == [torch.bfloat16, dtype]
    torch.testing.assert_close(found[0], exact(matrix(), inputs.bfloat16()), rtol=8e-3, atol=1e-5)


@pytest.mark.parametrize("dtype", HALF)
@pytest.mark.parametrize("family", ["llama", "gemma2", "phi"])
def test_prepared_models_compute_the_same_but_for_rounding(family, dtype):
    plain = architecture.find_decoder(build(family).to(dtype))
    residual.widen(plain)
    decoder = prepared(family, dtype)
    assert type(decoder.head) is InFloat32
    assert any(isinstance(part, InFloat32) for part in decoder.layers[0].modules())
    ids = torch.tensor([plain.trial_tokens(40)])
    with torch.inference_mode():
        found, wanted = (model.model(input_ids=ids).logits[0] for model in (decoder, plain))
    assert found.dtype == wanted.dtype == dtype
    assert decoder.agree(found, wanted)


def test_models_in_float32_stay_as_they_are():
    decoder = prepared("llama", torch.float32)
    assert not any(isinstance(part, InFloat32) for part in decoder.model.modules())


PROCESSORS = [
    # flags, vendor, whether bfloat16 and float16 are multiplied in float32
    ("fpu avx2", "AuthenticAMD", (True, True)),
    ("fpu avx2 avx512f", "GenuineIntel", (True, True)),
    ("avx2 avx512f avx512_bf16", "AuthenticAMD", (False, True)),
    ("avx2 avx512f avx512_bf16 avx512_fp16", "GenuineIntel", (True, False)),
    ("avx2 avx512f avx512_bf16 avx512_fp16 amx_bf16", "GenuineIntel", (False, False)),
    ("fpu sse4_2", "GenuineIntel", (False, False)),
    ("", "", (False, False)),
]


@pytest.mark.parametrize(("flags", "vendor", "wanted"), PROCESSORS)
def test_processors_with_fast_instructions_keep_torchs_way(flags, vendor, wanted, monkeypatch):
    monkeypatch.undo()
    monkeypatch.setattr(host, "cpuinfo", lambda key: {"flags": flags, "vendor_id": vendor}[key])
    is_here = float32_products.is_here.__wrapped__
    assert tuple(map(is_here, HALF)) == wanted
    assert not is_here(torch.float32)
    monkeypatch.setattr(
        nn.functional,
        "linear",
        lambda inputs, weight, bias=None: inputs.new_zeros(len(inputs), len(weight)),
    )
    assert not any(map(is_here, HALF)), "a product that fails its self-test is not taken"
