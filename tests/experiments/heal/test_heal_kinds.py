"""Kinds of healing other than LoRA on text: timed, partial, a control, distilled, checked by questions."""

import json
import time
from dataclasses import replace

import pytest
import torch
from peft import PeftModel
from safetensors.torch import load_file

from analysis.core.blocks import Block
from analysis.core.errors import RecipeError, SpecError
from analysis.core.progress import Cancelled
from analysis.data import near_copies
from analysis.data.spec import CorpusSpec, GenerationSpec
from analysis.experiments.accuracy import evaluation, generation, measurement, scores
from analysis.experiments.accuracy.measurement import Measurement
from analysis.experiments.accuracy.sweep_spec import EvaluateSpec
from analysis.experiments.heal import checkpoints, healing, packing, recipes, training
from analysis.experiments.heal.heal_result import HealResult
from analysis.experiments.heal.heal_spec import HealSpec
from analysis.experiments.heal.healing_run import HealingRun
from analysis.exports import export
from analysis.models.architecture.decoder import find_decoder
from analysis.models.loading import load
from analysis.models.running import adapters, pruning
from analysis.models.source.model_spec import ModelSpec
from analysis.results.words import heals
from tests.support import documents
from tests.support.levels import few

BLOCK = Block(2, 2)
READING = ["packing the healing text", "looking for the questions in the healing text"]
"""Phases of reading a healing text."""


@pytest.fixture
def texts(tmp_path) -> str:
    return documents.two_kinds(tmp_path)[0]


@pytest.fixture
def spec(cache, tiny_folder, texts) -> HealSpec:
    return HealSpec(
        block=BLOCK,
        model=ModelSpec(str(tiny_folder("llama")), dtype="float32", device="cpu"),
        corpus=CorpusSpec(texts, n_texts=100, seq_len=32, split="train"),
        validation=CorpusSpec(texts.replace("texts.jsonl", "others.jsonl"), n_texts=3, seq_len=32),
        benchmark=None,
        steps=6,
        batch_size=2,
        warmup_steps=1,
        learning_rate=1e-2,
        r=4,
        eval_every=2,
    )


def cancel_at(step: int):
    def told(progress) -> None:
        if progress.phase == "healing" and progress.values.get("step") == step:
            raise Cancelled

    return told


def test_timed_run_derives_its_steps_and_keeps_its_time(spec, monkeypatch):
    seen = []

    def steps(**measured) -> int:
        seen.append(measured)
        return 7

    monkeypatch.setattr(recipes, "steps_that_fit", steps)
    timed = replace(spec, steps=0, minutes=2.0)
    with pytest.raises(Cancelled):
        healing.run(timed, cancel_at(3))
    part = HealResult.load(healing.resolve(timed))
    assert (part.planned_steps, part.total_steps, part.complete) == (7, 7, False)
    result = healing.run(timed)
    assert len(seen) == 1  # the speed of another day does not change the plan
    assert 0 < seen[0]["seconds"] < 120
    assert seen[0]["step_s"] > 0
    assert [step.step for step in result.steps] == list(range(1, 8))
    assert [check.step for check in result.validations] == [0, 4, 7], "a short heal is checked less often"
    assert result.complete
    # The speed was tried out without a trace: the same heal by number of steps ends with the same digits.
    counted = healing.run(replace(spec, **recipes.spread(7, recipes.checks_in(2.0)), steps=7))
    assert [step.loss for step in counted.steps] == pytest.approx([step.loss for step in result.steps], abs=1e-6)
    assert counted.healed.loss == pytest.approx(result.healed.loss, abs=1e-6)


