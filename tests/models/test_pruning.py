"""Cutting: a trial that restores bit for bit, and a permanent cut that plain transformers reloads
and generates from.
"""

import json

import pytest
import torch
import transformers

from analysis.core.blocks import Block, LayerSet
from analysis.core.errors import BlockRangeError, UnsupportedModelError
from analysis.models.architecture import decoder as architecture
from analysis.models.architecture.layer_removal import as_saved
from analysis.models.running.hidden_states import run_tails, run_trunk
from analysis.models.running.pruning import cut, without_block
from tests.support.families import FAMILIES, N_LAYERS, PER_LAYER_LISTS, build
from tests.zoo import models

PROMPT = torch.tensor([[5, 9, 33, 7, 8]])


def snapshot(decoder):
    """Everything a cut touches, and every weight."""
    indices = [
        (name, attribute, getattr(module, attribute))
        for name, module in decoder.model.named_modules()
        for attribute in ("layer_idx", "layer_id", "layer_number")
        if hasattr(module, attribute)
    ]
    weights = {name: tensor.clone() for name, tensor in decoder.model.state_dict().items()}
    return json.dumps(decoder.config.to_dict(), sort_keys=True, default=str), indices, weights


def same(before, after):
    assert before[:2] == after[:2]
    assert before[2].keys() == after[2].keys()
    for name, tensor in before[2].items():
        assert torch.equal(tensor, after[2][name])


@pytest.fixture(params=FAMILIES)
def decoder(request):
    return architecture.find_decoder(build(request.param))


def test_a_what_if_restores_bit_for_bit(decoder):
    before = snapshot(decoder)
    with torch.inference_mode():
        logits = decoder.model(PROMPT, use_cache=False).logits
        with without_block(decoder, Block(1, 3)):
            assert decoder.n_layers == decoder.config.num_hidden_layers == N_LAYERS - 3
            assert not torch.equal(decoder.model(PROMPT, use_cache=False).logits, logits)
        assert torch.equal(decoder.model(PROMPT, use_cache=False).logits, logits)
    same(before, snapshot(decoder))


def test_a_what_if_reads_no_deprecated_setting(decoder, monkeypatch):
    monkeypatch.setattr(
        transformers.configuration_utils.logger,
        "warning_once",
        lambda *message, **named: pytest.fail(str(message)),
    )
    with without_block(decoder, Block(1, 1)):
        pass


def test_it_restores_after_an_exception_and_when_nested(decoder):
    before = snapshot(decoder)
    depths = []
    with (
        pytest.raises(ZeroDivisionError),
        without_block(decoder, Block(0, 2)),
        without_block(decoder, Block(3, 1)),
    ):
        depths.append(decoder.n_layers / (decoder.n_layers - N_LAYERS + 3))
    assert depths == []
    same(before, snapshot(decoder))


def generate(model, *, use_cache):
    settings = {"max_new_tokens": 12, "do_sample": False, "pad_token_id": 0, "eos_token_id": None}
    return model.generate(PROMPT, use_cache=use_cache, **settings).tolist()


@pytest.mark.parametrize(
    "block", [Block(0, 2), Block(2, 3), Block(5, 1)], ids=lambda block: block.describe()
)
def test_a_permanent_cut_reloads_and_generates_with_and_without_cache(decoder, block, tmp_path):
    kept = [layer for index, layer in enumerate(decoder.layers) if index not in block.layers]
    cut(decoder, block)
    assert list(decoder.layers) == kept
    for index, layer in enumerate(decoder.layers):
        for module in layer.modules():
            assert getattr(module, "layer_idx", index) == index
    decoder.model.save_pretrained(tmp_path)
    reloaded, report = transformers.AutoModelForCausalLM.from_pretrained(
        tmp_path, output_loading_info=True
    )
    assert not report["missing_keys"]
    assert not report["unexpected_keys"]
    assert reloaded.config.get_text_config().num_hidden_layers == N_LAYERS - block.size
    cached = generate(decoder.model, use_cache=True)
    assert cached == generate(decoder.model, use_cache=False)
    assert cached == generate(reloaded, use_cache=True) == generate(reloaded, use_cache=False)


