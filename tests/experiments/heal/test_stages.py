"""Prune, heal, prune: layers are removed in stages, scores are without all of them, and a stop in any stage is harmless."""

import json
from dataclasses import asdict, replace

import pydantic
import pytest
import torch

from analysis.core.blocks import Block, LayerSet, PartSet, removal
from analysis.core.errors import SpecError
from analysis.core.progress import Cancelled
from analysis.experiments.heal import adapters, healing, memory, recipes, stages
from analysis.experiments.heal.heal_result import HealResult, Stage
from analysis.experiments.heal.training import Trainer, derived_seed
from analysis.models.architecture.decoder import find_decoder
from analysis.models.loading import load, planning
from analysis.models.running import pruning
from tests.support import little_heal
from tests.support.families import build

REMOVED = LayerSet((1, 3, 4))


@pytest.fixture
def spec(cache, tiny_folder, tmp_path):
    made = little_heal.spec(tiny_folder("llama"), tmp_path, steps=7, eval_every=3, warmup_steps=1)
    return replace(made, block=REMOVED, stages=2, distill=0.5, junction=0.2)


def stop_at(step):
    def told(progress):
        if progress.phase == "healing" and progress.values.get("step") == step:
            raise Cancelled

    return told


def influence(decoder, texts, gone):
    """One minus the mean cosine of each layer's input and output, by transformers' own hidden states."""
    kept = [layer for layer in range(decoder.n_layers) if layer not in gone]
    with torch.no_grad(), pruning.without_block(decoder, removal(gone) if gone else None):
        found = [decoder.model(torch.tensor([ids]), output_hidden_states=True).hidden_states for ids in texts]
    likeness = [
        torch.cat([torch.cosine_similarity(one[n][0], one[n + 1][0], dim=-1) for one in found]) for n in range(len(kept))
    ]
    return {layer: 1 - float(one.mean()) for layer, one in zip(kept[:-1], likeness, strict=False)}  # the last is normed there


def test_layers_are_removed_by_their_influence_in_the_remaining_model(spec):
    decoder = find_decoder(build("llama"))
    texts = [list(range(5, 45)), list(range(90, 120))]
    order = []
    for _ in range(4):
        found = influence(decoder, texts, order)
        order.append(min(set(range(4)) - set(order), key=found.__getitem__))
    asked = replace(spec, block=Block(0, 4), stages=3, junction=0.0)
    assert asked.gone_by_stage == [2, 3, 4]
    assert stages.cuts(decoder, asked, texts) == [removal(order[:n]) for n in (2, 3, 4)]
    assert replace(spec, block=Block(1, 8), stages=3).gone_by_stage == [3, 6, 8]
    assert [stages.number(step, 3, 8) for step in range(9)] == [0, 0, 1, 1, 1, 2, 2, 2, 2]
    assert stages.number(0, 3, 0) == 0


def test_each_step_is_that_of_the_model_of_its_stage(spec, monkeypatch):
    """By brute force: a model really cut so far, its adapter only where layers stay to the end."""
    asked = replace(spec, distill=0.0, junction=0.0, lora_dropout=0.0)
    seen, took = [], Trainer.take_step

    def noting(self, between):
        before = {name: parameter.detach().clone() for name, parameter in self.parameters.items()}
        done = took(self, between)
        seen.append((self.rows, self.positions, before, done.loss))
        return done

    monkeypatch.setattr(Trainer, "take_step", noting)
    found = healing.run(asked)
    assert [stage.begins for stage in found.stages] == [0, 3]
    first, last = (stage.removed for stage in found.stages)
    assert (first.size, last) == (2, REMOVED)
    staying = [layer for layer in range(6) if layer not in REMOVED.layers]
    for gone, number in ((first, 2), (last, 3)):
        rows, positions, weights, loss = seen[number]
        decoder = load.load(spec.model).decoder
        pruning.cut(decoder, gone)
        left = [layer for layer in range(6) if layer not in gone.layers]
        model = adapters.attach(decoder, found.spec, derived_seed(spec.seed, "adapter"))
        own = dict(model.named_parameters())
        with torch.no_grad():
            for name, parameter in own.items():
                if "lora_B" in name:
                    parameter.zero_()
            for name, weight in weights.items():
                place = int(name.split("layers.")[1].split(".")[0])
                own[name.replace(f"layers.{place}.", f"layers.{left.index(staying[place])}.")].copy_(weight)
        trainer = Trainer(model, find_decoder(model), rows, found.spec, None, positions)
        trainer.steps_done = number
        assert took(trainer, lambda: None).loss == pytest.approx(loss, abs=1e-5)


def test_run_stopped_in_any_stage_resumes_and_reports_its_stages(spec, cache):
    told = []
    whole = healing.run(replace(spec, eval_every=5), lambda progress: told.append(progress.message))
    for step in (2, 5):
        with pytest.raises(Cancelled):
            healing.run(spec, stop_at(step))
    found = healing.run(spec)
    assert [step.loss for step in found.steps] == pytest.approx([step.loss for step in whole.steps], abs=1e-6)
    assert found.healed.loss == pytest.approx(whole.healed.loss, abs=1e-6)
    assert found.stages == whole.stages == [Stage(found.stages[0].removed, 0), Stage(REMOVED, 3)]
    assert HealResult.load(healing.resolve(spec)) == found
    assert [row["begins"] for row in found.table("stages").rows] == [0, 3]
    assert sum("Removed from this step on" in message for message in told) == 2
    # Measured on the way is the model without all layers, however many are still in their places for a step.
    assert found.validations[0].loss == pytest.approx(whole.validations[0].loss)
    assert whole.validations[-1].step == 7
    again = {check.step: check.loss for check in found.validations}
    assert again[7] == pytest.approx(whole.validations[-1].loss, abs=1e-6)


@pytest.mark.parametrize(
    "removed", [Block(1, 2), REMOVED, PartSet(attention=(2,)), PartSet(attention=(2,), layers=(4,))], ids=str
)
def test_stored_stage_of_any_removal_reads_as_itself(removed):
    stage = Stage(removed, 3)
    assert pydantic.TypeAdapter(Stage).validate_python(json.loads(json.dumps(asdict(stage)))) == stage


def test_requests_that_allow_no_stages_are_refused_in_one_sentence(spec):
    with pytest.raises(SpecError, match=r"in 2 stages needs whole layers .* or remove whole layers\."):
        replace(spec, block=PartSet(attention=(2,), layers=(3,)))
    with pytest.raises(SpecError, match=r"no instant heal\. Set stages to 1, or instant to false\."):
        replace(spec, instant=True)
    assert spec.as_control().stages == 1
    assert replace(spec, stages=1).fingerprint() != spec.fingerprint()
    facts = planning.plan(spec.model).facts
    assert memory.step_bytes(spec, facts) > memory.step_bytes(replace(spec, stages=1), facts)
    made = recipes.get("progressive")
    assert (made.stages, made.instant, made.distill, made.minutes) == (3, False, 0.5, 10.0)
