"""Places to run: one registered class in one file of this folder, or of anybody's, is one more place that jobs can go to.

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

`job.id` and `job.attempts` name one attempt; what an attempt has finished lies in the store, and the next goes on from there.
"""

import functools
import importlib
import pkgutil
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar, TypeVar

from analysis.core.errors import JobError
from analysis.core.meter import Work
from analysis.core.progress import Progress
from analysis.core.record import Spec
from analysis.jobs.job import LOCAL, RUNNING, Job


@dataclass(frozen=True)
class Seen:
    """What a backend sees when it looks at an attempt."""

    state: str = RUNNING
    """RUNNING, also while it waits its turn there; DONE once its result is in the store; FAILED; CANCELLED when it ended
    because of `cancel`; INTERRUPTED when what ran it is gone, a lost machine for example."""
    progress: Progress | None = None
    """Its latest report; None while there is none."""
    error: str | None = None
    """Why it failed or was interrupted, in one sentence that says what to do."""
    result_key: str | None = None
    """Fingerprint of the resolved spec, under which its result, a partial one too, is stored; None until known."""
    work: Work | None = None
    """What this and earlier attempts had their machines do; None where that is not counted."""


class Backend(ABC):
    """A place to run jobs.

    Methods return within a second or two: pages call them while they draw. A place that is out of reach, or refuses, raises a
    `LayerscopeError` that says so; out of reach is not gone, and the job stays as it was. Libraries are imported inside of
    methods, because everybody who looks at the list of jobs imports every backend.
    """

    name: ClassVar[str]
    """How it is called in the list of jobs and on the command line."""
    title: ClassVar[str]
    """How people call it."""
    help: ClassVar[str]
    """What it is for, in one sentence."""
    has_worker: ClassVar[bool] = False
    """Whether its jobs wait in our queue until a worker of its own takes them and writes down how far they are, as on this
    machine; else each is handed over as soon as it is queued, and what `watch` sees is written down for it."""

    def available(self) -> str | None:
        """Why nothing can be run there now, in a few words with what to do; None when it can."""
        return None

    def tells(self, spec: Spec | None = None, shards: int = 1) -> str | None:
        """What is free there and what a job takes, or why nothing can be run, in a sentence; None where it is not set up.

        Args:
            spec: what a job would ask, or a smaller request of the same model; None where that is not known.
            shards: how many processes would share it.
        """
        return None

    def refuses(self, spec: Spec, shards: int) -> str | None:
        """Why a request that so many processes share can never run there, in a sentence with what to do; None when it can."""
        return None

    @abstractmethod
    def submit(self, job: Job) -> None:
        """Begin the attempt `job.attempts` at this job; the same attempt handed over twice is begun once.

        Where it has a worker of its own, it is only seen to that the worker is there.
        """

    @abstractmethod
    def watch(self, job: Job) -> Seen | None:
        """How the attempt is doing; None when this process knows nothing of it.

        An attempt that nobody knows of for `local.SILENCE_S` counts as interrupted. What it prints belongs at the end of
        `log.txt` in the job's folder, without what looks like a token (`failures.redact`).
        """

    @abstractmethod
    def cancel(self, job: Job) -> None:
        """Tell the attempt to save what it has and end, and end it with all that it started if it does not within seconds.

        It is called again until `watch` sees the end, and does nothing to an attempt that it knows nothing of. Whether
        the job is cancelled or paused by it stands in the list of jobs.
        """

    def resume(self, job: Job) -> None:
        """Begin another attempt, which goes on from what earlier ones stored; for most, that is to begin."""
        self.submit(job)


BackendT = TypeVar("BackendT", bound=type[Backend])
_registered: dict[str, Backend] = {}


def register(backend: BackendT) -> BackendT:
    """Make a place to run known to the queue, the command line and the pages."""
    _registered[backend.name] = backend()
    return backend


def backends() -> dict[str, Backend]:
    """Every place to run by name, this machine first, the others in the order of their names."""
    _import_all()
    return {LOCAL: _registered[LOCAL], **dict(sorted(_registered.items()))}


@functools.cache
def _import_all() -> None:
    for module in pkgutil.iter_modules(__path__):
        importlib.import_module(f"{__name__}.{module.name}")


def usable_backends() -> dict[str, Backend]:
    """The places that can run something now, by name: where there is one only, nobody need be asked."""
    return {name: backend for name, backend in backends().items() if backend.available() is None}


def usable(name: str) -> Backend:
    """The place with this name, which can run something now.

    Raises:
        JobError: when there is no such place, or it cannot run anything now.
    """
    known = backends()
    if name not in known:
        raise JobError(f"There is no backend {name[:40]!r}. Choose one of {', '.join(known)}.")
    reason = known[name].available()
    if reason is not None:
        raise JobError(f"The backend {name} is not available: {reason}")
    return known[name]
