"""A Ray cluster, through Ray's client for jobs, for users who share a cache folder with its
machines.

Each attempt at a job is one job of the cluster. Ray queues it, places it and reports its end.

Environment variables: `RAY_API_SERVER_ADDRESS` is the address of the cluster's dashboard, such as
`http://HOST:8265`. The token is where Ray expects it: in `RAY_AUTH_TOKEN`, in the file of
`RAY_AUTH_TOKEN_PATH`, or in `~/.ray/auth_token`. `LAYERSCOPE_RAY_OPTIONS` names the resources that
each process of a job requests, such as `num_gpus=1,num_cpus=8,memory_gb=64`.
"""

import contextlib
import os
import shlex
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from analysis.core.errors import JobError, SpecError, one_line
from analysis.core.failures import redact
from analysis.core.progress import Progress
from analysis.jobs.queue.backend import AttemptStatus, Backend, register
from analysis.jobs.queue.job import CANCELLED, FAILED, INTERRUPTED, RUNNING, Job
from analysis.jobs.runner import remote

ADDRESS = "RAY_API_SERVER_ADDRESS"
OPTIONS = "LAYERSCOPE_RAY_OPTIONS"
WORKERS = "analysis.jobs.backends.ray_workers:RayWorkers"
"""The worker pool of a cluster."""
ANSWER_S = 1.5
"""Maximum time to wait for the cluster's record of a job, in seconds, because pages wait for it."""
SUBMIT_S = 8.0
"""Maximum time to wait for the cluster to accept a job, in seconds: the first job of a cluster
takes several."""
_GRACE_S = 20.0
"""Time that an attempt has to save its work after it was asked to stop, in seconds."""
_UNSEEN_S = 30.0
"""Time during which the cluster may not know an attempt that was just submitted, in seconds."""
_calls = threading.BoundedSemaphore(8)
"""Limits the calls that wait for a cluster that does not answer."""


class _Timeout(JobError):
    """The cluster did not answer in time; it may still carry the request out."""


@register
class Ray(Backend):
    """Jobs of a Ray cluster whose machines see the cache folder."""

    name = "ray"
    title = "Ray"
    help = "Runs on a Ray cluster whose machines see the cache folder, and waits in its queue."

    def available(self) -> str | None:
        """Return why nothing can run there, by the settings alone: whether the cluster answers is
        known when a job starts.
        """
        if not os.environ.get(ADDRESS, "").startswith(("http://", "https://")):
            return (
                f"no Ray cluster is set up. Set {ADDRESS}=http://HOST:8265 on a machine that shares"
                " the cache folder with the cluster."
            )
        if find_spec("ray") is None:
            return "the package ray is not installed. Run `pip install -r requirements-ray.txt`."
        try:
            options()
        except SpecError as error:
            return str(error)
        return None

    def submit(self, job: Job) -> None:
        """Submit the attempt, unless the cluster has it."""
        requested = options()
        variables = {
            **remote.environment(),
            "PYTHONPATH": remote.ROOT,
            "OMP_NUM_THREADS": str(max(1, int(requested["num_cpus"]))),
            OPTIONS: os.environ[OPTIONS],
        }
        # The driver of several workers only starts them, and waits on the head until Ray has placed
        # them.
        driver = requested if job.shards == 1 else dict.fromkeys(requested, 0.0)

        def submitted(client: Any) -> None:
            if _record(client, job) is None:
                client.submit_job(
                    entrypoint=(
                        f"cd {shlex.quote(remote.ROOT)} && exec"
                        f" {shlex.join(remote.command(job, WORKERS))}"
                    ),
                    submission_id=_name(job),
                    metadata={"layerscope_job": job.id, "kind": job.kind},
                    runtime_env={"env_vars": variables},
                    entrypoint_num_cpus=driver["num_cpus"],
                    entrypoint_num_gpus=driver["num_gpus"],
                    entrypoint_memory=int(driver["memory_gb"] * 1e9),
                )

        with contextlib.suppress(
            _Timeout
        ):  # the cluster may have accepted the job, which `watch` finds out
            _call(submitted, SUBMIT_S)

    def watch(self, job: Job) -> AttemptStatus | None:
        """Return the state that the attempt reports; while it reports nothing, the state that the
        cluster reports.
        """
        report = remote.of(job)
        if (status := report.status()) is not None:
            return status
        record = _call(lambda client: _record(client, job), ANSWER_S)
        if (status := report.status()) is not None:  # it has begun, or ended, since
            return status
        if record is None:
            if not job.cancel_requested and time.time() - (job.started_at or 0.0) < _UNSEEN_S:
                return AttemptStatus(RUNNING)
            return AttemptStatus(
                INTERRUPTED,
                error="The Ray cluster does not know the job. Resume the job to submit it again.",
            )
        if record.status == "PENDING" and not job.cancel_requested:
            return AttemptStatus(RUNNING, Progress("waiting for free resources on the cluster"))
        if job.cancel_requested and record.status != "RUNNING":
            return AttemptStatus(
                CANCELLED
            )  # an attempt that still begins reads the request to stop first
        if record.status == "RUNNING":
            return AttemptStatus(RUNNING)
        message = _last_line(record.message or "")
        if record.driver_exit_code:
            return AttemptStatus(
                FAILED, error=f"The job did not start on the Ray cluster: {message}"
            )
        return AttemptStatus(
            INTERRUPTED,
            error=(
                f"Ray ended the job before it started: {message} Resume the job, or change"
                f" {OPTIONS}."
            ),
        )

    def cancel(self, job: Job) -> None:
        """Ask the attempt to stop; let Ray end it if it has not started or does not stop."""
        report = remote.of(job)
        report.ask_to_stop()
        late = (
            job.cancel_requested_at is not None and time.time() - job.cancel_requested_at > _GRACE_S
        )
        if late or report.read() is None:
            with contextlib.suppress(
                JobError
            ):  # `cancel` is called again until `watch` sees the end
                _call(lambda client: client.stop_job(_name(job)), ANSWER_S)