@pytest.mark.long
@pytest.mark.parametrize("writing", [None, GenerationSpec(n_prompts=2, max_new_tokens=32, n_sums=2)])
def test_last_measurement_has_its_time_despite_remembered_scores(spec, questions, monkeypatch, writing):
    spec = replace(spec, validation=replace(spec.validation, n_texts=6))
    own_kind = replace(spec.same_kind, n_texts=32, seq_len=256)  # as it is outside of tests, long beside a check
    monkeypatch.setattr(HealSpec, "same_kind", own_kind)
    asked = replace(spec, steps=0, minutes=2.0, benchmark=questions, check_questions=1, generation=writing)
    for block in (None, BLOCK):
        evaluation.run(EvaluateSpec(spec.model, block, None, questions, spec.validation, writing))
        evaluation.run(EvaluateSpec(spec.model, block, None, None, spec.same_kind))
    seen, wrote = [], []

    def steps(**measured) -> int:
        seen.append(measured)
        raise Cancelled

    monkeypatch.setattr(recipes, "steps_that_fit", steps)
    # Every token takes five thousandths of a second to measure, independent of the load of this machine.
    monkeypatch.setattr(HealingRun, "check", lambda self, trainer, healed, stuff: time.sleep(stuff.n_tokens / 200))
    check = generation.check
    monkeypatch.setattr(generation, "check", lambda *given: wrote.append(given[2]) or time.sleep(0.1) or check(*given))
    with pytest.raises(Cancelled):
        healing.run(asked)
    loaded = load.load(spec.model)
    whole_s = sum(scores.prepare(loaded, *on).n_tokens for on in ((questions, spec.validation), (None, spec.same_kind))) / 200
    assert seen[0]["end_s"] >= whole_s + (0.4 if writing else 0.0)
    assert seen[0]["check_s"] < 0.8 * whole_s
    assert wrote == ([replace(writing, max_new_tokens=8, n_sums=1)] if writing else [])


def test_too_short_a_time_is_one_sentence(spec):
    with pytest.raises(RecipeError, match="The time is too short: .* Give more minutes"):
        healing.run(replace(spec, steps=0, minutes=1e-4))


@pytest.mark.parametrize("instant", few([False, True], False))
def test_partial_trains_last_layers_and_head_as_a_standard_adapter(spec, cache, instant):
    result = healing.run(replace(spec, method="partial", last_layers=2, instant=instant, learning_rate=1e-3))
    assert result.validations[-1].loss < result.validations[-2 if instant else 0].loss
    weights = load_file(cache / result.adapter / "adapter_model.safetensors")
    changed = {name.split(".lora_")[0].removeprefix("base_model.model.") for name in weights}
    expected = {
        f"model.layers.{layer}.{part}"
        for layer in (2, 3)
        for part in (
            "self_attn.q_proj",
            "self_attn.k_proj",
            "self_attn.v_proj",
            "self_attn.o_proj",
            "mlp.gate_proj",
            "mlp.up_proj",
            "mlp.down_proj",
        )
    } | {"lm_head"}
    card = (cache / result.adapter / "README.md").read_text()
    assert "on the weight matrices of the last 2 layers and of the head" in card.replace("\n", " ")
    assert changed == expected | ({"model.layers.1.mlp.down_proj"} if instant else set())
    loaded = load.load(result.spec.model)
    pruning.cut(loaded.decoder, BLOCK)
    trained = sum(loaded.model.get_submodule(name).weight.numel() for name in expected)
    assert result.trainable_parameters == trained
    healed = PeftModel.from_pretrained(loaded.model, cache / result.adapter)
    measured = measurement.measure(replace(loaded, model=healed, decoder=find_decoder(healed)), None, result.spec.validation)
    assert measured.point.loss == pytest.approx(result.healed.loss, abs=1e-6)


