"""The worker pool of a Ray cluster: actors, or workers of Ray Train where all of them train together.

Each has the GPUs and cores that the process which handed the job over computed.

It belongs to a job of the cluster, which is where it finds the cluster and its token. Tasks of actors and their answers are
JSON, and results go through the cache folder. Each worker reads the weights from storage. Ray places actors, notices lost
ones and starts them again.
"""

import contextlib
import os
import signal
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from analysis.core.errors import JobError, one_line
from analysis.core.failures import redact
from analysis.jobs.backends.ray import OPTIONS, options
from analysis.jobs.runner.executor import LOST, RETRIES, Executor, WorkerLost
from analysis.jobs.runner.rank import take_part
from analysis.jobs.runner.shard_worker import ShardWorker

_PATIENCE_S = 30 * 24 * 3600
"""How long workers that train together wait for each other: the first may measure for hours, and Ray notices who is gone."""
_TOO_LARGE = (
    "A machine of the Ray cluster ran out of memory, and Ray ended a worker of the request. Ask for more memory with "
    f"{OPTIONS}=memory_gb=NUMBER, or for fewer --workers."
)


class RayWorkers(Executor):
    """Actors, spread over the machines of the cluster: one that has no free resources yet begins when there are some."""

    def __init__(self, spec: Any, n: int) -> None:
        """Get ready for `n` actors that shall share a request.

        Raises:
            JobError: when this process belongs to no cluster, or is to end.
        """
        import ray

        super().__init__(n)
        self._ray: Any = ray
        _join(ray)
        resources = options()
        self._actor = self._ray.remote(
            num_cpus=resources.get("num_cpus", 1),
            num_gpus=resources.get("num_gpus", 0),
            memory=int(resources.get("memory_gb", 0) * 1e9) or None,
            max_restarts=-1,  # Ray starts a lost actor again wherever its resources are free: `RETRIES` bounds its losses
            max_task_retries=0,  # another actor takes the task
            scheduling_strategy="SPREAD",
        )(RayActor)
        self._actors: dict[int, Any] = {}

    def open(self, index: int) -> Callable[[str], str]:
        """Wait until Ray has placed the actor, or has started it anew."""
        errors = self._ray.exceptions
        with self._lock:
            if self.is_closed:
                raise JobError("The request no longer needs this worker.")
            actor = self._actors.get(index) or self._actor.remote()
            self._actors[index] = actor
        try:
            self._ray.get(actor.ready.options(max_task_retries=-1).remote())  # while Ray starts it anew, too
        except errors.RayError as error:
            raise JobError(f"The Ray cluster cannot start a worker: {_first_line(error)}") from error

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
        """Return the error with a worker's sentence and its machine."""
        return JobError(f"On the machine {answer['machine']} of the Ray cluster: {answer['error']}")

    def train(self, folder: Path) -> None:
        """Let Ray Train start workers: as many as there are resources for, up to `n`."""
        from ray.train import FailureConfig, RunConfig, ScalingConfig, TrainingFailedError
        from ray.train.torch import TorchConfig, TorchTrainer

        resources = options()
        gpus = resources.get("num_gpus", 0)
        if 0 < gpus < 1:
            raise JobError(
                f"Workers that train together need one GPU each, but {OPTIONS} asks for num_gpus={gpus:g}. Ask for 1 or 0."
            )
        per_worker = {"CPU": resources.get("num_cpus", 1), "GPU": gpus, "memory": resources.get("memory_gb", 0) * 1e9}
        n_workers: Any = (1, self.n)  # of the version of Ray Train that is in use, and not of the one that is typed
        trainer = TorchTrainer(
            _train,
            train_loop_config={"folder": str(folder)},
            torch_config=TorchConfig(backend="cpu:gloo,cuda:nccl" if gpus else "gloo", timeout_s=_PATIENCE_S),
            scaling_config=ScalingConfig(
                num_workers=n_workers,
                use_gpu=gpus > 0,
                resources_per_worker={name: amount for name, amount in per_worker.items() if amount},
                placement_strategy="SPREAD",
            ),
            run_config=RunConfig(name="group", storage_path=str(folder), failure_config=FailureConfig(max_failures=RETRIES)),
        )
        try:
            trainer.fit()
        except TrainingFailedError as error:
            causes = getattr(error, "worker_failures", {}).values()
            if any(isinstance(cause, self._ray.exceptions.OutOfMemoryError) for cause in causes):
                raise JobError(_TOO_LARGE) from error
            raise JobError(LOST.format(n=RETRIES + 1, done="saved", why=_first_line(error))) from error

    def close(self) -> None:
        """End all actors."""
        super().close()
        for actor in self._actors.values():
            with contextlib.suppress(self._ray.exceptions.RayError):
                self._ray.kill(actor)


def _join(ray: Any) -> None:
    """Become a part of the cluster that has started this process, which still ends as it did before."""
    if "RAY_ADDRESS" not in os.environ:
        raise JobError("This process belongs to no Ray cluster. Use `--run-on ray` together with `--workers`.")
    before = signal.getsignal(signal.SIGTERM)
    if not ray.is_initialized():
        ray.init(address="auto", configure_logging=False)
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, before)  # Ray has its own, which would not let us save


def _train(request: dict[str, Any]) -> None:
    """Do the part of one worker of Ray Train."""
    from ray.train import get_context

    context = get_context()
    problem = take_part(Path(request["folder"]), context.get_world_rank(), context.get_world_size())
    if problem is not None:
        raise WorkerLost(problem)  # which lets Ray start them all anew


class RayActor:
    """A worker in a process of the cluster."""

    def __init__(self) -> None:
        self._worker = ShardWorker()

    def ready(self) -> None:
        """Return once the process is there."""

    def do(self, task: str) -> str:
        """Do a task (`ShardWorker.do`)."""
        return self._worker.do(task)


def _first_line(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return redact(one_line(" ".join(lines)))[:300] or type(error).__name__
