"""The time that is left of a heal, over all of its phases."""

from dataclasses import replace

import pytest

from analysis.core.blocks import Block
from analysis.core.progress import Progress
from analysis.data.spec import BenchmarkSpec
from analysis.experiments.heal import recipes, remaining
from analysis.experiments.heal.remaining import Remaining
from analysis.models.source.model_spec import ModelSpec

SPEC = recipes.heal_spec("instant", model=ModelSpec(), block=Block(14, 5), on_gpu=False)
N_PARAMETERS = 134_515_008


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def heal(spec, pace: float, seconds: dict[str, float] | None = None):
    """Play a run whose phases take these seconds, or `pace` times as long as planned; the reports with their times."""
    clock, told = Clock(), []
    made = Remaining(told.append, spec, N_PARAMETERS, clock.now, clock)
    planned = {name: phase.expected_s * (1 if name == "load" else pace) for name, phase in made.phases.items()}
    said = []
    for name, took in (seconds or planned).items():
        if not took:
            continue
        if name != "load":
            made.begin(name)
        for part in range(10):
            made(Progress(name, part, 10))
            said.append((clock.now, told[-1].values[remaining.VALUE]))
            clock.now += took / 10
    return said, clock.now


@pytest.mark.parametrize("pace", [0.5, 1.0, 3.0])
@pytest.mark.parametrize("share", [0.25, 0.5, 0.75])
def test_remaining_time_is_right_to_a_factor_of_1_5(pace, share):
    said, end = heal(SPEC, pace)
    at, values = min(said, key=lambda one: abs(one[0] - 100 - share * (end - 100)))
    assert 1 / 1.5 <= values["left_s"] / (end - at) <= 1.5


MEASURED = {
    "bfloat16": {"load": 3.0, "before": 24.5, "before, same kind": 13.6, "choice": 3.3, "fit": 16.7, "healed": 8.2},
    "float32": {"load": 2.7, "before": 39.8, "before, same kind": 21.7, "choice": 5.4, "fit": 25.4, "healed": 12.1},
}
"""Seconds of a real instant heal of the starter with 200 questions, on two cores."""
OWN_KIND = {"bfloat16": 4.8, "float32": 7.0}


@pytest.mark.parametrize("dtype", MEASURED)
def test_measured_run_is_foreseen_from_its_first_phase_on(dtype):
    spec = replace(SPEC, benchmark=BenchmarkSpec("arc_easy", limit=200))
    said, end = heal(spec, 1.0, {**MEASURED[dtype], "healed, same kind": OWN_KIND[dtype]})
    foreseen = {at: values["left_s"] / (end - at) for at, values in said if at > 100 + 10}
    assert all(0.9 < ratio < 1.1 for at, ratio in foreseen.items() if end - at > 10)


def test_the_bar_never_goes_back_and_names_its_stages():
    said, _ = heal(SPEC, 2.0)
    shares = [values["share"] for _, values in said]
    assert shares == sorted(shares)
    assert list(dict.fromkeys(values["stage"] for _, values in said)) == [
        "load",
        "score before healing",
        "fit",
        "score healed",
    ]
    assert {values["n_stages"] for _, values in said} == {4}


def test_stored_scores_take_no_time():
    made = Remaining(lambda progress: None, SPEC, N_PARAMETERS, 0.0, lambda: 0.0)
    both, healed = (made.phases[name].expected_s for name in ("before", "healed"))
    made.reuse("healed", (25, 8, 32))  # a quarter of both
    assert made.phases["healed"].expected_s == pytest.approx(0.75 * healed)
    assert made.phases["healed, same kind"].expected_s == 0
    made.reuse("before", (100, 32, 0), (0, 0, 0))  # only the pruned model is scored, alone
    assert 0.5 * both < made.phases["before"].expected_s < both
    made.reuse("before", (100, 32, 32), (100, 32, 32))
    assert made.phases["before"].expected_s == made.phases["before, same kind"].expected_s == 0


def test_worked_examples_take_time_in_every_scoring():
    plain, exam = (
        remaining.planned(replace(SPEC, benchmark=BenchmarkSpec("mmlu", limit=200, shots=shots)), 1e-3) for shots in (0, 5)
    )
    longer = {name for name in plain if exam[name].expected_s > 2 * plain[name].expected_s}
    assert longer == {"before", "healed"}
    usual = remaining.planned(replace(SPEC, benchmark=BenchmarkSpec("mmlu", limit=200)), 1e-3)
    assert usual["before"].expected_s == exam["before"].expected_s


def test_requested_time_is_the_remaining_time_until_steps_are_planned():
    clock = Clock()
    first = recipes.heal_spec("first", model=ModelSpec(), block=Block(14, 5), on_gpu=False)
    made = Remaining(lambda progress: None, first, N_PARAMETERS, clock.now, clock)
    clock.now += 20
    assert made.left_s == pytest.approx(130)
    made.begin("prepare")
    made.expect("train", 30)
    made.expect_end(20)
    made.begin("train")
    assert made.left_s == pytest.approx(50)
    made(Progress("healing", 5, 10))
    clock.now += 15
    assert made.left_s == pytest.approx(35)
