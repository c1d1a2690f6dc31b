"""The one throttle of progress reports: those that say something new pass at once, those that only count now and then."""

import time
from collections.abc import Callable
from typing import Any

from analysis.core.progress import REMAINING, Cancelled, Progress

_EVERY_S = 0.2
"""Reports that say nothing new but a count pass at most this often."""
_SAME_S = 30.0
"""Reports that repeat the last one pass at most this often: a job that waits may look many times a second."""


def _news(progress: Progress) -> tuple[Any, ...]:
    values = {name: value for name, value in progress.values.items() if name != REMAINING}
    return progress.phase, progress.message, values


class Reporter:
    """An `OnProgress` that writes down each report that is due. It stops the work where that is wanted."""

    def __init__(
        self, write: Callable[[Progress], None], must_stop: Callable[[], bool] = lambda: False, every_s: float = _EVERY_S
    ) -> None:
        """Begin with nothing reported.

        Args:
            write: called with each report that passes.
            must_stop: asked after each report, passed or not.
            every_s: how often a new count passes, in seconds.
        """
        self._write, self._must_stop, self._every_s = write, must_stop, every_s
        self.last = Progress("")
        """The last report."""
        self._written_at = -_SAME_S

    def __call__(self, progress: Progress) -> None:
        """Pass a report on if it is due.

        Raises:
            Cancelled: when the work shall stop.
        """
        last, self.last = self.last, progress
        has_changed = _news(last) != _news(progress)
        is_end = progress.done == progress.total and progress.done != last.done
        is_same = not has_changed and (progress.done, progress.total) == (last.done, last.total)
        due_s = _SAME_S if is_same else self._every_s
        if has_changed or is_end or time.monotonic() - self._written_at >= due_s:
            self._write(progress)
            self._written_at = time.monotonic()
        if self._must_stop():
            raise Cancelled
