"""A real Ray cluster on this machine's own addresses, which asks for a token: a head, and workers
where they are asked for.
"""

import contextlib
import os
import re
import secrets
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import psutil

_RAY = str(Path(sys.executable).with_name("ray"))
_STARTED_S = 90.0
_ENDED_S = 20.0


@dataclass
class Cluster:
    """Address and credentials of a cluster."""

    address: str
    token_file: Path
    head: subprocess.Popen[bytes]

    @property
    def token(self) -> str:
        return self.token_file.read_text()

    def processes(self) -> list[psutil.Process]:
        """Return all processes that were started here, and all that those started."""
        with contextlib.suppress(psutil.NoSuchProcess):
            own = psutil.Process(self.head.pid)
            return [own, *own.children(recursive=True)]
        return []

    def end(self) -> None:
        """End it as its operator would, then end by their ids the processes that are left of it."""
        left = self.processes()
        self.head.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.head.wait(_ENDED_S)
        for process in left:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
        psutil.wait_procs(left, timeout=5)


@contextlib.contextmanager
def cluster(folder: Path, *, cores: int = 2) -> Iterator[Cluster]:
    """A head with so many cores to lend, in a short folder of its own: its sockets' paths have a
    short limit.
    """
    token_file = folder / "token"
    token_file.touch(mode=0o600)
    token_file.write_text(secrets.token_hex(16))
    told = {
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN_PATH": str(token_file),
        "RAY_USAGE_STATS_ENABLED": "0",
        "RAY_worker_niceness": (
            "0"
        ),  # else its processes come last on a machine that is busy with other tests
        "RAY_TMPDIR": str(folder),
    }
    outside = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("RAY_", "LAYERSCOPE_", "COV_"))
    }
    command = [
        _RAY,
        "start",
        "--head",
        "--block",
        "--disable-usage-stats",
        "--port=0",
        "--num-cpus",
        str(cores),
        "--num-gpus=0",
        "--dashboard-host=127.0.0.1",
        "--dashboard-port=0",
        "--dashboard-agent-listen-port=0",
        "--include-log-monitor=False",
        "--ray-client-server-port",
        str(_free_port()),
        "--object-store-memory=80000000",
        "--temp-dir",
        str(folder / "ray"),
    ]
    log = folder / "head.log"
    with log.open("wb") as output:
        head = subprocess.Popen(
            command, env=outside | told, stdout=output, stderr=subprocess.STDOUT, cwd=folder
        )
    started = Cluster("", token_file, head)
    try:
        started.address = _address(log, head)
        yield started
    finally:
        started.end()


def _address(log: Path, head: subprocess.Popen[bytes]) -> str:
    end = time.monotonic() + _STARTED_S
    while time.monotonic() < end and head.poll() is None:
        if found := re.search(
            r"RAY_API_SERVER_ADDRESS='(http://[^']+)'", log.read_text(errors="replace")
        ):
            return found[1]
        time.sleep(0.1)
    raise AssertionError(f"no Ray cluster has started:\n{log.read_text(errors='replace')[-2000:]}")


def _free_port() -> int:
    import socket

    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]
