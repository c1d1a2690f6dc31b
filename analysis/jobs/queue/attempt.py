"""One attempt at a job: its events and log, its interruption, and the disk space reserved for its
final state.
"""

import contextlib
import json
import logging
import os
import re
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from analysis.core import input_files, store
from analysis.core.errors import BusyError, LayerscopeError, StorageError
from analysis.core.failures import redact
from analysis.core.meter import Meter, ResourceUsage
from analysis.core.progress import REMAINING, OnProgress, Progress
from analysis.jobs.queue import processes, settings, table
from analysis.jobs.queue.job import INTERRUPTED, Job
from analysis.jobs.queue.reporter import Reporter
from analysis.jobs.queue.table import RowState

_GRACE_S = 3.5
"""Time within which a job must notice a request to stop, in seconds; with a restart of the worker a
cancel takes under 5 s."""
_CLEAN_UP_S = 30.0
"""Time that a job may take to save its work after it noticed the request to stop, in seconds."""


class Run:
    """An attempt at a job."""

    def __init__(self, job: Job, meter: Meter | None = None) -> None:
        """Begin an attempt.

        Args:
            job: the job as it was claimed.
            meter: meter of the resources that this process uses; None if another process runs the
                job.
        """
        self.job = job
        self._meter = meter
        self.lost = False
        """Whether the row belongs to another attempt or is deleted, so that nothing may be written
        to it."""
        self.began_at = time.monotonic()
        self.stop_at: float | None = None
        """Time at which the request to stop arrived, `time.monotonic`; None if there is none."""
        self.heard_at: float | None = None
        """Time at which the job noticed the request to stop, `time.monotonic`; None if it has
        not."""
        self.on_progress: OnProgress = Reporter(self.write, self._must_stop)
        """Callback that stores a report if it is due, and raises `Cancelled` if the job must
        stop."""
        self._columns: dict[str, Any] = {}
        self._values = job.values
        self._events = job.folder / "events.jsonl"
        self._end_broken_line()

    def _must_stop(self) -> bool:
        if self.stop_at is not None:
            self.heard_at = self.heard_at or time.monotonic()
        return self.stop_at is not None

    def note(self, standing: RowState) -> None:
        """Update the attempt from the state of its row."""
        self.lost = self.lost or standing is RowState.LOST
        if standing is not RowState.GO_ON and self.stop_at is None:
            self.stop_at = time.monotonic()

    @property
    def is_over_time(self) -> bool:
        """Return whether the attempt exceeds its time limit and was not asked to stop."""
        limit_s = self.job.limit_s
        return (
            self.stop_at is None
            and limit_s is not None
            and time.monotonic() - self.began_at > limit_s
        )

    def is_unresponsive(self) -> bool:
        """Return whether the attempt was asked to stop and did not do so in time."""
        if self.stop_at is None:
            return False
        limit = self.stop_at + _GRACE_S if self.heard_at is None else self.heard_at + _CLEAN_UP_S
        return time.monotonic() > limit

    def work(self) -> dict[str, Any]:
        """Return the column of the resources used so far; empty if another process runs the job."""
        return {} if self._meter is None else _work(self._meter.read())

    def write(self, progress: Progress) -> None:
        """Store a report, due or not."""
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
        self._append(redact(table.to_json(event)).encode() + b"\n")
        columns = self._columns
        columns |= {
            "phase": progress.phase,
            "done": progress.done,
            "total": progress.total,
            "progress_at": now,
        }
        if progress.message:
            columns["message"] = redact(progress.message)
        if progress.values:
            is_estimate = progress.values.keys() == {
                REMAINING
            }  # keeps the latest numbers of the experiment
            self._values = {**(self._values if is_estimate else {}), **progress.values}
            columns["values"] = table.to_json(self._values)
            if progress.values.get("result_key"):
                columns["result_key"] = str(progress.values["result_key"])
        # If the table is busy, the next report stores these columns as well.
        with contextlib.suppress(BusyError):
            self.note(table.update(self.job, **columns, **self.work()))

    def _append(self, line: bytes) -> None:
        with (
            store.disk_errors_explained(self._events),
            self._events.open("ab", buffering=0) as stream,
        ):
            stream.write(line)

    def _end_broken_line(self) -> None:
        """End the line that a killed attempt left incomplete, so that the next event starts on a
        new one.
        """
        with contextlib.suppress(OSError, LayerscopeError), self._events.open("rb") as stream:
            stream.seek(-1, os.SEEK_END)
            if stream.read(1) != b"\n":
                self._append(b"\n")


