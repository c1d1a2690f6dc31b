"""Seconds that a unit of a phase takes, from the last few units: a single slow one does not throw the time that is left."""

from collections import deque
from statistics import median, quantiles

_RECENT = 24
"""Stretches that are looked back on, of a report or of several quick ones."""
_LEAST_S = 30.0
"""How far it is looked back at least: within a few seconds work of one sort follows on that of another,"""
_LEAST_SHARE = 0.2
"""and at least this much of the phase until now; less, and every breath of the machine is seen, more, and no change is."""
_CAP = 3.0
"""How many times the usual a unit counts at most: checks between steps do count, a machine that hung does not."""
_SMOOTH = 0.25
"""Share of the way from the last pace to the new one that a report goes."""


class Pace:
    """Seconds per unit of one phase."""

    def __init__(self, time_s: float, done: int) -> None:
        """Begin.

        Args:
            time_s: when the phase was first reported, seconds.
            done: units that were done then.
        """
        self._started = self._at = time_s
        self._done = done
        self._recent: deque[tuple[float, int]] = deque(maxlen=_RECENT)
        self.value: float | None = None
        """Seconds per unit; None before the first is done."""

    def add(self, time_s: float, done: int) -> None:
        """Take in a report. Time without a unit done, and units done in a moment, count for the next report."""
        units = done - self._done
        if units <= 0 or time_s - self._at < max(_LEAST_S, _LEAST_SHARE * (time_s - self._started)) / _RECENT:
            return
        self._recent.append(((time_s - self._at) / units, units))
        self._at, self._done = time_s, done
        median_s = median(seconds for seconds, _ in self._recent)
        counted = sum(units * min(seconds, _CAP * median_s) for seconds, units in self._recent)
        now = counted / sum(units for _, units in self._recent)
        self.value = now if self.value is None or len(self._recent) < 4 else self.value + _SMOOTH * (now - self.value)

    @property
    def range(self) -> tuple[float, float] | None:
        """The quartiles of the last units, the pace itself between them; None while too few are done to say."""
        if self.value is None or len(self._recent) < 4:
            return None
        low, _, high = quantiles([seconds for seconds, _ in self._recent], n=4)
        return min(low, self.value), max(high, self.value)
