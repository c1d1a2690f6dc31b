"""A requested time is a bound of everything that the user waits for."""

import time
from dataclasses import replace

import pytest

from analysis.core import units
from analysis.core.errors import RecipeError
from analysis.experiments.heal import healing, healing_run, junction, record, remaining
from analysis.experiments.heal.heal_result import HealResult
from analysis.experiments.heal.training import Trainer
from analysis.results.compared import recovery
from analysis.results.words import heals
from tests.support import fakes, little_heal


@pytest.fixture
def spec(cache, short_texts, tiny_folder, tmp_path):
    return little_heal.spec(
        tiny_folder("llama"), tmp_path, steps=0, minutes=1.0, instant=True, warmup_steps=0
    )


@pytest.fixture
def clock(monkeypatch):
    """Seconds that are added to the clock of the program."""
    ahead, real = [0.0], time.perf_counter
    monkeypatch.setattr(time, "perf_counter", lambda: real() + ahead[0])
    for name in ("rehearse", "take_step"):
        slowed(monkeypatch, Trainer, name, ahead, 3.0)
    return ahead


def slowed(monkeypatch, owner, name: str, clock: list[float], seconds: float) -> None:
    original = getattr(owner, name)

    def slow(*args, **options):
        clock[0] += seconds
        return original(*args, **options)

    monkeypatch.setattr(owner, name, slow)


def test_too_few_minutes_are_refused_before_any_scoring(spec, clock, monkeypatch):
    monkeypatch.setattr(record.measurement, "measure", lambda *_, **__: pytest.fail("It scored."))
    slowed(monkeypatch, healing_run.Measurement, "complete", clock, 30.0)
    with pytest.raises(
        RecipeError, match=r"1 minutes are too short: .* Allow \d+\.\d minutes or more"
    ):
        healing.run(spec)


def test_slower_steps_than_measured_end_the_training_in_time(spec, clock, monkeypatch):
    slowed(monkeypatch, Trainer, "take_step", clock, 6.0)
    started = time.perf_counter()
    found = healing.run(spec)
    assert time.perf_counter() - started <= 60
    assert found.complete
    assert 0 < found.kept_step < found.planned_steps
    assert found.validations[-1].step == found.kept_step == len(found.steps)


def test_scores_that_do_not_fit_are_left_for_the_same_request(spec, clock, monkeypatch):
    measure = healing_run.HealingRun.measure_after

    def too_slow(*args, **options):
        clock[0] += 95
        return measure(*args, **options)

    with monkeypatch.context() as slow:
        slow.setattr(healing_run.HealingRun, "measure_after", too_slow)
        said = []
        part = healing.run(spec, lambda progress: said.append(progress.message))
    assert not part.complete
    assert part.healed is None
    assert part.adapter is not None
    assert any("Send the same request again to score it" in message for message in said)
    assert "Send the same request again" in heals.sentences(part)[0]
    whole = healing.run(spec)
    assert whole.complete
    assert whole.kept_step >= part.kept_step
    assert HealResult.load(healing.resolve(spec)) == whole


def test_zero_steps_are_said_in_the_verdict(spec, clock, monkeypatch):
    slowed(monkeypatch, Trainer, "rehearse", clock, 12.0)
    found = healing.run(spec)
    assert (found.complete, found.total_steps, found.steps, found.junction is None) == (
        True,
        0,
        [],
        False,
    )
    assert any(
        "No training step fit into 1 minutes" in sentence for sentence in heals.sentences(found)
    )
    assert "no training step in 1 min" in recovery.course(found)


def test_a_fit_that_takes_up_to_half_too_long_extends_the_time(spec, clock, monkeypatch):
    slowed(monkeypatch, junction, "fit", clock, 65.0)
    said = []
    found = healing.run(spec, lambda progress: said.append(progress.message))
    assert found.complete
    assert any("The run is extended to 1.5 minutes" in message for message in said)


def test_a_time_that_is_over_before_training_leaves_the_rest_for_the_same_request(
    spec, clock, monkeypatch
):
    said = []
    with monkeypatch.context() as slow:
        slowed(slow, junction, "fit", clock, 100.0)
        part = healing.run(spec, lambda progress: said.append(progress.message))
    assert (part.complete, part.healed, part.adapter) == (False, None, None)
    assert any("minutes were over in the stage 'fit'" in message for message in said)
    assert heals.sentences(part) == [
        "The time was over before anything was healed. Finished parts are kept. Send the same"
        " request again to continue."
    ]
    stored = HealResult.load(healing.resolve(spec))
    assert stored.pruned is not None
    slowed(monkeypatch, junction, "fit", clock, 100.0)
    whole = healing.run(spec)
    assert whole.complete
    assert whole.pruned == stored.pruned


def test_a_refused_time_is_extended_by_the_same_request(spec, clock, monkeypatch):
    with monkeypatch.context() as slow:
        slowed(slow, healing_run.Measurement, "complete", clock, 30.0)
        with pytest.raises(RecipeError, match="are too short"):
            healing.run(spec)
        assert healing.run(spec).complete


def test_fit_reads_less_where_time_is_short(spec, clock, monkeypatch):
    monkeypatch.setattr(junction, "tokens_per_batch", lambda _: 64)
    whole = healing.run(spec)
    monkeypatch.setattr(remaining.Remaining, "is_fit_late", lambda _: True)
    short = healing.run(replace(spec, minutes=2.0))
    assert 8 * 16 <= short.junction.n_tokens < whole.junction.n_tokens


def test_fit_training_and_scoring_are_three_durations():
    found = fakes.timed_heal()
    assert found.fit_s + found.training_s + found.scoring_s == pytest.approx(
        max(found.wall_s, found.fit_s + found.training_s)
    )
    assert recovery.course(found).startswith(
        f"fit {units.duration(found.fit_s)}" if found.fit_s else "training"
    )
