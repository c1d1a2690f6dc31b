"""The time that is left of a heal, over all of its phases."""

from dataclasses import replace

import pytest

from analysis.core.blocks import Block
from analysis.core.errors import RecipeError
from analysis.core.progress import REMAINING, Progress
from analysis.data.spec import BenchmarkSpec
from analysis.experiments.heal import recipes, remaining
from analysis.experiments.heal.remaining import OutOfTime, Remaining
from analysis.models.source.model_spec import ModelSpec

SPEC = recipes.heal_spec("instant", model=ModelSpec(), block=Block(14, 5), on_gpu=False)


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


RATE = 1.3e-3


def heal(spec, pace: float = 1.0, seconds: dict[str, float] | None = None):
    """Play a run whose phases take these seconds, or `pace` times as long as planned; the reports
    with their times.
    """
    clock, told = Clock(), []
    made = Remaining(told.append, spec, clock.now, clock)
    planned = {
        name: 3.0 if name == "load" else pace * RATE * phase.work
        for name, phase in made.stages.items()
    }
    said = []
    for name, took in (seconds or planned).items():
        if not took:
            continue
        if name != "load":
            made.begin(name)
        for part in range(10):
            made(Progress(name, part, 10))
            said.append((clock.now, told[-1].values[REMAINING]))
            clock.now += took / 10
    return said, clock.now


def test_no_time_left_without_a_measured_rate():
    """The bar stood at 83 % with a minute left two hours before the end."""
    spec = replace(SPEC, steps=5000, distill=0.5)
    slow = {
        "load": 60.0,
        "before": 300.0,
        "before, same kind": 60.0,
        "choice": 30.0,
        "fit": 60.0,
        "train": 7200.0,
        "healed": 200.0,
        "healed, same kind": 60.0,
    }
    said, end = heal(spec, seconds=slow)
    for at, values in said:
        if "left_s" in values:
            assert values["left_s"] == pytest.approx(end - at, rel=0.3, abs=120)
    assert sum("left_s" in values for _, values in said) > 10, (
        "training and the last scoring are measured"
    )


def test_bar_of_a_bounded_run_is_the_time_that_is_over():
    clock, told = Clock(), []
    first = recipes.heal_spec("first", model=ModelSpec(), block=Block(14, 5), on_gpu=False)
    made = Remaining(told.append, first, clock.now, clock)
    clock.now += 75
    made(Progress("scoring", 1, 2))
    assert told[-1].values[REMAINING] | {"left_s": 75.0, "share": 0.5} == told[-1].values[REMAINING]


MEASURED = {
    "bfloat16": {
        "load": 3.0,
        "before": 24.5,
        "before, same kind": 13.6,
        "choice": 3.3,
        "fit": 16.7,
        "healed": 13.6,
    },
    "float32": {
        "load": 2.7,
        "before": 39.8,
        "before, same kind": 21.7,
        "choice": 5.4,
        "fit": 25.4,
        "healed": 22.1,
    },
}
"""Seconds of a real instant heal of the starter with 200 questions, on two cores; of the healed
model in proportion to its layers."""
OWN_KIND = {"bfloat16": 7.5, "float32": 12.0}


@pytest.mark.parametrize("dtype", MEASURED)
def test_measured_run_is_foreseen_once_its_fit_is_measured(dtype):
    spec = replace(SPEC, benchmark=BenchmarkSpec("arc_easy", limit=200))
    took = {**MEASURED[dtype], "healed, same kind": OWN_KIND[dtype]}
    said, end = heal(spec, 1.0, took)
    foreseen = {
        at: values["left_s"] / (end - at)
        for at, values in said
        if at > 100 + 10 and "left_s" in values
    }
    assert foreseen
    assert all(0.9 < ratio < 1.1 for at, ratio in foreseen.items() if end - at > 10)


def test_reports_name_the_stages():
    said, _ = heal(SPEC, 2.0)
    assert list(dict.fromkeys(values["stage"] for _, values in said)) == [
        "load",
        "score before healing",
        "fit",
        "score healed",
    ]
    assert {values["n_stages"] for _, values in said} == {4}


