"""The worker process of a cache folder, and the identity of processes, which does not depend on the
system clock.
"""

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
"""Time without a heartbeat after which a process on another host counts as gone, in seconds."""

_SAME_START_S = 2.0
"""Maximum difference of two start times of one process, in seconds, on systems without clock ticks
(macOS, Windows) and in rows of older versions."""
_MAX_PID = 2**31 - 1
_WORKER_LOG_BYTES = 1024 * 1024
_REPOSITORY = Path(__file__).resolve().parents[3]
_started: list[subprocess.Popen[bytes]] = []
"""Workers that this process started, which it polls so that ended ones do not stay zombies."""


@cache
def host_name() -> str:
    """Return the name of this machine."""
    return socket.gethostname()


@cache
def _numbering() -> str | None:
    """Return a unique name of the current boot and process namespace; None if the system has
    none.
    """
    with contextlib.suppress(OSError):
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        return f"{boot}/{os.stat('/proc/self/ns/pid').st_ino}"
    return None


def _born(pid: int) -> str | None:
    """Return the start of a process in clock ticks since the boot, which changes of the system time
    do not affect.
    """
    with contextlib.suppress(OSError, ValueError, IndexError):
        # The second field is the name of the program, which may contain spaces and parentheses.
        ticks = int(Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()[19])
        return None if _numbering() is None else f"{_numbering()}/{ticks}"
    return None


@dataclass(frozen=True)
class Process:
    """A process on a host. Its start is part of its identity, because the system reuses process
    ids.

    Raises:
        ValueError: if the process id is invalid: a signal to 0 or to a negative id reaches many
            processes.
    """

    pid: int
    """Process id."""
    started_at: float
    """Creation time, seconds since the epoch, by the clock at that time."""
    host: str
    """Name of the machine."""
    born: str | None = None
    """Start as `BOOT/NAMESPACE/TICKS`; None if the system has no ticks, and in records of older
    versions."""

    def __post_init__(self) -> None:
        if type(self.pid) is not int or not 0 < self.pid <= _MAX_PID:
            raise ValueError(f"{self.pid!r} is not a process id.")
        if not isinstance(self.started_at, int | float) or not isinstance(self.born, str | None):
            raise ValueError(
                f"Process {self.pid} cannot have started at {self.started_at!r}, {self.born!r}."
            )

    @classmethod
    def of(cls, pid: int) -> "Process":
        """Return the process on this host that has this process id now."""
        try:
            started_at = psutil.Process(pid).create_time()
        except psutil.NoSuchProcess:
            started_at = 0.0
        return cls(pid, started_at, host_name(), _born(pid))

    @classmethod
    def current(cls) -> "Process":
        """Return the current process."""
        return cls.of(os.getpid())

    @property
    def is_here(self) -> bool:
        """Return whether it belongs to this host, boot and container, so that its process id is
        valid here.
        """
        if self.host != host_name() or self.born is None or _numbering() is None:
            return self.host == host_name()
        return self.born.rpartition("/")[0] == _numbering()

    def same(self, other: "Process") -> bool:
        """Return whether both are the same process."""
        if self.pid != other.pid or self.host != other.host:
            return False
        if self.born is not None and other.born is not None:
            return self.born == other.born
        return abs(self.started_at - other.started_at) < _SAME_START_S

    def is_alive(self, heard_at: float | None) -> bool:
        """Return whether it runs; a process on another host is judged by its last heartbeat and the
        worker's lock.

        Args:
            heard_at: time of the last heartbeat, seconds since the epoch; None if there was none.
        """
        if not self.is_here:
            return (
                heard_at is not None and time.time() - heard_at < SILENCE_S
            ) or self._holds_lock()
        try:
            process = psutil.Process(self.pid)
            # A zombie has ended and waits for its parent to read the exit code.
            return process.status() != psutil.STATUS_ZOMBIE and self.same(Process.of(self.pid))
        except psutil.NoSuchProcess:
            return False
        except psutil.AccessDenied:
            return True

    def _holds_lock(self) -> bool:
        """Return whether it is the recorded worker and the worker's lock, which the system releases
        at its end, is held.
        """
        recorded, _ = announced()
        return recorded is not None and recorded.same(self) and is_locked()

    def kill(self) -> None:
        """Kill the process tree; do nothing if it is gone or on another host."""
        if self.is_here and self.same(Process.of(self.pid)):
            end_children(self.pid)
            with contextlib.suppress(psutil.Error):
                psutil.Process(self.pid).kill()


