"""Jobs handed to a cluster by submitit, here to its executor for one machine: seen, stopped, lost,
found again, resumed.
"""

import os
import signal
import sys
from functools import partial

import pytest

from analysis import jobs
from analysis.core import extensions
from analysis.core.errors import JobError
from analysis.core.experiment import EXPERIMENTS
from analysis.jobs.backends import slurm
from analysis.jobs.queue import backend, processes
from analysis.jobs.runner import remote
from tests.jobs import test_backends
from tests.jobs.test_backends import KIND, load_file

pytestmark = pytest.mark.timeout(120)


@pytest.fixture
def count(tmp_path, monkeypatch):
    """The kind of job that counts to ten, known here and to the processes that are started."""
    folder = tmp_path / "cache"
    folder.mkdir()
    monkeypatch.setenv("LAYERSCOPE_CACHE", str(folder))
    monkeypatch.setenv(slurm.PLACE, "local")
    monkeypatch.setattr(
        processes,
        "ensure_worker",
        lambda: pytest.fail("a worker was started for a job that runs elsewhere"),
    )
    monkeypatch.setattr(remote, "LOADER", "builtins:object")
    module = load_file(tmp_path / "toy_kind.py", KIND)
    monkeypatch.setenv(extensions.VARIABLE, str(tmp_path / "toy_kind.py"))
    module.gate().write_text("10")
    yield module
    for job in jobs.active():
        if (said := remote.of(job).read()) is not None:
            said.process.kill()
    EXPERIMENTS.remove("count")
    sys.modules.pop("toy_kind")


wait_for, wait_state = (
    partial(wait, timeout=60.0) for wait in (test_backends.wait_for, test_backends.wait_state)
)
"""A process that imports everything is slower than a thread."""


def begun(count, n: int = 3) -> jobs.Job:
    """A job that has counted to n and waits there."""
    count.gate().write_text(str(n))
    job = jobs.submit(count.CountSpec(), backend="slurm")
    return wait_for(lambda: (now := jobs.get(job.id)).done == n and now)


def test_slurm_job_runs_and_a_new_dashboard_finds_it(count):
    job = begun(count, 4)
    assert (job.backend, job.state, job.phase, job.values["n"]) == (
        "slurm",
        "running",
        "counting",
        4,
    )
    backend.BACKENDS.remove("slurm")
    backend.register(slurm.Slurm)  # as of another dashboard, or of this one after a restart
    count.gate().write_text("10")
    done = wait_state(job, "done")
    assert (done.done, done.total, done.error) == (10, 10, None)
    assert count.CountResult.load(job.spec).numbers == list(range(1, 11))
    assert len(list(job.folder.glob("attempt-*.slurm"))) == 1


@pytest.mark.long
def test_job_ended_by_scheduler_saves_first_and_is_interrupted(count):
    job = begun(count, 5)
    os.kill(remote.of(jobs.get(job.id)).read().process.pid, signal.SIGTERM)
    wait_for(lambda: remote.of(job).read().status.state == "interrupted")
    assert "The machine or process that ran it is gone" in remote.of(job).status().error


@pytest.mark.parametrize(
    ("variables", "why"),
    [
        ({slurm.PLACE: "off"}, "no Slurm cluster is set up. Set LAYERSCOPE_SLURM=slurm"),
        ({slurm.PLACE: "moon"}, "LAYERSCOPE_SLURM must be slurm or local, not 'moon'."),
        ({slurm.PLACE: "slurm", "PATH": "/nowhere"}, "this machine has no sbatch"),
        (
            {slurm.OPTIONS: "setup=rm"},
            (
                "LAYERSCOPE_SLURM_OPTIONS holds 'setup=rm'. Write NAME=VALUE, with a name of"
                " cpus_per_task,"
            ),
        ),
        ({slurm.OPTIONS: "mem_gb"}, "holds 'mem_gb'"),
    ],
)
def test_where_nothing_can_be_run_it_says_why(count, monkeypatch, variables, why):
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(JobError) as error:
        jobs.submit(count.CountSpec(), backend="slurm")
    assert why in str(error.value)
    assert "slurm" not in jobs.usable_backends()


def test_refusal_of_the_cluster_is_one_sentence(count, monkeypatch, tmp_path):
    """The real `sbatch` is replaced by its message about a partition that is not there."""
    for name in ("sbatch", "srun"):
        fake = tmp_path / name
        fake.write_text(
            f"#!/bin/sh\ncp $1 {tmp_path}/asked\necho 'sbatch: error: invalid partition specified:"
            " gpu' >&2\nexit 1\n"
        )
        fake.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    monkeypatch.setenv(slurm.PLACE, "slurm")
    monkeypatch.setenv(slurm.OPTIONS, "slurm_partition=gpu,gpus_per_node=1")
    job = jobs.submit(count.CountSpec(), backend="slurm")
    assert job.state == "failed"
    assert job.error.startswith("Slurm rejected the job: ")
    assert "invalid partition specified: gpu" in job.error
    assert "#SBATCH --time=1440\n" in (tmp_path / "asked").read_text(), (
        "minutes, where none are named"
    )
