"""The report of a process on its work, in a file: how far it is, and how it ended. A file beside it asks the process to stop.

It is for processes that run elsewhere: the file may lie on a network file system, where SQLite must not.
"""

import contextlib
import json
import os
import threading
import time
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from analysis.core import failures, input_files, store
from analysis.core.meter import Meter, ResourceUsage
from analysis.core.progress import Progress
from analysis.jobs.queue.backend import AttemptStatus
from analysis.jobs.queue.job import INTERRUPTED, RUNNING
from analysis.jobs.queue.processes import SILENCE_S, Process
from analysis.jobs.queue.reporter import Reporter

LOST = "The machine or process that ran it is gone. Resume the job to continue from its saved state."
_BEAT_S = 3.0
"""How often the file is touched, so that others see from elsewhere that it lives."""


@dataclass(frozen=True)
class LastReport:
    """A report as others read it."""

    status: AttemptStatus
    process: Process
    silent_s: float
    """Seconds since it was last heard from, by the clock of the reader."""

    @property
    def is_gone(self) -> bool:
        """Return whether it has not ended and yet nothing of it is left."""
        lives = self.process.is_alive(None) if self.process.is_here else self.silent_s < SILENCE_S
        return self.status.state == RUNNING and not lives


class Report:
    """The report in a file, for the process that writes it and for those that read it."""

    def __init__(self, file: Path, meter: Meter | None = None, every_s: float = 0.2) -> None:
        """Begin without a word.

        Args:
            file: to write to or read from; the wish to stop is a file beside it.
            meter: reads the work of this process for it; None where nobody counts.
            every_s: how often a new count is written, in seconds.
        """
        self.file, self._stop, self._meter = file, file.with_suffix(".stop"), meter
        self.on_progress = Reporter(lambda progress: self.say(RUNNING), self.must_stop, every_s)
        """Writes a report down if it is due, and raises `Cancelled` when the work shall end."""
        self.is_told_to_stop = False
        """Set when this process has heard in another way that it shall stop."""
        self._result_key: str | None = None
        self._lock, self._ended = threading.Lock(), threading.Event()

    @cached_property
    def _me(self) -> dict[str, Any]:
        return asdict(Process.current())

    @property
    def is_asked_to_stop(self) -> bool:
        """Return whether somebody wants it to save its work and end."""
        return self._stop.exists()

    def ask_to_stop(self) -> None:
        """Let the process save its work and end.

        Raises:
            StorageError: when the cache folder cannot be written.
        """
        store.write_atomic(self._stop, b"")

    def must_stop(self) -> bool:
        """Return whether it shall stop, by the file or by `is_told_to_stop`."""
        return self.is_told_to_stop or self.is_asked_to_stop

    def say(self, state: str, error: str | None = None, result_key: str | None = None) -> None:
        """Write down how it stands."""
        last = self.on_progress.last
        self._result_key = result_key or str(last.values.get("result_key") or "") or self._result_key
        content = {
            "state": state,
            "progress": {**asdict(last), "message": failures.redact(last.message or "")} if last.phase else None,
            "error": error,
            "result_key": self._result_key,
            "process": self._me,
            "work": None if self._meter is None else asdict(self._meter.read()),
        }
        with self._lock:
            if state != RUNNING:
                self._ended.set()
            store.write_atomic(self.file, json.dumps(content).encode())

    def beat(self) -> None:
        """Show others that it lives, until it has ended."""
        while not self._ended.wait(_BEAT_S):
            with self._lock, contextlib.suppress(OSError):
                os.utime(self.file)

    def read(self) -> LastReport | None:
        """Return the report so far; None while there is none."""
        try:
            heard_at, content = self.file.stat().st_mtime, input_files.parsed_object(self.file.read_bytes())
            progress = Progress(**content["progress"]) if content["progress"] else None
            usage = ResourceUsage.from_json(content["work"]) if content.get("work") else None
            status = AttemptStatus(str(content["state"]), progress, content["error"], content["result_key"], usage)
            return LastReport(status, Process(**content["process"]), max(0.0, time.time() - heard_at))
        except (OSError, ValueError, KeyError, TypeError):
            return None

    def status(self) -> AttemptStatus | None:
        """Return the report as a backend does: work without a process is interrupted."""
        report = self.read()
        if report is not None and report.is_gone:
            report = self.read()  # its last word may have come between the reading of its report and the look at its process
        if report is None:
            return None
        return replace(report.status, state=INTERRUPTED, error=LOST) if report.is_gone else report.status
