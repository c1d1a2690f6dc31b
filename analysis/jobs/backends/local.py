"""This machine: jobs wait in the queue for the one worker process of the cache folder."""

import time

from analysis.jobs.queue import processes
from analysis.jobs.queue.backend import AttemptStatus, Backend, register
from analysis.jobs.queue.job import INTERRUPTED, LOCAL, Job

STUCK_S = 8.0
"""A worker that was asked to stop and then seen silent for this long is ended: even its watchdog is stuck."""


@register
class Local(Backend):
    """The worker process on this machine, or on another one that shares the cache folder."""

    name = LOCAL
    title = "This machine"
    help = "Runs one job after another, in a separate process that continues when the dashboard ends."
    has_worker = True

    def __init__(self) -> None:
        """Begin without having seen any worker."""
        self._heard: dict[str, tuple[tuple[int, float | None], float]] = {}

    def submit(self, job: Job) -> None:
        """See to it that the worker runs: it takes queued jobs itself, in their order."""
        processes.ensure_worker()

    def watch(self, job: Job) -> AttemptStatus:
        """Return whether the worker is still there: all else it writes down itself.

        On this host it is known by a value that no clock changes, on another by its heartbeat. A worker that was asked to stop
        may be so stuck that not even its watchdog acts. It is ended here, by the process that has looked at it for that long.
        """
        process = job.process
        if process is None or not process.is_alive(job.heartbeat_at):
            return AttemptStatus(INTERRUPTED)
        if job.cancel_requested and process.is_here and self._silent_s(job) > STUCK_S:
            process.kill()
            return AttemptStatus(INTERRUPTED)
        return AttemptStatus()

    def _silent_s(self, job: Job) -> float:
        """For how long this process has seen no sign of life: times that others wrote down are of clocks that may be set."""
        now, heard = time.monotonic(), (job.attempts, job.heartbeat_at)
        before, since = self._heard.get(job.id, (None, now))
        if before != heard:
            self._heard[job.id] = heard, now
            return 0.0
        return now - since

    def cancel(self, job: Job) -> None:
        """Nothing: the worker's watchdog reads the wish in the list of jobs, several times a second."""
