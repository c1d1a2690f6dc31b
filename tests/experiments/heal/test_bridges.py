"""Instant healing of families whose weights cannot take the change in: refused, or named with every use of the adapter."""

import json
import warnings
from dataclasses import replace

import pytest
import torch
from peft import PeftConfig

from analysis.core.blocks import Block
from analysis.core.errors import RecipeError
from analysis.experiments.accuracy import evaluation
from analysis.experiments.accuracy.sweep_spec import EvaluateSpec
from analysis.experiments.heal import healing, junction, recipes
from analysis.experiments.heal.heal_result import HealResult
from analysis.exports import export
from analysis.models.architecture.decoder import find_decoder
from analysis.models.running import folding
from analysis.results.words import heals
from tests.support import little_heal
from tests.support.families import BY_MASK, FAMILIES, build

BLOCK = Block(2, 2)
FACTOR_FOLDS_NOT = ("olmo2",)


@pytest.fixture
def gemma(cache, tiny_folder, tmp_path):
    """A little heal of a tiny Gemma 3."""
    return little_heal.spec(tiny_folder("gemma3_text"), tmp_path, steps=1, warmup_steps=0)


def asked(spec, name, **own):
    made = recipes.heal_spec(name, model=spec.model, block=spec.block, benchmark=None, generation=None, n_parameters=1, **own)
    return replace(made, corpus=spec.corpus, validation=spec.validation)


def test_recipe_instant_is_refused_where_its_change_fits_no_weight(gemma):
    instant = asked(gemma, "instant")
    with pytest.raises(RecipeError, match=r"gemma3_text model needs an extra layer, .* recipe prune-comp, .* --bridge"):
        healing.run(instant)
    stored = HealResult.load(healing.resolve(instant))
    assert stored is None or stored.unpruned is None, "nothing was measured before"


def test_requested_bridge_is_named_in_result_and_adapter(gemma, cache, tmp_path):
    found = healing.run(asked(gemma, "instant", bridge=True))
    assert found.spec.recipe == "instant"
    assert (
        "Plain PEFT ignores this adapter's extra layer (bridge.safetensors) and then scores worse" in heals.sentences(found)[-1]
    )
    folder = cache / found.adapter
    assert json.loads((folder / "layerscope.json").read_text())["bridge"] == {"file": "bridge.safetensors", "starts": [2]}
    assert "not complete without its extra layer" in (folder / "README.md").read_text()
    with pytest.warns(UserWarning, match="incomplete_without_bridge_safetensors"):
        PeftConfig.from_pretrained(str(folder))
    with pytest.raises(RecipeError, match="cannot contain it") as refused:
        export.export(gemma.model, BLOCK, tmp_path / "out", adapter=found.adapter)
    assert "prune-comp" in str(refused.value)
    assert "(instant" not in str(refused.value), "it was instant"
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        again = evaluation.run(EvaluateSpec(gemma.model, BLOCK, found.adapter, None, gemma.validation))
    assert again.point.loss == pytest.approx(found.healed.loss, abs=1e-6)


def test_card_says_that_a_factor_folds(gemma):
    found = healing.run(asked(gemma, "prune-comp"))
    assert "an export folds it into the weights" in heals.sentences(found)[-1]


def test_heal_that_fits_in_weights_mentions_no_extra_layer(cache, tiny_folder, tmp_path):
    spec = little_heal.spec(tiny_folder("llama"), tmp_path)
    found = healing.run(asked(spec, "instant"))
    assert heals.bridged(found) == ""
    assert "bridge" not in json.loads((cache / found.adapter / "layerscope.json").read_text())


def test_the_refusal_names_a_recipe_that_folds():
    with pytest.raises(RecipeError, match=r"olmo2 model .* trains without the instant heal, such as progressive"):
        junction.check_folds(find_decoder(build("olmo2")), BLOCK)
    junction.check_folds(find_decoder(build("llama")), BLOCK)


@pytest.mark.parametrize("family", [*FAMILIES, *BY_MASK])
def test_a_trial_tells_whether_a_factor_folds(family):
    decoder = find_decoder(build(family))
    before = {name: value.clone() for name, value in decoder.model.state_dict().items()}
    assert folding.folds(decoder, 2) == (family not in FACTOR_FOLDS_NOT)
    assert all(torch.equal(before[name], value) for name, value in decoder.model.state_dict().items())
