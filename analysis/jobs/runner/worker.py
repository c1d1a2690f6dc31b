"""The process that runs queued jobs, one after another: `python -m analysis.jobs.runner.worker
[--idle-s SECONDS]`.

The main thread runs the experiments. A watchdog thread sends heartbeats and passes on requests to
stop. If the main thread does not react, for example inside a library call, the watchdog replaces
the whole process by `execv`, because a thread cannot be stopped from outside.

The worker and its children lower their CPU priority (`lower_priority`), so that a healing run does
not slow down the dashboard on a machine of few cores. On an idle CPU this costs nothing. Runs of
the command line and of a cluster keep their priority.
"""

import argparse
import contextlib
import faulthandler
import functools
import logging
import os
import select
import signal
import sys
import threading
import time
import traceback
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from pkgutil import resolve_name
from typing import Any

from filelock import Timeout

from analysis.core import escapes, extensions, host, store
from analysis.core.errors import LayerscopeError, SpecError, StorageError
from analysis.core.failures import in_a_sentence, redact
from analysis.core.meter import Meter
from analysis.core.progress import Cancelled, Progress
from analysis.jobs.queue import attempt, processes, table
from analysis.jobs.queue.attempt import Run
from analysis.jobs.queue.control import reap
from analysis.jobs.queue.job import DONE, FAILED, RUNNING
from analysis.jobs.runner import LOADER, answer

_TICK_S = 0.25
"""Interval of polling the queue and requests to stop, in seconds."""
_HEARTBEAT_S = 2.0
_LOCK_S = 3.0
"""Time that a new worker waits for one that is ending, in seconds."""

_AUTOGROUP = Path("/proc/self/autogroup")

_STUCK = "It was {state} and had to be stopped at once. Its saved state is kept."
_END_SIGNALS = frozenset({signal.SIGTERM, signal.SIGINT})
_log = logging.getLogger(__name__)


