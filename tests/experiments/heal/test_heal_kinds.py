"""Kinds of healing other than LoRA on text: timed, a control, distilled, checked by questions."""

import json
import time
from dataclasses import replace

import pytest
from peft import PeftModel

from analysis.core.blocks import Block
from analysis.core.errors import SpecError
from analysis.core.progress import Cancelled
from analysis.data.spec import GenerationSpec
from analysis.experiments.accuracy import evaluation, generation, measurement, scores
from analysis.experiments.accuracy.sweep_spec import EvaluateSpec
from analysis.experiments.heal import healing
from analysis.experiments.heal.heal_result import HealResult
from analysis.experiments.heal.heal_spec import HealSpec
from analysis.experiments.heal.healing_run import HealingRun
from analysis.experiments.heal.recipes import sizing
from analysis.models.loading import load
from tests.support import little_heal
from tests.support.levels import few

BLOCK = Block(2, 2)
READING = ["packing the healing text", "looking for the questions in the healing text"]
"""Phases of reading a healing text."""


@pytest.fixture
def spec(cache, tiny_folder, tmp_path) -> HealSpec:
    return little_heal.spec(tiny_folder("llama"), tmp_path, steps=6, warmup_steps=1, eval_every=2)


def test_timed_run_derives_its_steps_and_keeps_its_time(spec, monkeypatch):
    seen = []

    def steps(seconds: float, needs: sizing.Needs) -> int:
        seen.append((seconds, needs))
        return 7

    monkeypatch.setattr(sizing, "steps_that_fit", steps)
    timed = replace(spec, steps=0, minutes=2.0)
    with pytest.raises(Cancelled):
        healing.run(timed, little_heal.cancel_at(3))
    part = HealResult.load(healing.resolve(timed))
    assert (part.planned_steps, part.total_steps, part.complete) == (7, 7, False)
    result = healing.run(timed)
    assert len(seen) == 1  # the speed of another day does not change the plan
    ((seconds, needs),) = seen
    assert 0 < seconds < 120
    assert needs.step_s > 0
    assert [step.step for step in result.steps] == list(range(1, 8))
    assert [check.step for check in result.validations] == [
        0,
        4,
        7,
    ], "a short heal is checked less often"
    assert result.complete
    # The speed was tried out without a trace: the same heal by number of steps ends with the same
    # digits.
    counted = healing.run(replace(spec, **sizing.spread(7, sizing.checks_in(2.0)), steps=7))
    assert [step.loss for step in counted.steps] == pytest.approx(
        [step.loss for step in result.steps], abs=1e-6
    )
    assert counted.healed.loss == pytest.approx(result.healed.loss, abs=1e-6)


@pytest.mark.long
@pytest.mark.parametrize(
    "writing", [None, GenerationSpec(n_prompts=2, max_new_tokens=32, n_sums=2)]
)
def test_last_measurement_has_its_time_despite_remembered_scores(
    spec, questions, monkeypatch, writing
):
    spec = replace(spec, validation=replace(spec.validation, n_texts=6))
    own_kind = replace(
        spec.same_kind, n_texts=32, seq_len=256
    )  # as it is outside of tests, long beside a check
    monkeypatch.setattr(HealSpec, "same_kind", own_kind)
    asked = replace(
        spec, steps=0, minutes=2.0, benchmark=questions, check_questions=1, generation=writing
    )
    for block in (None, BLOCK):
        evaluation.run(EvaluateSpec(spec.model, block, None, questions, spec.validation, writing))
        evaluation.run(EvaluateSpec(spec.model, block, None, None, spec.same_kind))
    seen, wrote = [], []

    def steps(**measured) -> int:
        seen.append(measured)
        raise Cancelled

    monkeypatch.setattr(sizing, "steps_that_fit", steps)
    # Every token takes five thousandths of a second to measure, independent of the load of this
    # machine.
    monkeypatch.setattr(
        HealingRun, "check", lambda self, trainer, healed, stuff: time.sleep(stuff.n_tokens / 200)
    )
    check = generation.check
    monkeypatch.setattr(
        generation,
        "check",
        lambda *given: wrote.append(given[2]) or time.sleep(0.1) or check(*given),
    )
    with pytest.raises(Cancelled):
        healing.run(asked)
    loaded = load.load(spec.model)
    whole_s = (
        sum(
            scores.prepare(loaded, *on).n_tokens
            for on in ((questions, spec.validation), (None, spec.same_kind))
        )
        / 200
    )
    assert seen[0]["end_s"] >= whole_s + (0.4 if writing else 0.0)
    assert seen[0]["check_s"] < 0.8 * whole_s
    assert wrote == ([replace(writing, max_new_tokens=8, n_sums=1)] if writing else [])


