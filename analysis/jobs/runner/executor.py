"""The interface of a worker pool. `submit` takes a task of a request and returns a future;
`shard_worker` runs the task.

Two pools implement it: processes of this machine (`local_workers`) and actors of a Ray cluster
(`backends.ray_workers`).
"""

import json
import queue
import threading
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from typing import Any

from analysis.core.errors import JobError

RETRIES = 3
"""Maximum number of retries of a task that lost its worker."""
LOST = "A worker of the request was lost {n} times. The measured parts are kept. {why}"


class WorkerLost(Exception):
    """The process or machine of a worker is gone, so its task has no result."""


class Executor(ABC):
    """A pool of `n` workers, each of which runs one task after another. Workers may join late."""

    def __init__(self, n: int) -> None:
        """Create a pool; the first task opens its workers."""
        self.n = n
        """Number of workers."""
        self.n_open = 0
        """Number of workers that are open now."""
        self.is_closed = False
        """Whether the pool was closed."""
        self._n_places = n
        self._is_begun = False
        self._lock = threading.Lock()
        self._tasks: queue.SimpleQueue[tuple[Future[Any], Mapping[str, Any]] | None] = (
            queue.SimpleQueue()
        )

    def submit(self, task: Mapping[str, Any]) -> Future[Any]:
        """Run a task on the next free worker.

        Args:
            task: JSON object, as `shard_worker.ShardWorker.do` takes it.

        Returns:
            The future of its value. It raises `JobError` with the worker's message, or
            `WorkerLost`.
        """
        future: Future[Any] = Future()
        self._tasks.put((future, task))
        with self._lock:
            is_first = not self._is_begun
            self._is_begun = True
        for index in range(self.n if is_first else 0):
            threading.Thread(
                target=self._serve, args=(index,), name=f"worker-{index}", daemon=True
            ).start()
        return future

    @abstractmethod
    def open(self, index: int) -> Callable[[str], str]:
        """Open a worker, and return the function that runs a task on it: JSON in, JSON out.

        It is called again after the function has raised `WorkerLost`.

        Raises:
            Exception: if the worker cannot be opened.
        """

    def close(self) -> None:
        """Kill all workers, also during a task."""
        with self._lock:
            self.is_closed = True
        for _ in range(self.n):
            self._tasks.put(None)

    def error(self, answer: Mapping[str, Any]) -> JobError:
        """Return the error with the message of a worker."""
        return JobError(answer["error"])

    def _serve(self, index: int) -> None:
        """Open a worker, run its tasks, and open it again if it is lost."""
        while not self.is_closed:
            try:
                run_task = self.open(index)
            except Exception as error:
                self._give_up(error)
                return
            self._count(1)
            self._work(run_task)
            self._count(-1)

    def _work(self, run_task: Callable[[str], str]) -> None:
        """Run waiting tasks until the worker is lost or the pool is closed."""
        while (queued := self._tasks.get()) is not None:
            future, task = queued
            try:
                answer = json.loads(run_task(json.dumps(task)))
            except WorkerLost as error:
                future.set_exception(error)
                return
            except Exception as error:
                future.set_exception(error)
            else:
                if "error" in answer:
                    future.set_exception(self.error(answer))
                else:
                    future.set_result(answer["value"])

    def _count(self, change: int) -> None:
        with self._lock:
            self.n_open += change

    def _give_up(self, error: Exception) -> None:
        """Continue without this worker; if it was the last one, every task fails."""
        with self._lock:
            self._n_places -= 1
            is_last = self._n_places == 0
        while is_last and (queued := self._tasks.get()) is not None:
            queued[0].set_exception(error)
