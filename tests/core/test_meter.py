"""Work of a job: the computing since it began, and its description."""

from dataclasses import replace

import pytest

from analysis.core import meter
from analysis.core.meter import Counts, Meter, ResourceUsage


class Machine:
    """A device whose peak memory is known."""

    memory = 50

    def peak_bytes(self):
        return self.memory

    def reset_peak(self):
        self.memory = 0


@pytest.fixture
def now(monkeypatch):
    seconds = [1000.0]
    monkeypatch.setattr(meter.time, "monotonic", lambda: seconds[0])
    return seconds


@pytest.fixture
def counts(monkeypatch):
    """Of a process that has computed before."""
    found = Counts(7, 700.0, Machine())
    monkeypatch.setattr(meter, "COUNTS", found)
    return found


def passed(now, counts, seconds, flop, told):
    """So many seconds at a pace, looked at once a second."""
    for _ in range(seconds):
        now[0] += 1
        counts.flop += flop
        counts.layer_tokens += 1
        work = told.read()
    return work


def test_only_work_after_its_beginning_counts(now, counts):
    told = Meter()
    work = passed(now, counts, 3, 60.0, told)
    assert (work.seconds, work.layer_tokens, work.flop) == (3, 3, 180)


def test_earlier_attempts_are_added(now, counts):
    before = ResourceUsage(seconds=10, layer_tokens=5, flop=1000.0, peak_bytes=80)
    told = Meter(before)
    work = passed(now, counts, 2, 50.0, told)
    assert (work.seconds, work.layer_tokens, work.flop, work.peak_bytes) == (12, 7, 1100, 80)
    assert ResourceUsage.from_json(work.to_json()) == work


def test_a_job_without_computing_has_no_words(now, counts):
    counts.machine = None
    assert Meter().read().in_words() == ""


def test_computing_of_other_processes_counts_and_no_machine_is_named(now, counts):
    told, before = Meter(elsewhere=True), replace(counts)
    now[0] += 4
    counts.take({"layer_tokens": 3, "flop": 2e9})
    counts.take({"layer_tokens": 2, "flop": 1e9})
    assert counts.since(before) == {"layer_tokens": 5, "flop": 3e9}
    work = told.read()
    assert (work.seconds, work.layer_tokens, work.flop) == (4, 5, 3e9)
    assert work.in_words() == "3.0 GFLOP, 5 layer tokens"


def test_in_words():
    work = ResourceUsage(seconds=100.0, layer_tokens=1_230_000, flop=4.2e12, peak_bytes=1_100_000_000)
    assert work.in_words() == "4.2 TFLOP, 1.2 M layer tokens, peak memory 1.1 GB"
