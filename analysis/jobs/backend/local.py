"""This machine: jobs wait in the queue for the one worker process of the cache folder."""

import time

from analysis.jobs import local
from analysis.jobs.backend import Backend, Seen, register
from analysis.jobs.job import INTERRUPTED, LOCAL, Job

STUCK_S = 8.0
"""A worker that has been asked to stop, and silent, for this long is ended: even its watchdog is stuck."""


@register
class Local(Backend):
    """The worker process on this machine, or on another one that shares the cache folder."""

    name = LOCAL
    title = "This machine"
    help = "One job after another, in a process of its own that goes on when the dashboard ends."
    has_worker = True

    def submit(self, job: Job) -> None:
        """See to it that the worker runs: it takes queued jobs itself, in their order."""
        local.ensure_worker()

    def watch(self, job: Job) -> Seen:
        """Whether the worker is still there: all else it writes down itself.

        On this host it is known by pid and creation time, on another by its heartbeat. A worker that was asked to stop and is
        so stuck that not even its watchdog acts is ended here.
        """
        process, now = job.process, time.time()
        if process is None or not process.is_alive(job.heartbeat_at):
            return Seen(INTERRUPTED)
        silent_s = now - min(job.cancel_requested_at or now, now)
        if silent_s > STUCK_S and now - (job.heartbeat_at or 0.0) > STUCK_S and process.host == local.host_name():
            process.kill()
            return Seen(INTERRUPTED)
        return Seen()

    def cancel(self, job: Job) -> None:
        """Nothing: the worker's watchdog reads the wish in the list of jobs, several times a second."""
