"""Common parts of the tests of jobs and of the worker."""

import os
import signal
import sys
import time
from dataclasses import replace
from pathlib import Path

import psutil

from analysis import jobs
from analysis.data.spec import CorpusSpec
from analysis.experiments.maps.distance_spec import DistanceSpec
from analysis.jobs.queue import processes
from analysis.models.source.model_spec import ModelSpec

SCRIPT = Path(__file__).with_name("fake_worker.py")
COMMAND = (sys.executable, str(SCRIPT), "60")


def request(what: str = "quick", seed: int = 0) -> DistanceSpec:
    return DistanceSpec(model=ModelSpec(source=what), corpus=CorpusSpec(seed=seed))


def another(process: processes.Process) -> processes.Process:
    """A process that had the pid of this one before."""
    born = process.born and f"{process.born.rpartition('/')[0]}/1"
    return replace(process, started_at=1.0, born=born)


def wait_for(condition, timeout: float = 15.0):
    """Return the first true value of `condition()`; an AssertionError when time is up."""
    end = time.monotonic() + timeout
    while time.monotonic() < end:
        found = condition()
        if found:
            return found
        time.sleep(0.03)
    raise AssertionError(
        f"not within {timeout} s; jobs:"
        f" {[(j.id, j.state, j.phase, j.done, j.error) for j in jobs.list_jobs()]}"
    )


def wait_state(job: jobs.Job, state: str, timeout: float = 15.0) -> jobs.Job:
    return wait_for(lambda: (now := jobs.get(job.id)).state == state and now, timeout)


def end_worker() -> None:
    """Kill the worker of the cache folder and wait until it is gone."""
    process, _ = processes.announced()
    for started in processes._started:
        if started.poll() is None:
            started.kill()
        started.wait(10)
    processes._started.clear()
    if process is not None and process.is_alive(None):
        for child in psutil.Process(process.pid).children(recursive=True):
            child.kill()
        os.kill(process.pid, signal.SIGKILL)
        wait_for(lambda: not process.is_alive(None))