class _Worker:
    """Runs queued jobs one at a time, with a watchdog thread."""

    def __init__(self, runners: Mapping[str, str] | None, loader: str) -> None:
        self._runners = runners
        self._loader = loader
        self._load: Any = None
        self._me = processes.Process.current()
        self._run: Run | None = None
        # Held between jobs, so that the watchdog never restarts the process during the next job.
        self._hands = threading.Lock()
        self._own_output = (os.dup(1), os.dup(2))
        self._folder = Path.cwd()
        self._is_leaving = False
        self._signals = _signal_pipe()
        # Never used: while it is open, SQLite keeps its log files, so that a full disk does not
        # prevent writing.
        self._table = table.waited(table.connect, _log.warning)

    def work(self, idle_s: float) -> None:
        """Run jobs until the queue was empty for `idle_s` seconds."""
        processes.announce(self._me)
        attempt.reserve_disk_space()
        self._release_own()
        threading.Thread(target=self._watch, name="watchdog", daemon=True).start()
        idle_since = time.monotonic()
        while True:
            if time.monotonic() - idle_since >= idle_s:
                # Withdraw the record, then check the queue once more: a job submitted now is taken
                # here or by a new worker.
                self._set_leaving(True)
            if self._ran_one():
                idle_since = time.monotonic()
            elif self._is_leaving:
                return
            else:
                time.sleep(_TICK_S)

    def _set_leaving(self, is_leaving: bool) -> None:
        """Record this process as the worker, or withdraw the record before it ends."""
        with self._hands:
            if is_leaving != self._is_leaving:
                self._is_leaving = is_leaving
                (processes.withdraw if is_leaving else processes.announce)(self._me)

    def _ran_one(self) -> bool:
        """Do `_run_next`; return False if the list of jobs cannot be used now."""
        try:
            return self._run_next()
        except StorageError as error:
            _log.warning("%s", error)
            return False

    def _run_next(self) -> bool:
        """Run the next queued job; return False if there is none."""
        with self._hands:
            job = table.claim(self._me)
            run = self._run = (
                None if job is None else Run(job, Meter(job.work, elsewhere=job.shards > 1))
            )
        if run is None:
            return False
        self._set_leaving(False)
        try:
            with _output_to(run.job.folder / "log.txt"):
                state, error, columns = self._outcome(run)
        except StorageError as full:
            state = FAILED
            error = str(full)
            columns = {}
        columns |= run.work()

        def finish() -> None:
            with self._hands:
                if state is None:
                    table.finish_stopped(run.job, **columns)
                else:
                    table.finish(run.job, state, error=error, **columns)
                self._run = None

        attempt.write_down(finish)
        store.remove_leftovers()
        attempt.reserve_disk_space()
        return True

    def _outcome(self, run: Run) -> tuple[str | None, str | None, dict[str, Any]]:
        """Run a job; return its final state (None if it was asked to stop), its message, and other
        columns to store.
        """
        try:
            run.on_progress(Progress("starting"))
            if run.job.shards > 1 and self._load is not None:
                self._load.clear()  # the workers of the pool load the model themselves
            result = answer.answered(
                run.job.spec,
                run.job.shards,
                run.on_progress,
                load=self._loads,
                runners=self._runners,
            )
            columns = {"result_key": result.spec.fingerprint()}
            if run.heard_at is not None and not result.complete:
                return None, None, columns
            return DONE, None, columns
        except Cancelled:
            return None, None, {}
        # libraries written in Rust panic past Exception; the queue continues all the same
        except BaseException as error:
            _append(
                self._own_output[1],
                f"Job {run.job.id}:\n{''.join(traceback.format_exception(error))}",
            )
            if run.heard_at is not None:  # a library replaced `Cancelled` by another error
                return None, None, {}
            # Pages show the job's log, and they never show a traceback.
            doing = f"running this {run.job.kind} job"
            log = "worker.log in the cache folder"
            sentence = in_a_sentence(error, doing=doing, consequence="resume the job", log=log)
            _append(2, f"{sentence}\n")
            return FAILED, sentence, {}

    def _loads(self) -> Any:
        """Return the loader, which keeps the last model in memory, creating it if missing."""
        if self._load is None:
            self._load = resolve_name(self._loader)()
        return self._load

    def _release_own(self) -> None:
        """Mark the running jobs of this process as interrupted: a restart keeps the process id, so
        `reap` would miss them.
        """
        with table.transaction() as db:
            rows = db.execute(
                "SELECT * FROM jobs WHERE state = ? AND pid = ?", (RUNNING, self._me.pid)
            ).fetchall()
        for row in rows:
            job = table.read(row)
            if job.process is not None and job.process.same(self._me):
                table.waited(
                    functools.partial(
                        attempt.interrupt, job, f"The worker restarted. {attempt.RESUME}"
                    ),
                    _log.warning,
                )

    def _watch(self) -> None:
        """Run the watchdog, which continues after every error: without it no job could be
        stopped.
        """
        beat_at = -_HEARTBEAT_S
        while True:
            is_signalled = bool(select.select([self._signals], [], [], _TICK_S)[0])
            try:
                if is_signalled and set(os.read(self._signals, 64)) & _END_SIGNALS:
                    self._end()
                if is_due := time.monotonic() - beat_at >= _HEARTBEAT_S:
                    beat_at = time.monotonic()
                    with self._hands:
                        if not self._is_leaving:
                            processes.announce(self._me)
                self._look_after(self._run, beat=is_due)
            except Exception:
                _log.exception("The watchdog continues after an error.")

    def _look_after(self, run: Run | None, *, beat: bool) -> None:
        if run is None:
            return
        if beat and run.is_over_time:
            table.stop_over_time(run.job)
        run.note(table.update(run.job, **({"heartbeat_at": time.time()} if beat else {})))
        if not run.is_unresponsive():
            return
        with self._hands:
            if self._run is run:
                if not run.lost:
                    table.finish_stopped(run.job, _STUCK)
                self._restart()

    def _restart(self) -> None:
        """Replace this process by a new worker with the same process id; the worker's lock is
        released in between.
        """
        processes.end_children(self._me.pid)
        for saved, number in zip(self._own_output, (1, 2), strict=True):
            os.dup2(saved, number)
        # Close files and devices that a library left inheritable, which frees their memory.
        for name in os.listdir("/dev/fd"):
            with contextlib.suppress(OSError):
                if int(name) > 2:
                    os.set_inheritable(int(name), False)
        os.chdir(self._folder)
        os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])

    def _end(self) -> None:
        """Exit at once after SIGTERM: the job is interrupted, and its saved work is kept."""
        with self._hands:
            if self._run is not None and not self._run.lost:
                attempt.interrupt(
                    self._run.job, f"The worker was stopped before the job ended. {attempt.RESUME}"
                )
            processes.withdraw(self._me)
            processes.end_children(self._me.pid)
            os._exit(128 + signal.SIGTERM)


