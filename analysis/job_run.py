"""One job in the worker's hands: its progress is written down, and it is told when to stop."""

import contextlib
import os
import time
from typing import Any

from analysis import job_table, storage
from analysis.errors import LayerscopeError
from analysis.job import Job, redact
from analysis.job_table import Standing
from analysis.progress import Cancelled, Progress

_EVENT_S = 0.2
"""Reports that say nothing new but a count are written at most this often."""
_GRACE_S = 3.5
"""How long a job has to hear that it shall stop; with starting anew this keeps a cancel within 5 s."""
_CLEAN_UP_S = 30.0
"""How long a job that has heard it may take to save what it has."""


class Run:
    """An attempt at a job."""

    def __init__(self, job: Job) -> None:
        """Begin an attempt.

        Args:
            job: as it was claimed.
        """
        self.job = job
        self.lost = False
        """The row is no longer ours: nothing may be written to it."""
        self.stop_at: float | None = None
        """When the wish to stop arrived, `time.monotonic`."""
        self.heard_at: float | None = None
        """When the job was told, `time.monotonic`."""
        self._last = Progress("")
        self._written_at = 0.0
        self._columns: dict[str, Any] = {}
        self._events = job.folder / "events.jsonl"
        self._end_broken_line()

    def on_progress(self, progress: Progress) -> None:
        """Write the report down if it is due.

        Raises:
            Cancelled: when the job shall stop.
        """
        last, self._last = self._last, progress
        news = (last.phase, last.message, last.values) != (progress.phase, progress.message, progress.values)
        is_end = progress.done == progress.total and progress.done != last.done
        if news or is_end or time.monotonic() - self._written_at >= _EVENT_S:
            self._write(progress)
        if self.stop_at is not None:
            self.heard_at = self.heard_at or time.monotonic()
            raise Cancelled

    def note(self, standing: Standing) -> None:
        """Take in what the row says."""
        self.lost = self.lost or standing is Standing.LOST
        if standing is not Standing.GO_ON and self.stop_at is None:
            self.stop_at = time.monotonic()

    def is_deaf(self) -> bool:
        """Whether it was asked to stop and has not done so in time."""
        if self.stop_at is None:
            return False
        limit = self.stop_at + _GRACE_S if self.heard_at is None else self.heard_at + _CLEAN_UP_S
        return time.monotonic() > limit

    def _write(self, progress: Progress) -> None:
        now = time.time()
        event = {
            "t": now,
            "attempt": self.job.attempts,
            "phase": progress.phase,
            "done": progress.done,
            "total": progress.total,
            "message": progress.message,
            "values": progress.values,
        }
        self._append(redact(job_table.to_json(event)).encode() + b"\n")
        columns = self._columns
        if progress.phase != columns.get("phase") or progress.done < columns["done"]:
            columns |= {"phase": progress.phase, "phase_started_at": now, "phase_first_done": progress.done}
        columns |= {"done": progress.done, "total": progress.total, "progress_at": now}
        if progress.message:
            columns["message"] = redact(progress.message)
        if progress.values:
            columns["values"] = job_table.to_json(progress.values)
            if progress.values.get("result_key"):
                columns["result_key"] = str(progress.values["result_key"])
        self.note(job_table.update(self.job, **columns))
        self._written_at = time.monotonic()

    def _append(self, line: bytes) -> None:
        with storage.disk_errors_explained(self._events), self._events.open("ab", buffering=0) as stream:
            stream.write(line)

    def _end_broken_line(self) -> None:
        """Close the line that a killed attempt left half written, so that the next event has one of its own."""
        with contextlib.suppress(OSError, LayerscopeError), self._events.open("rb") as stream:
            stream.seek(-1, os.SEEK_END)
            if stream.read(1) != b"\n":
                self._append(b"\n")
