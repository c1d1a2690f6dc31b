"""Counts of the computing that a process does with models, taken where they run and read by the process that runs jobs.

The counts only ever grow, like the CPU time of a process. The work of a stretch of time is the difference of two readings. So
no experiment does anything for it.
"""

import threading
import time
from collections import deque
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from typing import Any, Protocol, Self

from analysis.core import units

_RECENT_S = 10.0
"""How far `ResourceUsage.share_now` looks back."""
_SOON_S = 5.0
"""Seconds of computing before any comparison with the machine's peak: that has to be measured once."""


class MeteredDevice(Protocol):
    """Figures that the device of a model has about itself."""

    def peak_bytes(self) -> int:
        """Peak memory of this process there since `reset_peak`."""

    def reset_peak(self) -> None:
        """Let `peak_bytes` begin anew."""

    def joules(self) -> float | None:
        """Energy that it has drawn since some moment, for any process; None where it does not tell."""

    def most_flop_s(self, *, again: bool = False) -> float:
        """Floating point operations a second of its fastest matrix products, in the model's dtype; measured once, and kept.

        Args:
            again: whether to measure once more and keep the larger one: the machine may have been busy.
        """


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
    joules: float | None = None
    """Energy that the processor or the accelerator drew since the model was loaded, for other processes too; None where the
    machine does not tell."""
    most_flop_s: float | None = None
    """Floating point operations a second of the machine's fastest matrix products; None where too little was computed."""
    share_now: float | None = None
    """Share of `most_flop_s` that the last seconds reached."""

    @property
    def share_of_peak(self) -> float | None:
        """Share of `most_flop_s` that was reached from the beginning to the end; None while that is not known."""
        return self.flop / self.seconds / self.most_flop_s if self.most_flop_s and self.seconds > 0 else None

    def in_words(self) -> str:
        """Describe the computing and its cost in a few words; empty where nothing was computed."""
        if not self.flop:
            return ""
        parts = [units.scaled(self.flop, "FLOP"), f"{units.scaled(self.layer_tokens, '').strip()} layer tokens"]
        parts += [] if self.share_of_peak is None else [f"{self.share_of_peak:.0%} of this machine's peak"]
        parts += [f"peak memory {units.size(self.peak_bytes)}"] if self.peak_bytes else []
        return ", ".join([*parts, *([] if self.joules is None else [units.scaled(self.joules, "J")])])

    def to_json(self) -> dict[str, Any]:
        """As it is kept with a job, `share_of_peak` included."""
        return {**asdict(self), "share_of_peak": self.share_of_peak}

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
        self._recent: deque[tuple[float, float]] = deque()
        self._most_flop_s: float | None = None
        self._peak_bytes = self._before.peak_bytes
        self._joules: float | None = self._before.joules
        self._joules_at: tuple[MeteredDevice, float | None] | None = None
        if self._machine is not None:
            self._machine.reset_peak()
            self._draw(self._machine)

    @property
    def _machine(self) -> MeteredDevice | None:
        return None if self._elsewhere else COUNTS.machine

    def read(self) -> ResourceUsage:
        """Return the work until now; called now and then while it runs."""
        now, flop, machine, before = time.monotonic(), COUNTS.flop - self._flop, self._machine, self._before
        done = replace(
            before,
            seconds=before.seconds + now - self._started,
            layer_tokens=before.layer_tokens + COUNTS.layer_tokens - self._layer_tokens,
            flop=before.flop + flop,
        )
        if machine is None:
            return done
        self._peak_bytes = max(self._peak_bytes, machine.peak_bytes())
        self._draw(machine)
        return replace(
            done,
            peak_bytes=self._peak_bytes,
            joules=self._joules,
            share_now=self._share_now(machine, now, flop),
            most_flop_s=self._most_flop_s or before.most_flop_s,
        )

    def _draw(self, machine: MeteredDevice) -> None:
        """Add the energy since the last look."""
        joules = machine.joules()
        if self._joules_at is not None and self._joules_at[0] is machine:
            last = self._joules_at[1]
            if joules is not None and last is not None:
                self._joules = (self._joules or 0.0) + joules - last
        self._joules_at = machine, joules

    def _share_now(self, machine: MeteredDevice, now: float, flop: float) -> float | None:
        if flop <= 0:
            return None
        recent = self._recent
        recent.append((now, flop))
        while now - recent[0][0] > _RECENT_S and len(recent) > 2:
            recent.popleft()
        span_s, done = now - recent[0][0], flop - recent[0][1]
        if span_s < _SOON_S:
            return None
        if self._most_flop_s is None:
            self._most_flop_s = machine.most_flop_s()
            if done / span_s > self._most_flop_s:
                self._most_flop_s = machine.most_flop_s(again=True)
        return done / span_s / self._most_flop_s
