"""Closed-form healing of one gap and of several: its adapter, and the export of it."""

from dataclasses import replace

import pytest
import torch
import transformers

from analysis.core.blocks import Block, LayerSet
from analysis.core.errors import RecipeError, SpecError
from analysis.core.progress import Cancelled
from analysis.experiments.accuracy import evaluation
from analysis.experiments.accuracy.sweep_spec import EvaluateSpec
from analysis.experiments.heal import healing, recipes
from analysis.experiments.heal.heal_result import HealResult
from analysis.exports import export
from analysis.models.running import adapters
from tests.support import little_heal
from tests.support.levels import few

SET = LayerSet((1, 3, 4))


@pytest.fixture
def spec(cache, tiny_folder, tmp_path, monkeypatch):
    asks = "peft.utils.save_and_load.check_file_exists_on_hf_hub"
    monkeypatch.setattr(asks, lambda *_, **__: pytest.fail("a hub was asked about the base of an adapter"))
    return little_heal.spec(tiny_folder("llama"), tmp_path, steps=3, eval_every=2, warmup_steps=1)


def asked(spec, name, **own):
    """The heal by a recipe, on the same little model and text."""
    asks = {"benchmark": None, "generation": None, "n_parameters": 1} | own
    made = recipes.heal_spec(name, model=spec.model, block=spec.block, **asks)
    return replace(made, corpus=spec.corpus, validation=spec.validation)


@pytest.mark.long
def test_a_set_of_layers_is_healed_taught_resumed_and_exported(spec, cache, tmp_path):
    taught = replace(spec, block=SET, instant=True, distill=0.5, junction=0.3)

    def stop(progress):
        if progress.phase == "healing" and progress.values.get("step") == 2:
            raise Cancelled

    with pytest.raises(Cancelled):
        healing.run(taught, stop)
    found = healing.run(taught)
    assert HealResult.load(healing.resolve(taught)) == found
    assert [one.gap for one in found.junction.gaps] == SET.blocks
    assert found.junction.module == "model.layers.0.mlp.down_proj, model.layers.1.mlp.down_proj"
    assert found.validations[1].loss == pytest.approx(found.junction.loss_after, abs=1e-5)
    assert found.healed.block == SET
    assert "without layers 1, 3-4" in (card := (cache / found.adapter / "README.md").read_text())
    assert "index not in [1, 3, 4]" in card
    again = evaluation.run(EvaluateSpec(spec.model, SET, str(cache / found.adapter), None, spec.validation))
    assert again.point.loss == pytest.approx(found.healed.loss, abs=1e-6)
    out = export.export(spec.model, SET, tmp_path / "out", adapter=str(cache / found.adapter))
    assert transformers.AutoModelForCausalLM.from_pretrained(out).config.num_hidden_layers == 3
    with pytest.raises(RecipeError, match=r"healed without layers 1, 3-4 .* Give the block of its healing run"):
        export.export(spec.model, Block(1, 2), tmp_path / "other", adapter=str(cache / found.adapter))


@pytest.mark.parametrize("block", few([Block(2, 2), SET], SET), ids=str)
def test_factor_is_folded_into_an_export_that_transformers_loads(spec, cache, tmp_path, block):
    found = healing.run(replace(asked(spec, "prune-comp"), block=block))
    assert (found.spec.compensation, found.spec.trains) == ("magnitude", False)
    folder = cache / found.adapter
    laid = adapters.read_bridges(folder)
    assert [one.is_scale for one in laid] == [True] * len(block.blocks)
    assert [1 + float(one.change) for one in laid] == pytest.approx([one.factor for one in found.junction.gaps])
    assert "multiply the stream" in (folder / "README.md").read_text()
    again = evaluation.run(EvaluateSpec(spec.model, block, str(folder), None, spec.validation))
    assert again.point.loss == pytest.approx(found.healed.loss, abs=1e-6)
    out = export.export(spec.model, block, tmp_path / "out", adapter=str(folder))
    plain = evaluation.run(EvaluateSpec(replace(spec.model, source=str(out), identity=""), None, None, None, spec.validation))
    assert plain.point.loss == pytest.approx(found.healed.loss, abs=1e-3)
    bare = export.export(spec.model, block, tmp_path / "bare")
    weights = [transformers.AutoModelForCausalLM.from_pretrained(one).state_dict() for one in (out, bare)]
    assert not torch.equal(*(one["model.layers.2.mlp.down_proj.weight"] for one in weights))


def test_a_factor_that_cannot_be_folded_leaves_nothing(spec, cache, tmp_path, monkeypatch):
    found = healing.run(asked(spec, "prune-comp"))
    monkeypatch.setattr("analysis.models.running.folding._divide", lambda module, factor: None)
    with pytest.raises(Exception, match="The healing factor cannot be folded into the weights of .* another recipe"):
        export.export(spec.model, spec.block, tmp_path / "out", adapter=str(cache / found.adapter))
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("name", ["linear-patch", "ghosted"])
def test_stream_maps_are_kept_next_to_the_adapter_not_exported(spec, cache, tmp_path, name):
    found = healing.run(replace(asked(spec, name), block=SET))
    folder = cache / found.adapter
    assert [tuple(one.change.shape) for one in adapters.read_bridges(folder)] == [(32, 32)] * 2
    again = evaluation.run(EvaluateSpec(spec.model, SET, str(cache / found.adapter), None, spec.validation))
    assert again.point.loss == pytest.approx(found.healed.loss, abs=1e-6)
    with pytest.raises(RecipeError, match="adds a small layer, and a plain"):
        export.export(spec.model, SET, tmp_path / "out", adapter=str(folder))
    assert not (tmp_path / "out").exists()


def test_compensation_needs_the_instant_heal(spec):
    with pytest.raises(SpecError, match=r"compensation ghost needs the instant heal.*Set instant=true"):
        replace(spec, compensation="ghost")
    with pytest.raises(SpecError, match="compensation must be one of projection, magnitude, patch, ghost, not 'best'"):
        replace(spec, instant=True, compensation="best")
    assert replace(spec, instant=True, compensation="ghost").as_control().compensation == "projection"
    assert replace(spec, instant=True).fingerprint() != replace(spec, instant=True, compensation="ghost").fingerprint()


def test_size_without_a_rotation_is_refused_before_measuring(spec, monkeypatch):
    monkeypatch.setattr("analysis.models.loading.load.load", lambda *_, **__: pytest.fail("loaded"))
    monkeypatch.setattr("analysis.models.loading.planning.plan", with_hidden_size(30))
    with pytest.raises(RecipeError, match="needs a Hadamard matrix of 30 rows"):
        healing.run(asked(spec, "linear-patch"))
    assert HealResult.load(healing.resolve(asked(spec, "linear-patch"))) is None


def with_hidden_size(n):
    """Plans of models, with states of another size."""
    from analysis.models.loading import planning

    made = planning.plan

    def planned(*given, **named):
        found = made(*given, **named)
        return replace(found, facts=replace(found.facts, hidden_size=n))

    return planned