def test_a_control_trains_the_unpruned_model(spec, cache):
    result = healing.run(replace(spec, control=True))
    assert result.pruned is None
    assert (result.unpruned.n, result.healed.n, result.healed.block) == (0, 0, None)
    assert result.healed.loss < result.unpruned.loss
    assert (set(result.same_kind), result.same_kind["healed"].block) == (
        {"unpruned", "healed"},
        None,
    )
    loaded = load.load(result.spec.model)
    assert "unpruned model, as a control" in (cache / result.adapter / "README.md").read_text()
    PeftModel.from_pretrained(loaded.model, cache / result.adapter)
    assert measurement.measure(loaded, None, result.spec.validation).point.loss == pytest.approx(
        result.healed.loss, abs=1e-6
    )
    with pytest.raises(SpecError, match="Leave out instant and distill"):
        replace(spec, control=True, distill=0.5)


def test_distilling_the_most_likely_tokens_resumes_to_the_same_losses(spec):
    asked = replace(
        spec, distill=1.0, top_k=5, steps=8, corpus=replace(spec.corpus, n_texts=2, seq_len=96)
    )
    with pytest.raises(Cancelled):
        healing.run(asked, little_heal.cancel_at(5))
    whole = healing.run(asked)
    again = healing.run(replace(asked, eval_every=5))
    assert [step.loss for step in again.steps] == pytest.approx(
        [step.loss for step in whole.steps], abs=1e-5
    )
    with pytest.raises(SpecError, match=r"top_k=5 needs the distribution .* Set distill above 0"):
        replace(spec, top_k=5)


@pytest.mark.long
def test_accuracy_is_checked_in_training_and_overlap_is_searched(spec, questions):
    result = healing.run(replace(spec, benchmark=questions, check_questions=4))
    assert [check.n_questions for check in result.validations] == [0, 4, 4, 4]
    assert all(0 <= check.acc <= 1 for check in result.validations[1:])
    first_four = result.questions["healed"][:4]
    assert (
        result.validations[-1].acc
        == sum(answer.prediction == answer.gold for answer in first_four) / 4
    )
    assert (result.overlap.n_questions, result.overlap.ids) == (8, [])
    given_away = healing.run(
        replace(
            spec,
            benchmark=questions,
            corpus=replace(spec.corpus, source=given_text(spec.corpus.source)),
        )
    )
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
    path.write_text(
        "\n".join(
            json.dumps({"text": f"Question: What is 4? Answer: one. {line}"}) for line in lines
        )
    )
    return str(path)


@pytest.mark.long
def test_generated_texts_of_the_three_models_are_kept(spec):
    result = healing.run(
        replace(spec, generation=GenerationSpec(n_prompts=2, max_new_tokens=4, n_sums=2))
    )
    assert set(result.writings) == {"unpruned", "pruned", "healed"}
    assert len(result.writings["healed"].sums) == 2
    assert HealResult.load(result.spec) == result
    rows = {row["model"]: row for row in result.table("writing").rows}
    assert list(rows) == ["unpruned", "pruned", "healed"]
    wrote, row = result.writings["healed"], rows["healed"]
    assert (row["repetition_rate"], row["n_texts"], row["n_sums"]) == (wrote.repetition_rate, 2, 2)
    assert 0 <= row["distinct_rate_low"] <= row["distinct_rate"] <= row["distinct_rate_high"] <= 1
