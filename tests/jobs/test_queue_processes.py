"""The queue with real processes: a hundred jobs, two servers, workers and servers that are killed."""

import contextlib
import os
import random
import signal
import time

import pytest

from analysis import jobs
from analysis.core.errors import JobError
from analysis.jobs.queue import processes, settings
from tests.support.server import FAKE, running, visit
from tests.support.worker import COMMAND, end_worker, request, wait_for, wait_state

pytestmark = pytest.mark.timeout(90)


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("LAYERSCOPE_CACHE", str(tmp_path))
    yield tmp_path
    end_worker()


def order(cache) -> list[int]:
    return [int(line.split()[1]) for line in (cache / "order.txt").read_text().splitlines() if line.startswith("begin")]


def kill_worker() -> None:
    worker = processes.worker()
    assert worker is not None
    os.kill(worker.pid, signal.SIGKILL)


def test_paused_job_saves_its_work_and_resumes_from_there(cache):
    job = jobs.submit(request("tidy"))
    jobs.ensure_worker(COMMAND)
    wait_for(lambda: jobs.get(job.id).done >= 3)
    assert jobs.pause(job.id).cancel_requested
    job = wait_state(job, "paused", 5)
    assert job.error == "It was paused. Finished parts are kept."
    assert (cache / "kept.txt").exists()
    reached = jobs.get(job.id).done
    jobs.resume(job.id)
    wait_for(lambda: jobs.get(job.id).done > reached)
    jobs.cancel(job.id)
    wait_state(job, "cancelled", 5)
    steps = (cache / "steps-0.txt").read_text().split()
    assert len(set(steps)) == len(steps)


@pytest.mark.long
def test_a_hundred_jobs_with_ten_cancelled_at_random(cache):
    picked = random.Random(4).sample(range(100), 10)
    # Half are cancelled while all wait, one while it certainly runs. The others are cancelled while they wait, while they run,
    # or when it is too late.
    running, *others = sorted(picked[5:])
    queue = [jobs.submit(request("waits" if seed == running else "quick", seed)) for seed in range(100)]
    for seed in picked[:5]:
        jobs.cancel(queue[seed].id)
    jobs.ensure_worker(COMMAND)
    wait_for(lambda: jobs.get(queue[running].id).phase == "waiting for the cancel", 30)
    assert jobs.cancel(queue[running].id).cancel_requested
    cancelled = {queue[seed].id for seed in picked}
    for job in (queue[seed] for seed in others):
        with contextlib.suppress(JobError):
            jobs.cancel(job.id)
        time.sleep(0.02)
    wait_for(lambda: not jobs.active(), 60)
    ended = [jobs.get(job.id) for job in queue]
    assert {job.state for job in ended} == {"done", "cancelled"}
    assert {job.id for job in ended if job.state == "cancelled"} <= cancelled
    assert all(job.state == "done" for job in ended if job.id not in cancelled)
    assert sum(job.state == "cancelled" for job in ended) >= 6
    ran = order(cache)
    assert running in ran
    assert (ended[running].state, ended[running].attempts) == ("cancelled", 1)
    assert f"end {running}" not in (cache / "order.txt").read_text().splitlines()
    assert ran == sorted(set(ran)), "in the order they were asked for, none twice"
    assert {seed for seed, job in enumerate(ended) if job.state == "done"} <= set(ran)
    assert all(job.attempts <= 1 for job in ended)


def test_job_of_killed_worker_resumes_before_the_others(cache):
    settings.change(auto_resume=True)
    job, other = jobs.submit(request("steps")), jobs.submit(request("quick", 1))
    jobs.ensure_worker(COMMAND)
    wait_for(lambda: jobs.get(job.id).done >= 5)
    kill_worker()
    wait_for(lambda: not jobs.worker_alive())
    # Nobody looks: the next worker finds it itself.
    assert jobs.get(job.id).state == "running"
    jobs.ensure_worker(COMMAND)
    assert wait_state(job, "done").attempts == 2
    wait_state(other, "done")
    assert order(cache) == [0, 0, 1]
    steps = (cache / "steps-0.txt").read_text().split()
    assert len(set(steps)) == 40
    assert len(steps) <= 41


def test_job_outlives_killed_server_and_the_next_shows_it(cache):
    job = jobs.submit(request("tidy"), "The job that stays")
    with running(FAKE, cache) as (process, port):
        visit(port, lambda text: "The job that stays" in text)
        wait_for(lambda: jobs.get(job.id).done >= 3)
        worker = processes.worker().pid
        os.kill(process.pid, signal.SIGKILL)
        process.wait(10)
    reached = jobs.get(job.id).done
    wait_for(lambda: jobs.get(job.id).done > reached + 3)
    assert processes.worker().pid == worker
    with running(FAKE, cache) as (_, port):
        shown = visit(port, lambda text: "stepping" in text)
    assert "The job that stays" in shown
    assert (jobs.get(job.id).state, jobs.get(job.id).attempts) == ("running", 1)
    assert processes.worker().pid == worker
