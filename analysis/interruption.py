"""What becomes of a job whose worker ended before it did: it waits for someone to resume it, or goes on by itself."""

import time

from analysis import job_files, job_table, processes, settings
from analysis.job import INTERRUPTED, Job
from analysis.job_table import Standing

MAX_STALLED = 2
"""Attempts in a row without any progress after which a job no longer goes on by itself."""

RESUME = "resume the job to go on from what was saved."
_KILLED = (
    "The worker process ended before the job did: it was killed, the memory was not enough, or the machine was restarted, "
    f"which cannot be told apart afterwards; {RESUME}"
)
_MEMORY = (
    "The worker process ended before the job did, and meanwhile the system ended a process because its memory was full, most "
    "likely this one: lower the number of texts, the sequence length or the batch size, load the model in 4 bits, or close "
    "other programs, then resume the job to go on from what was saved."
)
_STALLED = (
    "It was not resumed by itself again, because {n} attempts in a row came no further than those before; the job's log, or "
    "worker.log in the cache folder, may say why."
)
_BY_ITSELF = "The worker ended before the job did; it goes on by itself from what was saved."


def interrupt(job: Job, why: str | None = None, *, at: float | None = None) -> Standing:
    """End a running job as interrupted and, where the setting says so, put it back at the front of the queue.

    One that was asked to stop ends as it was asked. All happens in one transaction: no other process ever sees, or resumes,
    what is about to go on by itself.

    Args:
        job: the attempt whose worker is gone.
        why: the sentence to show; None for what can be known about a worker that was not seen ending.
        at: when it ended, seconds since the epoch; None for now.
    """
    stalled = stalled_attempts(job)
    goes_on = settings.load().auto_resume
    sentence = why or (_MEMORY if _memory_ran_out(job) else _KILLED)
    if goes_on and stalled >= MAX_STALLED:
        goes_on, sentence = False, f"{sentence} {_STALLED.format(n=stalled)}"
    with job_table.transaction(write=True) as db:
        if job_table.write(db, job, {}) is Standing.STOP:
            return job_table.write_stopped(db, job, "It was {state}; what was saved before is kept.")
        standing = job_table.write(db, job, {"state": INTERRUPTED, "error": sentence, "finished_at": at or time.time()})
        if standing is Standing.GO_ON and goes_on:
            job_table.requeue(db, job.id, first=True, message=_BY_ITSELF)
    return standing


def stalled_attempts(job: Job) -> int:
    """How many attempts, up to the last, came no further than the ones before them.

    Further is a phase that no earlier attempt had reached, or more units done in one of them: an attempt that only repeats
    what an earlier one lost again is no progress.
    """
    furthest: dict[str, float] = {}
    reached: dict[int, dict[str, float]] = {}
    for event in job_files.read_events(job.folder)[0]:
        phase, done, attempt = event.get("phase"), event.get("done"), event.get("attempt")
        if isinstance(phase, str) and isinstance(done, int | float) and isinstance(attempt, int):
            phases = reached.setdefault(attempt, {})
            phases[phase] = max(done, phases.get(phase, done))
    stalled = 0
    for attempt in range(1, job.attempts + 1):
        further = {phase: done for phase, done in reached.get(attempt, {}).items() if done > furthest.get(phase, -1)}
        furthest |= further
        stalled = 0 if further else stalled + 1
    return stalled


def _memory_ran_out(job: Job) -> bool:
    """Whether the kernel has ended a process for want of memory since the attempt began, on the machine it ran on."""
    if job.oom_kills is None or job.host != processes.host_name():
        return False
    return (processes.oom_kills() or 0) > job.oom_kills
