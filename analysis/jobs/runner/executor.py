"""The interface of a worker pool: `submit` a task of a request, and get a future. `shard_worker` does the task in a worker.

Two pools implement it: processes of this machine (`local_workers`) and actors of a Ray cluster (`backends.ray_workers`).
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
"""How often a shard may lose its worker and be begun again."""
LOST = "A worker of the request was lost {n} times. The measured parts are kept. {why}"


class WorkerLost(Exception):
    """A task has no end: the process or the machine of its worker is gone."""


class Executor(ABC):
    """A pool of `n` workers that take one task after another. A late one joins, and nobody waits for an absent one."""

    def __init__(self, n: int) -> None:
        """Keep the number of workers; the first task opens them."""
        self.n = n
        self.n_open = 0
        """Workers that are there now."""
        self.is_closed = False
        self._n_places, self._is_begun, self._lock = n, False, threading.Lock()
        self._tasks: queue.SimpleQueue[tuple[Future[Any], Mapping[str, Any]] | None] = queue.SimpleQueue()

    def submit(self, task: Mapping[str, Any]) -> Future[Any]:
        """Let the next free worker do a task.

        Args:
            task: of JSON types, as `shard_worker.ShardWorker.do` takes it.

        Returns:
            The future of its value. It raises `JobError` with the worker's sentence, or `WorkerLost`.
        """
        future: Future[Any] = Future()
        self._tasks.put((future, task))
        with self._lock:
            is_first, self._is_begun = not self._is_begun, True
        for index in range(self.n if is_first else 0):
            threading.Thread(target=self._serve, args=(index,), name=f"worker-{index}", daemon=True).start()
        return future

    @abstractmethod
    def open(self, index: int) -> Callable[[str], str]:
        """Return the function that lets the worker at this place do a task, once the worker is there; JSON in, JSON out.

        The function raises `WorkerLost`, and this one is called again.

        Raises:
            Exception: when there can be no worker at this place.
        """

    def close(self) -> None:
        """End all workers at once, also in the middle of a task."""
        with self._lock:
            self.is_closed = True
        for _ in range(self.n):
            self._tasks.put(None)

    def error(self, answer: Mapping[str, Any]) -> JobError:
        """Return the error with a worker's sentence."""
        return JobError(answer["error"])

    def _serve(self, index: int) -> None:
        """Open the worker of a place again and again, and let it work."""
        while not self.is_closed:
            try:
                run_task = self.open(index)
            except Exception as error:
                return self._give_up(error)
            self._count(1)
            self._work(run_task)
            self._count(-1)

    def _work(self, run_task: Callable[[str], str]) -> None:
        """Do waiting tasks until the worker is lost or the pool is closed."""
        while (queued := self._tasks.get()) is not None:
            future, task = queued
            try:
                answer = json.loads(run_task(json.dumps(task)))
            except WorkerLost as error:
                return future.set_exception(error)
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
        """Leave a place without a worker; where it was the last, every task fails."""
        with self._lock:
            self._n_places -= 1
            is_last = self._n_places == 0
        while is_last and (queued := self._tasks.get()) is not None:
            queued[0].set_exception(error)
