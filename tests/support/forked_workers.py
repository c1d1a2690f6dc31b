"""A worker pool of this machine whose processes are copies of one that has imported everything: each starts at once."""

import multiprocessing
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from analysis.jobs.runner import rank, shard_worker
from analysis.jobs.runner.local_workers import LocalWorkers


def context() -> Any:
    """Return where copies come from."""
    found = multiprocessing.get_context("forkserver")
    found.set_forkserver_preload(["tests.support.heal_child"])
    return found


def _surrounded(surroundings: Mapping[str, str]) -> None:
    import torch

    os.environ.clear()
    os.environ.update(surroundings)
    torch.set_num_threads(1)


def _start(surroundings: Mapping[str, str]) -> None:
    _surrounded(surroundings)
    shard_worker.start({})


def _take_part(surroundings: Mapping[str, str], folder: Path, number: int, size: int) -> None:
    _surrounded(surroundings)
    rank.take_part(folder, number, size, str(folder / "meeting"))


class ForkedWorkers(LocalWorkers):
    """The processes of `LocalWorkers`, forked; those that train together are not started again."""

    initializer = staticmethod(_start)

    def __init__(self, spec: Any, n: int) -> None:
        super().__init__(spec, n)
        self.mp_context, self._share = context(), {**os.environ, **self._share}

    def train(self, folder: Path) -> None:
        ranks = [
            self.mp_context.Process(target=_take_part, args=(self._share, folder, number, self.n)) for number in range(self.n)
        ]
        for process in ranks:
            process.start()
        for process in ranks:
            process.join()