def test_partial_changes_weights_as_training_them_directly_would(spec, cache):
    """One step of AdamW on a full-rank factor is one step on the weight."""
    result = healing.run(replace(spec, method="partial", last_layers=1, steps=1, warmup_steps=0, separate_documents=False))
    loaded = load.load(result.spec.model)
    pruning.cut(loaded.decoder, BLOCK)
    packed = packing.training_rows(result.spec.corpus, near_copies.NearCopyFilter([]), loaded.tokenizer, max_rows=2)
    names = [f"model.layers.3.mlp.{part}" for part in ("gate_proj", "down_proj")]
    for parameter in loaded.model.parameters():
        parameter.requires_grad_(False)
    own = {name: loaded.model.get_submodule(name).weight.requires_grad_() for name in names}
    ids = torch.from_numpy(packed.rows).long()
    loaded.model(input_ids=ids, labels=ids).loss.backward()
    weights = load_file(cache / result.adapter / "adapter_model.safetensors")
    for name, weight in own.items():
        found = [weights[f"base_model.model.{name}.lora_{side}.weight"] for side in "AB"]
        # AdamW's first step is the learning rate times the sign of the gradient, wherever that is not tiny.
        clear = weight.grad.abs() > 1e-5
        torch.testing.assert_close((found[1] @ found[0])[clear], -1e-2 * weight.grad.sign()[clear], rtol=1e-2, atol=1e-5)


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"method": "partial", "last_layers": 5}, "last 5 layers cannot be trained: only 4 are left"),
        ({"method": "partial", "last_layers": 7, "control": True}, "last 7 layers cannot be trained: only 6 are left"),
        ({"block": Block(0, 2), "instant": True}, r"none before layer 0\. Choose another block"),
    ],
)
def test_untrainable_requests_are_refused_before_loading(spec, monkeypatch, changes, sentence):
    monkeypatch.setattr(load, "load", lambda *given, **how: pytest.fail("the model was loaded"))
    with pytest.raises(RecipeError, match=sentence):
        healing.run(replace(spec, **changes))


def test_a_control_trains_the_unpruned_model(spec, cache):
    result = healing.run(replace(spec, control=True))
    assert result.pruned is None
    assert (result.unpruned.n, result.healed.n, result.healed.block) == (0, 0, None)
    assert result.healed.loss < result.unpruned.loss
    assert (set(result.same_kind), result.same_kind["healed"].block) == ({"unpruned", "healed"}, None)
    loaded = load.load(result.spec.model)
    assert "unpruned model, as a control" in (cache / result.adapter / "README.md").read_text()
    PeftModel.from_pretrained(loaded.model, cache / result.adapter)
    assert measurement.measure(loaded, None, result.spec.validation).point.loss == pytest.approx(result.healed.loss, abs=1e-6)
    with pytest.raises(SpecError, match="takes no instant heal"):
        replace(spec, control=True, distill=0.5)


def test_junction_loss_draws_the_stream_and_resumes_exactly(spec):
    drawn = replace(spec, junction=2.0, distill=0.5)
    whole = healing.run(drawn)
    plain = healing.run(replace(spec, distill=0.5))
    assert whole.steps[0].loss > plain.steps[0].loss
    stopped = replace(drawn, validation=replace(drawn.validation, seed=0), seed=0, eval_every=3)
    with pytest.raises(Cancelled):
        healing.run(stopped, cancel_at(4))
    again = healing.run(stopped)
    assert [step.loss for step in again.steps] == pytest.approx([step.loss for step in whole.steps], abs=1e-6)


@pytest.mark.long
def test_learning_the_last_states_needs_no_head_and_resumes_exactly(spec, monkeypatch):
    def never(*args, **named):
        raise AssertionError("the vocabulary head was run")

    monkeypatch.setattr(training, "head_loss", never)
    drawn = replace(spec, distill=1.0, distill_from="states", steps=12, eval_every=4, corpus=replace(spec.corpus, n_texts=1))
    with pytest.raises(Cancelled):
        healing.run(drawn, cancel_at(7))
    whole = healing.run(drawn)
    losses = [step.loss for step in whole.steps]
    assert sum(losses[-3:]) < 0.9 * sum(losses[:3])
    assert 0 < losses[0] < training.STATES_SCALE * 4
    again = healing.run(replace(drawn, eval_every=5))
    assert [step.loss for step in again.steps] == pytest.approx(losses, abs=1e-6)
    with pytest.raises(AssertionError):
        healing.run(replace(drawn, distill=0.5))


