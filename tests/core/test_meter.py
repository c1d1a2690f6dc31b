"""Time and memory of a job, over its attempts."""

from dataclasses import asdict

import pytest

from analysis.core import meter
from analysis.core.meter import Meter, ResourceUsage


class Device:
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
def device(monkeypatch):
    found = Device()
    monkeypatch.setattr(Meter, "device", found)
    return found


def test_a_job_has_the_time_and_the_peak_of_all_its_attempts(now, device):
    used = Meter(ResourceUsage(seconds=10, peak_bytes=80))
    now[0] += 2
    device.memory = 60
    assert used.read() == ResourceUsage(12, 80)
    device.memory = 90
    assert used.read() == ResourceUsage(12, 90)
    assert ResourceUsage.from_json({**asdict(used.read()), "flop": 3e9}) == used.read()


def test_the_memory_of_other_processes_is_not_known(now, device):
    assert Meter(elsewhere=True).read().peak_bytes == 0
    assert device.memory == 50
