"""Function calls on untrusted input in a child process with limited memory and time.

Linux limits the memory by the address space of the process (RLIMIT_AS). macOS does not enforce this
limit and Windows has none, so that only the time is limited there. Only one such process runs at a
time.
"""

import json
import mmap
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path
from pkgutil import resolve_name
from typing import Any

from analysis.core import errors
from analysis.core.errors import LayerscopeError

_REPOSITORY = Path(__file__).resolve().parents[2]
_OVER = 75
"""Exit code of a child process that exceeded its memory limit."""
_one_at_a_time = threading.Lock()


class OverLimitError(Exception):
    """The call exceeded its limit, which is the message: "1,024 MB of memory" or "20 s"."""


def answer(function: str, *arguments: str, memory_bytes: int, seconds: float) -> Any:
    """Call a function in a child process and return its value.

    Args:
        function: `module:function`. Its arguments are strings and its return value must be
            serializable as JSON.
        arguments: arguments of the call.
        memory_bytes: maximum address space, including that of the interpreter and its libraries.
        seconds: maximum duration.

    Raises:
        LayerscopeError: error raised by the function, of the same class of `errors`.
        OverLimitError: if the call exceeds a limit.
    """
    command = [
        sys.executable,
        "-m",
        "analysis.core.sandbox",
        str(memory_bytes),
        str(round(seconds) + 1),
        function,
        *arguments,
    ]
    with _one_at_a_time:
        try:
            done = subprocess.run(
                command,
                cwd=_REPOSITORY,
                stdin=subprocess.DEVNULL,
                capture_output=True,
                timeout=seconds,
            )
        except subprocess.TimeoutExpired as error:
            raise OverLimitError(f"{seconds:g} s") from error
    if done.returncode == 0:
        reply = json.loads(done.stdout)
        if "refused" in reply:
            raise getattr(errors, reply["refused"])(reply["why"])
        return reply["answer"]
    if done.returncode == -getattr(signal, "SIGXCPU", 0):
        raise OverLimitError(f"{seconds:g} s")
    if (
        done.returncode < 0 or done.returncode == _OVER or b"MemoryError" in done.stderr
    ):  # a library may abort if an allocation fails
        raise OverLimitError(f"{memory_bytes >> 20:,} MB of memory")
    raise RuntimeError(
        f"{function} ended with {done.returncode}: {done.stderr.decode(errors='replace')[-2000:]}"
    )


def _lower(name: str, limit: int) -> None:
    """Lower a resource limit of this process, unless it is lower already."""
    try:
        import resource
    except ImportError:  # Windows
        return
    kind = getattr(resource, name)
    soft, hard = resource.getrlimit(kind)
    resource.setrlimit(
        kind,
        (min([limit, *(bound for bound in (soft, hard) if bound != resource.RLIM_INFINITY)]), hard),
    )


def bound_further(memory_bytes: int) -> None:
    """Limit the memory of this process to its current size plus an amount, on Linux only.

    Args:
        memory_bytes: memory for the work after all libraries are imported, whose size differs
            between machines.
    """
    try:
        pages = int(Path("/proc/self/statm").read_text().split()[0])
    except OSError:  # macOS, Windows
        return
    _lower("RLIMIT_AS", pages * mmap.PAGESIZE + memory_bytes)


def main(memory_bytes: str, seconds: str, function: str, *arguments: str) -> int:
    """Run the function in the child process, after its limits are set."""
    _lower("RLIMIT_AS", int(memory_bytes))
    _lower("RLIMIT_CPU", int(seconds))
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # libraries may print to standard output
    try:
        reply = {"answer": resolve_name(function)(*arguments)}
    except LayerscopeError as error:
        name = next(kind.__name__ for kind in type(error).__mro__ if hasattr(errors, kind.__name__))
        reply = {"refused": name, "why": str(error)}
    except MemoryError:
        return _OVER
    with answers:
        answers.write(json.dumps(reply))
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
