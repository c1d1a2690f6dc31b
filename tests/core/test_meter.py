"""Work of a job: the computing since it began, the share of the machine's peak, and the description."""

from dataclasses import replace

import pytest

from analysis.core import meter
from analysis.core.meter import Counts, Meter, ResourceUsage


class Machine:
    """One that can do 100 operations a second."""

    def __init__(self) -> None:
        self.memory, self.drawn, self.can = 50, 0.0, [100.0]

    def peak_bytes(self):
        return self.memory

    def reset_peak(self):
        self.memory = 0

    def joules(self):
        return self.drawn

    def most_flop_s(self, *, again=False):
        return self.can.pop(0)


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
    assert work.share_of_peak is work.share_now is None, "too early to compare"


def test_share_now_covers_recent_seconds_and_share_of_peak_everything(now, counts):
    told = Meter()
    assert passed(now, counts, 20, 80.0, told).share_now == pytest.approx(0.8)
    work = passed(now, counts, 20, 20.0, told)
    assert work.share_now == pytest.approx(0.2)
    assert work.share_of_peak == pytest.approx(0.5)


def test_a_machine_above_its_measured_peak_is_measured_again(now, counts):
    counts.machine.can = [50.0, 200.0]
    assert passed(now, counts, 8, 100.0, Meter()).share_now == pytest.approx(0.5)


def test_earlier_attempts_are_added(now, counts):
    before = ResourceUsage(seconds=10, layer_tokens=5, flop=1000.0, peak_bytes=80, joules=4.0, most_flop_s=100.0)
    told = Meter(before)
    counts.machine.drawn = 6.0
    work = passed(now, counts, 2, 50.0, told)
    assert (work.seconds, work.layer_tokens, work.flop, work.peak_bytes) == (12, 7, 1100, 80)
    assert work.joules == 10
    assert ResourceUsage.from_json(work.to_json()) == work


def test_values_that_the_machine_lacks_are_not_made_up(now, counts):
    counts.machine.drawn = None
    work = passed(now, counts, 2, 50.0, Meter())
    assert work.joules is None
    assert "J" not in work.in_words()
    counts.machine = None
    nothing = Meter().read()
    assert nothing.in_words() == ""
    assert nothing.share_of_peak is None


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
    work = ResourceUsage(
        seconds=100.0, layer_tokens=1_230_000, flop=4.2e12, peak_bytes=1_100_000_000, joules=530.0, most_flop_s=1e11
    )
    told = "4.2 TFLOP, 1.2 M layer tokens, 42% of this machine's peak, peak memory 1.1 GB, 530 J"
    assert work.in_words() == told
