"""Counts of the computing that a process does with models, taken where they run and read by the process that runs jobs.

The counts only ever grow, like the CPU time of a process. The work of a stretch of time is the difference of two readings. So
no experiment does anything for it.
"""

import threading
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any, Protocol, Self

from analysis.core import units


class MeteredDevice(Protocol):
    """Figures that the device of a model has about itself."""

    def peak_bytes(self) -> int:
        """Peak memory of this process there since `reset_peak`."""

    def reset_peak(self) -> None:
        """Let `peak_bytes` begin anew."""


@dataclass
class Counts:
    """Totals of this process since it began."""

    layer_tokens: int = 0
    """Tokens that went through a layer, each counted once for each layer."""
    flop: float = 0.0
    """Floating point operations of layers, attention and vocabulary head, two for a multiply-add, padding included."""
    machine: MeteredDevice | None = None
    """Where the last model is that was made ready to be counted; None before the first."""

    def take(self, of_another: Mapping[str, float]) -> None:
        """Add another process's computing for this one; may be called from several threads at once.

        Args:
            of_another: `layer_tokens` and `flop`.
        """
        with _TAKING:
            self.layer_tokens += int(of_another["layer_tokens"])
            self.flop += of_another["flop"]

    def since(self, before: "Counts") -> dict[str, float]:
        """Return the counts since a copy of them was made, as `take` takes them."""
        return {"layer_tokens": self.layer_tokens - before.layer_tokens, "flop": self.flop - before.flop}


_TAKING = threading.Lock()
COUNTS = Counts()
"""Of this process; `analysis.models.architecture.operations` adds to them."""


@dataclass(frozen=True)
class ResourceUsage:
    """Computing that a job had its machine do, and its time and energy."""

    seconds: float = 0.0
    """From its beginning, loading included; of a job that was resumed, all attempts together."""
    layer_tokens: int = 0
    """As of `Counts`."""
    flop: float = 0.0
    """As of `Counts`."""
    peak_bytes: int = 0
    """Peak memory of the process: of the accelerator where the model is on one, else resident memory; 0 where other processes
    had the model."""

    def in_words(self) -> str:
        """Describe the computing and its cost in a few words; empty where nothing was computed."""
        if not self.flop:
            return ""
        parts = [units.scaled(self.flop, "FLOP"), f"{units.scaled(self.layer_tokens, '').strip()} layer tokens"]
        return ", ".join([*parts, *([f"peak memory {units.size(self.peak_bytes)}"] if self.peak_bytes else [])])

    def to_json(self) -> dict[str, Any]:
        """Return the fields, as they are stored with a job."""
        return asdict(self)

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Self:
        """Return the inverse of `to_json`; extra entries of another version are passed over."""
        return cls(**{column.name: data[column.name] for column in fields(cls) if column.name in data})


class Meter:
    """Computing of this process from now on, as the work of one job."""

    def __init__(self, before: ResourceUsage | None = None, *, elsewhere: bool = False) -> None:
        """Begin.

        Args:
            before: work of earlier attempts at the job, which is added.
            elsewhere: whether other processes compute and only tell how much: of their machines nothing is known.
        """
        self._elsewhere = elsewhere
        self._before, self._started = before or ResourceUsage(), time.monotonic()
        self._layer_tokens, self._flop = COUNTS.layer_tokens, COUNTS.flop
        self._peak_bytes = self._before.peak_bytes
        if self._machine is not None:
            self._machine.reset_peak()

    @property
    def _machine(self) -> MeteredDevice | None:
        return None if self._elsewhere else COUNTS.machine

    def read(self) -> ResourceUsage:
        """Return the work until now; called now and then while it runs."""
        before = self._before
        if self._machine is not None:
            self._peak_bytes = max(self._peak_bytes, self._machine.peak_bytes())
        return ResourceUsage(
            seconds=before.seconds + time.monotonic() - self._started,
            layer_tokens=before.layer_tokens + COUNTS.layer_tokens - self._layer_tokens,
            flop=before.flop + COUNTS.flop - self._flop,
            peak_bytes=self._peak_bytes,
        )
