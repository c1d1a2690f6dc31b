"""Products in half precision by float32: right values and gradients, in pieces too, and only where a processor is slow."""

import copy

import pytest
import torch
from torch import nn
from transformers.pytorch_utils import Conv1D

from analysis.core import host
from analysis.models.architecture import decoder as architecture
from analysis.models.architecture import float32_products, residual
from analysis.models.architecture.float32_products import Conv1DInFloat32, InFloat32
from analysis.models.loading import machine
from analysis.models.running import head
from tests.support.families import build
from tests.support.matrices import error_of_head, in_float64, linear, prepared

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
    return [result.detach(), inputs.grad, *(weight.grad for weight in (layer.weight, layer.bias) if weight.requires_grad)]


@pytest.mark.parametrize("of_weights", [True, False])
@pytest.mark.parametrize("piece", [float32_products.PIECE, 7 * 96 * 4])
def test_gradients_are_right(piece, of_weights, monkeypatch):
    monkeypatch.setattr(float32_products, "PIECE", piece)
    layer, inputs = matrix(), torch.randn(2, 30, 96, dtype=torch.bfloat16)
    layer.requires_grad_(of_weights)
    wanted = gradients(copy.deepcopy(layer).double(), inputs.double())
    found = gradients(layer, inputs)
    assert len(found) == (4 if of_weights else 2)
    for value, right in zip(found, wanted, strict=True):
        assert value.dtype == torch.bfloat16
        assert (value.double() - right).norm() < 4e-3 * right.norm()  # outer gradients are rounded to bfloat16 as well


@pytest.mark.parametrize("rows", [3, 60])
def test_matrices_of_gpt2_are_multiplied_the_other_way_round(rows):
    layer, inputs = matrix(), torch.randn(rows, 96, dtype=torch.bfloat16)
    turned = Conv1D(48, 96).bfloat16()
    turned.weight.data, turned.bias.data = layer.weight.data.T.contiguous(), layer.bias.data.clone()
    turned.__class__ = Conv1DInFloat32
    result, of_inputs, of_weight, of_bias = gradients(turned, inputs)
    wanted = gradients(copy.deepcopy(layer).double(), inputs.double())
    for value, right in zip((result, of_inputs, of_weight.T, of_bias), wanted, strict=True):
        assert (value.double() - right).norm() < 5e-3 * right.norm()


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32])
def test_mixed_precision_multiplies_so_too(dtype, monkeypatch):
    asked = []
    multiplied = float32_products.multiplied
    monkeypatch.setattr(
        float32_products, "multiplied", lambda inputs, *given: asked.append(inputs.dtype) or multiplied(inputs, *given)
    )
    inputs = torch.randn(40, 96, dtype=dtype)
    found = gradients(matrix(), inputs, autocast=True)
    assert asked == [torch.bfloat16]
    assert [value.dtype for value in found] == [torch.bfloat16, dtype, torch.bfloat16, torch.bfloat16]
    torch.testing.assert_close(found[0], exact(matrix(), inputs.bfloat16()), rtol=8e-3, atol=1e-5)


@pytest.mark.parametrize("dtype", HALF)
def test_products_of_two_small_matrices_are_right(dtype):
    torch.manual_seed(0)
    inputs, other, total = torch.randn(40, 96).to(dtype), torch.randn(8, 96).to(dtype).T, torch.randn(40, 8).to(dtype)
    wanted = inputs.double() @ other.double()
    tolerance = torch.finfo(dtype).eps
    torch.testing.assert_close(float32_products.product(inputs, other).double(), wanted, rtol=tolerance, atol=1e-4)
    sums = total.clone()
    float32_products.add_product(sums, inputs, other)
    torch.testing.assert_close(sums.double(), total.double() + wanted, rtol=tolerance, atol=1e-4)


@pytest.mark.parametrize("dtype", HALF)
@pytest.mark.parametrize("family", ["llama", "qwen3_moe", "gemma2", "gpt2", "phi"])
def test_prepared_models_compute_the_same_but_for_rounding(family, dtype):
    plain = architecture.find_decoder(build(family).to(dtype))
    residual.widen(plain)
    decoder = prepared(family, dtype)
    assert type(decoder.head) is InFloat32
    kind = Conv1DInFloat32 if family == "gpt2" else InFloat32
    assert any(isinstance(part, kind) for part in decoder.layers[0].modules())
    ids = torch.tensor([plain.trial_tokens(40)])
    with torch.inference_mode():
        found, wanted = (model.model(input_ids=ids).logits[0] for model in (decoder, plain))
    assert found.dtype == wanted.dtype == dtype
    assert decoder.agree(found, wanted)


