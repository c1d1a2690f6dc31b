"""The time that is left of a job: smooth, for any duration of a single unit."""

import time
from dataclasses import replace

import pytest

from analysis import jobs
from analysis.core.progress import Progress
from analysis.jobs.queue import attempt, table
from analysis.jobs.queue.attempt import Run
from analysis.jobs.queue.pace import Pace
from analysis.jobs.queue.processes import Process
from tests.support.worker import request


def paced(seconds: list[float]) -> Pace:
    pace, at = Pace(0.0, 0), 0.0
    for done, took in enumerate(seconds, start=1):
        at += took
        pace.add(at, done)
    return pace


def test_one_slow_unit_hardly_moves_it():
    steady = [2.0, 2.2, 1.9, 2.1] * 6
    before, after = paced(steady).value, paced([*steady, 60.0]).value
    assert after == pytest.approx(before, rel=0.05)


def test_recurring_slow_units_count():
    """A check of 5 s after every tenth step of 2 s: ten steps take 25 s."""
    assert paced(([2.0] * 9 + [7.0]) * 5).value == pytest.approx(2.5, rel=0.12)


def test_a_machine_that_has_become_slower_is_followed():
    assert paced([2.0] * 30 + [4.0] * 24).value == pytest.approx(4, rel=0.1)


def test_paces_that_alternate_within_half_a_minute_are_averaged():
    """Layers go at one pace and the vocabulary head at another, some seconds each, and every layer is reported."""
    cycle = [0.1] * 50 + [0.2] * 25
    told = [paced((cycle * 10)[:n]).value for n in range(600, 750, 5)]
    assert told == [pytest.approx(10 / 75, rel=0.2)] * len(told)


def test_no_pace_without_units_and_time_counts_for_next():
    pace = Pace(0.0, 10)
    pace.add(5.0, 10)
    assert pace.value is None
    pace.add(6.0, 11)
    assert pace.value == 6


@pytest.fixture
def clock(monkeypatch):
    """A clock that is set by hand."""
    now = [1_000_000.0]
    monkeypatch.setattr(time, "time", lambda: now[0])
    monkeypatch.setattr(attempt.time, "monotonic", lambda: now[0])
    return now


def test_remaining_time_does_not_jump_after_one_slow_step(cache, clock):
    jobs.submit(request())
    run = Run(table.claim(Process.current()))
    shown = []

    def look() -> None:
        shown.append(jobs.get(run.job.id).eta_s)

    run.on_progress(Progress("healing", 0, 100))
    for done in range(1, 61):
        for _ in range(60 if done == 40 else 2):
            clock[0] += 1
            if shown:
                look()
        run.on_progress(Progress("healing", done, 100))
        look()
    assert shown.count(None) > 10, "after 40 seconds without a report no time is claimed"
    claimed = [left for left in shown if left is not None]
    changes = [after - before for before, after in zip(claimed, claimed[1:], strict=False)]
    assert max(changes) < 5, "it never jumps up"
    assert min(changes) > -5, "nor down"
    assert shown[-1] == pytest.approx(2 * 40, rel=0.1)


def test_its_range_holds_it(cache, clock):
    jobs.submit(request())
    run = Run(table.claim(Process.current()))
    run.on_progress(Progress("healing", 0, 50))
    assert jobs.get(run.job.id).eta_range_s is None
    for done in range(1, 21):
        clock[0] += 1 + done % 3
        run.on_progress(Progress("healing", done, 50))
    job = jobs.get(run.job.id)
    low, high = job.eta_range_s
    assert low < job.eta_s < high
    run.on_progress(Progress("measuring", 0, 4))
    assert jobs.get(run.job.id).eta_s is None, "another phase has a pace of its own"
    assert replace(job, state=jobs.DONE).eta_range_s is None


def test_repeated_reports_of_a_waiting_job_fill_no_disk(cache, clock):
    jobs.submit(request())
    run = Run(table.claim(Process.current()))
    for _ in range(5 * 60):
        clock[0] += 0.2
        run.on_progress(Progress("measuring 8 shards in 2 processes", 3, 8))
    assert 2 <= len(jobs.events(run.job.id)[0]) <= 4
    clock[0] += 0.2
    run.on_progress(Progress("measuring 8 shards in 2 processes", 4, 8))
    assert jobs.get(run.job.id).done == 4, "what is new is written at once"
