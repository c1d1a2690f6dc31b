"""A Slurm cluster, through submitit, for users who share a cache folder with its machines.

Environment variables: `LAYERSCOPE_SLURM` is `slurm`, `off` (default), or `local` to try the backend
with processes of this machine. `LAYERSCOPE_SLURM_OPTIONS` names the resources that each job
requests, as options of submitit:
`slurm_partition=gpu,gpus_per_node=1,cpus_per_task=8,mem_gb=64,timeout_min=240`. The default of
`timeout_min` is a day.
"""

import contextlib
import json
import os
import shutil
import subprocess
import time
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from analysis.core import input_files, store
from analysis.core.errors import JobError, SpecError
from analysis.jobs.queue.backend import AttemptStatus, Backend, register
from analysis.jobs.queue.job import INTERRUPTED, RUNNING, Job
from analysis.jobs.runner import remote

PLACE = "LAYERSCOPE_SLURM"
OPTIONS = "LAYERSCOPE_SLURM_OPTIONS"
_PLACES = ("slurm", "local")
_OPTIONS = {
    "slurm_partition",
    "slurm_account",
    "slurm_qos",
    "slurm_constraint",
    "slurm_mem",
    "gpus_per_node",
    "cpus_per_task",
    "mem_gb",
    "timeout_min",
}
"""Options that can be set; other options of submitit would change the command or the number of
runs."""
_DAY_MIN = 24 * 60
"""Default time limit of a job in minutes; the default of submitit is five."""
_GRACE_S = 20.0
"""Time that an attempt has to save its work after it was asked to stop, in seconds."""
_UNSEEN_S = 60.0
"""Time during which the cluster may not know an attempt that was just submitted, in seconds."""
_WAITING = ("PENDING", "RUNNING", "CONFIGURING", "COMPLETING", "REQUEUED", "SUSPENDED", "UNKNOWN")


@register
class Slurm(Backend):
    """Jobs of a Slurm cluster whose machines see the cache folder."""

    name = "slurm"
    title = "Slurm"
    help = "Runs on a Slurm cluster whose machines see the cache folder, and waits in its queue."

    def available(self) -> str | None:
        """Return why the cluster cannot be used now, by the settings."""
        setting = os.environ.get(PLACE, "off")
        if setting == "off":
            return (
                f"no Slurm cluster is set up. Set {PLACE}=slurm on a machine that shares the cache"
                " folder with the cluster."
            )
        if setting not in _PLACES:
            return f"{PLACE} must be {' or '.join(_PLACES)}, not {setting[:40]!r}."
        if find_spec("submitit") is None:
            return (
                "the package submitit is not installed. Run `pip install -r"
                " requirements-slurm.txt`."
            )
        lacking = [
            name for name in ("sbatch", "srun") if setting == "slurm" and shutil.which(name) is None
        ]
        if lacking:
            return (
                f"this machine has no {lacking[0]}. Log in to the machine that submits jobs to the"
                " cluster."
            )
        try:
            _options()
        except SpecError as error:
            return str(error)
        return None

    def submit(self, job: Job) -> None:
        """Submit the attempt, unless it was submitted before."""
        number_file = _number_file(job)
        if number_file.exists():
            return
        import submitit

        try:
            executor = submitit.AutoExecutor(folder=job.folder / "slurm", cluster=os.environ[PLACE])
            executor.update_parameters(name=f"layerscope-{job.id}", **_options())
            environment = [f"{name}={value}" for name, value in remote.environment().items()]
            submitted = executor.submit(
                subprocess.call, ["env", *environment, *remote.command(job)], cwd=remote.ROOT
            )
        except Exception as error:  # errors of sbatch have many types
            raise JobError(
                f"Slurm rejected the job: {' '.join(str(error).split())[:300]}. Check {OPTIONS}."
            ) from error
        store.write_atomic(
            number_file, json.dumps({"id": submitted.job_id, "at": time.time()}).encode()
        )

    def watch(self, job: Job) -> AttemptStatus | None:
        """Return the state that the attempt reports; while it reports nothing, the state that the
        cluster reports.
        """
        status = remote.of(job).status()
        if status is not None and status.state != RUNNING:
            return status
        number, handed_at = _number(job)
        if number is None:
            return status
        if (
            status is None
            and time.time() - handed_at > _UNSEEN_S
            and _state(job, number) not in _WAITING
        ):
            return AttemptStatus(
                INTERRUPTED,
                error=(
                    f"Slurm ended job {number} before it started. Resume the job to submit it"
                    " again."
                ),
            )
        return status or AttemptStatus(RUNNING)

    def cancel(self, job: Job) -> None:
        """Ask the attempt to stop, and kill it if it does not."""
        remote.of(job).ask_to_stop()
        late = (
            job.cancel_requested_at is not None and time.time() - job.cancel_requested_at > _GRACE_S
        )
        number, _ = _number(job)
        if not late or number is None:
            return
        if (report := remote.of(job).read()) is not None and report.process.is_here:
            report.process.kill()
        elif os.environ.get(PLACE) == "slurm":
            with contextlib.suppress(Exception):  # it may have ended already
                _of(job, number).cancel()


def _state(job: Job, number: str) -> str:
    """Return the cluster's state of a job; "GONE" for processes of this machine
    (`LAYERSCOPE_SLURM=local`).
    """
    if os.environ.get(PLACE) != "slurm":
        return "GONE"
    try:
        return str(_of(job, number).state).upper()
    except Exception as error:
        raise JobError(
            f"Slurm does not report the state of job {number}:"
            f" {' '.join(str(error).split())[:300]}."
        ) from error


def _of(job: Job, number: str) -> Any:
    import submitit

    return submitit.SlurmJob(folder=job.folder / "slurm", job_id=number)


def _number_file(job: Job) -> Path:
    """Return the file with the cluster's job number of the attempt."""
    return job.folder / f"attempt-{job.attempts}.slurm"


def _number(job: Job) -> tuple[str | None, float]:
    try:
        record = input_files.parsed_object(_number_file(job).read_bytes())
        return str(record["id"]), float(record["at"])
    except (OSError, ValueError, KeyError, TypeError):
        return None, 0.0


def _options() -> dict[str, str | int]:
    """Return the resources that each job requests.

    Raises:
        SpecError: if the variable is not valid.
    """
    values: dict[str, str | int] = {"timeout_min": _DAY_MIN}
    for part in filter(None, os.environ.get(OPTIONS, "").split(",")):
        name, _, value = part.partition("=")
        if name not in _OPTIONS or not value:
            raise SpecError(
                f"{OPTIONS} holds {part[:40]!r}. Write NAME=VALUE, with a name of"
                f" {', '.join(sorted(_OPTIONS))}."
            )
        values[name] = int(value) if value.isascii() and value.isdigit() else value
    return values
