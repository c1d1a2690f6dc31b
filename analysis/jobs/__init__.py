"""The queue of long computations, and the places where they run."""

from analysis.jobs import crew
from analysis.jobs.attempt import events, log_tail
from analysis.jobs.backend import BACKENDS, Backend, Seen, usable_backends
from analysis.jobs.backend.local import STUCK_S
from analysis.jobs.job import (
    CANCELLED,
    DONE,
    FAILED,
    INTERRUPTED,
    LOCAL,
    PAUSED,
    QUEUED,
    RESUMABLE,
    RUNNING,
    STATES,
    Job,
)
from analysis.jobs.local import ensure_worker, worker_alive
from analysis.jobs.queue import (
    END,
    FRONT,
    active,
    cancel,
    clear,
    delete,
    list_jobs,
    move,
    pause,
    reap,
    resume,
    size_bytes,
    space,
    start,
    submit,
)
from analysis.jobs.space import Space
from analysis.jobs.table import get, waited

__all__ = [
    "BACKENDS",
    "CANCELLED",
    "DONE",
    "END",
    "FAILED",
    "FRONT",
    "INTERRUPTED",
    "LOCAL",
    "PAUSED",
    "QUEUED",
    "RESUMABLE",
    "RUNNING",
    "STATES",
    "STUCK_S",
    "Backend",
    "Job",
    "Seen",
    "Space",
    "active",
    "cancel",
    "crew",
    "clear",
    "delete",
    "ensure_worker",
    "events",
    "get",
    "list_jobs",
    "log_tail",
    "move",
    "pause",
    "reap",
    "resume",
    "size_bytes",
    "space",
    "start",
    "submit",
    "usable_backends",
    "waited",
    "worker_alive",
]