def _name(job: Job) -> str:
    """Return the cluster's name of an attempt."""
    return f"layerscope-{job.id}-{job.attempts}"


def _record(client: Any, job: Job) -> Any:
    """Return the cluster's record of an attempt, or None if it has none."""
    return next(
        (record for record in client.list_jobs() if record.submission_id == _name(job)), None
    )


def _call(function: Callable[[Any], Any], within_s: float) -> Any:
    """Call a function of Ray's client, which has no timeout, in a thread.

    Raises:
        JobError: if the cluster does not answer in time, or rejects the request.
    """
    if not _calls.acquire(blocking=False):
        raise _Timeout(f"The Ray cluster has not answered the last requests. Check {ADDRESS}.")
    future: Future[Any] = Future()

    def run() -> None:
        try:
            from ray.job_submission import JobSubmissionClient

            future.set_result(
                function(JobSubmissionClient(os.environ[ADDRESS], headers=_headers()))
            )
        except Exception as error:  # errors of the client, of requests and of the cluster's answers
            future.set_exception(error)
        finally:
            _calls.release()

    threading.Thread(target=run, name="ray-client", daemon=True).start()
    try:
        return future.result(within_s)
    except TimeoutError as error:
        raise _Timeout(
            f"The Ray cluster did not answer within {within_s:g} s. Check {ADDRESS}."
        ) from error
    except Exception as error:
        raise JobError(
            f"The Ray cluster cannot be used: {_last_line(str(error))} Check {ADDRESS} and the"
            " token."
        ) from error


def _headers() -> dict[str, str]:
    """Return the header with the cluster's token: Ray adds it only if `RAY_AUTH_MODE=token` was set
    before its import.
    """
    file = Path(os.environ.get("RAY_AUTH_TOKEN_PATH") or "~/.ray/auth_token").expanduser()
    token = os.environ.get("RAY_AUTH_TOKEN") or (file.read_text().strip() if file.is_file() else "")
    return {"Authorization": f"Bearer {token}"} if token else {}


def _last_line(text: str) -> str:
    """Return the last line with words: of a traceback or a log, the one with the reason."""
    lines = [line.strip() for line in text.splitlines() if any(map(str.isalnum, line))]
    return redact(one_line(lines[-1]))[:300].rstrip(".") + "." if lines else "it gave no reason."


def options() -> dict[str, float]:
    """Return the resources that each process requests, from the environment.

    Raises:
        SpecError: if the variable is not set or not valid.
    """
    values = {"num_gpus": 0.0, "num_cpus": 1.0, "memory_gb": 0.0}
    if not os.environ.get(OPTIONS):
        raise SpecError(
            f"the resources of a process are not set. Set {OPTIONS}, such as"
            " num_gpus=1,num_cpus=8,memory_gb=64."
        )
    for part in os.environ[OPTIONS].split(","):
        name, _, value = part.strip().partition("=")
        with contextlib.suppress(ValueError):
            if name in values and 0 <= (number := float(value)) < 1e6:
                values[name] = number
                continue
        raise SpecError(
            f"{OPTIONS} holds {part[:40]!r}. Write NAME=NUMBER, with a name of {', '.join(values)}."
        )
    return values