def end_children(pid: int) -> None:
    """Kill all descendants of a process."""
    with contextlib.suppress(psutil.Error):
        for child in psutil.Process(pid).children(recursive=True):
            with contextlib.suppress(psutil.Error):
                child.kill()


def _record() -> Path:
    return store.local_dir() / "worker.json"


def announce(process: Process) -> None:
    """Record a process as the worker of the cache folder; repeated calls are its heartbeats."""
    recorded, _ = announced()
    if recorded is not None and recorded.same(process):
        with contextlib.suppress(OSError):
            os.utime(_record())
            return
    store.write_atomic(_record(), json.dumps(asdict(process)).encode())


def withdraw(process: Process) -> None:
    """Delete the record of the worker if it names this process."""
    recorded, _ = announced()
    if recorded is not None and recorded.same(process):
        with contextlib.suppress(OSError):
            _record().unlink()


def announced() -> tuple[Process | None, float | None]:
    """Return the recorded worker, alive or not, and the time of its last heartbeat.

    A heartbeat from the future, by another clock, counts as one of now, once: the record is changed
    to the current time.
    """
    try:
        heard_at = _record().stat().st_mtime
        now = time.time()
        process = Process(**input_files.parsed(_record().read_bytes()))
        if heard_at > now + SILENCE_S:
            with contextlib.suppress(OSError):
                os.utime(_record(), (now, now))
        return process, min(heard_at, now)
    except (OSError, ValueError, TypeError):
        return None, None


def worker() -> Process | None:
    """Return the running worker of the cache folder, or None."""
    process, heard_at = announced()
    return process if process is not None and process.is_alive(heard_at) else None


def worker_alive() -> bool:
    """Return whether the worker of this cache folder runs; it starts when it is needed and ends
    when it is idle.
    """
    return worker() is not None


def lock() -> FileLock:
    """Return the lock that the worker holds while it runs, and that the system releases if it is
    killed.
    """
    return FileLock(store.local_dir() / "worker.lock")


def is_locked() -> bool:
    """Return whether any process holds the worker's lock."""
    try:
        with lock().acquire(timeout=0):
            return False
    except Timeout:
        return True
    except OSError:
        return False  # the folder is missing or not writable


def ensure_worker(
    command: Sequence[str] = (sys.executable, "-m", "analysis.jobs.runner.worker"),
) -> bool:
    """Start the worker unless it runs. It outlives this process.

    Args:
        command: command of the worker.

    Returns:
        Whether a worker was started.

    Raises:
        StorageError: if the cache folder cannot be written.
    """
    _started[:] = [started for started in _started if started.poll() is None]
    if host.is_viewer() or worker_alive():
        return False
    local = store.local_dir()
    store.make_folder(local)
    try:
        # The lock keeps two servers, or two sessions of one, from starting two workers.
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
    """Return the number of processes that the kernel has killed for lack of memory, in this
    container or else on this machine.

    A higher count is the only trace of a process that was killed in this way. None if the kernel
    keeps no count.
    """
    files = []
    for group in host.control_groups("memory"):
        files += [group / "memory.events", group / "memory.oom_control"]
    for file in (*files, Path("/proc/vmstat")):
        with contextlib.suppress(OSError, ValueError):
            for line in file.read_text().splitlines():
                name, _, count = line.partition(" ")
                if name == "oom_kill":
                    return int(count)
    return None
