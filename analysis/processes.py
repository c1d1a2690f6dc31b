"""Which process is which: the identity of a worker, kept in the cache folder for every server to read."""

import contextlib
import json
import os
import socket
import time
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path

import psutil

from analysis import storage

SILENCE_S = 15.0
"""A process on another host that has not been heard from for this long counts as gone."""

_CLOCK_STEP_S = 2.0
"""Start times are boot time plus ticks, and the boot time moves a little when the clock is set."""


@cache
def host_name() -> str:
    """The name of this machine."""
    return socket.gethostname()


@dataclass(frozen=True)
class Process:
    """One process on one host: a pid alone is not enough, because the system hands pids out again."""

    pid: int
    started_at: float
    """When the process was created, seconds since the epoch."""
    host: str

    @classmethod
    def of(cls, pid: int) -> "Process":
        """The process on this host that has this pid now."""
        try:
            started_at = psutil.Process(pid).create_time()
        except psutil.NoSuchProcess:
            started_at = 0.0
        return cls(pid, started_at, host_name())

    @classmethod
    def current(cls) -> "Process":
        """The process that asks."""
        return cls.of(os.getpid())

    def same(self, other: "Process") -> bool:
        """Whether both are one process."""
        return self.pid == other.pid and self.host == other.host and abs(self.started_at - other.started_at) < _CLOCK_STEP_S

    def is_alive(self, heard_at: float | None) -> bool:
        """Whether it still runs; on another host only the time it was last heard from can tell.

        Args:
            heard_at: time of the last sign of life, seconds since the epoch; None if there was none.
        """
        if self.host != host_name():
            return heard_at is not None and time.time() - heard_at < SILENCE_S
        try:
            found = psutil.Process(self.pid)
            # A zombie has ended and only waits for its parent to ask how.
            return found.status() != psutil.STATUS_ZOMBIE and self.same(Process.of(self.pid))
        except psutil.NoSuchProcess:
            return False
        except psutil.AccessDenied:
            return True

    def kill(self) -> None:
        """End it at once, with all that it started; nothing happens if it is gone or on another host."""
        if self.host == host_name() and self.same(Process.of(self.pid)):
            end_children(self.pid)
            with contextlib.suppress(psutil.Error):
                psutil.Process(self.pid).kill()


def end_children(pid: int) -> None:
    """End at once all processes that this one started, and theirs."""
    with contextlib.suppress(psutil.Error):
        for child in psutil.Process(pid).children(recursive=True):
            with contextlib.suppress(psutil.Error):
                child.kill()


def _record() -> Path:
    return storage.cache_dir() / "worker.json"


def announce(process: Process) -> None:
    """Write down that this process is the worker of the cache folder; call it again every few seconds."""
    recorded, _ = announced()
    if recorded is not None and recorded.same(process):
        with contextlib.suppress(OSError):
            os.utime(_record())
            return
    storage.write_atomic(_record(), json.dumps(asdict(process)).encode())


def withdraw(process: Process) -> None:
    """Take the record away again, if it is this process's own."""
    recorded, _ = announced()
    if recorded is not None and recorded.same(process):
        with contextlib.suppress(OSError):
            _record().unlink()


def announced() -> tuple[Process | None, float | None]:
    """The recorded worker, alive or not, and when it was last heard from."""
    try:
        heard_at = _record().stat().st_mtime
        return Process(**json.loads(_record().read_bytes())), heard_at
    except (OSError, ValueError, TypeError):
        return None, None


def worker() -> Process | None:
    """The live worker of the cache folder, or None."""
    process, heard_at = announced()
    return process if process is not None and process.is_alive(heard_at) else None
