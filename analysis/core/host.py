"""What this machine is called and how busy it is, told without a model library."""

import contextlib
import os
import platform
from dataclasses import dataclass
from pathlib import Path

import psutil

_BUSY = 0.5
"""Load per core from which others are felt."""


@dataclass(frozen=True)
class Load:
    """How much else this machine does."""

    average: float
    """Processes that ran or wanted to, mean of the last minute."""
    cores: int

    @property
    def is_busy(self) -> bool:
        """Whether what begins now is felt to be slower."""
        return self.average >= _BUSY * self.cores

    @property
    def stretch(self) -> tuple[float, float]:
        """How many times as long work on all cores takes: if half of the others end soon, and if they all stay."""
        return (1 + self.average / self.cores / 2, 1 + self.average / self.cores) if self.is_busy else (1.0, 1.0)


def load(ours: int = 0) -> Load:
    """The load now.

    Args:
        ours: cores that are kept busy by work which what begins now will wait for.
    """
    average = psutil.getloadavg()[0]
    return Load(max(0.0, average - ours), cores())


def cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def processor() -> str:
    """The processor's model name."""
    return cpuinfo("model name") or platform.processor() or platform.machine()


def cpuinfo(key: str) -> str:
    """What Linux says of the first processor under this key; "" elsewhere."""
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith(key):
                return line.partition(":")[2].strip()
    return ""
