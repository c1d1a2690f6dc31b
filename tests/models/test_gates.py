"""Feed-forward parts that write over their gate: the bits of the original, its gradients, and no other class."""

import copy

import pytest
import torch
from torch import nn
from transformers.models.gemma.modeling_gemma import GemmaMLP
from transformers.models.llama.modeling_llama import LlamaMLP
from transformers.models.phi3.modeling_phi3 import Phi3MLP

from analysis.models.architecture import gates
from tests.support.families import build


@pytest.fixture
def part():
    """The feed-forward part of a layer."""
    return build("llama").model.layers[0].mlp


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_the_bits_are_those_of_the_original(part, dtype):
    part, stream = part.to(dtype), torch.randn(2, 40, 32).to(dtype)
    with torch.inference_mode():
        expected = part(stream)
        before = stream.clone()
        gates.prepare([part])
        assert torch.equal(part(stream), expected)
        assert torch.equal(part(x=stream), expected)
    assert torch.equal(stream, before)


def test_the_product_takes_no_memory_of_its_own(part):
    outputs = []
    part.act_fn.register_forward_hook(lambda module, args, output: outputs.append(output))
    part.down_proj.register_forward_pre_hook(lambda module, args: outputs.append(args[0]))
    stream = torch.randn(1, 4, 32)
    for is_over_gate in (False, True):
        outputs.clear()
        with torch.inference_mode():
            part(stream)
        assert (outputs[0].data_ptr() == outputs[1].data_ptr()) == is_over_gate
        gates.prepare([part])


def test_gradients_are_those_of_the_original(part):
    changed, stream = copy.deepcopy(part), torch.randn(1, 4, 32)
    gates.prepare([changed])
    for module in (part, changed):
        module(stream).sum().backward()
    for weight, other in zip(part.parameters(), changed.parameters(), strict=True):
        assert torch.equal(weight.grad, other.grad)


def test_an_activation_of_another_precision_stays_exact(part):
    part = part.to(torch.bfloat16)
    part.act_fn = type("Wide", (nn.Module,), {"forward": lambda self, gate: nn.functional.silu(gate.float())})()
    part.down_proj = part.down_proj.float()
    stream = torch.randn(1, 4, 32).bfloat16()
    with torch.inference_mode():
        expected = part(stream)
        gates.prepare([part])
        assert torch.equal(part(stream), expected)


class Sparse(LlamaMLP):
    """A part that leaves some of its gate out, as Gemma 3n does."""

    def forward(self, x):
        return self.down_proj(self.act_fn(self.gate_proj(x)).relu() * self.up_proj(x))


class Swapped(LlamaMLP):
    """A part whose matrices have other tasks."""

    def forward(self, x):
        return self.down_proj(self.act_fn(self.up_proj(x)) * self.gate_proj(x))


def test_only_classes_of_the_very_code_are_changed(part):
    model = build("llama")
    known = [part, GemmaMLP(model.config)]
    others = [Sparse(model.config), Swapped(model.config), Phi3MLP(model.config), nn.Linear(2, 2)]
    before = [type(module) for module in (*known, *others)]
    gates.prepare([*known, *others])
    assert [type(module) is kind for module, kind in zip((*known, *others), before, strict=True)] == [False] * 2 + [True] * 4
    assert [type(module).__name__ for module in known] == ["LlamaMLP", "GemmaMLP"]
    assert all(isinstance(module, kind) for module, kind in zip(known, before[:2], strict=True))
    again = [type(module) for module in known]
    gates.prepare(known)
    assert [type(module) for module in known] == again
