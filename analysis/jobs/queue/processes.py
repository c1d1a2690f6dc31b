"""Identity of processes: a cache folder has one worker, and every server knows it by a value that no clock changes."""

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

from analysis.core import host, input_files, store

SILENCE_S = 15.0
"""A process on another host that has not been heard from for this long counts as gone."""

_SAME_START_S = 2.0
"""Where the system has no ticks since its start (macOS, Windows, and rows of older versions), start times this close are one.
There they are noted when a process begins, and stay when the clock is set."""
_MAX_PID = 2**31 - 1
_WORKER_LOG_BYTES = 1024 * 1024
_REPOSITORY = Path(__file__).resolve().parents[3]
_started: list[subprocess.Popen[bytes]] = []
"""Workers this process started: asked about now and then, so that an ended one does not stay a zombie."""


@cache
def host_name() -> str:
    """The name of this machine."""
    return socket.gethostname()


@cache
def _numbering() -> str | None:
    """This run of this system and its numbering of processes, as no other has them; None where the system does not say."""
    with contextlib.suppress(OSError):
        return f"{Path('/proc/sys/kernel/random/boot_id').read_text().strip()}/{os.stat('/proc/self/ns/pid').st_ino}"
    return None


def _born(pid: int) -> str | None:
    """When a process began, in ticks since this run of the system did: setting the clock leaves them as they are."""
    with contextlib.suppress(OSError, ValueError, IndexError):
        # The second field is the name of the program, which may hold spaces and brackets.
        ticks = int(Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()[19])
        return None if _numbering() is None else f"{_numbering()}/{ticks}"
    return None


@dataclass(frozen=True)
class Process:
    """One process on one host: a pid alone is not enough, because the system hands pids out again.

    Raises:
        ValueError: when the pid is none that a process can have: a signal to 0 or a negative one reaches many processes.
    """

    pid: int
    started_at: float
    """When the process was created, seconds since the epoch, as the clock was then."""
    host: str
    born: str | None = None
    """Run of the system, numbering of processes and ticks, as `BOOT/NAMESPACE/TICKS`; None where the system has none, and in
    records of older versions."""

    def __post_init__(self) -> None:
        if type(self.pid) is not int or not 0 < self.pid <= _MAX_PID:
            raise ValueError(f"{self.pid!r} is not a process id.")
        if not isinstance(self.started_at, int | float) or not isinstance(self.born, str | None):
            raise ValueError(f"Process {self.pid} cannot have started at {self.started_at!r}, {self.born!r}.")

    @classmethod
    def of(cls, pid: int) -> "Process":
        """The process on this host that has this pid now."""
        try:
            started_at = psutil.Process(pid).create_time()
        except psutil.NoSuchProcess:
            started_at = 0.0
        return cls(pid, started_at, host_name(), _born(pid))

    @classmethod
    def current(cls) -> "Process":
        """The process that asks."""
        return cls.of(os.getpid())

    @property
    def is_here(self) -> bool:
        """Return whether this process can look at it: it has its pid on this host, since the last start, in this container."""
        if self.host != host_name() or self.born is None or _numbering() is None:
            return self.host == host_name()
        return self.born.rpartition("/")[0] == _numbering()

    def same(self, other: "Process") -> bool:
        """Return whether both are one process."""
        if self.pid != other.pid or self.host != other.host:
            return False
        if self.born is not None and other.born is not None:
            return self.born == other.born
        return abs(self.started_at - other.started_at) < _SAME_START_S

    def is_alive(self, heard_at: float | None) -> bool:
        """Return whether it still runs; of another host only the time of its last sign of life can tell, and the worker's lock.

        Args:
            heard_at: time of the last sign of life, seconds since the epoch; None if there was none.
        """
        if not self.is_here:
            return (heard_at is not None and time.time() - heard_at < SILENCE_S) or self._holds_lock()
        try:
            process = psutil.Process(self.pid)
            # A zombie has ended and only waits for its parent to ask how.
            return process.status() != psutil.STATUS_ZOMBIE and self.same(Process.of(self.pid))
        except psutil.NoSuchProcess:
            return False
        except psutil.AccessDenied:
            return True

    def _holds_lock(self) -> bool:
        """Return whether it is the recorded worker, and the lock that the system takes from a dead one is held."""
        recorded, _ = announced()
        return recorded is not None and recorded.same(self) and is_locked()

    def kill(self) -> None:
        """End it at once, with all that it started; nothing happens if it is gone or on another host."""
        if self.is_here and self.same(Process.of(self.pid)):
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
    return store.local_dir() / "worker.json"


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
    """The recorded worker, alive or not, and when it was last heard from.

    A sign of life from the future, as a clock that is ahead or was set back leaves it, counts as one of now, once. It is dated
    so in the record, and the worker has to be heard again like any other.
    """
    try:
        heard_at, now = _record().stat().st_mtime, time.time()
        process = Process(**input_files.parsed(_record().read_bytes()))
        if heard_at > now + SILENCE_S:
            with contextlib.suppress(OSError):
                os.utime(_record(), (now, now))
        return process, min(heard_at, now)
    except (OSError, ValueError, TypeError):
        return None, None