def report(job: Job, progress: Progress) -> None:
    """Store the progress of an attempt on another machine if it changed: several processes may poll
    the attempt.

    Args:
        job: the job as it was read before the attempt was polled.
        progress: the progress of the attempt.
    """
    message = redact(progress.message)
    values = json.loads(table.to_json(progress.values))
    current = (progress.phase, progress.done, progress.total, message, values)
    if current != (job.phase, job.done, job.total, message and job.message, values and job.values):
        Run(job).write(progress)


def _work(usage: ResourceUsage) -> dict[str, Any]:
    return {"work": table.to_json(asdict(usage))}


def count(job: Job, usage: ResourceUsage | None) -> None:
    """Store the resources used by an attempt on another machine if they changed."""
    if usage is not None and usage != job.work:
        table.update(job, **_work(usage))


MAX_STALLED = 2
"""Maximum number of consecutive attempts without progress after which a job still resumes
automatically."""

RESUME = "Resume the job to continue from its saved state."
_KILLED = (
    "The worker process ended before the job. It was killed, ran out of memory, or the machine"
    f" restarted: the cause is not recorded. {RESUME}"
)
_MEMORY = (
    "The worker process ended before the job. The system had run out of memory and ended a process,"
    " most likely this one. Lower the number of texts, sequence length or batch size, load the"
    " model in 4 bits, or close other programs. Then resume the job."
)
_STALLED = (
    "It was not resumed automatically, because the last {n} attempts made no progress. The job's"
    " log, or worker.log in the cache folder, may say why."
)
_BY_ITSELF = "The worker ended before the job. The job resumes automatically from its saved state."


def interrupt(job: Job, reason: str | None = None, *, finished_at: float | None = None) -> RowState:
    """End a running job as interrupted and, if automatic resuming is on, put it back at the front
    of the queue.

    A job that was asked to stop ends in the requested state. All of it is one transaction, so no
    other process can resume a job that is about to resume automatically.

    Args:
        job: the attempt whose worker is gone.
        reason: message to show (default: the likely cause, by the kernel's count of processes
            killed for memory).
        finished_at: time of the end, seconds since the epoch (default: now).
    """
    stalled = stalled_attempts(job)
    is_resumed = settings.auto_resume()
    sentence = reason or (_MEMORY if _memory_ran_out(job) else _KILLED)
    if is_resumed and stalled >= MAX_STALLED:
        is_resumed = False
        sentence = f"{sentence} {_STALLED.format(n=stalled)}"
    with table.transaction(write=True) as db:
        if table.write(db, job, {}) is RowState.STOP:
            return table.write_stopped(db, job, "It was {state}. Its saved state is kept.")
        standing = table.write(
            db,
            job,
            {"state": INTERRUPTED, "error": sentence, "finished_at": finished_at or time.time()},
        )
        if standing is RowState.GO_ON and is_resumed:
            table.requeue(db, job.id, first=True, message=_BY_ITSELF)
    return standing


