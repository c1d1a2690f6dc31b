"""The Ray backend with a stand-in for Ray's client."""

import os
import threading
from types import SimpleNamespace

import pytest

from analysis import jobs
from analysis.core.errors import JobError
from analysis.jobs.backends import ray
from analysis.jobs.queue import backend
from analysis.jobs.runner import remote, versions
from tests.jobs.test_backends import cache as cache
from tests.jobs.test_backends import count as count  # the kind of job that counts to ten

pytestmark = pytest.mark.timeout(60)


class Cluster:
    """A client of Ray and the jobs that it submitted."""

    def __init__(self):
        self.jobs, self.stopped, self.error, self.answers = {}, [], None, threading.Event()
        self.answers.set()

    def __call__(self, address, headers):
        self.headers = headers
        self.answers.wait(20)
        if self.error is not None:
            raise self.error
        return self

    def list_jobs(self):
        return list(self.jobs.values())

    def submit_job(self, **request):
        record = {"status": "PENDING", "message": "", "driver_exit_code": None}
        self.jobs[request["submission_id"]] = SimpleNamespace(**record, **request)

    def stop_job(self, name):
        self.stopped.append(name)


@pytest.fixture(autouse=True)
def cluster(monkeypatch):
    client = Cluster()
    monkeypatch.setattr("ray.job_submission.JobSubmissionClient", client)
    monkeypatch.setenv(ray.ADDRESS, "http://127.0.0.1:8265")
    monkeypatch.setenv(ray.OPTIONS, "num_gpus=0.5,num_cpus=3,memory_gb=20")
    monkeypatch.setenv("RAY_AUTH_TOKEN", "5ecre7t0ken")
    yield client
    client.answers.set()


def submitted(cluster, count, **options):
    """Return a job that the cluster has, and the cluster's record of it."""
    job = jobs.submit(count.CountSpec(), backend="ray", **options)
    assert (job.state, job.error) == ("running", None)
    return job, cluster.jobs[f"layerscope-{job.id}-1"]


def looked_at(job):
    jobs.reap()
    return jobs.get(job.id)


def test_cluster_gets_command_cache_and_resources(cluster, count):
    job, record = submitted(cluster, count)
    assert record.entrypoint.startswith(f"cd {remote.ROOT} && exec ")
    assert record.entrypoint.endswith(
        f" -m analysis.jobs.runner.remote {job.id} 1 {versions.program()} 1 {ray.WORKERS}"
    )
    resources = record.entrypoint_num_gpus, record.entrypoint_num_cpus, record.entrypoint_memory
    assert resources == (0.5, 3, 20_000_000_000)
    assert record.runtime_env["env_vars"]["LAYERSCOPE_CACHE"] == os.environ["LAYERSCOPE_CACHE"]
    assert looked_at(job).phase == "waiting for free resources on the cluster"
    backend.BACKENDS["ray"].submit(job)
    assert len(cluster.jobs) == 1
    assert cluster.headers == {"Authorization": "Bearer 5ecre7t0ken"}
    assert "5ecre7t0ken" not in str(record)
    assert not any(
        "5ecre7t0ken" in path.read_text() for path in job.folder.rglob("*") if path.is_file()
    )


@pytest.mark.parametrize(
    ("end", "state", "sentence"),
    [
        (
            {"status": "STOPPED", "message": "Job was stopped."},
            "interrupted",
            "Ray ended the job before it started: Job was",
        ),
        (
            {
                "status": "FAILED",
                "message": "Job supervisor actor failed to start within 900.0 seconds.",
            },
            "interrupted",
            (
                "Ray ended the job before it started: Job supervisor actor failed to start within"
                " 900.0 seconds. Resume the job"
            ),
        ),
        (
            {
                "status": "FAILED",
                "driver_exit_code": 3,
                "message": "log:\nThis machine does not see the job's folder.",
            },
            "failed",
            "The job did not start on the Ray cluster: This machine does not see the job's folder.",
        ),
    ],
)
def test_end_before_the_start_is_reported_and_can_be_resumed(cluster, count, end, state, sentence):
    job, record = submitted(cluster, count)
    vars(record).update(end)
    ended = looked_at(job)
    assert (ended.state, ended.error[: len(sentence)]) == (state, sentence)
    assert jobs.resume(job.id).attempts == 2
    assert f"layerscope-{job.id}-2" in cluster.jobs


