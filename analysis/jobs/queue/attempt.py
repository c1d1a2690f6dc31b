"""One attempt of a job: its events and log, its end when its worker is killed, and disk space kept for its last messages."""

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
"""How long a job has to hear that it shall stop; with starting anew this keeps a cancel within 5 s."""
_CLEAN_UP_S = 30.0
"""Seconds that a job may take to save its work after it has heard the wish to stop."""


class Run:
    """An attempt at a job."""

    def __init__(self, job: Job, meter: Meter | None = None) -> None:
        """Begin an attempt.

        Args:
            job: as it was claimed.
            meter: reads the work of this process for it; None where another process runs it.
        """
        self.job, self._meter = job, meter
        self.lost = False
        """The row is no longer ours: nothing may be written to it."""
        self.began_at = time.monotonic()
        self.stop_at: float | None = None
        """When the wish to stop arrived, `time.monotonic`."""
        self.heard_at: float | None = None
        """When the job was told, `time.monotonic`."""
        self.on_progress: OnProgress = Reporter(self.write, self._must_stop)
        """Writes a report down if it is due, and raises `Cancelled` when the job shall stop."""
        # A job that was just taken has none; one that another process looked at before continues in its phase.
        self._columns: dict[str, Any] = {}
        self._values = job.values
        self._events = job.folder / "events.jsonl"
        self._end_broken_line()

    def _must_stop(self) -> bool:
        if self.stop_at is not None:
            self.heard_at = self.heard_at or time.monotonic()
        return self.stop_at is not None

    def note(self, standing: RowState) -> None:
        """Take in the state of the row."""
        self.lost = self.lost or standing is RowState.LOST
        if standing is not RowState.GO_ON and self.stop_at is None:
            self.stop_at = time.monotonic()

    @property
    def is_over_time(self) -> bool:
        """Return whether it runs for longer than it may and has not been asked to stop."""
        limit_s = self.job.limit_s
        return self.stop_at is None and limit_s is not None and time.monotonic() - self.began_at > limit_s

    def is_unresponsive(self) -> bool:
        """Return whether it was asked to stop and has not done so in time."""
        if self.stop_at is None:
            return False
        limit = self.stop_at + _GRACE_S if self.heard_at is None else self.heard_at + _CLEAN_UP_S
        return time.monotonic() > limit

    def work(self) -> dict[str, Any]:
        """Return the column of the work until now; empty where another process runs it."""
        return {} if self._meter is None else _work(self._meter.read())

    def write(self, progress: Progress) -> None:
        """Write the report down, whether or not it is due."""
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
        columns |= {"phase": progress.phase, "done": progress.done, "total": progress.total, "progress_at": now}
        if progress.message:
            columns["message"] = redact(progress.message)
        if progress.values:
            is_estimate = progress.values.keys() == {REMAINING}  # the last numbers of the work stay
            self._values = {**(self._values if is_estimate else {}), **progress.values}
            columns["values"] = table.to_json(self._values)
            if progress.values.get("result_key"):
                columns["result_key"] = str(progress.values["result_key"])
        # The columns are kept, so that the next report writes this one down as well.
        with contextlib.suppress(BusyError):
            self.note(table.update(self.job, **columns, **self.work()))

    def _append(self, line: bytes) -> None:
        with store.disk_errors_explained(self._events), self._events.open("ab", buffering=0) as stream:
            stream.write(line)

    def _end_broken_line(self) -> None:
        """Close the line that a killed attempt left half written, so that the next event has one of its own."""
        with contextlib.suppress(OSError, LayerscopeError), self._events.open("rb") as stream:
            stream.seek(-1, os.SEEK_END)
            if stream.read(1) != b"\n":
                self._append(b"\n")


def report(job: Job, progress: Progress) -> None:
    """Write down how far an attempt is that runs elsewhere, if that is news: several processes may look at it, again and again.

    Args:
        job: as it was read before it was looked at.
        progress: how far it was seen to be.
    """
    message, values = redact(progress.message), json.loads(table.to_json(progress.values))
    current = (progress.phase, progress.done, progress.total, message, values)
    if current != (job.phase, job.done, job.total, message and job.message, values and job.values):
        Run(job).write(progress)


def _work(usage: ResourceUsage) -> dict[str, Any]:
    return {"work": table.to_json(asdict(usage))}


def count(job: Job, usage: ResourceUsage | None) -> None:
    """Write down the work of an attempt that runs elsewhere, if that is news."""
    if usage is not None and usage != job.work:
        table.update(job, **_work(usage))


MAX_STALLED = 2
"""Attempts in a row without any progress after which a job no longer resumes by itself."""

