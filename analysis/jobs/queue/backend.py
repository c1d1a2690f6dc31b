"""The interface of a backend: a class that runs jobs somewhere.

A registered class in a module of `analysis/jobs/backends`, or in an extension, adds a backend:

    @register
    class Cluster(Backend):
        name = "cluster"
        title = "Our cluster"
        help = "Runs on the machines of our group."

        def submit(self, job): ...
        def watch(self, job): ...
        def cancel(self, job): ...

The job queue is the single source of truth about a job, on whichever backend it runs. A backend
runs one attempt, identified by `job.id` and `job.attempts`, reports its status and can stop it.
Finished work is in the store, and the next attempt resumes from it.
"""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar, TypeVar

from analysis.core.errors import JobError
from analysis.core.meter import ResourceUsage
from analysis.core.progress import Progress
from analysis.core.registry import Registry, modules_in
from analysis.jobs.queue.job import LOCAL, RUNNING, Job


@dataclass(frozen=True)
class AttemptStatus:
    """State of an attempt as a backend sees it."""

    state: str = RUNNING
    """RUNNING, also while it waits in the backend's queue. DONE once its result is in the store.
    FAILED. CANCELLED if `cancel` ended it. INTERRUPTED if its process or machine is gone."""
    progress: Progress | None = None
    """Latest progress; None if none was reported."""
    error: str | None = None
    """Cause of a failure or interruption, and the fix, in one sentence."""
    result_key: str | None = None
    """Fingerprint of the resolved request, under which a complete or partial result is stored; None
    until known."""
    work: ResourceUsage | None = None
    """Resources used in this and earlier attempts; None if they are not measured."""


class Backend(ABC):
    """A place to run jobs.

    Methods return within a second or two, because pages call them while they draw. They raise a
    `LayerscopeError` if the backend is unreachable or refuses, and the job keeps its state.
    Libraries are imported inside methods, because every process that lists jobs imports every
    backend.
    """

    name: ClassVar[str]
    """Name in the job list and on the command line."""
    title: ClassVar[str]
    """Display name."""
    help: ClassVar[str]
    """Purpose, in one sentence."""
    has_worker: ClassVar[bool] = False
    """Whether a worker process takes the jobs from the queue and stores their progress, as on this
    machine. Jobs of other backends are submitted as soon as they are queued, and the status from
    `watch` is stored for them."""

    def available(self) -> str | None:
        """Return why the backend cannot be used now, with the fix; None if it can."""
        return None

    @abstractmethod
    def submit(self, job: Job) -> None:
        """Start the attempt `job.attempts` at this job, once even if it is submitted twice.

        A backend with a worker process only makes sure that the worker runs.
        """

    @abstractmethod
    def watch(self, job: Job) -> AttemptStatus | None:
        """Return the status of the attempt; None if this process does not know it.

        An attempt that no process knows for `processes.SILENCE_S` counts as interrupted. Its output
        is appended to `log.txt` in the job's folder, without anything that looks like a token
        (`failures.redact`).
        """

    @abstractmethod
    def cancel(self, job: Job) -> None:
        """Ask the attempt to save its work and stop, and kill its process tree if it does not stop
        within seconds.

        It is called again until `watch` reports the end, and does nothing for an unknown attempt.
        The job queue records whether the job is cancelled or paused.
        """

    def resume(self, job: Job) -> None:
        """Start another attempt, which resumes from the stored work of earlier ones (default:
        `submit`).
        """
        self.submit(job)


_FOLDER = "analysis.jobs.backends"
"""Package of the backends, by name: they import this module."""
BackendT = TypeVar("BackendT", bound=type[Backend])
BACKENDS: Registry[Backend] = Registry(
    "backend",
    modules=modules_in(_FOLDER),
    order=lambda backend: (backend.name != LOCAL, backend.name),
)
"""Backends by name: this machine first, the others in alphabetical order."""


def register(backend: BackendT) -> BackendT:
    """Register a backend for the queue, the command line and the pages."""
    BACKENDS.add(backend())
    return backend


def usable_backends() -> dict[str, Backend]:
    """Return the backends that can be used now, by name."""
    return {name: backend for name, backend in BACKENDS.items() if backend.available() is None}


def usable(name: str) -> Backend:
    """Return the backend with this name.

    Raises:
        JobError: if there is no such backend, or it cannot be used now.
    """
    if name not in BACKENDS:
        raise JobError(f"There is no backend {name[:40]!r}. Choose one of {', '.join(BACKENDS)}.")
    reason = BACKENDS[name].available()
    if reason is not None:
        raise JobError(f"The backend {name} is not available: {reason}")
    return BACKENDS[name]
