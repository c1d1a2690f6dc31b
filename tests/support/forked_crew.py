"""A worker pool of this machine whose processes are copies of one that has imported everything: each starts at once."""

import multiprocessing
import os
import socket
import sys
from types import SimpleNamespace
from typing import Any

from analysis.jobs.crew import member
from analysis.jobs.crew.local import LocalCrew


def context() -> Any:
    """Where copies come from."""
    found = multiprocessing.get_context("forkserver")
    found.set_forkserver_preload(["tests.support.heal_child"])
    return found


def _member(line: socket.socket, surroundings: dict[str, str]) -> None:
    os.environ.clear()
    os.environ.update(surroundings)
    for number in (0, 1):
        os.dup2(line.fileno(), number)
    sys.stdin = open(0, encoding="utf-8")  # noqa: SIM115 (as long as the process lives)
    import torch

    torch.set_num_threads(1)
    member.main()


class ForkedCrew(LocalCrew):
    """The processes of a `LocalCrew`, forked."""

    def _started(self, place: int) -> Any:
        ours, theirs = socket.socketpair()
        process = context().Process(target=_member, args=(theirs, {**os.environ, **self._own}))
        process.start()
        theirs.close()
        with ours:
            return SimpleNamespace(
                pid=process.pid, stdin=ours.makefile("wb"), stdout=ours.makefile("rb"), kill=process.kill, wait=process.join,
                poll=lambda: process.exitcode,
            )  # fmt: skip