def test_stored_scores_take_no_time():
    made = Remaining(lambda progress: None, SPEC, 0.0, lambda: 0.0)
    both, healed = (made.stages[name].work for name in ("before", "healed"))
    questions = SPEC.benchmark.limit
    made.reuse("healed", (questions // 4, 8, 32))  # a quarter of both
    assert made.stages["healed"].work == pytest.approx(0.75 * healed)
    assert made.stages["healed, same kind"].work == 0
    made.reuse("before", (questions, 32, 0), (0, 0, 0))  # only the pruned model is scored, alone
    assert 0.5 * both < made.stages["before"].work < both
    made.reuse("before", (questions, 32, 32), (questions, 32, 32))
    assert made.stages["before"].work == made.stages["before, same kind"].work == 0


def test_worked_examples_take_time_in_every_scoring():
    plain, exam = (
        remaining.planned(replace(SPEC, benchmark=BenchmarkSpec("mmlu", limit=200, shots=shots)))
        for shots in (0, 5)
    )
    longer = {name for name in plain if exam[name].work > 2 * plain[name].work}
    assert longer == {"before", "healed"}
    usual = remaining.planned(replace(SPEC, benchmark=BenchmarkSpec("mmlu", limit=200)))
    assert usual["before"].work == exam["before"].work


def test_requested_time_is_the_bound_of_every_stage():
    clock = Clock()
    first = recipes.heal_spec("first", model=ModelSpec(), block=Block(14, 5), on_gpu=False)
    made = Remaining(lambda progress: None, first, clock.now, clock)
    clock.now += 20
    assert made.left_s == pytest.approx(130)
    made.begin("prepare")
    made.begin("train")
    made.reserve(20)
    clock.now += 100
    made(Progress("healing", 5, 10))
    with pytest.raises(OutOfTime):
        made.check_bound(ahead_s=11)
    clock.now += 11
    with pytest.raises(OutOfTime):
        made(Progress("healing", 6, 10))
    made.begin("healed")
    made(Progress("scoring", 1, 2))
    clock.now += 20
    made(Progress("scoring", 2, 2))
    clock.now = 100 + 226
    with pytest.raises(OutOfTime, match=r"The 3\.8 minutes were over in the stage 'score healed'"):
        made(Progress("scoring", 2, 2))


def test_a_time_that_is_over_while_loading_is_extended_once_and_then_named():
    clock, told = Clock(), []
    first = recipes.heal_spec("first", model=ModelSpec(), block=Block(14, 5), on_gpu=False)
    made = Remaining(told.append, first, clock.now, clock)
    clock.now += 151
    made(Progress("loading the model"))
    clock.now += 50
    made(Progress("loading the model"))
    said = [progress.message for progress in told if progress.message]
    assert said == [
        "2.5 minutes are too short on this machine now. The run is extended to 3.8 minutes."
    ]
    clock.now += 25
    with pytest.raises(
        OutOfTime,
        match=r"The 3\.8 minutes were over in the stage 'load', because loading took that long\.",
    ):
        made(Progress("loading the model"))


def test_a_resumed_run_is_extended_as_far_as_it_needs():
    clock = Clock()
    first = recipes.heal_spec("first", model=ModelSpec(), block=Block(14, 5), on_gpu=False)
    made = Remaining(lambda progress: None, first, clock.now, clock, is_resumed=True)
    rates = dict.fromkeys((remaining.SCORE, remaining.FIT), 600 / _work_without_training(first))
    made.check_time(rates)
    assert made.left_s == pytest.approx(660, rel=0.01)
    made.begin("before")
    for _ in range(20):
        clock.now += 60
        made(Progress("scoring", 1, 2))


def test_a_time_up_to_half_too_short_is_extended_before_any_work():
    first = recipes.heal_spec("first", model=ModelSpec(), block=Block(14, 5), on_gpu=False)
    clock, told = Clock(), []
    made = Remaining(told.append, first, clock.now, clock)
    work = _work_without_training(first)
    made.check_time(dict.fromkeys((remaining.SCORE, remaining.FIT), 180 / work))
    assert made.left_s == pytest.approx(198)
    assert [progress.message for progress in told] == [
        "2.5 minutes are too short on this machine now. The run is extended to 3.3 minutes."
    ]
    made.check_time(dict.fromkeys((remaining.SCORE, remaining.FIT), 170 / work))
    assert len(told) == 1


def _work_without_training(spec):
    return sum(
        phase.work
        for phase in remaining.planned(spec).values()
        if phase.title not in ("load", "train")
    )


def test_too_short_a_time_is_refused_with_the_least_one():
    first = recipes.heal_spec("first", model=ModelSpec(), block=Block(14, 5), on_gpu=False)
    slow = 300 / _work_without_training(first)
    made = Remaining(lambda progress: None, first, 0.0, lambda: 30.0)
    made.check_time({})
    with pytest.raises(
        RecipeError, match=r"2\.5 minutes are too short: .* Allow 5\.5 minutes or more"
    ):
        made.check_time({remaining.SCORE: slow, remaining.FIT: slow})
    rates = {remaining.SCORE: slow, remaining.FIT: slow}
    with pytest.raises(RecipeError, match=r"Allow 5\.0"):
        Remaining(lambda progress: None, first, 0.0, lambda: 0.0).check_time(rates)
    Remaining(lambda progress: None, replace(first, minutes=3.4), 0.0, lambda: 0.0).check_time(
        rates
    )
