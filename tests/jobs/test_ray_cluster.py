"""Jobs on a real Ray cluster of this machine, which asks for a token: found again, stopped, lost,
resumed, figures equal.
"""

import os
import shutil
import signal
import sys
import tempfile
from functools import partial
from pathlib import Path

import psutil
import pytest
from ray.job_submission import JobSubmissionClient

from analysis import jobs
from analysis.core import extensions, store
from analysis.core.experiment import EXPERIMENTS
from analysis.data.spec import CorpusSpec
from analysis.experiments.maps import distance_map
from analysis.experiments.maps.distance_spec import DistanceResult, DistanceSpec
from analysis.jobs.backends import ray
from analysis.jobs.queue import backend, processes
from analysis.jobs.runner import remote
from analysis.models.source.model_spec import ModelSpec
from tests.jobs import test_backends
from tests.jobs.test_backends import KIND, load_file
from tests.support.cluster import cluster

pytestmark = [pytest.mark.timeout(400), pytest.mark.tiny]
WITHOUT_TORCH = """
import sys

if hasattr(sys.modules["__main__"], "LOADER"):
    sys.modules["__main__"].LOADER = "builtins:object"
"""
"""Counting needs no model, and so no attempt has to wait for a model library to load."""


@pytest.fixture(scope="module")
def running():
    # Its sockets lie there, whose paths may have a hundred letters.
    folder = Path(tempfile.mkdtemp(prefix="ray-"))
    try:
        with cluster(folder) as started:
            yield started
        assert not [process for process in started.processes() if process.is_running()]
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(autouse=True)
def here(running, tmp_path, monkeypatch):
    """A cache folder, and a dashboard that knows the cluster."""
    folder = tmp_path / "cache"
    folder.mkdir()
    for name, value in {
        "LAYERSCOPE_CACHE": str(folder),
        "RAY_AUTH_TOKEN_PATH": str(running.token_file),
        ray.ADDRESS: running.address,
        ray.OPTIONS: "num_cpus=1,memory_gb=0.1",
    }.items():
        monkeypatch.setenv(name, value)
    monkeypatch.delenv("RAY_AUTH_TOKEN", raising=False)
    monkeypatch.setattr(
        processes,
        "ensure_worker",
        lambda: pytest.fail("a worker was started for a job that runs elsewhere"),
    )
    for name in ("ANSWER_S", "SUBMIT_S"):
        monkeypatch.setattr(ray, name, 60.0)  # the machine may be busy with other tests
    return folder


@pytest.fixture
def count(tmp_path, monkeypatch):
    """The kind of job that counts to ten, known here and to the processes that are started."""
    module = load_file(tmp_path / "toy_kind.py", KIND + WITHOUT_TORCH)
    monkeypatch.setenv(extensions.VARIABLE, str(tmp_path / "toy_kind.py"))
    yield module
    EXPERIMENTS.remove("count")
    sys.modules.pop("toy_kind")


wait_for, wait_state = (
    partial(wait, timeout=240.0) for wait in (test_backends.wait_for, test_backends.wait_state)
)


@pytest.mark.long
def test_cluster_job_survives_restart_kill_and_stop(running, count):
    count.gate().write_text("3")
    job = jobs.submit(count.CountSpec(), backend="ray")
    wait_for(lambda: jobs.get(job.id).done == 3)
    backend.BACKENDS.remove("ray")
    backend.register(ray.Ray)  # as of another dashboard, or of this one after a restart
    backend.BACKENDS["ray"].submit(jobs.get(job.id))
    assert len(JobSubmissionClient(running.address, headers=ray._headers()).list_jobs()) == 1
    count.gate().write_text("4")
    assert wait_for(lambda: (now := jobs.get(job.id)).done == 4 and now).state == "running"

    os.kill(remote.of(jobs.get(job.id)).read().process.pid, signal.SIGKILL)
    assert "is gone. Resume the job" in wait_state(job, "interrupted").error
    count.gate().write_text("6")
    assert jobs.resume(job.id).attempts == 2
    wait_for(lambda: jobs.get(job.id).done == 6)

    jobs.cancel(job.id)
    assert wait_state(job, "cancelled").error == "It was cancelled. Finished parts are kept."
    count.gate().write_text("10")
    jobs.resume(job.id)
    wait_state(job, "done")
    assert count.CountResult.load(job.spec).numbers == list(range(1, 11))
    kept = [
        path
        for path in job.folder.rglob("*")
        if path.is_file() and running.token.encode() in path.read_bytes()
    ]
    assert kept == []


@pytest.mark.long
@pytest.mark.parametrize(
    ("token", "reason"),
    [("", "no authentication token was found"), ("0" * 32, "invalid or incorrect")],
)
def test_without_the_token_a_job_fails_with_the_reason(
    running, count, tmp_path, monkeypatch, token, reason
):
    monkeypatch.setenv("RAY_AUTH_TOKEN", token)
    monkeypatch.setenv("RAY_AUTH_TOKEN_PATH", str(tmp_path / "missing"))
    job = jobs.submit(count.CountSpec(), backend="ray")
    assert job.state == "failed"
    assert job.error.startswith(
        "The Ray cluster cannot be used: Token authentication is enabled but"
    )
    assert reason in job.error


def tiny_map(tiny_folder, tmp_path) -> DistanceSpec:
    texts = tmp_path / "texts.txt"
    texts.write_text(
        "\n\n".join(
            f"Text {n} is about the number {n}, and {n} times {n} is {n * n}. " * 8
            for n in range(140)
        )
    )
    corpus = CorpusSpec(source=str(texts), n_texts=140, seq_len=64)
    return DistanceSpec(
        ModelSpec(source=str(tiny_folder("llama")), dtype="float32", device="cpu"), corpus
    )


def found(job: jobs.Job) -> DistanceResult:
    done = wait_state(job, "done")
    return DistanceResult.read(store.load_result(done.kind, done.result_key))


@pytest.mark.long
@pytest.mark.parametrize(("shards", "cores"), [(1, 1), (3, 0.5), (7, 1)])
def test_map_of_the_cluster_equals_local_map(
    running, tiny_folder, tmp_path, monkeypatch, shards, cores
):
    spec = tiny_map(tiny_folder, tmp_path)
    monkeypatch.setenv(ray.OPTIONS, f"num_cpus={cores},memory_gb=0.1")
    job = jobs.submit(spec, backend="ray", shards=shards)
    if shards == 7:
        # There are resources for two. One of them is lost before its first result, and Ray starts
        # it again.
        wait_for(lambda: actors(running))[0].kill()
    there = found(job)
    monkeypatch.setenv("LAYERSCOPE_CACHE", str(tmp_path / "other"))
    here = distance_map.run(spec)
    assert (there.mean, there.stderr, there.spec) == (here.mean, here.stderr, here.spec)


def actors(running) -> list[psutil.Process]:
    return [
        process for process in running.processes() if named(process).startswith("ray::RayActor")
    ]


def named(process: psutil.Process) -> str:
    try:
        return process.name()
    except psutil.NoSuchProcess:
        return ""
