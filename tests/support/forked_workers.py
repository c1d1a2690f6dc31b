"""A worker pool of this machine whose processes are copies of one that has imported everything: each starts at once."""

import multiprocessing
import os
from collections.abc import Mapping
from typing import Any

from analysis.jobs.runner import shard_worker
from analysis.jobs.runner.local_workers import LocalWorkers


def context() -> Any:
    """Return where copies come from."""
    found = multiprocessing.get_context("forkserver")
    found.set_forkserver_preload(["tests.support.heal_child"])
    return found


def _start(surroundings: Mapping[str, str]) -> None:
    import torch

    os.environ.clear()
    os.environ.update(surroundings)
    torch.set_num_threads(1)
    shard_worker.start({})


class ForkedWorkers(LocalWorkers):
    """The processes of `LocalWorkers`, forked."""

    initializer = staticmethod(_start)

    def __init__(self, spec: Any, n: int) -> None:
        super().__init__(spec, n)
        self.mp_context, self._share = context(), {**os.environ, **self._share}
