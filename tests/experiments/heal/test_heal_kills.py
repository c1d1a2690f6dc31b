"""A queued healing run that is killed in training and resumed ends as one that was left alone."""

import contextlib
import multiprocessing
import os
import signal
from dataclasses import replace

import pytest

from analysis import jobs
from analysis.experiments.heal import checkpoints, healing
from analysis.experiments.heal.heal_result import HealResult
from analysis.experiments.heal.heal_spec import HealSpec
from tests.support import little_heal
from tests.support.heal_child import work
from tests.support.worker import wait_for, wait_state

STEPS = 120


@pytest.fixture
def spec(cache, tiny_folder, tmp_path) -> HealSpec:
    return little_heal.spec(
        tiny_folder("llama"), tmp_path, steps=STEPS, warmup_steps=4, eval_every=4
    )


@contextlib.contextmanager
def queue_worker(cache):
    """A real worker of the cache folder, as a copy of a process that has imported everything."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["tests.support.heal_child"])
    process = context.Process(target=work, args=(str(cache),))
    process.start()
    try:
        yield process
    finally:
        process.kill()
        process.join(10)


@pytest.mark.timeout(200)
@pytest.mark.long
def test_killed_and_uninterrupted_queued_runs_end_with_equal_results(spec, cache, monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    alone = healing.run(replace(spec, recipe="left alone"))
    job = jobs.submit(spec)
    with queue_worker(cache) as worker:
        wait_for(lambda: jobs.get(job.id).values.get("step", 0) >= 8, 60)
        os.kill(worker.pid, signal.SIGKILL)
        worker.join(10)
    (found,) = wait_for(jobs.reap)
    assert (found.id, found.state) == (job.id, "interrupted")
    part = HealResult.load(healing.resolve(spec))
    assert part.healed is None
    reached = checkpoints.newest(healing.resolve(spec).fingerprint()).step
    assert 0 < reached < STEPS
    with queue_worker(cache):
        assert jobs.resume(job.id).state == "queued"
        ended = wait_state(job, "done", 60)
    assert (ended.attempts, ended.error) == (2, None)
    assert f"Resuming from the checkpoint at step {reached}." in {
        event["message"] for event in jobs.events(job.id)[0]
    }
    resumed = HealResult.load(healing.resolve(spec))
    assert (
        [step.step for step in resumed.steps]
        == [step.step for step in alone.steps]
        == list(range(1, STEPS + 1))
    )
    assert resumed.validations[-1].loss == pytest.approx(alone.validations[-1].loss, abs=1e-3)
    assert resumed.healed.loss == pytest.approx(alone.healed.loss, abs=1e-3)
