"""The backend of this machine: jobs wait in the queue for the worker process of the cache
folder.
"""

import time

from analysis.jobs.queue import processes
from analysis.jobs.queue.backend import AttemptStatus, Backend, register
from analysis.jobs.queue.job import INTERRUPTED, LOCAL, Job

STUCK_S = 8.0
"""Time without a heartbeat after which a worker that was asked to stop is killed, in seconds,
because its watchdog is stuck."""


@register
class Local(Backend):
    """The worker process on this machine, or on another one that shares the cache folder."""

    name = LOCAL
    title = "This machine"
    help = (
        "Runs one job after another, in a separate process that continues when the dashboard ends."
    )
    has_worker = True

    def __init__(self) -> None:
        """Create the backend."""
        self._heard: dict[str, tuple[tuple[int, float | None], float]] = {}

    def submit(self, job: Job) -> None:
        """Start the worker if it does not run; it takes queued jobs itself, in order."""
        processes.ensure_worker()

    def watch(self, job: Job) -> AttemptStatus:
        """Return whether the worker still runs; it stores everything else itself.

        A worker that was asked to stop and whose watchdog is stuck is killed here, by a process
        that has polled it for `STUCK_S`.
        """
        process = job.process
        if process is None or not process.is_alive(job.heartbeat_at):
            return AttemptStatus(INTERRUPTED)
        if job.cancel_requested and process.is_here and self._silent_s(job) > STUCK_S:
            process.kill()
            return AttemptStatus(INTERRUPTED)
        return AttemptStatus()

    def _silent_s(self, job: Job) -> float:
        """Return the seconds since this process saw a new heartbeat, by a monotonic clock."""
        now = time.monotonic()
        heard = (job.attempts, job.heartbeat_at)
        before, since = self._heard.get(job.id, (None, now))
        if before != heard:
            self._heard[job.id] = heard, now
            return 0.0
        return now - since

    def cancel(self, job: Job) -> None:
        """Do nothing: the worker's watchdog reads the request from the list of jobs several times a
        second.
        """
