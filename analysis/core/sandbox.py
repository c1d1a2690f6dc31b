"""Work on input of strangers in a process of its own that is bounded in memory and time, with a sentence at the bound.

Memory is bounded by the address space of the process (RLIMIT_AS), which Linux enforces. macOS accepts the bound and does not
enforce it, and Windows has none: there only the time is bounded. One such process runs at a time, so that many strangers
together take no more than one.
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
"""Exit code of a process that met the bound of its memory."""
_one_at_a_time = threading.Lock()


class OverLimitError(Exception):
    """It took more memory or time than it was given; the text says which: "1,024 MB of memory", "20 s"."""


def answer(function: str, *arguments: str, memory_bytes: int, seconds: float) -> Any:
    """Return the value of a function that runs in another process.

    Args:
        function: `module:function`, of texts. Its return value is passed on as JSON.
        arguments: texts that it is called with.
        memory_bytes: address space that the process may take, the interpreter and its libraries included.
        seconds: until it is ended.

    Raises:
        LayerscopeError: raised by the function, of the same type of `errors`.
        OverLimitError: when it was over one of the two.
    """
    command = [sys.executable, "-m", "analysis.core.sandbox", str(memory_bytes), str(round(seconds) + 1), function, *arguments]
    with _one_at_a_time:
        try:
            done = subprocess.run(command, cwd=_REPOSITORY, stdin=subprocess.DEVNULL, capture_output=True, timeout=seconds)
        except subprocess.TimeoutExpired as error:
            raise OverLimitError(f"{seconds:g} s") from error
    if done.returncode == 0:
        reply = json.loads(done.stdout)
        if "refused" in reply:
            raise getattr(errors, reply["refused"])(reply["why"])
        return reply["answer"]
    if done.returncode == -getattr(signal, "SIGXCPU", 0):
        raise OverLimitError(f"{seconds:g} s")
    if done.returncode < 0 or done.returncode == _OVER or b"MemoryError" in done.stderr:  # a library may abort for want of it
        raise OverLimitError(f"{memory_bytes >> 20:,} MB of memory")
    raise RuntimeError(f"{function} ended with {done.returncode}: {done.stderr.decode(errors='replace')[-2000:]}")


def _lower(name: str, limit: int) -> None:
    """Lower a limit of this process to a value, if it is not lower already."""
    try:
        import resource
    except ImportError:  # Windows
        return
    kind = getattr(resource, name)
    soft, hard = resource.getrlimit(kind)
    resource.setrlimit(kind, (min(limit, *(bound for bound in (soft, hard) if bound != resource.RLIM_INFINITY)), hard))


def bound_further(memory_bytes: int) -> None:
    """Lower the bound of memory of this process to its present size and so much more; nothing where the size is not known.

    Args:
        memory_bytes: for the work, once the libraries that it needs are imported: how much those take differs by machine.
    """
    try:
        pages = int(Path("/proc/self/statm").read_text().split()[0])
    except OSError:  # macOS, Windows
        return
    _lower("RLIMIT_AS", pages * mmap.PAGESIZE + memory_bytes)


def main(memory_bytes: str, seconds: str, function: str, *arguments: str) -> int:
    """Run the function in the process: the bounds hold before any of its input is read."""
    _lower("RLIMIT_AS", int(memory_bytes))
    _lower("RLIMIT_CPU", int(seconds))
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # libraries print, and the answer is all that is read
    try:
        reply = {"answer": resolve_name(function)(*arguments)}
    except LayerscopeError as error:
        known = next(kind.__name__ for kind in type(error).__mro__ if hasattr(errors, kind.__name__))
        reply = {"refused": known, "why": str(error)}
    except MemoryError:
        return _OVER
    with answers:
        answers.write(json.dumps(reply))
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
