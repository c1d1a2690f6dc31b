"""A worker pool of this machine: processes with a GPU each, or with a share of its cores and of its memory."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from analysis.core import host
from analysis.core.errors import JobError
from analysis.core.options import imported
from analysis.jobs import preflight
from analysis.jobs.crew import Crew, MemberLost, as_line, together

_ROOT = str(Path(__file__).resolve().parents[3])


class LocalCrew(Crew):
    """Processes of this machine that read their tasks on their standard input."""

    command = (sys.executable, "-m", "analysis.jobs.crew.member")
    """The command of a process."""

    def __init__(self, spec: Any, n: int) -> None:
        """Start `n` processes that shall share a request.

        Raises:
            JobError: when they need a card each and there are fewer, or the request names others.
        """
        self.n, self._cards = n, _cards(spec)
        if self._cards and n > self._cards:
            raise JobError(f"{n} workers need one GPU each, but this machine has {self._cards}. Use --workers {self._cards}.")
        self._own = {} if self._cards else _share(n)
        self._is_closed = False
        self._processes = [self._started(place) for place in range(n)]

    def call(self, place: int, do: str, *arguments: Any) -> Any:
        """Let a member do something, and wait for the answer."""
        process = self._processes[place]
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            process.stdin.write(as_line(do, arguments))
            process.stdin.flush()
            line = process.stdout.readline()
        except (OSError, ValueError) as error:
            raise MemberLost(f"Process {process.pid} does not respond.") from error
        if not line.endswith(b"\n"):
            raise MemberLost(f"Process {process.pid} ended with exit code {process.poll()}.")
        said = json.loads(line)
        if "error" in said:
            raise JobError(said["error"])
        return said["value"]

    def together(self, asked: dict[str, Any], n: int) -> None:
        """Let all processes do one request as a group until it has ended."""
        together.in_turns(self, asked)

    def replace(self, place: int) -> None:
        """Start another process at this place."""
        if self._is_closed:
            raise MemberLost("The request no longer needs this worker.")
        self._end(self._processes[place])
        self._processes[place] = self._started(place)

    def close(self) -> None:
        """End all processes."""
        self._is_closed = True
        for process in self._processes:
            self._end(process)

    @property
    def pids(self) -> list[int]:
        """The processes, by place."""
        return [process.pid for process in self._processes]

    def _started(self, place: int) -> subprocess.Popen[bytes]:
        own = {**os.environ, **self._own}
        if self._cards:
            own["CUDA_VISIBLE_DEVICES"] = _card(place)
        return subprocess.Popen(self.command, env=own, cwd=_ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE)

    @staticmethod
    def _end(process: subprocess.Popen[bytes]) -> None:
        process.kill()
        process.wait()
        for pipe in (process.stdin, process.stdout):
            if pipe is not None:
                try:
                    pipe.close()
                except OSError:  # unsent output cannot be sent any more
                    continue


def _cards(spec: Any) -> int:
    """Cards that a request may use; 0 where it runs on the processor.

    Raises:
        JobError: when it names cards that not every process can have.
    """
    devices = {model.device for model in preflight.models_of(spec)}
    others = sorted(device for device in devices if device.startswith("cuda") and device != "cuda")
    if others:
        raise JobError(
            f"Device {others[0]!r} cannot be shared by several workers, which take one GPU each. Choose device cuda or "
            "auto, or leave out --workers."
        )
    if not devices & {"auto", "cuda"}:
        return 0
    found: int = imported("analysis.models.machine:n_cards")()
    return found


def _share(n: int) -> dict[str, str]:
    """The share of the cores and of the free memory that each of `n` processes has, as environment variables.

    Each would else see the memory that is free before the others have loaded their models.
    """
    return {"OMP_NUM_THREADS": str(max(1, host.cores() // n)), host.MEMORY: f"{host.free_bytes() // n / 1e6:.0f}MB"}


def _card(number: int) -> str:
    """How the driver calls a card of those that this process may see."""
    seen = os.environ.get("CUDA_VISIBLE_DEVICES")
    return seen.split(",")[number].strip() if seen else str(number)
