"""Status file of an attempt on another machine. A second file asks the process to stop.

The files may be on a network file system, which SQLite does not support.
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

LOST = (
    "The machine or process that ran it is gone. Resume the job to continue from its saved state."
)
_BEAT_S = 3.0
"""Interval of the heartbeats, which touch the file, in seconds."""


@dataclass(frozen=True)
class LastReport:
    """A report as another process reads it."""

    status: AttemptStatus
    """Status of the attempt."""
    process: Process
    """Process that runs the attempt."""
    silent_s: float
    """Seconds since the last heartbeat, by the clock of the reader."""

    @property
    def is_gone(self) -> bool:
        """Return whether the process is gone although the attempt has not ended."""
        lives = self.process.is_alive(None) if self.process.is_here else self.silent_s < SILENCE_S
        return self.status.state == RUNNING and not lives


class Report:
    """Status file, for the process that writes it and for those that read it."""

    def __init__(self, file: Path, meter: Meter | None = None, interval_s: float = 0.2) -> None:
        """Create a report without writing it.

        Args:
            file: file to write or read; the request to stop is a file next to it.
            meter: meter of the resources that this process uses (default: they are not measured).
            interval_s: minimum time between reports that differ only in their count, in seconds.
        """
        self.file = file
        self._stop = file.with_suffix(".stop")
        self._meter = meter
        self.on_progress = Reporter(lambda progress: self.say(RUNNING), self.must_stop, interval_s)
        """Callback that writes a report if it is due, and raises `Cancelled` if the work must
        stop."""
        self.is_told_to_stop = False
        """Whether this process was asked to stop by a signal."""
        self._result_key: str | None = None
        self._lock = threading.Lock()
        self._ended = threading.Event()

    @cached_property
    def _me(self) -> dict[str, Any]:
        return asdict(Process.current())

    @property
    def is_asked_to_stop(self) -> bool:
        """Return whether the file that asks the process to stop exists."""
        return self._stop.exists()

    def ask_to_stop(self) -> None:
        """Ask the process to save its work and stop.

        Raises:
            StorageError: if the cache folder cannot be written.
        """
        store.write_atomic(self._stop, b"")

    def must_stop(self) -> bool:
        """Return whether the process must stop, by the file or by `is_told_to_stop`."""
        return self.is_told_to_stop or self.is_asked_to_stop

    def say(self, state: str, error: str | None = None, result_key: str | None = None) -> None:
        """Write the state of the attempt."""
        last = self.on_progress.last
        self._result_key = (
            result_key or str(last.values.get("result_key") or "") or self._result_key
        )
        content = {
            "state": state,
            "progress": (
                {**asdict(last), "message": failures.redact(last.message or "")}
                if last.phase
                else None
            ),
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
        """Send heartbeats until the attempt has ended."""
        while not self._ended.wait(_BEAT_S):
            with self._lock, contextlib.suppress(OSError):
                os.utime(self.file)

    def read(self) -> LastReport | None:
        """Return the latest report; None if there is none."""
        try:
            heard_at = self.file.stat().st_mtime
            content = input_files.parsed_object(self.file.read_bytes())
            progress = Progress(**content["progress"]) if content["progress"] else None
            usage = ResourceUsage.from_json(content["work"]) if content.get("work") else None
            status = AttemptStatus(
                str(content["state"]), progress, content["error"], content["result_key"], usage
            )
            return LastReport(
                status, Process(**content["process"]), max(0.0, time.time() - heard_at)
            )
        except (OSError, ValueError, KeyError, TypeError):
            return None

    def status(self) -> AttemptStatus | None:
        """Return the status of the attempt, which is interrupted if its process is gone; None if
        there is no report.
        """
        report = self.read()
        if report is not None and report.is_gone:
            report = self.read()  # the process may have ended regularly after the report was read
        if report is None:
            return None
        return (
            replace(report.status, state=INTERRUPTED, error=LOST)
            if report.is_gone
            else report.status
        )
