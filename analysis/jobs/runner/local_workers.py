"""The worker pool of this machine: processes with one GPU each, or with a share of the cores and
memory.
"""

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
    """Processes of this machine. Each has its own `ProcessPoolExecutor`, which breaks if it loses a
    process.
    """

    mp_context: BaseContext = multiprocessing.get_context("spawn")
    initializer: Callable[[Mapping[str, str]], None] = staticmethod(shard_worker.start)
    """Function that is called first in each process, with its environment variables."""

    def __init__(self, spec: Any, n: int) -> None:
        """Prepare a pool of `n` processes that share a request.

        Raises:
            JobError: if there are fewer GPUs than processes, or the request names a single GPU.
        """
        super().__init__(n)
        self._n_gpus = _n_gpus(spec)
        if self._n_gpus and n > self._n_gpus:
            raise JobError(
                f"{n} workers need one GPU each, but this machine has {self._n_gpus}. Use --workers"
                f" {self._n_gpus}."
            )
        self._share = {} if self._n_gpus else _share(n)
        self._processes: dict[int, BaseProcess] = {}

    def open(self, index: int) -> Callable[[str], str]:
        """Start a process."""
        gpu = {"CUDA_VISIBLE_DEVICES": gpu_name(index)} if self._n_gpus else {}
        with self._lock:
            if self.is_closed:
                raise JobError("The request no longer needs this worker.")
            others = set(multiprocessing.active_children())
            pool = ProcessPoolExecutor(
                1, self.mp_context, self.initializer, ({**self._share, **gpu},)
            )
            ready = pool.submit(os.getpid)
            (process,) = set(multiprocessing.active_children()) - others
            self._processes[index] = process

        def do(task: str) -> str:
            try:
                return pool.submit(shard_worker.do, task).result()
            except BrokenProcessPool as error:
                # two threads cannot both read the exit code, so wait for the thread of the pool
                # first
                pool.shutdown()
                raise WorkerLost(
                    f"Process {process.pid} ended with exit code {process.exitcode}."
                ) from error

        try:
            ready.result()
        except BrokenProcessPool as error:
            raise JobError(f"Process {process.pid} ended before it started. Try again.") from error
        return do

    def close(self) -> None:
        """Kill all processes."""
        super().close()
        for process in self._processes.values():
            process.kill()
            process.join()

    @property
    def pids(self) -> list[int | None]:
        """Return the process ids, by index."""
        return [self._processes[index].pid for index in sorted(self._processes)]


def _n_gpus(spec: Any) -> int:
    """Return the number of GPUs that a request may use; 0 if it runs on the CPU.

    Raises:
        JobError: if it names a single GPU, which not every process can use.
    """
    devices = {part.device for part in spec.nested() if isinstance(part, ModelSpec)}
    numbered = sorted(
        device for device in devices if device.startswith("cuda") and device != "cuda"
    )
    if numbered:
        raise JobError(
            f"Device {numbered[0]!r} cannot be shared by several workers, which take one GPU each."
            " Choose device cuda or auto, or leave out --workers."
        )
    if not devices & {"auto", "cuda"}:
        return 0
    n: int = resolve_name("analysis.models.loading.machine:n_gpus")()
    return n


def _share(n: int) -> dict[str, str]:
    """Return environment variables that give each of `n` processes its share of the cores and the
    free memory.

    Without them each process would see the memory that is free before the others have loaded their
    models.
    """
    return {
        "OMP_NUM_THREADS": str(max(1, host.cores() // n)),
        host.MEMORY: f"{host.free_bytes() // n / 1e6:.0f}MB",
    }


def gpu_name(number: int) -> str:
    """Return the driver's name of a GPU, by its index among the visible ones."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    return visible.split(",")[number].strip() if visible else str(number)