@pytest.mark.parametrize(("block", "steps"), [(Block(2, 2), 0), pytest.param(Block(4, 2), 3, marks=pytest.mark.long)])
def test_instant_heal_without_a_fitting_weight_is_an_extra_layer(spec, cache, tiny_folder, tmp_path, monkeypatch, block, steps):
    model = replace(spec.model, source=str(tiny_folder("gemma2")))
    healed = healing.run(
        replace(spec, model=model, block=block, steps=steps, instant=True, distill=0.5 * bool(steps), bridge=not steps)
    )
    assert healed.junction.module == ""
    folder = cache / healed.adapter
    assert "This adapter is not complete without its extra layer" in (folder / "README.md").read_text()
    again = evaluation.run(EvaluateSpec(model, block, str(folder), None, spec.validation))
    assert again.point.loss == pytest.approx(healed.healed.loss, abs=1e-6)
    (folder / adapters.BRIDGE_FILE).rename(tmp_path / "bridge")
    if healed.junction.strength:
        without = evaluation.run(EvaluateSpec(model, block, str(folder), None, replace(spec.validation, n_texts=2)))
        assert without.text_losses != pytest.approx(again.text_losses[:2], abs=1e-6)
    (tmp_path / "bridge").rename(folder / adapters.BRIDGE_FILE)
    with pytest.raises(RecipeError, match="adds a small layer, and a plain"):
        export.export(model, block, tmp_path / "out", adapter=str(folder))
    assert not (tmp_path / "out").exists()


@pytest.mark.long
def test_accuracy_is_checked_in_training_and_overlap_is_searched(spec, questions, texts):
    result = healing.run(replace(spec, benchmark=questions, check_questions=4))
    assert [check.n_questions for check in result.validations] == [0, 4, 4, 4]
    assert all(0 <= check.acc <= 1 for check in result.validations[1:])
    first_four = result.questions["healed"][:4]
    assert result.validations[-1].acc == sum(answer.prediction == answer.gold for answer in first_four) / 4
    assert (result.overlap.n_questions, result.overlap.ids) == (8, [])
    given_away = healing.run(replace(spec, benchmark=questions, corpus=replace(spec.corpus, source=given_text(texts))))
    assert len(given_away.overlap.ids) == 1


@pytest.mark.parametrize("phase", few(READING, READING[0]))
def test_reading_the_healing_text_reports_progress_and_can_be_cancelled(spec, questions, phase):
    told = []

    def stop_in_the_middle(progress) -> None:
        if progress.phase == phase:
            told.append((progress.done, progress.total))
            if progress.done >= 6:
                raise Cancelled

    asked = replace(spec, benchmark=questions)
    with pytest.raises(Cancelled):
        healing.run(asked, stop_in_the_middle)
    assert told[-1] == (max(told)[0], 12)
    part = HealResult.load(healing.resolve(asked))
    assert (part.overlap, part.steps) == (None, [])
    assert healing.run(asked).overlap.n_questions == 8


def given_text(texts: str) -> str:
    """The healing text with one question and its answer in every document."""
    from pathlib import Path

    path = Path(texts).with_name("given.jsonl")
    lines = [json.loads(line)["text"] for line in Path(texts).read_text().splitlines()]
    path.write_text("\n".join(json.dumps({"text": f"Question: What is 4? Answer: one. {line}"}) for line in lines))
    return str(path)


@pytest.mark.long
def test_generated_texts_of_the_three_models_are_kept(spec):
    result = healing.run(replace(spec, generation=GenerationSpec(n_prompts=2, max_new_tokens=4, n_sums=2)))
    assert set(result.writings) == {"unpruned", "pruned", "healed"}
    assert len(result.writings["healed"].sums) == 2
    assert HealResult.load(result.spec) == result
    rows = {row["model"]: row for row in result.table("writing").rows}
    assert list(rows) == ["unpruned", "pruned", "healed"]
    wrote, row = result.writings["healed"], rows["healed"]
    assert (row["repetition_rate"], row["n_texts"], row["n_sums"]) == (wrote.repetition_rate, 2, 2)
    assert 0 <= row["distinct_rate_low"] <= row["distinct_rate"] <= row["distinct_rate_high"] <= 1
    assert "in 2 greedy continuations" in heals.sentences(result)[2]


