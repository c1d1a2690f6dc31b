"""One request on its way through the queue: its states, and all that is known of it."""

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
from analysis.core.progress import REMAINING, how_far, is_counted
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
"""The name of the place to run that every installation has: the worker process on this machine."""
SILENT_S = 40.0
"""Seconds without a report after which no time left is stated; a unit that takes longer may take twice its usual time."""
RESUMABLE = (PAUSED, FAILED, CANCELLED, INTERRUPTED)
"""States from which a job can go back into the queue."""


@functools.lru_cache(maxsize=1024)
def _request(kind: str, text: str) -> Spec:
    """Return the request of a row, made once: it never changes, and pages read rows every second."""
    return EXPERIMENTS[kind].spec.from_json(json.loads(text))


def folder(job_id: str) -> Path:
    """The folder of the job with this id."""
    return store.cache_dir() / "jobs" / job_id


@dataclass(frozen=True)
class Job:
    """One request on its way through the queue, as it was when it was read."""

    id: str
    """Ten hexadecimal digits, made by us."""
    kind: str
    """Which experiment: a key of `EXPERIMENTS`."""
    spec_json: str
    """The request as JSON."""
    state: str
    """One of `STATES`."""
    label: str
    """The line to show people."""
    phase: str
    """The present phase."""
    done: int
    """Units finished in this phase."""
    total: int
    """Units in this phase; 0 while unknown."""
    message: str
    """The latest sentence reported."""
    values: dict[str, Any]
    """The latest numbers reported."""
    error: str | None
    """Why it failed, was paused, cancelled or interrupted, or why nobody can look at it while it runs, in one sentence."""
    created_at: float
    """When it was submitted; all times are seconds since the epoch."""
    started_at: float | None
    """When the present or last attempt began."""
    finished_at: float | None
    """When the last attempt ended; of an interrupted one, when it was last heard from."""
    heartbeat_at: float | None
    """The worker's last sign of life."""
    pid: int | None
    """The worker's process, while running and after; None where the backend has no worker of its own."""
    pid_started_at: float | None
    """When that process was created, as the clock was then: pids are handed out again."""
    host: str | None
    """The machine it runs on."""
    cancel_requested: bool
    """Someone asked to stop it, for good or for now."""
    attempts: int
    """How many times a worker took it."""
    result_key: str | None
    """Fingerprint of the resolved spec, under which the result (a partial one too) is stored; None until known."""
    position: int = 0
    """Order in the queue, lowest first."""
    progress_at: float | None = None
    """When progress was last reported."""
    cancel_requested_at: float | None = None
    """When the stop was asked for."""
    stop_as: str | None = None
    """The state it was asked to take, paused or cancelled; None is cancelled."""
    oom_kills: int | None = None
    """Processes that the kernel had ended for want of memory when the attempt began; None where it does not count them."""
    backend: str = LOCAL
    """Where it runs: a key of `backend.BACKENDS`."""
    pid_born: str | None = None
    """The start as `pid_started_at` gives it, in a value that no clock changes (`Process.born`); None in rows of older
    versions."""
    owner: str | None = None
    """Which of several users started it; None for the user of the machine."""
    owner_label: str | None = None
    """The owner's name or e-mail address to show; None also in rows of older versions."""
    limit_s: float | None = None
    """Seconds after which an attempt is stopped; None for never."""
    shards: int = 1
    """Number of processes that share it."""
    work: ResourceUsage | None = None
    """Work of its machine in all its attempts, as far as is written down; None where nobody counts."""

    @property
    def spec(self) -> Spec:
        """The request.

        Raises:
            JobError: if another version of the program stored it, and this one cannot read it.
        """
        try:
            return _request(self.kind, self.spec_json)
        except (KeyError, TypeError, ValueError, AttributeError, RecursionError, LayerscopeError) as error:
            raise JobError(
                f"The request of job {self.id} was stored by another version and cannot be read ({error}). Delete the job and "
                "submit it again."
            ) from error

    def asks(self, condition: Callable[[Any], bool]) -> bool:
        """Return whether a condition holds for the request; False if this version cannot read it."""
        with contextlib.suppress(JobError):
            return condition(self.spec)
        return False

    @property
    def is_active(self) -> bool:
        """Return whether it is queued or running."""
        return self.state in (QUEUED, RUNNING)

    @property
    def elapsed_s(self) -> float | None:
        """Seconds the present or last attempt took so far; None if it never began."""
        if self.started_at is None:
            return None
        return max(0.0, (self.finished_at or time.time()) - self.started_at)

    @property
    def is_over_time(self) -> bool:
        """Return whether the present attempt runs for longer than it may."""
        return self.state == RUNNING and self.limit_s is not None and (self.elapsed_s or 0.0) > self.limit_s

    @property
    def silent_s(self) -> float | None:
        """Seconds since the last report of a running job, where that is longer than its reports usually take; else None."""
        if self.state != RUNNING or self.progress_at is None:
            return None
        silent = time.time() - self.progress_at
        return silent if silent > max(SILENT_S, 2 * self._remaining.get("unit_s", 0.0)) else None

    @property
    def left_s(self) -> float | None:
        """Seconds until the result; None while a rate is not measured, and after a long silence."""
        seconds = self._remaining.get("left_s")
        if self.progress_at is None or self.silent_s is not None or seconds is None:
            return None
        return max(0.0, float(seconds) - (time.time() - self.progress_at))

    @property
    def share(self) -> float | None:
        """Share of all work that is finished, in [0, 1]; None while it is unknown."""
        share = self._remaining.get("share")
        return None if share is None else min(1.0, float(share))

    @property
    def how_far(self) -> str:
        """Finished units of the present phase if people count them, as in "3/12", else the finished share of all work."""
        is_share = self.share is not None and not is_counted(self.total)
        return f"{self.share:.0%}" if is_share else how_far(self.done, self.total)

    @property
    def stage(self) -> str:
        """The present stage: "train, 3 of 4"; empty in a job without named stages."""
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
        """Where its spec, events, log and checkpoints lie."""
        return folder(self.id)

    @property
    def process(self) -> Process | None:
        """Return the worker that has, or had, it; None where none is written down, or its pid is invalid."""
        if self.pid is None or self.pid_started_at is None or self.host is None:
            return None
        with contextlib.suppress(ValueError):
            return Process(self.pid, self.pid_started_at, self.host, self.pid_born)
        return None