@pytest.mark.parametrize("way", ["grouped_mm", "eager"])
def test_experts_and_their_gradients_are_right(way, monkeypatch):
    asked = []
    multiplied = float32_products.multiplied
    monkeypatch.setattr(
        float32_products, "multiplied", lambda inputs, *given: asked.append(len(inputs)) or multiplied(inputs, *given)
    )
    experts = build("qwen3_moe").model.layers[1].mlp.experts.bfloat16()
    exact = copy.deepcopy(experts).double()
    exact.config = copy.deepcopy(experts.config)
    experts.config._experts_implementation, exact.config._experts_implementation = way, "eager"
    float32_products.prepare([experts])
    kind = type(experts)
    float32_products.prepare([experts])
    assert type(experts) is kind
    torch.manual_seed(0)
    inputs = torch.randn(50, 32).bfloat16()
    chosen, weights = torch.rand(50, 4).topk(2).indices % 3, torch.rand(50, 2).bfloat16()  # nobody chooses the fourth expert
    found, wanted = (
        passed(module, inputs.to(weight_dtype), chosen, weights.to(weight_dtype))
        for module, weight_dtype in ((experts, torch.bfloat16), (exact, torch.float64))
    )
    assert sorted(asked) == sorted(2 * [int((chosen == expert).sum()) for expert in range(3)])
    for value, right in zip(found, wanted, strict=True):
        assert value.dtype == torch.bfloat16
        assert (value.double() - right).norm() < 1e-2 * right.norm()


def passed(experts, inputs, chosen, weights):
    """The outputs of experts, and the gradients of inputs and weights."""
    inputs = inputs.clone().requires_grad_()
    result = experts(inputs, chosen, weights)
    outer = torch.linspace(-1, 1, result.numel(), dtype=torch.float64).reshape(result.shape)
    (result.double() * outer).sum().backward()
    return [result.detach(), inputs.grad, experts.gate_up_proj.grad, experts.down_proj.grad]


def test_rows_behind_the_last_group_are_zero():
    inputs, matrices = torch.ones(9, 4, dtype=torch.bfloat16), torch.ones(2, 4, 3, dtype=torch.bfloat16)
    found = float32_products._grouped(inputs, matrices, [0, 5])
    assert torch.equal(found, torch.tensor(5 * [4.0] + 4 * [0.0]).bfloat16()[:, None].expand(9, 3))


def test_models_in_float32_stay_as_they_are():
    decoder = prepared("llama", torch.float32)
    assert not any(isinstance(part, InFloat32) for part in decoder.model.modules())


@pytest.mark.parametrize("dtype", HALF)
@pytest.mark.parametrize("family", ["llama", "gemma2", "phi"])  # plain, scaled, and with a bias
def test_log_probabilities_are_not_rounded_to_half_precision(family, dtype, monkeypatch):
    monkeypatch.setattr(head, "_AT_ONCE", 700)  # several pieces, the last one shorter
    decoder = prepared(family, dtype)
    assert error_of_head(decoder, dtype) < 1e-5


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


def test_default_precision_of_such_a_processor_is_float32(monkeypatch):
    monkeypatch.setattr(machine, "bfloat16_speed_ratio", lambda: pytest.fail("it was measured"))
    found = machine.choose_dtype("auto", "cpu")
    assert found.value == "float32"
    assert "products of bfloat16 are computed in it" in found.reason
    assert machine.choose_dtype("bfloat16", "cpu").value == "bfloat16"


def test_its_speed_is_that_of_float32(tmp_path, monkeypatch):
    monkeypatch.setenv("LAYERSCOPE_CACHE", str(tmp_path))
    monkeypatch.setattr(machine, "_measured_flop_s", lambda device, dtype: {torch.float32: 2e9, torch.bfloat16: 1e9}[dtype])
    assert machine.most_flop_s("cpu", "bfloat16") == machine.most_flop_s("cpu", "float32") == 2e9
    monkeypatch.setattr(float32_products, "is_here", lambda dtype: False)
    assert machine.most_flop_s("cpu", "bfloat16") == 1e9