def test_job_unknown_to_a_restarted_head_is_interrupted(cluster, count, monkeypatch):
    job, _ = submitted(cluster, count)
    cluster.jobs.clear()
    assert looked_at(job).state == "running", "the cluster may know it in a moment"
    monkeypatch.setattr(ray, "_UNSEEN_S", 0.0)
    assert (
        looked_at(job).error
        == "The Ray cluster does not know the job. Resume the job to submit it again."
    )


def test_job_out_of_reach_keeps_its_state(cluster, count):
    job, _ = submitted(cluster, count)
    cluster.error = ConnectionError("Failed to connect to Ray at address: http://127.0.0.1:8265.")
    away = looked_at(job)
    assert away.state == "running"
    assert (
        away.error == "The Ray cluster cannot be used: Failed to connect to Ray at address:"
        " http://127.0.0.1:8265. Check RAY_API_SERVER_ADDRESS and the token."
    )


def test_silent_cluster_holds_nobody_up_and_may_have_accepted_the_job(cluster, count, monkeypatch):
    monkeypatch.setattr(ray, "SUBMIT_S", 0.1)
    monkeypatch.setattr(ray, "ANSWER_S", 0.1)
    cluster.answers.clear()
    job = jobs.submit(count.CountSpec(), backend="ray")
    assert job.state == "running"
    assert (
        looked_at(job).error
        == "The Ray cluster did not answer within 0.1 s. Check RAY_API_SERVER_ADDRESS."
    )
    for _ in range(10):
        looked_at(job)
    assert sum(thread.name == "ray-client" for thread in threading.enumerate()) <= 8


def test_waiting_job_stops_at_once_and_never_begins(cluster, count):
    job, _ = submitted(cluster, count)
    jobs.cancel(job.id)
    assert cluster.stopped == [f"layerscope-{job.id}-1"]
    assert looked_at(job).state == "cancelled"
    assert remote.make(job.id, 1) == 0
    assert remote.of(job).status().state == "cancelled"


@pytest.mark.parametrize(
    ("variables", "why"),
    [
        (
            {ray.ADDRESS: ""},
            "no Ray cluster is set up. Set RAY_API_SERVER_ADDRESS=http://HOST:8265",
        ),
        (
            {ray.ADDRESS: "ray://head:10001"},
            "no Ray cluster is set up. Set RAY_API_SERVER_ADDRESS=http://HOST:8265",
        ),
        ({ray.OPTIONS: ""}, "the resources of a process are not set. Set LAYERSCOPE_RAY_OPTIONS"),
        (
            {ray.OPTIONS: "num_gpus=many"},
            "LAYERSCOPE_RAY_OPTIONS holds 'num_gpus=many'. Write NAME=NUMBER",
        ),
        ({ray.OPTIONS: "cores=1"}, "with a name of num_gpus, num_cpus, memory_gb"),
    ],
)
def test_incomplete_settings_are_refused_before_a_job_is_made(count, monkeypatch, variables, why):
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(JobError) as error:
        jobs.submit(count.CountSpec(), backend="ray")
    assert why in str(error.value)
    assert "ray" not in jobs.usable_backends()
    assert jobs.list_jobs() == []


def test_attempt_refuses_another_version_and_a_missing_folder(cluster, count, capsys):
    job, _ = submitted(cluster, count)
    assert remote.main([job.id, "1", "0.0.1"]) == 0
    failed = looked_at(job)
    assert failed.state == "failed"
    assert (
        f"has Layerscope {versions.program()}, but this request came from 0.0.1. Install the same"
        " version" in failed.error
    )
    assert remote.main(["0123456789", "1", versions.program()]) != 0
    assert (
        "Put the cache folder on storage that all machines share, at the same path."
        in capsys.readouterr().err
    )