def _signal_pipe() -> int:
    """Return a pipe that receives signal numbers even while the main thread runs C code."""
    arriving, wake = os.pipe()
    os.set_blocking(wake, False)
    signal.set_wakeup_fd(wake, warn_on_full_buffer=False)
    for number in _END_SIGNALS:
        signal.signal(number, lambda *_: None)

    def forget() -> None:
        # Otherwise a signal to a process that a library forked would end the worker instead.
        signal.set_wakeup_fd(-1)
        for number in _END_SIGNALS:
            signal.signal(number, signal.SIG_DFL)

    os.register_at_fork(after_in_child=forget)
    return arriving


def _append(descriptor: int, text: str) -> None:
    """Write to an open file, with Hub tokens redacted; ignore a full disk."""
    with contextlib.suppress(OSError), open(descriptor, "wb", closefd=False) as log:
        log.write(redact(text).encode(errors="replace"))


@contextlib.contextmanager
def _output_to(path: Path) -> Iterator[None]:
    """Redirect all output, including that of C code, to a file by replacing file descriptors 1 and
    2.
    """
    saved = os.dup(1), os.dup(2)
    try:
        with store.disk_errors_explained(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            with path.open("ab") as log:
                for number in (1, 2):
                    os.dup2(log.fileno(), number)
        yield
    finally:
        for stream, number, descriptor in zip((sys.stdout, sys.stderr), (1, 2), saved, strict=True):
            with contextlib.suppress(OSError, ValueError):
                stream.flush()
            os.dup2(descriptor, number)
            os.close(descriptor)


def serve(runners: Mapping[str, str] | None, loader: str, idle_s: float = 900.0) -> bool:
    """Run as the worker of the cache folder, unless another process is the worker.

    Args:
        runners: function for each kind of request as `module:name`; None for those of
            `EXPERIMENTS`.
        loader: class of the model loader as `module:name`, which keeps the last model in memory.
        idle_s: seconds without a job after which the worker ends.

    Returns:
        Whether this process was the worker.

    Raises:
        StorageError: if the cache folder cannot be written.
    """
    faulthandler.enable(os.dup(2))  # a copy, because a job's log replaces descriptor 2
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(line_buffering=True)
    local_dir = store.local_dir()
    store.make_folder(local_dir)
    with store.disk_errors_explained(local_dir):
        try:
            is_held = processes.lock().acquire(timeout=_LOCK_S)
        except Timeout:
            return False
    with is_held:
        table.waited(reap, _log.warning)
        store.remove_leftovers()
        _Worker(runners, loader).work(idle_s)
        return True


def lower_priority() -> None:
    """Lower the CPU priority of this process and its later children, if the system supports it.

    With `sched_autogroup`, Linux shares the CPU between sessions first, and the niceness of a
    process counts only within its session. The worker leads a session, so it sets the niceness of
    the session as well.

    Raises:
        SpecError: if LAYERSCOPE_NICENESS is not 0 to 19.
    """
    setting = os.environ.get("LAYERSCOPE_NICENESS", "10")
    if setting not in map(str, range(20)):
        raise SpecError(
            f"LAYERSCOPE_NICENESS must be 0 (no lower CPU priority) to 19, not {setting[:20]!r}."
        )
    niceness = int(setting)
    if not hasattr(os, "setpriority") or niceness == 0:
        return
    # Not `os.nice`, which adds: a restarted worker has the lower priority already.
    os.setpriority(os.PRIO_PROCESS, 0, max(niceness, os.getpriority(os.PRIO_PROCESS, 0)))
    if os.getsid(0) == os.getpid():  # otherwise it is the session of a shell
        with contextlib.suppress(OSError):
            _AUTOGROUP.write_text(str(niceness))


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the worker from the command line."""
    host.wait_asleep()
    escapes.guard_logs()
    parser = argparse.ArgumentParser(
        prog="python -m analysis.jobs.runner.worker",
        description="Run queued jobs, one after another.",
    )
    parser.add_argument(
        "--idle-s",
        type=float,
        default=900.0,
        help="Seconds without a job until the worker ends (default: 900).",
    )
    idle_s = parser.parse_args(arguments).idle_s
    try:
        lower_priority()
        extensions.load()
        serve(None, LOADER, idle_s)
    except LayerscopeError as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main()
