"""A job: a request in the queue, with its state and progress."""

import contextlib
import functools
import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from analysis.core import store
from analysis.core.errors import JobError, LayerscopeError
from analysis.core.experiment import EXPERIMENTS
from analysis.core.meter import ResourceUsage
from analysis.core.progress import REMAINING, how_far
from analysis.core.record import Spec
from analysis.jobs.queue.processes import Process

QUEUED, RUNNING, PAUSED, DONE, FAILED, CANCELLED, INTERRUPTED = STATES = (
    "queued",
    "running",
    "paused",
    "done",
    "failed",
    "cancelled",
    "interrupted",
)
LOCAL = "local"
"""Name of the backend of this machine, which every installation has."""
SILENT_S = 40.0
"""Time without a report after which no time left is stated, in seconds, or twice the time of a unit
if that is longer."""
RESUMABLE = (PAUSED, FAILED, CANCELLED, INTERRUPTED)
"""States from which a job can be resumed."""


@functools.lru_cache(maxsize=1024)
def _request(kind: str, text: str) -> Spec:
    """Return the request of a row, from a cache: it never changes, and pages read rows every
    second.
    """
    return EXPERIMENTS[kind].spec.from_json(json.loads(text))


def folder(job_id: str) -> Path:
    """Return the folder of the job with this id."""
    return store.cache_dir() / "jobs" / job_id


@dataclass(frozen=True)
class Job:
    """A request in the queue, as read from its row. Times are seconds since the epoch."""

    id: str
    """Ten hexadecimal digits."""
    kind: str
    """Kind of experiment, a key of `EXPERIMENTS`."""
    spec_json: str
    """Request as JSON."""
    state: str
    """One of `STATES`."""
    label: str
    """Title to show."""
    phase: str
    """Current phase."""
    done: int
    """Finished units of the phase."""
    total: int
    """Units of the phase; 0 while unknown."""
    message: str
    """Latest reported message."""
    values: dict[str, Any]
    """Latest reported numbers."""
    error: str | None
    """Reason why the job failed or stopped, or cannot be polled, in one sentence."""
    created_at: float
    """Time of submission."""
    started_at: float | None
    """Start of the current or last attempt."""
    finished_at: float | None
    """End of the last attempt; its last heartbeat if it was interrupted."""
    heartbeat_at: float | None
    """Last heartbeat of the worker."""
    pid: int | None
    """Process id of the worker, also after the end; None if the backend has no worker process."""
    pid_started_at: float | None
    """Creation time of that process, because the system reuses process ids."""
    host: str | None
    """Name of the machine that runs it."""
    cancel_requested: bool
    """Whether it was asked to stop, to be paused or cancelled."""
    attempts: int
    """Number of started attempts."""
    result_key: str | None
    """Fingerprint of the resolved request, under which a complete or partial result is stored; None
    until known."""
    position: int = 0
    """Position in the queue, lowest first."""
    progress_at: float | None = None
    """Time of the last progress report."""
    cancel_requested_at: float | None = None
    """Time of the request to stop."""
    stop_as: str | None = None
    """Requested state, paused or cancelled; None means cancelled."""
    oom_kills: int | None = None
    """Number of processes that the kernel had killed for lack of memory when the attempt began;
    None if it is not counted."""
    backend: str = LOCAL
    """Backend that runs it, a key of `backend.BACKENDS`."""
    pid_born: str | None = None
    """Start of the process, independent of the clock (`Process.born`); None in rows of older
    versions."""
    owner: str | None = None
    """Identity of the user; None for the user of the machine."""
    owner_label: str | None = None
    """Name or e-mail address of the user to show; None also in rows of older versions."""
    limit_s: float | None = None
    """Time limit of an attempt in seconds; None for no limit."""
    shards: int = 1
    """Number of processes that share it."""
    work: ResourceUsage | None = None
    """Resources used by all attempts on its machine; None if they are not measured."""

    @property
    def spec(self) -> Spec:
        """Return the request.

        Raises:
            JobError: if this version cannot read it.
        """
        try:
            return _request(self.kind, self.spec_json)
        except (
            KeyError,
            TypeError,
            ValueError,
            AttributeError,
            RecursionError,
            LayerscopeError,
        ) as error:
            raise JobError(
                f"The request of job {self.id} was stored by another version and cannot be read"
                f" ({error}). Delete the job and submit it again."
            ) from error

    def asks(self, condition: Callable[[Any], bool]) -> bool:
        """Return whether a condition holds for the request; False if this version cannot read
        it.
        """
        with contextlib.suppress(JobError):
            return condition(self.spec)
        return False

    @property
    def is_active(self) -> bool:
        """Return whether it is queued or running."""
        return self.state in (QUEUED, RUNNING)

    @property
    def elapsed_s(self) -> float | None:
        """Return the duration of the current or last attempt so far, in seconds; None if there was
        none.
        """
        if self.started_at is None:
            return None
        return max(0.0, (self.finished_at or time.time()) - self.started_at)

    @property
    def is_over_time(self) -> bool:
        """Return whether the current attempt exceeds its time limit."""
        return (
            self.state == RUNNING
            and self.limit_s is not None
            and (self.elapsed_s or 0.0) > self.limit_s
        )

    @property
    def silent_s(self) -> float | None:
        """Return the seconds since the last report of a running job if that is unusually long, else
        None.
        """
        if self.state != RUNNING or self.progress_at is None:
            return None
        silent = time.time() - self.progress_at
        return silent if silent > max(SILENT_S, 2 * self._remaining.get("unit_s", 0.0)) else None

    @property
    def left_s(self) -> float | None:
        """Return the estimated seconds until the result; None without a measured rate, and after a
        long silence.
        """
        seconds = self._remaining.get("left_s")
        if self.progress_at is None or self.silent_s is not None or seconds is None:
            return None
        return max(0.0, float(seconds) - (time.time() - self.progress_at))

    @property
    def share(self) -> float | None:
        """Return the finished share of all work, in [0, 1]; None while unknown."""
        share = self._remaining.get("share")
        return None if share is None else min(1.0, float(share))

    @property
    def how_far(self) -> str:
        """Return the finished units of the phase if they are countable, as in "3/12", else the
        finished share of all work.
        """
        return how_far(self.done, self.total, self.values | {REMAINING: self._remaining})

    @property
    def stage(self) -> str:
        """Return the current stage, such as "train, 3 of 4"; empty in a job without stages."""
        remaining = self._remaining
        return (
            f"{remaining['stage']}, {remaining['stage_number']} of {remaining['n_stages']}"
            if remaining.get("stage_number")
            else ""
        )

    @property
    def _remaining(self) -> dict[str, Any]:
        value = self.values.get(REMAINING)
        return value if isinstance(value, dict) and self.state == RUNNING else {}

    @property
    def folder(self) -> Path:
        """Return the folder of its request, events and log."""
        return folder(self.id)

    @property
    def process(self) -> Process | None:
        """Return the worker process that runs or ran it; None if there is none, or its process id
        is invalid.
        """
        if self.pid is None or self.pid_started_at is None or self.host is None:
            return None
        with contextlib.suppress(ValueError):
            return Process(self.pid, self.pid_started_at, self.host, self.pid_born)
        return None
