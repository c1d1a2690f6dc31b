"""Background jobs: the queue, and the backends that run it."""

from analysis.jobs.queue.attempt import events, log_tail
from analysis.jobs.queue.backend import BACKENDS, usable_backends
from analysis.jobs.queue.control import (
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
from analysis.jobs.queue.job import (
    CANCELLED,
    DONE,
    FAILED,
    INTERRUPTED,
    LOCAL,
    PAUSED,
    QUEUED,
    RESUMABLE,
    RUNNING,
    Job,
)
from analysis.jobs.queue.processes import ensure_worker, worker_alive
from analysis.jobs.queue.settings import auto_resume, set_auto_resume
from analysis.jobs.queue.table import get, waited
from analysis.jobs.runner.answer import answered

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
    "Job",
    "active",
    "answered",
    "auto_resume",
    "cancel",
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
    "set_auto_resume",
    "size_bytes",
    "space",
    "start",
    "submit",
    "usable_backends",
    "waited",
    "worker_alive",
]
