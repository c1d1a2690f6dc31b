"""A worker pool of a Ray cluster: actors with the GPUs and cores that the process which handed the job over computed for each.
Workers of Ray Train take their place where all of them train together.

It belongs to a job of the cluster, which is where it finds the cluster and its token. Requests to actors and their answers are
lines of JSON, and results go through the cache folder. Each of them reads the weights from storage.
"""

import contextlib
import json
import os
import signal
import threading
from typing import Any

from analysis.core.errors import JobError, one_line
from analysis.core.failures import redact
from analysis.jobs.backend.ray import OPTIONS, options
from analysis.jobs.crew import Crew, MemberLost, as_line
from analysis.jobs.crew.member import Member, answer
from analysis.jobs.crew.team import LOST, REPLACED

_PATIENCE_S = 30 * 24 * 3600
"""How long workers that train together wait for each other: the first may measure for hours, and Ray notices who is gone."""
_TOO_LARGE = (
    "A machine of the Ray cluster ran out of memory, and Ray ended a worker of the request. Ask for more memory with "
    f"{OPTIONS}=memory_gb=NUMBER, or for fewer --workers."
)


class RayCrew(Crew):
    """Actors, spread over the machines of the cluster: one that has no free resources yet begins when there are some."""

    def __init__(self, spec: Any, n: int) -> None:
        """Ask the cluster for `n` actors that shall share a request.

        Raises:
            JobError: when this process belongs to no cluster, or is to end.
        """
        import ray

        self._ray: Any = ray
        _join(ray)
        asked = options()
        self._seat = self._ray.remote(
            num_cpus=asked.get("num_cpus", 1),
            num_gpus=asked.get("num_gpus", 0),
            memory=int(asked.get("memory_gb", 0) * 1e9) or None,
            max_restarts=0,  # another takes its place, and begins anew
            max_task_retries=0,
            scheduling_strategy="SPREAD",
        )(_Seat)
        self.n, self._seats = n, [self._seat.remote() for _ in range(n)]

    def call(self, place: int, do: str, *arguments: Any) -> Any:
        """Let a member do something, and wait for the answer."""
        errors = self._ray.exceptions
        try:
            said = json.loads(self._ray.get(self._seats[place].do.remote(as_line(do, arguments))))
        except errors.OutOfMemoryError as error:
            raise JobError(_TOO_LARGE) from error
        except errors.RayError as error:
            raise MemberLost(_first_line(error)) from error
        if "error" in said:
            raise JobError(f"On the machine {said['machine']} of the Ray cluster: {said['error']}")
        return said["value"]

    def together(self, asked: dict[str, Any], n: int) -> None:
        """Let as many workers of Ray Train as there are actors do one request as a group, begun anew where one is lost."""
        self.close()  # their resources are for the workers
        self._seats = []
        from ray.train import FailureConfig, RunConfig, ScalingConfig, TrainingFailedError
        from ray.train.torch import TorchConfig, TorchTrainer

        reckoned = options()
        cards = reckoned.get("num_gpus", 0)
        if 0 < cards < 1:
            raise JobError(
                f"Workers that train together need one GPU each, but {OPTIONS} asks for num_gpus={cards:g}. Ask for 1 or 0."
            )
        each = {"CPU": reckoned.get("num_cpus", 1), "GPU": cards, "memory": reckoned.get("memory_gb", 0) * 1e9}
        trainer = TorchTrainer(
            _take_part,
            train_loop_config=asked,
            torch_config=TorchConfig(backend="cpu:gloo,cuda:nccl" if cards else "gloo", timeout_s=_PATIENCE_S),
            scaling_config=ScalingConfig(
                num_workers=n,
                use_gpu=cards > 0,
                resources_per_worker={name: amount for name, amount in each.items() if amount},
                placement_strategy="SPREAD",
            ),
            run_config=RunConfig(
                name="group", storage_path=asked["folder"], failure_config=FailureConfig(max_failures=REPLACED)
            ),  # fmt: skip
        )
        try:
            trainer.fit()
        except TrainingFailedError as error:
            causes = getattr(error, "worker_failures", {}).values()
            if any(isinstance(cause, self._ray.exceptions.OutOfMemoryError) for cause in causes):
                raise JobError(_TOO_LARGE) from error
            raise JobError(LOST.format(n=REPLACED + 1, done="saved", why=_first_line(error))) from error

    def replace(self, place: int) -> None:
        """Start another actor at this place."""
        self._end(self._seats[place])
        self._seats[place] = self._seat.remote()

    def close(self) -> None:
        """End all actors."""
        for seat in self._seats:
            self._end(seat)

    def _end(self, seat: Any) -> None:
        with contextlib.suppress(self._ray.exceptions.RayError):
            self._ray.kill(seat)


def _join(ray: Any) -> None:
    """Become a part of the cluster that has started this process, which still ends as it did before."""
    if "RAY_ADDRESS" not in os.environ:
        raise JobError("This process belongs to no Ray cluster. Use `--run-on ray` together with `--workers`.")
    before = signal.getsignal(signal.SIGTERM)
    if not ray.is_initialized():
        ray.init(address="auto", configure_logging=False)
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, before)  # Ray has its own, which would not let us save


def _take_part(asked: dict[str, Any]) -> None:
    """Do the part of one worker of Ray Train."""
    from ray.train import get_context

    context = get_context()
    why = Member().take_part(asked, context.get_world_rank(), context.get_world_size(), "")
    if why is not None:
        raise MemberLost(why)  # which lets Ray start them all anew


class _Seat:
    """A member in a process of the cluster."""

    def __init__(self) -> None:
        self._member = Member()

    def do(self, line: bytes) -> str:
        return json.dumps(answer(self._member, json.loads(line)))


def _first_line(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return redact(one_line(" ".join(lines)))[:300] or type(error).__name__