def stalled_attempts(job: Job) -> int:
    """Return the number of latest consecutive attempts without progress.

    Progress is a phase that no earlier attempt reached, or more finished units in one of these
    phases. Repeating units that an earlier attempt lost is no progress.
    """
    furthest: dict[str, float] = {}
    reached: dict[int, dict[str, float]] = {}
    for event in read_events(job.folder)[0]:
        phase = event.get("phase")
        done = event.get("done")
        attempt = event.get("attempt")
        if isinstance(phase, str) and isinstance(done, int | float) and isinstance(attempt, int):
            phases = reached.setdefault(attempt, {})
            phases[phase] = max(done, phases.get(phase, done))
    stalled = 0
    for attempt in range(1, job.attempts + 1):
        further = {
            phase: done
            for phase, done in reached.get(attempt, {}).items()
            if done > furthest.get(phase, -1)
        }
        furthest |= further
        stalled = 0 if further else stalled + 1
    return stalled


def _memory_ran_out(job: Job) -> bool:
    """Return whether the kernel killed a process for lack of memory since the attempt began, if it
    ran on this machine.
    """
    if job.oom_kills is None or job.host != processes.host_name():
        return False
    return (processes.oom_kills() or 0) > job.oom_kills


_LOG_TAIL_BYTES = 256 * 1024


def events(job_id: str, offset: int = 0) -> tuple[list[dict[str, Any]], int]:
    """Return the events of a job after `offset`, and the offset for the next call.

    Each event has `t` (seconds since the epoch), `attempt` and the fields of `Progress`. An
    incomplete last line is left for the next call; a line that a killed worker left incomplete is
    skipped.
    """
    return read_events(table.get(job_id).folder, offset)


def read_events(folder: Path, offset: int = 0) -> tuple[list[dict[str, Any]], int]:
    """Return the events in the folder of a job after `offset`, and the offset for the next call."""
    file = folder / "events.jsonl"
    try:
        with file.open("rb") as stream:
            size = stream.seek(0, os.SEEK_END)
            offset = offset if 0 <= offset <= size else 0
            stream.seek(offset)
            content = stream.read(size - offset)
    except FileNotFoundError:
        return [], 0
    complete = content[: content.rfind(b"\n") + 1]
    events = []
    for line in complete.split(b"\n"):
        with contextlib.suppress(ValueError):
            event = input_files.parsed(line)
            if isinstance(event, dict):
                events.append(event)
    return events, offset + len(complete)


def log_tail(job_id: str, n_lines: int = 30) -> str:
    """Return the last lines of a job's log, with anything that looks like a Hub token redacted."""
    file = table.get(job_id).folder / "log.txt"
    try:
        with file.open("rb") as stream:
            size = stream.seek(0, os.SEEK_END)
            start = max(0, size - _LOG_TAIL_BYTES)
            stream.seek(start)
            text = stream.read().decode(errors="replace")
    except FileNotFoundError:
        return ""
    if start > 0:
        # The first word may be the end of a token, which would not be recognized.
        text = re.sub(r"\A\S*\s?", "", text)
    # A progress bar redraws its line with carriage returns: keep its last state.
    lines = [line.rstrip("\r").rpartition("\r")[2] for line in text.split("\n")]
    while lines and not lines[-1].strip():
        lines.pop()
    return redact("\n".join(lines[-n_lines:] if n_lines > 0 else []))


SIZE_BYTES = 4 * 1024 * 1024
"""Size of the reserved file: the maximum size of SQLite's write-ahead log before a checkpoint."""
_AGAIN_S = 1.0
_log = logging.getLogger(__name__)


def _file() -> Path:
    return store.local_dir() / "worker.reserve"


def reserve_disk_space() -> None:
    """Reserve disk space for storing the end of a job, unless the disk is full already."""
    if not _file().exists():
        with contextlib.suppress(StorageError):
            store.write_atomic(_file(), b"\1" * SIZE_BYTES)


def free_reserve() -> bool:
    """Free the reserved space, and return whether there was any."""
    try:
        _file().unlink()
        return True
    except OSError:
        return False


def write_down(action: Callable[[], None]) -> None:
    """Repeat a small write until it succeeds, freeing the reserved space if the disk is full."""
    while True:
        try:
            action()
            return
        except StorageError as error:
            if isinstance(error, BusyError) or not free_reserve():
                _log.warning("%s Trying again.", error)
                time.sleep(_AGAIN_S)
