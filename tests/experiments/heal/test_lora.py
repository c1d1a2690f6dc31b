"""Adapters that train in fewer passes: values and gradients of PEFT's own, and PEFT's own wherever something is unusual."""

import bitsandbytes
import pytest
import torch
from peft import LoraConfig, get_peft_model
from torch import Tensor, nn

from analysis.experiments.heal import lora
from analysis.models.architecture import float32_products


def adapted(kind: str, dtype: torch.dtype, dropout: float = 0.0) -> nn.Module:
    torch.manual_seed(0)
    plain = nn.Linear(64, 96, bias=kind == "plain")
    base = plain.to(dtype)
    if kind == "4-bit":
        base = bitsandbytes.nn.Linear4bit(64, 96, bias=False, compute_dtype=dtype, compress_statistics=True, quant_type="nf4")
        base.weight = bitsandbytes.nn.Params4bit(plain.weight.data, requires_grad=False, quant_type="nf4")
        base = base.to("cpu")
    config = LoraConfig(r=8, lora_alpha=12, lora_dropout=dropout, target_modules=["0"])
    model = get_peft_model(nn.Sequential(base), config)
    module = model.base_model.model[0]
    module.lora_B["default"].weight.data.normal_()
    for factor in (module.lora_A, module.lora_B):
        factor["default"].weight.data = factor["default"].weight.data.float()
    return model.train()


def passed(model: nn.Module, dtype: torch.dtype) -> list[Tensor]:
    """The output, and the gradients of the inputs and of both factors."""
    torch.manual_seed(1)
    inputs = torch.randn(2, 50, 64).to(dtype).requires_grad_()
    outer = torch.randn(2, 50, 96).to(dtype)
    torch.manual_seed(2)
    with torch.autocast("cpu", torch.bfloat16, enabled=dtype == torch.bfloat16):
        output = model(inputs)
    output.backward(outer)
    module = model.base_model.model[0]
    factors = [factor["default"].weight.grad for factor in (module.lora_A, module.lora_B)]
    model.zero_grad()
    return [output.detach(), inputs.grad, *factors]


@pytest.mark.parametrize("kind", ["plain", "4-bit"])
@pytest.mark.parametrize("dropout", [0.0, 0.3])
@pytest.mark.parametrize(
    ("dtype", "is_slow", "tolerance"),
    [(torch.float32, False, 1e-5), (torch.bfloat16, False, 0.02), (torch.bfloat16, True, 0.02)],
)
def test_values_and_gradients_are_those_of_peft(kind, dropout, dtype, is_slow, tolerance, monkeypatch):
    monkeypatch.setattr(float32_products, "is_here", lambda dtype: is_slow and dtype == torch.bfloat16)
    model = adapted(kind, dtype, dropout)
    lora.speed_up(model)
    module = model.base_model.model[0]
    ours, quick = passed(model, dtype), type(module)
    module.__class__ = quick.__mro__[1]
    theirs = passed(model, dtype)
    assert lora._Added.__name__ not in str(model(torch.zeros(1, 64, dtype=dtype)).grad_fn)
    for value, expected in zip(ours, theirs, strict=True):
        assert value.dtype == expected.dtype
        assert float((value - expected).norm() / expected.norm()) < tolerance


def test_a_fixed_factor_and_fixed_inputs_get_no_gradient():
    model = adapted("plain", torch.float32)
    lora.speed_up(model)
    module = model.base_model.model[0]
    module.lora_A["default"].weight.requires_grad_(False)
    model(torch.randn(3, 64)).sum().backward()
    assert module.lora_A["default"].weight.grad is None
    assert module.lora_B["default"].weight.grad is not None


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_without_autocast_takes_the_way_of_peft(dtype, monkeypatch):
    monkeypatch.setattr(lora._Added, "apply", None)
    model = adapted("plain", dtype)
    lora.speed_up(model)
    assert model(torch.randn(3, 64).to(dtype)).dtype == dtype


def test_measuring_and_unusual_adapters_take_the_way_of_peft(monkeypatch):
    monkeypatch.setattr(lora._Added, "apply", None)
    model = adapted("plain", torch.float32)
    lora.speed_up(model)
    inputs = torch.randn(3, 64)
    with torch.no_grad():
        model(inputs)
    model.eval()
    model(inputs)
    model.train()
    with model.disable_adapter():
        model(inputs)
    model.add_adapter("other", LoraConfig(r=4, use_dora=True, target_modules=["0"]))
    model.set_adapter("other")
    model(inputs)
    model.set_adapter("default")
    with pytest.raises(TypeError):
        model(inputs)
