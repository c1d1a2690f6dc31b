"""Rate limit of progress reports: news pass at once, new counts at an interval."""

import time
from collections.abc import Callable
from typing import Any

from analysis.core.progress import REMAINING, Cancelled, Progress

_COUNT_INTERVAL_S = 0.2
"""Minimum time between reports that differ only in their count, in seconds."""
_REPEAT_INTERVAL_S = 30.0
"""Minimum time between equal reports, in seconds; a waiting job may report many times a second."""


def _news(progress: Progress) -> tuple[Any, ...]:
    values = {name: value for name, value in progress.values.items() if name != REMAINING}
    return progress.phase, progress.message, values


class Reporter:
    """Progress callback that passes on the reports that are due, and raises `Cancelled` if the work
    must stop.
    """

    def __init__(
        self,
        write: Callable[[Progress], None],
        must_stop: Callable[[], bool] = lambda: False,
        interval_s: float = _COUNT_INTERVAL_S,
    ) -> None:
        """Start without a report.

        Args:
            write: called with each report that is due.
            must_stop: called after each report, due or not.
            interval_s: minimum time between reports that differ only in their count, in seconds.
        """
        self._write = write
        self._must_stop = must_stop
        self._interval_s = interval_s
        self.last = Progress("")
        """Last report."""
        self._written_at = -_REPEAT_INTERVAL_S

    def __call__(self, progress: Progress) -> None:
        """Pass a report on if it is due.

        Raises:
            Cancelled: if the work must stop.
        """
        last = self.last
        self.last = progress
        has_changed = _news(last) != _news(progress)
        is_end = progress.done == progress.total and progress.done != last.done
        is_same = not has_changed and (progress.done, progress.total) == (last.done, last.total)
        due_s = _REPEAT_INTERVAL_S if is_same else self._interval_s
        if has_changed or is_end or time.monotonic() - self._written_at >= due_s:
            self._write(progress)
            self._written_at = time.monotonic()
        if self._must_stop():
            raise Cancelled
