"""Computation of a request, in this process or by the workers of a pool. A machine computes equal
requests one at a time.

A pool measures the missing shards of a request. The ordinary run then finds all of them. The result
equals that of one process, bit for bit on equal CPUs, because a shard does not depend on the worker
that measures it (`core.shards`). A lost worker costs the shard that it was measuring.
"""

import contextlib
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from dataclasses import asdict
from pkgutil import resolve_name
from typing import Any

from analysis.core import disk, shards, store
from analysis.core.errors import JobError, StorageError
from analysis.core.experiment import EXPERIMENTS
from analysis.core.progress import OnProgress, Progress, Stages
from analysis.core.record import Result, Spec
from analysis.core.shards import Shard
from analysis.jobs.runner.executor import LOST, RETRIES, Executor, WorkerLost
from analysis.jobs.runner.versions import in_common

LOCAL = "analysis.jobs.runner.local_workers:LocalWorkers"
"""The worker pool of this machine."""
_LOOK_S = 0.2
"""Interval of the progress reports, in seconds; the caller may cancel at each."""
_GATHER_S = 30.0
"""Time to wait for all workers before a model is read from disk, in seconds. Later workers do not
take part."""


def answered(
    spec: Spec,
    n: int,
    on_progress: OnProgress,
    *,
    load: Callable[[], Any],
    workers: str = LOCAL,
    runners: Mapping[str, str] | None = None,
) -> Result:
    """Compute a request in this process, or with `n` workers if `n` is above 1; return its stored
    result.

    Args:
        spec: the request.
        n: number of processes.
        on_progress: called with the progress; may raise `Cancelled`, and finished work is kept.
        load: returns the model loader of this process; the workers of a pool have their own.
        workers: subclass of `Executor` as `module:class`, called as `workers(spec, n)` and closed
            after the request.
        runners: function for each kind as `module:name` (default: those of `EXPERIMENTS`).

    Raises:
        LayerscopeError: for a problem that the user can fix.
    """
    on_progress = Stages(on_progress)
    with _alone(spec, on_progress):
        if n != 1:
            executor: Executor = resolve_name(workers)(spec, n)
            with contextlib.closing(executor):
                return share(spec, executor, on_progress)
        run = runners[spec.kind] if runners else EXPERIMENTS[spec.kind].run
        result: Result = resolve_name(run)(spec, on_progress, load=load())
        return result


@contextlib.contextmanager
def _alone(spec: Spec, on_progress: OnProgress) -> Iterator[None]:
    """Let one process of this machine at a time compute a request; the next one waits and finds the
    stored result.

    The system releases the lock of a process that ends in any way. Machines that share a cache
    folder on a network file system do not see each other's locks: both compute, and the last stored
    result stays.
    """
    waiting = Progress(
        "waiting", message="Another process computes the same request. Waiting for its result."
    )
    with contextlib.ExitStack() as stack:
        with contextlib.suppress(
            StorageError, OSError
        ):  # the request itself reports that the folder cannot be written
            file = store.local_dir() / "requests" / f"{spec.kind}-{spec.fingerprint()}.lock"
            store.make_folder(file.parent)
            stack.enter_context(disk.awaited_lock(file, lambda: on_progress(waiting)))
            stack.callback(disk.remove, file)
        yield


def share(spec: Spec, executor: Executor, on_progress: OnProgress) -> Result:
    """Compute a request, and the requests that it depends on, with the workers of a pool; return
    the stored result.

    Args:
        spec: request of a kind with `shards`.
        executor: pool whose workers see the cache folder. Workers may join late or never.
        on_progress: called with the progress; may raise `Cancelled`, and finished measurements are
            kept.

    Raises:
        LayerscopeError: for a problem that the user can fix.
    """
    shards.remove_leftovers()
    with in_common() as common:
        sharing = _Sharing(executor, common, on_progress)
        *before, request = sharing.ask("requests", spec, lambda: Progress("starting the processes"))
        for kind, resolved in before:
            sharing.answered(EXPERIMENTS[kind].spec.from_json(resolved))
        return sharing.answered(EXPERIMENTS[spec.kind].spec.from_json(request[1]))