@pytest.mark.long
def test_best_checkpoint_is_kept_and_used_on_request(spec, cache, monkeypatch):
    losses = iter([5.0, 1.0, 4.0, 3.0, 2.0])
    check = HealingRun.check

    def told(self, trainer, healed, stuff):
        return replace(check(self, trainer, healed, stuff), loss=next(losses))

    monkeypatch.setattr(HealingRun, "check", told)
    kept = []
    write = checkpoints.write

    def look(fingerprint, checkpoint, **options):
        write(fingerprint, checkpoint, **options)
        kept.append(sorted(int(path.name[5:]) for path in checkpoints.folder(fingerprint).iterdir()))

    monkeypatch.setattr(checkpoints, "write", look)
    result = healing.run(replace(spec, steps=5, eval_every=1, keep_best=True))
    assert kept == [[0], [0, 1], [1, 2], [2, 3], [2, 3, 4], [2, 4, 5]]
    assert result.kept_step == 2
    monkeypatch.undo()
    monkeypatch.setenv("LAYERSCOPE_CACHE", str(cache))
    two = healing.run(replace(spec, steps=5, eval_every=9))
    assert two.kept_step == 5
    assert two.healed.loss != result.healed.loss


def worse_by_step(monkeypatch) -> None:
    """Every step costs a nat, as far as the checks can tell: a random model knows so little that LoRA cannot ruin it."""
    check = HealingRun.check

    def told(self, trainer, healed, stuff):
        found = check(self, trainer, healed, stuff)
        return replace(found, loss=found.loss + trainer.steps_done)

    monkeypatch.setattr(HealingRun, "check", told)


@pytest.mark.parametrize("changes", few([{"control": True}, {}, {"instant": True}, {"instant": True, "method": "partial"}], {}))
def test_best_is_the_start_where_training_only_raises_loss(spec, cache, monkeypatch, changes):
    ruined = replace(spec, learning_rate=10.0, keep_best=True, **changes)
    if ruined.method == "lora":
        worse_by_step(monkeypatch)
    whole = healing.run(ruined)
    start = [check for check in whole.validations if check.step == 0][-1]
    assert min(check.loss for check in whole.validations if check.step) > start.loss + 0.5
    assert whole.kept_step == 0
    assert [step.step for step in whole.steps] == list(range(1, 7))
    block = None if ruined.control else BLOCK
    saved = adapters.with_adapter(load.load(whole.spec.model), block, str(cache / whole.adapter))
    chosen_on = scores.prepare(saved, None, replace(whole.spec.validation, n_texts=8), skip_texts=3)
    assert Measurement(saved, chosen_on, [None]).complete().point.loss == pytest.approx(start.loss, abs=1e-6)
    assert measurement.measure(saved, None, whole.spec.validation).point.loss == pytest.approx(whole.healed.loss, abs=1e-6)
    resumed = stopped_twice(replace(ruined, recipe="stopped"))
    assert resumed.kept_step == 0
    assert resumed.healed.loss == pytest.approx(whole.healed.loss, abs=1e-6)


def stopped_twice(spec: HealSpec) -> HealResult:
    """A heal that is stopped in its training, then again when all of it is done but the last measurement."""

    def told(progress) -> None:
        if progress.phase == "measuring the loss on text (healed model)":
            raise Cancelled

    for stop in (cancel_at(3), told):
        with pytest.raises(Cancelled):
            healing.run(spec, stop)
    return healing.run(spec)


@pytest.mark.long
def test_documents_of_a_row_are_read_separately_where_possible(spec):
    assert healing.run(spec).documents_apart
    together = healing.run(replace(spec, separate_documents=False))
    assert not together.documents_apart