@pytest.mark.parametrize(("family", "name"), PER_LAYER_LISTS.items())
def test_per_layer_configuration_lists_are_cut(family, name, tmp_path):
    decoder = architecture.find_decoder(build(family))
    before = list(getattr(decoder.config, name))
    cut(decoder, Block(1, 3))
    assert list(getattr(decoder.config, name)) == [before[index] for index in (0, 4, 5)]
    decoder.config.save_pretrained(tmp_path)


def test_lists_of_layer_numbers_are_renumbered():
    decoder = architecture.find_decoder(build("qwen3_moe"))
    assert decoder.config.mlp_only_layers == [0, 4]
    cut(decoder, Block(1, 2))
    assert decoder.config.mlp_only_layers == [0, 2]


@pytest.mark.parametrize(
    ("name", "block", "left"),
    [
        ("deepseek_v3", Block(0, 1), 1),
        ("deepseek_v3", LayerSet((0, 1, 3)), 0),
        ("glm4_moe", Block(3, 2), 2),
    ],
    ids=str,
)
def test_remaining_dense_first_layers_are_counted(name, block, left, tmp_path):
    asked = models.config_of(name)
    asked.first_k_dense_replace = 2
    decoder = architecture.find_decoder(transformers.AutoModelForCausalLM.from_config(asked).eval())
    config, ids = decoder.config, torch.arange(3, 20)[None]
    with without_block(decoder, block):
        assert config.first_k_dense_replace == left
    assert config.first_k_dense_replace == 2
    cut(decoder, block)
    decoder.model.save_pretrained(tmp_path)
    again = transformers.AutoModelForCausalLM.from_pretrained(tmp_path)
    with torch.no_grad():
        assert torch.equal(again(ids).logits, decoder.model(ids).logits)


def test_computed_lists_of_a_configuration_match_the_remaining_layers():
    kind = transformers.JambaConfig
    decoder = architecture.find_decoder(build("jamba"))
    config = decoder.config
    assert [index for index, of in enumerate(config.layer_types) if of == "full_attention"] == [
        1,
        4,
    ]
    with without_block(decoder, Block(2, 1)):
        assert [index for index, of in enumerate(config.layer_types) if of == "full_attention"] == [
            1,
            3,
        ]
        assert isinstance(config, kind)
        assert as_saved(config).layer_types != config.layer_types
        assert generate(decoder.model, use_cache=True) == generate(decoder.model, use_cache=False)
    assert type(config) is kind


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"num_kv_shared_layers": 2}, "reuse keys and values of earlier layers"),
        ({"hidden_size_per_layer_input": 8}, "a part for each layer"),
    ],
)
def test_layers_that_are_bound_to_others_are_not_taken_out(settings, says):
    decoder = architecture.find_decoder(build("llama"))
    for name, value in settings.items():
        setattr(decoder.config, name, value)
    with (
        pytest.raises(UnsupportedModelError, match=f"{says}.*[( ]{next(iter(settings))} "),
        without_block(decoder, Block(1, 2)),
    ):
        pass
    trunk = run_trunk(decoder, torch.tensor([[3, 4, 5]]), keep={1, 6})
    assert len(list(run_tails(decoder, trunk, [None]))) == 1
    if "num_kv_shared_layers" in settings:
        with pytest.raises(UnsupportedModelError, match="keys and values"):
            list(run_tails(decoder, trunk, [Block(1, 2)]))
    else:
        assert len(list(run_tails(decoder, trunk, [Block(1, 2)]))) == 1


@pytest.mark.parametrize("block", [Block(4, 3), Block(0, 6), Block(9, 1)])
def test_a_block_outside_the_model_changes_nothing(block):
    decoder = architecture.find_decoder(build("llama"))
    with pytest.raises(BlockRangeError):
        cut(decoder, block)
    assert decoder.n_layers == N_LAYERS
