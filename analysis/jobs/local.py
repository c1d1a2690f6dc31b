"""Which process is which: the worker of a cache folder is started once, and known to every server by pid and start time."""

import contextlib
import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path

import psutil
from filelock import FileLock, Timeout

from analysis.core import store

SILENCE_S = 15.0
"""A process on another host that has not been heard from for this long counts as gone."""

_CLOCK_STEP_S = 2.0
"""Start times are boot time plus ticks, and the boot time moves a little when the clock is set."""
_WORKER_LOG_BYTES = 1024 * 1024
_REPOSITORY = Path(__file__).resolve().parents[2]
_started: list[subprocess.Popen[bytes]] = []
"""Workers this process started: asked about now and then, so that an ended one does not stay a zombie."""


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
    return store.cache_dir() / "worker.json"


def announce(process: Process) -> None:
    """Write down that this process is the worker of the cache folder; call it again every few seconds."""
    recorded, _ = announced()
    if recorded is not None and recorded.same(process):
        with contextlib.suppress(OSError):
            os.utime(_record())
            return
    store.write_atomic(_record(), json.dumps(asdict(process)).encode())


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


def worker_alive() -> bool:
    """Whether the worker of this cache folder runs (it starts when it is needed and leaves when idle for long)."""
    return worker() is not None


def ensure_worker(command: Sequence[str] = (sys.executable, "-m", "analysis.jobs.worker")) -> bool:
    """Start the worker unless it runs; it belongs to no server and outlives this one.

    Args:
        command: what to start.

    Returns:
        Whether one was started.

    Raises:
        StorageError: when the cache folder cannot be written.
    """
    _started[:] = [started for started in _started if started.poll() is None]
    if worker_alive():
        return False
    cache = store.cache_dir()
    with store.disk_errors_explained(cache):
        cache.mkdir(parents=True, exist_ok=True)
    try:
        # Two servers, or two sessions of one, that ask at the same moment start one worker.
        with FileLock(cache / "worker-start.lock", timeout=10):
            if worker_alive():
                return False
            started = _start(command, cache)
            announce(Process.of(started.pid))
    except Timeout:
        return False
    _started.append(started)
    return True


def _start(command: Sequence[str], cache: Path) -> subprocess.Popen[bytes]:
    log = cache / "worker.log"
    with store.disk_errors_explained(log):
        too_long = log.exists() and log.stat().st_size > _WORKER_LOG_BYTES
        with log.open("wb" if too_long else "ab") as output:
            return subprocess.Popen(
                list(command),
                cwd=_REPOSITORY,
                env={**os.environ, "LAYERSCOPE_CACHE": str(cache)},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )


def oom_kills() -> int | None:
    """How many processes the kernel has ended so far for want of memory: in this container, else on this machine.

    A process that was killed cannot say so, and whoever looks later learns no more than that it is gone; a count that has
    risen meanwhile is the only trace. None where the kernel keeps none.
    """
    for file in ("/sys/fs/cgroup/memory.events", "/sys/fs/cgroup/memory/memory.oom_control", "/proc/vmstat"):
        with contextlib.suppress(OSError, ValueError):
            for line in Path(file).read_text().splitlines():
                name, _, count = line.partition(" ")
                if name == "oom_kill":
                    return int(count)
    return None