RESUME = "Resume the job to continue from its saved state."
_KILLED = (
    "The worker process ended before the job. It was killed, ran out of memory, or the machine restarted: the cause is "
    f"not recorded. {RESUME}"
)
_MEMORY = (
    "The worker process ended before the job. The system had run out of memory and ended a process, most likely this "
    "one. Lower the number of texts, sequence length or batch size, load the model in 4 bits, or close other programs. "
    "Then resume the job."
)
_STALLED = (
    "It was not resumed automatically, because the last {n} attempts made no progress. The job's log, or worker.log in "
    "the cache folder, may say why."
)
_BY_ITSELF = "The worker ended before the job. The job resumes automatically from its saved state."


def interrupt(job: Job, reason: str | None = None, *, finished_at: float | None = None) -> RowState:
    """End a running job as interrupted and, where the setting says so, put it back at the front of the queue.

    One that was asked to stop ends as it was asked. All happens in one transaction: no other process ever sees, or resumes, a
    job that is about to resume by itself.

    Args:
        job: the attempt whose worker is gone.
        reason: the sentence to show; None for the known facts on a worker that nobody saw end.
        finished_at: when it ended, seconds since the epoch; None for now.
    """
    stalled = stalled_attempts(job)
    is_resumed = settings.auto_resume()
    sentence = reason or (_MEMORY if _memory_ran_out(job) else _KILLED)
    if is_resumed and stalled >= MAX_STALLED:
        is_resumed, sentence = False, f"{sentence} {_STALLED.format(n=stalled)}"
    with table.transaction(write=True) as db:
        if table.write(db, job, {}) is RowState.STOP:
            return table.write_stopped(db, job, "It was {state}. Its saved state is kept.")
        standing = table.write(db, job, {"state": INTERRUPTED, "error": sentence, "finished_at": finished_at or time.time()})
        if standing is RowState.GO_ON and is_resumed:
            table.requeue(db, job.id, first=True, message=_BY_ITSELF)
    return standing


def stalled_attempts(job: Job) -> int:
    """How many attempts, up to the last, came no further than the ones before them.

    Further is a phase that no earlier attempt had reached, or more units done in one of them. An attempt that only repeats
    units that an earlier one lost is no progress.
    """
    furthest: dict[str, float] = {}
    reached: dict[int, dict[str, float]] = {}
    for event in read_events(job.folder)[0]:
        phase, done, attempt = event.get("phase"), event.get("done"), event.get("attempt")
        if isinstance(phase, str) and isinstance(done, int | float) and isinstance(attempt, int):
            phases = reached.setdefault(attempt, {})
            phases[phase] = max(done, phases.get(phase, done))
    stalled = 0
    for attempt in range(1, job.attempts + 1):
        further = {phase: done for phase, done in reached.get(attempt, {}).items() if done > furthest.get(phase, -1)}
        furthest |= further
        stalled = 0 if further else stalled + 1
    return stalled


def _memory_ran_out(job: Job) -> bool:
    """Return whether the kernel has ended a process for want of memory since the attempt began, on the machine it ran on."""
    if job.oom_kills is None or job.host != processes.host_name():
        return False
    return (processes.oom_kills() or 0) > job.oom_kills


_LOG_TAIL_BYTES = 256 * 1024


def events(job_id: str, offset: int = 0) -> tuple[list[dict[str, Any]], int]:
    """Return the reports of a job after `offset`, and the offset to ask with next time.

    Each event has `t` (seconds since the epoch), `attempt` and the fields of `Progress`. A last line that is only half
    written is left for the next call; a line that a killed worker left broken is passed over.
    """
    return read_events(table.get(job_id).folder, offset)


def read_events(folder: Path, offset: int = 0) -> tuple[list[dict[str, Any]], int]:
    """Return the events after `offset` and the next offset, of a job known by its folder."""
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
    """The last lines of a job's log, with anything that looks like a hub token blotted out."""
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
        # The cut may fall inside a token, which would then no longer look like one.
        text = re.sub(r"\A\S*\s?", "", text)
    # A progress bar redraws its line with carriage returns: only its last drawing counts.
    lines = [line.rstrip("\r").rpartition("\r")[2] for line in text.split("\n")]
    while lines and not lines[-1].strip():
        lines.pop()
    return redact("\n".join(lines[-n_lines:] if n_lines > 0 else []))


SIZE_BYTES = 4 * 1024 * 1024
"""Bytes that the list of jobs may need at most next to itself: SQLite lets its log grow to that before it begins again."""
_AGAIN_S = 1.0
_log = logging.getLogger(__name__)


def _file() -> Path:
    return store.local_dir() / "worker.reserve"


def reserve_disk_space() -> None:
    """Reserve space for the end of a job on a full disk. On a disk that is full already there is none."""
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
    """Do a small write, in the kept space if need be, and where that is not enough again and again until it works."""
    while True:
        try:
            action()
            return
        except StorageError as error:
            if isinstance(error, BusyError) or not free_reserve():
                _log.warning("%s Trying again.", error)
                time.sleep(_AGAIN_S)
