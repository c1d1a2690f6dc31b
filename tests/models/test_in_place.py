"""Gates, norms and positions that write over their arrays: the bits and gradients of the original, and no other class."""

import copy

import pytest
import torch
from torch import nn
from transformers.models.gemma.modeling_gemma import GemmaMLP, GemmaRMSNorm
from transformers.models.llama.modeling_llama import LlamaAttention, LlamaMLP, LlamaRMSNorm
from transformers.models.phi3.modeling_phi3 import Phi3MLP

from analysis.models.architecture import in_place
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
        in_place.prepare([part])
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
        in_place.prepare([part])


def test_gradients_are_those_of_the_original(part):
    changed, stream = copy.deepcopy(part), torch.randn(1, 4, 32)
    in_place.prepare([changed])
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
        in_place.prepare([part])
        assert torch.equal(part(stream), expected)


@pytest.mark.parametrize("weight", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
def test_a_norm_has_the_bits_of_the_original(dtype, weight):
    norm, stream = LlamaRMSNorm(32).to(weight), torch.randn(2, 40, 32).to(dtype)
    nn.init.normal_(norm.weight)
    before = stream.clone()
    with torch.inference_mode():
        expected = norm(stream)
        in_place.prepare([norm])
        assert torch.equal(norm(stream), expected)
        assert torch.equal(norm(hidden_states=stream), expected)
        assert norm(stream).dtype == expected.dtype
    assert torch.equal(stream, before)


def test_a_norm_is_written_over_its_squares(monkeypatch):
    norm, squares, square = LlamaRMSNorm(32), [], torch.Tensor.pow
    monkeypatch.setattr(torch.Tensor, "pow", lambda *given: squares.append(square(*given)) or squares[-1])
    in_place.prepare([norm])
    with torch.inference_mode():
        assert norm(torch.randn(1, 4, 32)).data_ptr() == squares[0].data_ptr()


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
    known = [part, GemmaMLP(model.config), LlamaRMSNorm(2)]
    others = [Sparse(model.config), Swapped(model.config), Phi3MLP(model.config), GemmaRMSNorm(2)]
    before = [type(module) for module in (*known, *others)]
    in_place.prepare([*known, *others])
    assert [type(module) is kind for module, kind in zip((*known, *others), before, strict=True)] == [False] * 3 + [True] * 4
    assert [type(module).__name__ for module in known] == ["LlamaMLP", "GemmaMLP", "LlamaRMSNorm"]
    again = [type(module) for module in known]
    in_place.prepare(known)
    assert [type(module) for module in known] == again
    in_place.undo([*known, *others])
    assert [type(module) for module in (*known, *others)] == before


TURNING = ("llama", "qwen3", "gemma3_text", "smollm3", "qwen3_moe")
"""Families with the usual rotary positions."""


def run(model, **arguments):
    """Run a model on two texts."""
    ids = torch.arange(2, 42).reshape(2, 20) % 290 + 3
    return model(input_ids=ids, **arguments)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("family", TURNING)
def test_positions_in_place_have_the_bits_of_the_original(family, dtype):
    model = build(family).to(dtype)
    changed = copy.deepcopy(model)
    in_place.prepare(changed.modules())
    kind, original = (type(one.model.layers[0].self_attn) for one in (changed, model))
    assert kind is not original
    assert issubclass(kind, original)
    with torch.inference_mode():
        first, other = run(changed, use_cache=True), run(model, use_cache=True)
        assert torch.equal(first.logits, other.logits)
        after = [
            one(input_ids=torch.tensor([[7], [9]]), cache=output.cache).logits
            for one, output in ((changed, first), (model, other))
        ]
    assert torch.equal(*after)


def test_gradients_through_positions_and_norms_are_those_of_the_original():
    model = build("llama")
    changed = copy.deepcopy(model)
    in_place.prepare(changed.modules())
    for one in (model, changed):
        run(one).logits.sum().backward()
    for weight, other in zip(model.parameters(), changed.parameters(), strict=True):
        assert torch.equal(weight.grad, other.grad)


@pytest.mark.parametrize("size", [7, 8])
def test_heads_are_turned_by_halves(size):
    q, k, cos, sin = torch.randn(2, 4, 3, size), torch.randn(2, 1, 3, size), torch.randn(2, 3, size), torch.randn(2, 3, size)
    before, attention = q.clone(), LlamaAttention(build("llama").config, 0)
    in_place.prepare([attention])
    turn = in_place.inner_function(type(attention).forward).__globals__["apply_rotary_pos_emb"]
    with torch.inference_mode():
        for turned, expected in zip(turn(q, k, cos, sin), in_place.apply_rotary_pos_emb(q, k, cos, sin), strict=True):
            assert torch.equal(turned, expected)
    assert torch.equal(q, before)


def test_attention_of_other_positions_is_left_alone(monkeypatch):
    config = build("llama").config
    cohere = build("cohere").model.layers[0].self_attn
    kind = type(cohere)
    in_place.prepare([cohere])
    assert type(cohere) is kind
    monkeypatch.setitem(in_place.inner_function(LlamaAttention.forward).__globals__, "rotate_half", lambda x: x)
    other = LlamaAttention(config, 0)
    in_place.prepare([other])
    assert type(other) is LlamaAttention


class Decorated:
    """A decorator that is no function."""

    def __init__(self, function):
        self.__wrapped__ = function

    def __get__(self, instance, owner=None):
        return self

    def __call__(self, *args, **named):
        return self.__wrapped__(*args, **named)


def test_attention_in_a_decorator_of_another_kind_is_left_alone():
    kind = type("Attention", (LlamaAttention,), {"forward": Decorated(LlamaAttention.forward)})
    attention = kind(build("llama").config, 0)
    in_place.prepare([attention])
    assert type(attention) is kind
