"""Closed-form healing of one gap and of several: its adapter, and the export of it."""

from dataclasses import replace

import pytest
import transformers

from analysis.core.blocks import Block, LayerSet
from analysis.core.errors import RecipeError
from analysis.core.progress import Cancelled
from analysis.experiments.accuracy import evaluation
from analysis.experiments.accuracy.sweep_spec import EvaluateSpec
from analysis.experiments.heal import healing
from analysis.experiments.heal.heal_result import HealResult
from analysis.exports import export
from tests.support import little_heal

SET = LayerSet((1, 3, 4))


@pytest.fixture
def spec(cache, tiny_folder, tmp_path, monkeypatch):
    asks = "peft.utils.save_and_load.check_file_exists_on_hf_hub"
    monkeypatch.setattr(asks, lambda *_, **__: pytest.fail("a hub was asked about the base of an adapter"))
    return little_heal.spec(tiny_folder("llama"), tmp_path, steps=3, eval_every=2, warmup_steps=1)


@pytest.mark.long
def test_a_set_of_layers_is_healed_taught_resumed_and_exported(spec, cache, tmp_path):
    taught = replace(spec, block=SET, instant=True, distill=0.5)

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
