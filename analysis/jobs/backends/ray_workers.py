"""The worker pool of a Ray cluster: actors.

Each has the resources that `LAYERSCOPE_RAY_OPTIONS` names.

The pool belongs to a job of the cluster, where it finds the cluster and its token. Tasks of actors
and their answers are JSON, and results go through the cache folder. Each worker reads the weights
from storage. Ray places actors, notices lost ones and starts them again.
"""

import contextlib
import os
import signal
import threading
from collections.abc import Callable, Mapping
from typing import Any

from analysis.core.errors import JobError, one_line
from analysis.core.failures import redact
from analysis.jobs.backends.ray import OPTIONS, options
from analysis.jobs.runner.executor import Executor, WorkerLost
from analysis.jobs.runner.shard_worker import ShardWorker

_TOO_LARGE = (
    "A machine of the Ray cluster ran out of memory, and Ray ended a worker of the request. Ask"
    f" for more memory with {OPTIONS}=memory_gb=NUMBER, or for fewer --workers."
)


class RayWorkers(Executor):
    """Actors on the machines of the cluster. An actor without free resources joins once there are
    some.
    """

    def __init__(self, spec: Any, n: int) -> None:
        """Prepare a pool of `n` actors that share a request.

        Raises:
            JobError: if this process belongs to no cluster.
        """
        import ray

        super().__init__(n)
        self._ray: Any = ray
        _join(ray)
        resources = options()
        self._actor = self._ray.remote(
            num_cpus=resources["num_cpus"],
            num_gpus=resources["num_gpus"],
            memory=int(resources["memory_gb"] * 1e9) or None,
            # Ray restarts a lost actor on any machine with free resources; `RETRIES` limits the
            # losses
            max_restarts=-1,
            max_task_retries=0,  # another actor takes the task
            scheduling_strategy="SPREAD",
        )(RayActor)
        self._actors: dict[int, Any] = {}

    def open(self, index: int) -> Callable[[str], str]:
        """Wait until Ray has started or restarted the actor."""
        errors = self._ray.exceptions
        with self._lock:
            if self.is_closed:
                raise JobError("The request no longer needs this worker.")
            actor = self._actors.get(index) or self._actor.remote()
            self._actors[index] = actor
        try:
            self._ray.get(
                actor.ready.options(max_task_retries=-1).remote()
            )  # also during a restart
        except errors.RayError as error:
            raise JobError(
                f"The Ray cluster cannot start a worker: {_first_line(error)}"
            ) from error

        def do(task: str) -> str:
            try:
                answer: str = self._ray.get(actor.do.remote(task))
                return answer
            except errors.OutOfMemoryError as error:
                raise JobError(_TOO_LARGE) from error
            except errors.RayError as error:
                raise WorkerLost(_first_line(error)) from error

        return do

    def error(self, answer: Mapping[str, Any]) -> JobError:
        """Return the error with the message and the machine of a worker."""
        return JobError(f"On the machine {answer['machine']} of the Ray cluster: {answer['error']}")

    def close(self) -> None:
        """Kill all actors."""
        super().close()
        for actor in self._actors.values():
            with contextlib.suppress(self._ray.exceptions.RayError):
                self._ray.kill(actor)


def _join(ray: Any) -> None:
    """Connect to the cluster that started this process, and keep the process's SIGTERM handler."""
    if "RAY_ADDRESS" not in os.environ:
        raise JobError(
            "This process belongs to no Ray cluster. Use `--run-on ray` together with `--workers`."
        )
    before = signal.getsignal(signal.SIGTERM)
    if not ray.is_initialized():
        ray.init(address="auto", configure_logging=False)
    if threading.current_thread() is threading.main_thread():
        signal.signal(
            signal.SIGTERM, before
        )  # Ray installs its own, which ends the process without saving


class RayActor:
    """A worker in a process of the cluster."""

    def __init__(self) -> None:
        self._worker = ShardWorker()

    def ready(self) -> None:
        """Return once the actor runs."""

    def do(self, task: str) -> str:
        """Run a task (see `ShardWorker.do`)."""
        return self._worker.do(task)


def _first_line(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return redact(one_line(" ".join(lines)))[:300] or type(error).__name__
