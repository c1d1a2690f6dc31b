"""One run on a cache folder of its own: begun, disturbed, recovered, and held against one that nothing disturbed."""

import contextlib
import os
import random
import shutil
import signal
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import psutil

from analysis import jobs
from analysis.core import store
from analysis.core.record import Spec
from analysis.jobs.queue import processes, settings
from tests.chaos import children, kinds

LIMIT_S = 180.0
"""How long anything may take before it counts as stuck."""


@dataclass
class Row:
    """Outcome of one kind of disturbance."""

    what: str
    times: int = 0
    """Kills, or faults."""
    recovered: int = 0
    equal: int = 0
    leftovers: list[str] = field(default_factory=list)
    """Processes and temporary files that nobody will end or remove, and results that look whole and are not."""
    wrong: list[str] = field(default_factory=list)
    """Failures, in sentences."""
    wall_s: float = 0.0

    @property
    def is_right(self) -> bool:
        """Return whether all recovered to the same figures, and nothing stayed behind."""
        return self.times == self.recovered == self.equal > 0 and not self.leftovers and not self.wrong


@dataclass(frozen=True)
class Undisturbed:
    """A run that nothing happened to."""

    figures: Any
    took_s: float


@dataclass
class Stage:
    """Where all runs take place."""

    ground: kinds.Ground
    draw: random.Random
    specs: dict[str, Spec] = field(init=False)
    _known: dict[str, Undisturbed] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.specs = kinds.requests(self.ground)

    def undisturbed(self, kind: str) -> Undisturbed:
        """The run of a kind that all others are held against, made once."""
        if kind not in self._known:
            with self.cache() as cache:
                job = jobs.submit(self.specs[kind])
                worker = children.start(children.worker, cache)
                running(job.id)
                began = time.monotonic()
                key = ended(job.id).result_key
                took_s = time.monotonic() - began
                self._known[kind] = Undisturbed(kinds.stored(self.specs[kind].kind, str(key), cache), took_s)
                end(worker)
        return self._known[kind]

    @contextlib.contextmanager
    def cache(self) -> Iterator[Path]:
        """An empty cache folder, for this process too, that is gone afterwards with all that ran on it."""
        folder = Path(tempfile.mkdtemp(prefix="layerscope-chaos-")) / "cache"
        folder.mkdir()
        before = os.environ.get("LAYERSCOPE_CACHE")
        os.environ["LAYERSCOPE_CACHE"] = str(folder)
        try:
            settings.change(auto_resume=self.draw.random() < 0.5)
            yield folder
        finally:
            for process in processes_on(folder):
                with contextlib.suppress(psutil.Error):
                    process.kill()
            if before is None:
                del os.environ["LAYERSCOPE_CACHE"]
            else:
                os.environ["LAYERSCOPE_CACHE"] = before
            shutil.rmtree(folder.parent, ignore_errors=True)

    def hold(self, row: Row, kind: str, cache: Path, times: int = 1) -> None:
        """Count the outcome of a disturbed run: its figures against the undisturbed ones, and the files that stayed behind.

        A command line leaves the drafts of one that was killed to the next server or worker, which sweeps when it starts.
        """
        store.remove_leftovers()
        stored_as = self.specs[kind].kind
        results = [path.name for path in (cache / "results" / stored_as).glob("*") if not path.name.startswith(".")]
        row.recovered += times
        figures = [kinds.stored(stored_as, key, cache) for key in results]
        if figures == [self.undisturbed(kind).figures]:
            row.equal += times
        else:
            row.wrong.append(f"{kind}: the figures differ from those of an undisturbed run")
        row.leftovers += kinds.hidden(cache) + kinds.halves(cache)


def row(what: str, plays: Sequence[Callable[[Row], None]]) -> Row:
    """Play scenes that fill one row; a failure in one is noted, and the others continue."""
    filled, began = Row(what), time.monotonic()
    for play in plays:
        try:
            play(filled)
        except Exception as error:
            filled.wrong.append(f"{type(error).__name__}: {error}")
    filled.wall_s = time.monotonic() - began
    return filled


def wait_for(condition: Callable[[], Any], what: str, limit_s: float = LIMIT_S) -> Any:
    """Return the result of `condition()` as soon as it is true."""
    end_at = time.monotonic() + limit_s
    while time.monotonic() < end_at:
        if found := condition():
            return found
        time.sleep(0.01)
    raise TimeoutError(f"{what} took more than {limit_s:.0f} s")


def running(job_id: str) -> None:
    """Wait until a worker has taken the job."""
    wait_for(lambda: jobs.get(job_id).state != jobs.QUEUED, f"the start of job {job_id}")


def ended(job_id: str, state: str = jobs.DONE) -> jobs.Job:
    """The job once it has ended in this state."""
    final = (jobs.DONE, jobs.FAILED, jobs.CANCELLED)
    job = wait_for(lambda: (now := jobs.get(job_id)).state in final and now, f"job {job_id}")
    if job.state != state:
        raise RuntimeError(f"job {job_id} is {job.state} and not {state}: {job.error}")
    return job


def bring_back(job_id: str) -> None:
    """Do the part of a server after a worker was killed: it looks, and resumes the job where that does not resume by itself."""
    wait_for(
        lambda: (jobs.reap(), jobs.get(job_id).state != jobs.RUNNING)[1], f"noticing the end of the worker of {job_id}", 20
    )
    if jobs.get(job_id).state in jobs.RESUMABLE:
        jobs.resume(job_id)


def end(worker: BaseProcess) -> None:
    """Ask a worker to leave, as the system does when it shuts down."""
    assert worker.pid is not None
    os.kill(worker.pid, signal.SIGTERM)
    worker.join(20)
    if worker.exitcode is None:
        worker.kill()
        worker.join(20)
        raise TimeoutError("the worker did not leave when it was asked to")


def kill(process: BaseProcess) -> None:
    """End it at once, in the middle of its work."""
    process.kill()
    process.join(20)


def processes_on(cache: Path) -> list[psutil.Process]:
    """All processes that work on a cache folder: those started with it, the recorded worker, and those that it started."""
    recorded, _ = processes.announced()
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error, OSError):
            named = process.environ().get("LAYERSCOPE_CACHE") == str(cache)
            session = recorded is not None and os.getsid(process.pid) == recorded.pid
            if process.pid != os.getpid() and (named or session) and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
    return found


def left_running(cache: Path, sessions: list[int]) -> list[str]:
    """Return processes that outlived their parents, as sentences."""
    found = {process.pid: process for process in processes_on(cache)}
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error, OSError):
            if os.getsid(process.pid) in sessions and process.status() != psutil.STATUS_ZOMBIE:
                found[process.pid] = process
    return [f"process {pid} still runs: {' '.join(process.cmdline())[:120]}" for pid, process in found.items()]
