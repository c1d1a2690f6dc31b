"""Savings of a cut, against models that were really built, really quantized and really given a
prompt.
"""

from dataclasses import replace

import pytest
import torch

from analysis.core.blocks import Block, LayerSet, PartSet
from analysis.core.errors import SpecError
from analysis.models.architecture import decoder as architecture
from analysis.models.architecture import layer_sizes
from analysis.models.loading import load, planning
from analysis.models.running.pruning import cut, without_block
from analysis.models.source import sizes
from analysis.models.source.model_spec import ModelSpec
from tests.support.families import FAMILIES, build
from tests.zoo import models

CUTS = (
    None,
    Block(2, 3),
    LayerSet((0, 3, 5)),
    PartSet(attention=(0, 4), feed_forward=(1,), layers=(3,)),
)


def facts_of(model, dtype="float32"):
    return layer_sizes.facts(
        architecture.find_decoder(model), name="tiny", dtype=dtype, quantization="none"
    )


def parameter_bytes(model):
    return sum(parameter.numel() * parameter.element_size() for parameter in model.parameters())


def quantized_bytes(model):
    """Everything that bitsandbytes keeps of every parameter, its constants included."""
    total = parameter_bytes(model)
    for module in model.modules():
        packed = getattr(module, "weight", None)
        state, scales = getattr(packed, "quant_state", None), getattr(packed, "SCB", None)
        if hasattr(module, "init_8bit_state") and scales is None:
            scales = module.state.SCB  # where the first pass moves them
        tensors = [] if scales is None else [scales]
        if state is not None:
            tensors += [
                state.absmax,
                state.code,
                state.offset,
                state.state2.absmax,
                state.state2.code,
            ]
        total += sum(tensor.numel() * tensor.element_size() for tensor in tensors)
    return total


@pytest.mark.parametrize("name", ["qwen3_moe", "deepseek_v3", "llama"])
@pytest.mark.parametrize("block", [None, LayerSet((0, 3))], ids=str)
def test_active_are_the_parameters_that_one_token_really_goes_through(name, block):
    """Of experts those with a gradient; all tokens go through everything else."""
    model = models.build(name)
    facts = facts_of(model)
    assert (facts.expert_parameters > 0) == (name != "llama")
    cut(architecture.find_decoder(model), block) if block else None
    model(input_ids=torch.tensor([[7]]), use_cache=False).logits.square().sum().backward()
    active = sum(
        (
            sum(len(expert.view(-1)) for expert in weight.grad if expert.any())
            if weight.dim() == 3
            else weight.numel()
        )
        for weight in model.parameters()
    )
    saved = sizes.savings(facts, block)
    assert saved.active_parameters == active
    assert (active < saved.kept_parameters) == (name != "llama")


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("block", CUTS, ids=str)
def test_weights_are_those_of_the_really_cut_model(family, block):
    model = build(family)
    facts = facts_of(model)
    if block is not None:
        cut(architecture.find_decoder(model), block)
    assert sizes.weight_bytes(facts, block, "float32") == parameter_bytes(model)
    assert sizes.weight_bytes(facts, block, "bfloat16") == parameter_bytes(model.to(torch.bfloat16))
    kept = sizes.savings(facts, block).kept_parameters
    assert kept == sum(parameter.numel() for parameter in model.parameters())


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("block", CUTS, ids=str)
def test_kv_cache_estimate_equals_the_real_cache_of_a_prompt(family, block):
    """A hundred tokens, more than the sliding window of 64 that two of the families have."""
    model = build(family)
    facts = facts_of(model)
    decoder = architecture.find_decoder(model)
    with torch.inference_mode(), without_block(decoder, block):
        output = model(input_ids=torch.arange(3, 103).repeat(2, 1), use_cache=True)
    # A layer without its attention keeps one number a token, by which the library counts tokens.
    layers = [layer for layer in output[decoder.cache_name].layers if layer.keys.shape[-1] > 1]
    size = sum(
        tensor.numel() * tensor.element_size()
        for layer in layers
        for tensor in (layer.keys, layer.values)
    )
    assert sizes.kv_cache_bytes(facts, block, tokens=100, batch_size=2, dtype="float32") == size
    assert (
        sizes.kv_cache_bytes(facts, block, tokens=100, batch_size=1, dtype="bfloat16") == size / 4
    )


