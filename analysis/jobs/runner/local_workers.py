"""The worker pool of this machine: processes with a GPU each, or with a share of its cores and of its memory."""

import multiprocessing
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from multiprocessing.context import BaseContext
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

from analysis.core import host
from analysis.core.errors import JobError
from analysis.core.imports import imported
from analysis.jobs import preflight
from analysis.jobs.queue.processes import end_children
from analysis.jobs.runner import shard_worker
from analysis.jobs.runner.executor import LOST, RETRIES, Executor, WorkerLost
from analysis.jobs.runner.training import SharedTraining

_ROOT = Path(__file__).resolve().parents[3]


class LocalWorkers(Executor):
    """Processes of this machine, each in a `ProcessPoolExecutor` of its own, which breaks when it loses a process."""

    mp_context: BaseContext = multiprocessing.get_context("spawn")
    initializer: Callable[[Mapping[str, str]], None] = staticmethod(shard_worker.start)
    """Called in each process with its `surroundings`, before anything else."""
    rank = ("-m", "analysis.jobs.runner.rank")
    """The command of a process that trains with others, without Python's name."""

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
        self._training: subprocess.Popen[bytes] | None = None

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

    def train(self, folder: Path) -> None:
        """Let torchrun start the processes."""
        with tempfile.TemporaryDirectory() as meeting:
            command = [
                sys.executable,
                "-m",
                "torch.distributed.run",
                "--nnodes=1",
                f"--nproc-per-node={self.n}",
                f"--max-restarts={RETRIES}",
                "--local-addr=127.0.0.1",
                "--rdzv-backend=c10d",
                f"--rdzv-endpoint={Path(meeting) / 'torchrun'}",
                "--rdzv-conf=store_type=file",
                f"--log-dir={meeting}",
                *self.rank,
                str(folder),
                meeting,
                str(self._n_gpus),
            ]
            # Else torchrun listens on all of the machine's addresses.
            environment = {**os.environ, **self._share, "TORCH_DISABLE_SHARE_RDZV_TCP_STORE": "1"}
            with self._lock:
                if self.is_closed:
                    return
                # The log has the output of the processes, and none of torchrun, which shows tracebacks.
                self._training = subprocess.Popen(
                    command, env=environment, cwd=_ROOT, stdin=subprocess.PIPE, stdout=2, stderr=subprocess.DEVNULL
                )
            with self._training:
                code = self._training.wait()
        if code and not self.is_closed and SharedTraining(folder).ended() is None:
            reports = [SharedTraining(folder).report(rank).read() for rank in range(self.n)]
            reasons = [report.status.error for report in reports if report is not None and report.status.error]
            reason = next(iter(reasons), f"torchrun ended with exit code {code}.")
            raise JobError(LOST.format(n=RETRIES + 1, done="saved", why=reason))

    def close(self) -> None:
        """End all processes."""
        super().close()
        for process in self._processes.values():
            process.kill()
            process.join()
        if self._training is not None and self._training.poll() is None:
            end_children(self._training.pid)
            self._training.kill()

    @property
    def pids(self) -> list[int | None]:
        """The processes, by place."""
        return [self._processes[index].pid for index in sorted(self._processes)]


def _n_gpus(spec: Any) -> int:
    """Return the number of GPUs that a request may use; 0 where it runs on the CPU.

    Raises:
        JobError: when it names GPUs that not every process can have.
    """
    devices = {model.device for model in preflight.models_of(spec)}
    numbered = sorted(device for device in devices if device.startswith("cuda") and device != "cuda")
    if numbered:
        raise JobError(
            f"Device {numbered[0]!r} cannot be shared by several workers, which take one GPU each. Choose device cuda or "
            "auto, or leave out --workers."
        )
    if not devices & {"auto", "cuda"}:
        return 0
    n: int = imported("analysis.models.loading.machine:n_gpus")()
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
