"""The interface of a backend. One registered class in a file of `analysis/jobs/backends`, or of an extension, is one more place
to run jobs.

The list of jobs stays the truth about every job, wherever it runs: there it waits, ends and is found again after a restart.
A backend takes an attempt at a job away from here, tells how far it is whenever it is asked, and can stop it:

    @register
    class Cluster(Backend):
        name = "cluster"
        title = "Our cluster"
        help = "Runs on the machines of our group."

        def submit(self, job): ...
        def watch(self, job): ...
        def cancel(self, job): ...

`job.id` and `job.attempts` name one attempt; the finished work of an attempt lies in the store, and the next resumes from
there.
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
    """RUNNING, also while it waits its turn there. DONE once its result is in the store. FAILED. CANCELLED when it ended
    because of `cancel`. INTERRUPTED when its process or machine is gone."""
    progress: Progress | None = None
    """Its latest report; None while there is none."""
    error: str | None = None
    """Why it failed or was interrupted, and the fix, in one sentence."""
    result_key: str | None = None
    """Fingerprint of the resolved spec, under which its result, a partial one too, is stored; None until known."""
    work: ResourceUsage | None = None
    """Work of the machines in this and earlier attempts; None where that is not counted."""


class Backend(ABC):
    """A place to run jobs.

    Methods return within a second or two: pages call them while they draw. A place that is out of reach, or refuses, raises a
    `LayerscopeError` that says so. Out of reach is not gone, and the job stays as it was. Libraries are imported inside of
    methods, because everybody who looks at the list of jobs imports every backend.
    """

    name: ClassVar[str]
    """How it is called in the list of jobs and on the command line."""
    title: ClassVar[str]
    """How people call it."""
    help: ClassVar[str]
    """Its purpose, in one sentence."""
    has_worker: ClassVar[bool] = False
    """Whether its jobs wait in our queue for a worker of its own, which writes down how far they are, as on this machine. Other
    jobs are handed over as soon as they are queued, and the results of `watch` are written down for them."""

    def available(self) -> str | None:
        """Return why nothing can be run there now, and the fix, in a few words; None when it can."""
        return None

    @abstractmethod
    def submit(self, job: Job) -> None:
        """Begin the attempt `job.attempts` at this job; the same attempt handed over twice is begun once.

        Where it has a worker of its own, it is only seen to that the worker is there.
        """

    @abstractmethod
    def watch(self, job: Job) -> AttemptStatus | None:
        """How the attempt is doing; None when this process knows nothing of it.

        An attempt that nobody knows of for `processes.SILENCE_S` counts as interrupted. Its output belongs at the end of
        `log.txt` in the job's folder, without anything that looks like a token (`failures.redact`).
        """

    @abstractmethod
    def cancel(self, job: Job) -> None:
        """Tell the attempt to save its work and end, and end it with all that it started if it does not within seconds.

        It is called again until `watch` sees the end, and does nothing to an attempt that it knows nothing of. Whether
        the job is cancelled or paused by it stands in the list of jobs.
        """

    def resume(self, job: Job) -> None:
        """Begin another attempt, which resumes from the stored work of earlier ones; for most, that is to begin."""
        self.submit(job)


_FOLDER = "analysis.jobs.backends"
"""A name and not an import: each backend builds on this interface, and on the programs that run jobs."""
BackendT = TypeVar("BackendT", bound=type[Backend])
BACKENDS: Registry[Backend] = Registry(
    "backend", modules=modules_in(_FOLDER), order=lambda backend: (backend.name != LOCAL, backend.name)
)
"""Every place to run by name, this machine first, the others in the order of their names."""


def register(backend: BackendT) -> BackendT:
    """Make a place to run known to the queue, the command line and the pages."""
    BACKENDS.add(backend())
    return backend


def usable_backends() -> dict[str, Backend]:
    """The places that can run something now, by name: where there is one only, nobody need be asked."""
    return {name: backend for name, backend in BACKENDS.items() if backend.available() is None}


def usable(name: str) -> Backend:
    """The place with this name, which can run something now.

    Raises:
        JobError: when there is no such place, or it cannot run anything now.
    """
    if name not in BACKENDS:
        raise JobError(f"There is no backend {name[:40]!r}. Choose one of {', '.join(BACKENDS)}.")
    reason = BACKENDS[name].available()
    if reason is not None:
        raise JobError(f"The backend {name} is not available: {reason}")
    return BACKENDS[name]
