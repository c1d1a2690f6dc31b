"""Progress of a command: bars on a terminal, plain lines otherwise."""

import sys
import time
from typing import Any, Self

from analysis.core import escapes, units
from analysis.core.progress import MAX_COUNT, REMAINING, Progress, how_far

_LINE_INTERVAL_S = 10.0
"""Time after which a line is due, in seconds."""
_LINE_SHARE = 0.0999
"""Share of a phase after which a line is due."""
_MIN_INTERVAL_S = 1.0
"""Minimum time between two lines, in seconds."""


def bar_format(total: int) -> str:
    """Return the format of tqdm without its time left, which would be that of the phase alone, and
    without units that are too many to mean anything.
    """
    counted = "{n_fmt}/{total_fmt} " if total < MAX_COUNT else ""
    return "{l_bar}{bar}| " + counted + "[{elapsed}{postfix}]"


def _left(progress: Progress) -> str:
    """Return the time left of all stages in words; "" if it is unknown."""
    seconds = progress.values.get(REMAINING, {}).get("left_s")
    return "" if seconds is None else f"about {units.duration(seconds)} left in total"


class Bar:
    """Progress callback that shows one bar per phase, or lines at an interval, and each message
    once.
    """

    def __init__(self) -> None:
        """Start without a bar."""
        self._phase = self._printed = ""
        self._bar: Any = None
        self._line_at = time.monotonic()
        self._line_share = 0.0

    def __call__(self, progress: Progress) -> None:
        """Show one report."""
        from tqdm import tqdm

        is_terminal = sys.stderr.isatty()
        if progress.phase != self._phase:
            self.close()
            self._phase = progress.phase
            self._line_share = 0.0
            if progress.total and is_terminal:
                is_transfer = "of_bytes" in progress.values
                options = {"unit": "B", "unit_scale": True} if is_transfer else {}
                self._bar = tqdm(
                    desc=escapes.visible(progress.phase),
                    total=progress.total,
                    file=sys.stderr,
                    leave=False,
                    bar_format=bar_format(0 if is_transfer else progress.total),
                    **options,
                )
        if self._is_news(progress.message):
            tqdm.write(escapes.visible(progress.message), file=sys.stderr)
        if self._bar is not None:
            self._bar.total = progress.total
            self._bar.set_postfix_str(_left(progress), refresh=False)
            self._bar.update(progress.done - self._bar.n)
        elif not is_terminal:
            self._line(progress)

    def _is_news(self, message: str) -> bool:
        """Return whether a message differs from the last one."""
        before = self._printed
        self._printed = message or self._printed
        return self._printed != before

    def _line(self, progress: Progress) -> None:
        """Write the progress if a line is due; a finished phase needs none."""
        if not progress.phase or (progress.total and progress.done >= progress.total):
            return
        share = progress.done / progress.total if progress.total else 0.0
        waited = time.monotonic() - self._line_at
        if waited < _LINE_INTERVAL_S and (
            waited < _MIN_INTERVAL_S or share - self._line_share < _LINE_SHARE
        ):
            return
        self._line_at = time.monotonic()
        self._line_share = share
        far = (
            f": {how_far(progress.done, progress.total, progress.values)}" if progress.total else ""
        )
        parts = [f"{progress.phase}{far}", _left(progress)]
        sys.stderr.write(escapes.visible(f"{', '.join(filter(None, parts))}\n"))
        sys.stderr.flush()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the bar."""
        if self._bar is not None:
            self._bar.close()
        self._bar = None
