"""Healing of families whose weights cannot hold the instant heal's change: a norm stands between
them and the stream.
"""

from dataclasses import replace

import pytest
from peft import PeftModel

from analysis.core.blocks import Block, LayerSet, PartSet
from analysis.core.errors import RecipeError
from analysis.experiments.accuracy import evaluation, measurement
from analysis.experiments.accuracy.sweep_spec import EvaluateSpec
from analysis.experiments.heal import healing, junction, projection
from analysis.experiments.heal.heal_result import HealResult
from analysis.exports import export
from analysis.models.architecture.decoder import find_decoder
from analysis.models.loading import load, planning
from analysis.models.running import pruning
from analysis.results.words import heals
from tests.support import families, little_heal
from tests.support.levels import few
from tests.zoo import models

FAMILIES = ["gemma3_text", "glm4"]


_READ = [
    family for family in (*families.FAMILIES, *families.BY_MASK) if not family.startswith("granite")
]
"""Granite multiplies by a factor, which is 1 in the tiny configuration."""


@pytest.fixture(params=few(FAMILIES, "gemma3_text"))
def spec(request, cache, tmp_path, no_trial):
    """Return a little healing run of a tiny random model whose layers end with a norm."""
    models.save(request.param, tmp_path / "model")
    return little_heal.spec(tmp_path / "model", tmp_path, steps=2, warmup_steps=0, eval_every=9)


def test_instant_recipe_is_refused_before_weights_are_loaded(spec, monkeypatch):
    monkeypatch.setattr(load, "load", lambda *_, **__: pytest.fail("the model was loaded"))
    instant = replace(spec, steps=0, instant=True, recipe="instant")
    with pytest.raises(
        RecipeError, match=r"No weight of this \w+ model can hold .* Choose a recipe that trains"
    ):
        healing.run(instant)
    assert HealResult.load(healing.resolve(instant)) is None


def test_training_starts_without_the_instant_heal_and_plain_peft_scores_the_same(
    spec, cache, tmp_path
):
    messages = []
    asked = replace(spec, instant=True, distill=0.5, recipe="distill")
    result = healing.run(asked, lambda progress: messages.append(progress.message))
    assert (result.spec.instant, result.junction, result.complete) == (False, None, True)
    said = [message for message in messages if "can hold the change of the instant heal" in message]
    assert [message.endswith("The training begins without it.") for message in said] == [True]
    assert any("The training began without it." in line for line in heals.sentences(result))
    folder = cache / result.adapter
    assert {path.name for path in folder.iterdir()} == {
        "README.md",
        "adapter_config.json",
        "adapter_model.safetensors",
        "layerscope.json",
    }
    loaded = load.load(result.spec.model)
    pruning.cut(loaded.decoder, spec.block)
    healed = PeftModel.from_pretrained(loaded.model, folder).eval()
    plain = replace(loaded, model=healed, decoder=find_decoder(healed))
    assert measurement.measure(plain, None, result.spec.validation).point.loss == pytest.approx(
        result.healed.loss, abs=1e-6
    )
    out = export.export(spec.model, spec.block, tmp_path / "out", adapter=result.adapter)
    source = replace(spec.model, source=str(out), identity="")
    merged = evaluation.run(EvaluateSpec(source, None, None, None, spec.validation))
    assert merged.point.loss == pytest.approx(result.healed.loss, abs=1e-4)


@pytest.mark.parametrize(
    "block", [Block(2, 2), LayerSet((1, 3)), PartSet(attention=(2,), feed_forward=(3,))], ids=str
)
@pytest.mark.parametrize("family", [*_READ, "glm4"])
def test_configuration_tells_what_a_trial_of_the_model_tells(family, block):
    decoder = find_decoder(models.build(family) if family == "glm4" else families.build(family))
    try:
        junction.check(decoder, block)
        fits = True
    except RecipeError:
        fits = False
    assert projection.holds_change(planning.skeleton(decoder.config), block) == fits
