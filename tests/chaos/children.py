"""Processes that are killed: a worker, a command line and the queue of a server, as copies of one that has imported everything.

A copy is there in a tenth of a second, where a new one imports for eight; `faults` are the errors that it shall have.
"""

import contextlib
import errno
import itertools
import multiprocessing
import os
import random
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import psutil

from analysis import jobs
from analysis.cli import main as command_line
from analysis.core.experiment import RUNNERS
from analysis.core.record import Spec
from analysis.jobs.runner import worker as worker_process

STEPS_S = (2.5, -2.5, 60, -60, 3600, -3600)
"""Seconds by which a clock is set."""
NOT_FIRST = 3
"""Exit code of a worker that found another one."""
_KEPT = ("results", "adapters", "exports", "checkpoints")
_context = multiprocessing.get_context("forkserver")


def get_ready() -> None:
    """Import everything in the process that the others are copies of."""
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    _context.set_forkserver_preload(["tests.chaos.warm"])
    first = _context.Process(target=int)  # begun before there is a cache folder, so that it belongs to none
    first.start()
    first.join()


def start(what: Callable[..., None], cache: Path, *given: Any, fault: str = "") -> BaseProcess:
    """Start one of the processes below on a cache folder; it leads a session of its own, and so do all that it starts."""
    process = _context.Process(target=_begin, args=(what, str(cache), given, fault))
    process.start()
    return process


def _begin(what: Callable[..., None], cache: str, given: tuple[Any, ...], fault: str) -> None:
    os.setsid()
    signal.signal(signal.SIGINT, signal.default_int_handler)
    os.environ["LAYERSCOPE_CACHE"] = cache
    output = os.open(f"{cache}.log", os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    for number in (1, 2):
        os.dup2(output, number)
    if fault:
        name, _, argument = fault.partition(" ")
        FAULTS[name](argument)
    what(*given)


def worker() -> None:
    """Be the worker."""
    sys.exit(0 if worker_process.serve(RUNNERS, worker_process.LOADER, 600) else NOT_FIRST)


def command(*arguments: str) -> None:
    """Be a command line."""
    sys.exit(command_line.main(arguments))


def server(specs: list[Spec]) -> None:
    """Do the part of a server for the queue: it submits, and looks again and again until all is done."""
    asked = [jobs.submit(spec).id for spec in specs]
    while any(jobs.get(job).state != jobs.DONE for job in asked):
        jobs.reap()
        jobs.start()
        time.sleep(0.1)


def _fails_at(argument: str) -> None:
    """`CODE N`: the N-th time that something of a result is flushed to the disk or put into its place fails, once."""
    code, count = getattr(errno, argument.split()[0]), itertools.count(1)
    sync, replace = os.fsync, os.replace

    def check(path: str) -> None:
        if any(f"/{top}/" in path for top in _KEPT) and next(count) == int(argument.split()[1]):
            raise OSError(code, os.strerror(code), path)

    def failing_sync(handle: int) -> None:
        check(os.readlink(f"/proc/self/fd/{handle}"))
        sync(handle)

    def failing_replace(source: Any, target: Any, **options: Any) -> None:
        check(str(target))
        replace(source, target, **options)

    os.fsync, os.replace = failing_sync, failing_replace


def _unchecked_space(argument: str) -> None:
    """Skip the check of free space, as where a disk fills up a moment later."""
    from analysis.exports import export, folders

    for module in (export, folders):
        if hasattr(module, "check_space"):
            module.check_space = lambda *given: None  # type: ignore[attr-defined]


def _no_model(argument: str) -> None:
    """A process that begins to load weights ends."""
    from analysis.models.loading import load

    load.load = lambda *given: os._exit(99)  # type: ignore[assignment]


def _clock(argument: str) -> None:
    """The clock is set again and again as long as the process lives."""
    threading.Thread(target=_step_on, args=(random.Random(int(argument)), threading.Event()), daemon=True).start()


@contextlib.contextmanager
def stepping_clock(seed: int) -> Iterator[None]:
    """The clock of this process is set again and again in the block."""
    stop = threading.Event()
    thread = threading.Thread(target=_step_on, args=(random.Random(seed), stop), daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


def _step_on(draw: random.Random, stop: threading.Event) -> None:
    """Move start times with the clock, as on systems that compute them from it."""
    now, created = time.time, psutil.Process.create_time
    off = 0.0
    time.time, psutil.Process.create_time = lambda: now() + off, lambda self, *given: created(self, *given) + off
    while not stop.wait(draw.uniform(0.05, 0.3)):
        off = draw.choice(STEPS_S)
    time.time, psutil.Process.create_time = now, created


FAULTS: dict[str, Callable[[str], None]] = {
    "fails-at": _fails_at,
    "unchecked-space": _unchecked_space,
    "no-model": _no_model,
    "clock": _clock,
}
"""Faults that a process can be given, by name; the rest of the fault is its argument."""