def test_missing_part_sizes_of_older_results_raise_one_sentence():
    facts, removed = facts_of(build("llama")), PartSet(attention=(4,))
    older = replace(
        facts, layers=[replace(layer, attention=None, feed_forward=None) for layer in facts.layers]
    )
    assert sizes.knows(facts, removed)
    assert not sizes.knows(older, removed)
    assert sizes.knows(older, Block(2, 3))
    with pytest.raises(
        SpecError, match="The size of the attention part of layer 4 of tiny is not recorded"
    ):
        sizes.savings(older, removed)


@pytest.mark.parametrize("quantization", ["8bit", "4bit"])
@pytest.mark.parametrize("family", ["llama", "qwen3_moe", "gpt2"])
def test_quantized_weights_are_those_that_are_loaded(tiny_folder, family, quantization):
    """Fused experts are left as they are, a Conv1D is packed like any matrix."""
    spec = ModelSpec(str(tiny_folder(family)), dtype="bfloat16", quantization=quantization)
    planned = planning.plan(spec)
    loaded = load.load(spec)
    assert planned.weight_bytes == quantized_bytes(loaded.model)
    block = Block(1, 3)
    cut(loaded.decoder, block)
    assert sizes.weight_bytes(planned.facts, block, "bfloat16", quantization) == quantized_bytes(
        loaded.model
    )


def test_skeleton_runs_once_for_repeated_plans(tiny_folder, monkeypatch):
    spec = ModelSpec(str(tiny_folder("qwen3")), dtype="float32")
    other = ModelSpec(str(tiny_folder("gemma3_text")), dtype="float32")
    passes, run = [], layer_sizes._caches_of_a_pass
    monkeypatch.setattr(layer_sizes, "_caches_of", {})
    monkeypatch.setattr(
        layer_sizes, "_caches_of_a_pass", lambda decoder: passes.append(decoder) or run(decoder)
    )
    planned = [planning.plan(one).facts for one in (spec, spec, other, other, spec)]
    assert len(passes) == 2
    assert planned[0] == planned[1] == planned[4] != planned[2] == planned[3]


def test_nf4_of_one_matrix_by_hand():
    # 65 weights: 33 bytes of pairs, 2 scales of a byte, 1 scale of them of four bytes, 273 float32
    # of tables.
    assert layer_sizes.nf4_bytes(65) == 33 + 2 + 4 + 4 * 273


def test_unknown_costs_are_none_and_not_a_guess():
    facts = facts_of(build("llama"))
    old = replace(facts, layers=[])
    assert sizes.weight_bytes(old, None, "bfloat16", "4bit") is None
    assert sizes.kv_cache_bytes(old, None, tokens=10, dtype="bfloat16") is None
    assert sizes.weight_bytes(old, Block(1, 2), "float32") == sizes.weight_bytes(
        facts, Block(1, 2), "float32"
    )
    recurrent = [
        replace(layer, cache_width=None) if index == 1 else layer
        for index, layer in enumerate(facts.layers)
    ]
    assert (
        sizes.kv_cache_bytes(replace(facts, layers=recurrent), None, tokens=10, dtype="bfloat16")
        is None
    )


def test_body_that_needs_numbers_leaves_its_cache_unknown(monkeypatch):
    model = build("llama")
    monkeypatch.setattr(type(model.base_model), "forward", lambda self, **inputs: 1 / 0)
    assert {layer.cache_width for layer in facts_of(model).layers} == {None}
