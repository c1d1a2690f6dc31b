"""Facts of models, for all windows: nobody's page waits while a model is being read."""

import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

FRESH_S = 120.0
"""Free memory changes from minute to minute: an older answer is shown while a new one is read."""
OLD_S = 240.0
"""An answer that is older is not shown any more."""
FAILED_S = 10.0
"""For so long the answer stands that a model cannot be used: the visitor may have fixed the reason."""
_AT_ONCE = 2
"""Each look is a process that takes a model library's memory and seconds of a processor."""
_MOST = 32


@dataclass
class _Known:
    """The stored answer about one model."""

    answer: dict[str, Any] | Exception | None = None
    told_at: float = float("-inf")
    is_coming: bool = False

    def age(self, now: float) -> float:
        """Seconds since it was told."""
        return now - self.told_at

    def is_shown(self, now: float) -> bool:
        """Return whether it may still be shown."""
        return self.age(now) < (FAILED_S if isinstance(self.answer, Exception) else OLD_S)


class Looks:
    """Answers by question; a question without one, or without a fresh one, is being answered behind the pages."""

    def __init__(self, look: Callable[..., dict[str, Any]], now: Callable[[], float] = time.monotonic) -> None:
        """Begin without any answer.

        Args:
            look: finds the answer, in seconds.
            now: seconds on a clock that only goes forward.
        """
        self._look, self._now = look, now
        self._known: OrderedDict[tuple[Any, ...], _Known] = OrderedDict()
        self._lock, self._turn = threading.Lock(), threading.Semaphore(_AT_ONCE)

    def of(self, *asked: Any) -> dict[str, Any] | None:
        """Return the answer; None while the first one, or one after a long time, is on its way.

        Raises:
            Exception: the exception of the look.
        """
        with self._lock:
            known = self._known.setdefault(asked, _Known())
            self._known.move_to_end(asked)
            while len(self._known) > _MOST:
                self._known.popitem(last=False)
            now, answer = self._now(), known.answer
            if not known.is_coming and (known.age(now) >= FRESH_S or not known.is_shown(now)):
                known.is_coming = True
                threading.Thread(target=self._ask, args=(known, asked), name="look", daemon=True).start()
            if not known.is_shown(now):
                return None
        if isinstance(answer, Exception):
            raise answer.with_traceback(None)
        return answer

    def _ask(self, known: _Known, asked: tuple[Any, ...]) -> None:
        with self._turn:
            answer: dict[str, Any] | Exception
            try:
                answer = self._look(*asked)
            except Exception as error:  # raised again for every caller
                answer = error
        with self._lock:
            known.answer, known.told_at, known.is_coming = answer, self._now(), False
