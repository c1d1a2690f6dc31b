"""How long work reports where it is, and how it is asked to stop."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from analysis.core import units


@dataclass(frozen=True)
class Progress:
    """One report of a running experiment."""

    phase: str
    """Current work, in words for people: "loading the model", "scoring questions"."""
    done: int = 0
    """Units finished in this phase: of equal cost, since the time left is estimated from them."""
    total: int = 0
    """Units in this phase; 0 while unknown."""
    message: str = ""
    """A sentence worth keeping in the log, or nothing."""
    values: Mapping[str, Any] = field(default_factory=dict)
    """Measured numbers of this moment (step, loss, learning_rate, tokens_per_s …), JSON types only."""


def doing(name: str, inner: Progress) -> str:
    """Describe the current work of a part of some larger work: "swaps: scoring questions, 40 %".

    In tenths: a worker writes down at once each message that says something new.

    Args:
        name: of the part; "" where it has none.
        inner: the part's own progress.
    """
    share = f"{inner.phase}, {10 * inner.done // inner.total * 10} %" if inner.total else inner.phase
    return ": ".join(part for part in (name, share) if part)


_MANY = 10_000
"""So many units are no things that people count."""


def is_counted(total: int) -> bool:
    """Return whether a phase of so many units is shown in them."""
    return total < _MANY


def how_far(done: int, total: int) -> str:
    """3, 12 -> "3/12"; 30000, 120000 -> "25%"."""
    return f"{done}/{total}" if is_counted(total) else f"{min(1.0, done / total):.0%}"


def bytes_so_far(done: int, total: int, values: Mapping[str, Any]) -> str:
    """How far a transfer is and how fast, from its last report; "" for a phase that is none.

    1200000, 5000000, {"of_bytes": 5000000, "bytes_per_s": 300000} -> "1.2 MB of 5.0 MB, 300 kB/s".
    """
    if values.get("of_bytes") != total:  # the last numbers may be of an earlier phase
        return ""
    speed = values.get("bytes_per_s")
    return f"{units.size(done)} of {units.size(total)}" + (f", {units.size(speed)}/s" if speed else "")


_MEASURED, _MEASURED_S = 0.15, 30.0
"""Share of a phase, or its seconds, from which on its rate counts as measured."""


def seconds_per_unit(finished: float, planned: float, spent_s: float) -> float | None:
    """Return the measured rate of a phase, from which every time left is estimated; None while too little is finished.

    Args:
        finished: units finished in `spent_s`.
        planned: units of the whole phase.
        spent_s: seconds.
    """
    is_measured = finished > 0 and (finished >= _MEASURED * planned or spent_s >= _MEASURED_S)
    return spent_s / finished if is_measured else None


OnProgress = Callable[[Progress], None]
"""Called often (at least every few seconds) by everything long; may raise `Cancelled`."""


class Cancelled(Exception):
    """Raised by an `OnProgress` callback to stop the work: finished parts must stay usable."""


def ignore(progress: Progress) -> None:
    """The callback of callers who do not want to know."""
