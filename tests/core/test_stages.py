"""The finished share of all work of a job, and the time left, from the rate that the job
measures.
"""

import pytest

from analysis.core.progress import REMAINING, Progress, Stage, Stages


class Job:
    """Reports of a job at times that are set by hand."""

    def __init__(self, stages: dict[str, Stage] | None) -> None:
        self.now, self.told = 0.0, []
        self.stages = Stages(self.told.append, stages, lambda: self.now)

    def says(self, at: float, phase: str, done: int = 0, total: int = 0) -> dict:
        self.now = at
        self.stages(Progress(phase, done, total))
        return self.told[-1].values[REMAINING]


def two_stages() -> Job:
    return Job({"load": Stage(0.0), "map": Stage(100.0), "scores": Stage(300.0)})


def test_bar_and_time_left_cover_all_stages():
    job = two_stages()
    assert job.says(30, "loading the model", 1, 1)["share"] == 0.0, "loading is no work"
    assert "left_s" not in job.says(31, "map", 0, 32), "nothing is measured"
    half = job.says(41, "map", 16, 32)
    assert (half["share"], half["left_s"]) == (0.125, pytest.approx(70.0))
    begun = job.says(51, "scores", 0, 10)
    assert (begun["share"], begun["left_s"]) == (0.25, pytest.approx(60.0))
    late = job.says(111, "scores", 5, 10)
    assert (late["share"], late["left_s"]) == (0.625, pytest.approx(150 * 80 / 250))


def test_stage_that_is_skipped_counts_as_finished_and_sets_no_rate():
    job = two_stages()
    job.says(30, "loading the model")
    job.stages.begin("scores")
    half = job.says(60, "more questions", 5, 10)
    assert (half["share"], half["left_s"]) == (pytest.approx(0.625), pytest.approx(30.0))


def test_rates_of_other_kinds_of_work_say_nothing():
    job = Job({"score": Stage(100.0, "score"), "train": Stage(900.0, "train")})
    assert "left_s" not in job.says(50, "score", 1, 2)
    job.says(100, "train", 0, 10)
    assert job.says(400, "train", 5, 10)["left_s"] == pytest.approx(300.0)


def test_work_of_an_earlier_attempt_is_finished_and_sets_no_rate():
    job = two_stages()
    job.says(10, "map", 24, 32)
    assert job.says(50, "map", 28, 32)["left_s"] == pytest.approx(40 + 24 * 40)


def test_part_with_stages_of_its_own_is_progress_of_the_whole():
    whole = Job({"first": Stage(1.0), "second": Stage(1.0)})
    part = Stages(
        whole.stages,
        {"load": Stage(0.0), "map": Stage(1.0), "scores": Stage(3.0)},
        lambda: whole.now,
    )
    whole.now = 10
    part(Progress("map", 0, 4))
    whole.now = 20
    part(Progress("map", 4, 4))
    assert whole.told[-1].values[REMAINING]["share"] == pytest.approx(0.125)


def test_estimate_of_a_planned_job_passes_an_outer_one_unchanged():
    outer = Job(None)
    inner = Stages(outer.stages, {"map": Stage(1.0)}, lambda: outer.now)
    inner(Progress("map", 1, 4))
    assert outer.told[-1].values[REMAINING]["share"] == 0.25
    assert outer.says(1, "waiting")["share"] == 0.25


def test_phases_of_a_job_without_a_plan_are_stages_of_their_own():
    job = Job(None)
    job.says(0, "loading", 0, 4)
    assert job.says(10, "loading", 4, 4)["share"] == 1.0
    assert job.says(11, "writing", 0, 8)["share"] == 0.0
    assert (
        job.says(21, "writing", 4, 8) | {"share": 0.5, "left_s": 10.0}
        == job.told[-1].values[REMAINING]
    )
