"""The worker pool of this machine: processes with a GPU each, or with a share of its cores and of its memory."""

import multiprocessing
import os
from collections.abc import Callable, Mapping
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from multiprocessing.context import BaseContext
from multiprocessing.process import BaseProcess
from pkgutil import resolve_name
from typing import Any

from analysis.core import host
from analysis.core.errors import JobError
from analysis.jobs.runner import shard_worker
from analysis.jobs.runner.executor import Executor, WorkerLost
from analysis.models.source.model_spec import ModelSpec


class LocalWorkers(Executor):
    """Processes of this machine, each in a `ProcessPoolExecutor` of its own, which breaks when it loses a process."""

    mp_context: BaseContext = multiprocessing.get_context("spawn")
    initializer: Callable[[Mapping[str, str]], None] = staticmethod(shard_worker.start)
    """Called in each process with its `surroundings`, before anything else."""

    def __init__(self, spec: Any, n: int) -> None:
        """Get ready for `n` processes that shall share a request.

        Raises:
            JobError: when they need a GPU each and there are fewer, or the request names others.
        """
        super().__init__(n)
        self._n_gpus = _n_gpus(spec)
        if self._n_gpus and n > self._n_gpus:
            raise JobError(f"{n} workers need one GPU each, but this machine has {self._n_gpus}. Use --workers {self._n_gpus}.")
        self._share = {} if self._n_gpus else _share(n)
        self._processes: dict[int, BaseProcess] = {}

    def open(self, index: int) -> Callable[[str], str]:
        """Start the process of a place."""
        gpu = {"CUDA_VISIBLE_DEVICES": gpu_name(index)} if self._n_gpus else {}
        with self._lock:
            if self.is_closed:
                raise JobError("The request no longer needs this worker.")
            pool = ProcessPoolExecutor(1, self.mp_context, self.initializer, ({**self._share, **gpu},))
            ready = pool.submit(os.getpid)
            (process,) = pool._processes.values()
            self._processes[index] = process

        def do(task: str) -> str:
            try:
                return pool.submit(shard_worker.do, task).result()
            except BrokenProcessPool as error:
                pool.shutdown()  # its thread waits for the process too, and of two that wait at once one learns no exit code
                raise WorkerLost(f"Process {process.pid} ended with exit code {process.exitcode}.") from error

        try:
            ready.result()
        except BrokenProcessPool as error:
            raise JobError(f"Process {process.pid} ended before it started. Try again.") from error
        return do

    def close(self) -> None:
        """End all processes."""
        super().close()
        for process in self._processes.values():
            process.kill()
            process.join()

    @property
    def pids(self) -> list[int | None]:
        """The processes, by place."""
        return [self._processes[index].pid for index in sorted(self._processes)]


def _n_gpus(spec: Any) -> int:
    """Return the number of GPUs that a request may use; 0 where it runs on the CPU.

    Raises:
        JobError: when it names GPUs that not every process can have.
    """
    devices = {part.device for part in spec.nested() if isinstance(part, ModelSpec)}
    numbered = sorted(device for device in devices if device.startswith("cuda") and device != "cuda")
    if numbered:
        raise JobError(
            f"Device {numbered[0]!r} cannot be shared by several workers, which take one GPU each. Choose device cuda or "
            "auto, or leave out --workers."
        )
    if not devices & {"auto", "cuda"}:
        return 0
    n: int = resolve_name("analysis.models.loading.machine:n_gpus")()
    return n


def _share(n: int) -> dict[str, str]:
    """Return the share of the cores and of the free memory that each of `n` processes has, as environment variables.

    Each would else see the memory that is free before the others have loaded their models.
    """
    return {"OMP_NUM_THREADS": str(max(1, host.cores() // n)), host.MEMORY: f"{host.free_bytes() // n / 1e6:.0f}MB"}


def gpu_name(number: int) -> str:
    """Return the driver's name of a GPU among those that this process may see."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    return visible.split(",")[number].strip() if visible else str(number)
