"""The answer to a request: by this process, or by a worker pool, and by one process of a machine at a time."""

import contextlib
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from analysis.core import disk, store
from analysis.core.errors import StorageError
from analysis.core.experiment import RUNNERS
from analysis.core.imports import imported
from analysis.core.progress import OnProgress, Progress
from analysis.core.record import Result, Spec
from analysis.jobs.queue.control import check_workers
from analysis.jobs.runner.executor import Executor
from analysis.jobs.runner.share import share

LOCAL = "analysis.jobs.runner.local_workers:LocalWorkers"
"""The worker pool of this machine."""


def answered(
    spec: Spec,
    n: int,
    on_progress: OnProgress,
    *,
    load: Callable[[], Any],
    workers: str = LOCAL,
    runners: Mapping[str, str] = RUNNERS,
) -> Result:
    """Answer a request in this process, or with `n` workers where there are several; its result, which is stored.

    Args:
        spec: the request.
        n: how many processes.
        on_progress: told how far it is; may raise `Cancelled`, and finished work is kept.
        load: makes the loader that a runner is handed; the processes of a pool have their own.
        workers: as in `shared`.
        runners: the dotted function for each kind.

    Raises:
        SpecError: when so many cannot share it.
        LayerscopeError: one sentence on an error that the user can fix.
    """
    with _alone(spec, on_progress):
        if n != 1:
            return shared(spec, n, on_progress, workers)
        result: Result = imported(runners[spec.kind])(spec, on_progress, load=load())
        return result


@contextlib.contextmanager
def _alone(spec: Spec, on_progress: OnProgress) -> Iterator[None]:
    """Let one process of this machine answer a request at a time: the next one waits, and then finds the stored result.

    The system takes the lock away from a process that ends, however it ends. Machines that share a cache folder on a network
    file system do not see each other's locks. Both compute, and the last result that is stored stays.
    """
    waiting = Progress("waiting", message="Another process computes the same request. Waiting for its result.")
    try:
        file = store.local_dir() / "requests" / f"{spec.kind}-{spec.fingerprint()}.lock"
        store.make_folder(file.parent)
        lock = disk.awaited_lock(file, lambda: on_progress(waiting))
    except (StorageError, OSError):  # no folder can be written, which the request itself says
        yield
        return
    try:
        yield
    finally:
        disk.remove(file)
        lock.release()


def shared(spec: Spec, n: int, on_progress: OnProgress, workers: str = LOCAL) -> Result:
    """Answer a request with `n` processes, which end with it.

    Args:
        spec, n, on_progress: as in `answered`.
        workers: the pool as `module:class`, an `Executor`, called as `workers(spec, n)`.
    """
    check_workers(spec, n)
    executor: Executor = imported(workers)(spec, n)
    try:
        return share(spec, executor, on_progress)
    finally:
        executor.close()