def worker() -> Process | None:
    """The live worker of the cache folder, or None."""
    process, heard_at = announced()
    return process if process is not None and process.is_alive(heard_at) else None


def worker_alive() -> bool:
    """Return whether the worker of this cache folder runs (it starts when it is needed and leaves when idle for long)."""
    return worker() is not None


def lock() -> FileLock:
    """The lock that the worker holds as long as it lives, and that the system takes from one that is killed."""
    return FileLock(store.local_dir() / "worker.lock")


def is_locked() -> bool:
    """Return whether some process is the worker, recorded or not."""
    try:
        with lock().acquire(timeout=0):
            return False
    except Timeout:
        return True
    except OSError:
        return False  # there is no folder, or nobody may write in it


def ensure_worker(command: Sequence[str] = (sys.executable, "-m", "analysis.jobs.runner.worker")) -> bool:
    """Start the worker unless it runs; it belongs to no server and outlives this one.

    Args:
        command: the command of the worker.

    Returns:
        Whether one was started.

    Raises:
        StorageError: when the cache folder cannot be written.
    """
    _started[:] = [started for started in _started if started.poll() is None]
    if host.is_viewer() or worker_alive():
        return False
    local = store.local_dir()
    store.make_folder(local)
    try:
        # Two servers, or two sessions of one, that ask at the same moment start one worker.
        with FileLock(local / "worker-start.lock", timeout=10):
            if worker_alive():
                return False
            started = _start(command, local)
            announce(Process.of(started.pid))
    except Timeout:
        return False
    _started.append(started)
    return True


def _start(command: Sequence[str], local: Path) -> subprocess.Popen[bytes]:
    log = local / "worker.log"
    with store.disk_errors_explained(log):
        too_long = log.exists() and log.stat().st_size > _WORKER_LOG_BYTES
        with log.open("wb" if too_long else "ab") as output:
            return subprocess.Popen(
                list(command),
                cwd=_REPOSITORY,
                env={**os.environ, "LAYERSCOPE_CACHE": str(store.cache_dir())},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )


def oom_kills() -> int | None:
    """How many processes the kernel has ended so far for want of memory: in this container, else on this machine.

    A process that was killed cannot say so, and a later look shows no more than that it is gone. A count that has risen since
    is the only trace. None where the kernel keeps none.
    """
    files = [group / name for group in host.control_groups("memory") for name in ("memory.events", "memory.oom_control")]
    for file in (*files, Path("/proc/vmstat")):
        with contextlib.suppress(OSError, ValueError):
            for line in file.read_text().splitlines():
                name, _, count = line.partition(" ")
                if name == "oom_kill":
                    return int(count)
    return None