class _Sharing:
    """The tasks of a request, and of the requests that it depends on."""

    def __init__(
        self, executor: Executor, common: Mapping[str, Any], on_progress: OnProgress
    ) -> None:
        """Use the workers of a pool; `common` is as in `versions.in_common`."""
        self._executor = executor
        self._common = common
        self._on_progress = on_progress

    def answered(self, spec: Spec) -> Result:
        """Return the stored result of a resolved request, measuring it first if it is missing."""
        stored = EXPERIMENTS[spec.kind].result.load(spec)
        if stored is not None and stored.complete:
            return stored
        missing: list[Shard] = []
        # One worker computes a request that cannot be shared, such as the search of a curve.
        if EXPERIMENTS[spec.kind].shards:
            loading = Progress("loading the model", values={"result_key": spec.fingerprint()})
            reads_disk, unmeasured = self.ask("missing", spec, lambda: loading)
            missing = [Shard(**shard) for shard in unmeasured]
            self._measure(spec, missing, reads_disk=reads_disk)
        key = self.ask("finish", spec, lambda: Progress("putting the shards together"))
        result = EXPERIMENTS[spec.kind].result.load(spec)
        if result is None or not result.complete or key != spec.fingerprint():
            raise JobError(
                f"The {spec.kind} result {key} is not in this process's cache folder. Try again."
            )
        shards.forget(missing)
        return result

    def _measure(self, spec: Spec, missing: Sequence[Shard], *, reads_disk: bool) -> None:
        """Let the workers measure shards; if layers are streamed from disk, each worker reads the
        model once for its part.
        """
        parts = [[shard] for shard in missing]
        if reads_disk:
            n = min(self._gathered(), len(missing))
            parts = [list(missing[worker::n]) for worker in range(n)]
        n = min(self._executor.n, len(parts))
        sizes = [sum(shard.size for shard in part) for part in parts]

        def how_far(done: Sequence[int]) -> Progress:
            n_open = min(n, self._executor.n_open)
            workers = n if n_open == n else f"{n_open} of {n}"
            phase = f"measuring {len(missing)} shards in {workers} process{'es' * (n > 1)}"
            return Progress(phase, sum(sizes[number] for number in done), sum(sizes))

        tasks = [self._task("measure", spec, shards=list(map(asdict, part))) for part in parts]
        if tasks:
            self._all(tasks, how_far)

    def _gathered(self) -> int:
        """Wait for all workers, at most `_GATHER_S`; return the number of open ones."""
        end = time.monotonic() + _GATHER_S
        while self._executor.n_open < self._executor.n and time.monotonic() < end:
            self._on_progress(Progress("starting the processes"))
            time.sleep(_LOOK_S)
        return max(1, self._executor.n_open)

    def ask(self, action: str, spec: Spec, how_far: Callable[[], Progress]) -> Any:
        """Return the answer of one worker."""
        (answer,) = self._all([self._task(action, spec)], lambda done: how_far())
        return answer

    def _task(self, action: str, spec: Spec, **values: Any) -> dict[str, Any]:
        return {"do": action, "kind": spec.kind, "spec": spec.to_json(), **self._common, **values}

    def _all(
        self, tasks: Sequence[Mapping[str, Any]], how_far: Callable[[Sequence[int]], Progress]
    ) -> list[Any]:
        """Return the answers to tasks. A task that loses its worker is submitted again, up to
        `RETRIES` times.

        Raises:
            JobError: for the first error of a worker, or if a task loses too many workers.
        """
        answers: dict[int, Any] = {}
        n_lost = Counter[int]()
        waiting: dict[Future[Any], int] = {
            self._executor.submit(task): number for number, task in enumerate(tasks)
        }
        while waiting:
            self._on_progress(how_far(list(answers)))
            ended, _ = wait(waiting, _LOOK_S, FIRST_COMPLETED)
            for future in ended:
                number = waiting.pop(future)
                try:
                    answers[number] = future.result()
                except WorkerLost as error:
                    n_lost[number] += 1
                    if n_lost[number] > RETRIES:
                        raise JobError(LOST.format(n=n_lost[number], why=error)) from error
                    waiting[self._executor.submit(tasks[number])] = number
        return [answers[number] for number in range(len(tasks))]
