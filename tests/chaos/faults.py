"""Faults of the machine: a disk that is full, broken or read-only, and a clock that is set."""

import contextlib
import os
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from analysis import jobs
from tests.chaos import children, kinds, stage
from tests.chaos.stage import Row, Stage

_CODES = {"EIO": "Input/output error", "ENOSPC": "no space left"}


def failing_disk(on: Stage, kind: str, code: str, row: Row) -> None:
    """One write fails, at a place drawn at random: the job fails with the reason, the worker stays, and resuming fixes it."""
    on.undisturbed(kind)
    for most in (4, 1):
        with on.cache() as cache:
            job = jobs.submit(on.specs[kind])
            worker = children.start(children.worker, cache, fault=f"fails-at {code} {on.draw.randint(1, most)}")
            stage.wait_for(lambda: jobs.get(job.id).state in (jobs.DONE, jobs.FAILED), f"the job {job.id}")  # noqa: B023
            if jobs.get(job.id).state == jobs.DONE:  # it wrote less often
                stage.end(worker)
                continue
            _failed_and_mended(on, kind, row, cache, job.id, _CODES[code])
            stage.end(worker)
            row.leftovers += stage.left_running(cache, [worker.pid])
            return
    raise RuntimeError(f"{kind} wrote nothing that could fail")


def full_disk(on: Stage, row: Row) -> None:
    """The disk is full in the middle of an export."""
    on.undisturbed("export")
    with on.cache() as cache, _small_disk(cache / "exports", "6m") as enlarge:
        job = jobs.submit(on.specs["export"])
        worker = children.start(children.worker, cache, fault="unchecked-space")
        _failed_and_mended(on, "export", row, cache, job.id, "no space left", mend=enlarge)
        stage.end(worker)
        row.leftovers += stage.left_running(cache, [worker.pid])


def _failed_and_mended(
    on: Stage, kind: str, row: Row, cache: Path, job: str, reason: str, mend: Callable[[], object] = lambda: None
) -> None:
    error = stage.ended(job, jobs.FAILED).error or ""
    row.times += 1
    if reason not in error or "bug" in error:
        row.wrong.append(f"{kind} failed with another sentence: {error}")
    row.leftovers += kinds.halves(cache) + kinds.hidden(cache)
    mend()
    jobs.resume(job)
    stage.ended(job)
    on.hold(row, kind, cache)


def read_only(on: Stage, kind: str, row: Row) -> None:
    """A cache folder that cannot be written is refused in one sentence before weights are loaded."""
    on.undisturbed(kind)
    with on.cache() as cache:
        words = kinds.arguments(on.specs[kind])
        log = Path(f"{cache}.log")
        with _read_only(cache):
            row.times += 1
            refused = children.start(children.command, cache, *words, fault="no-model")
            refused.join(stage.LIMIT_S)
            said = log.read_text().strip()
            if refused.exitcode != 2 or said.count("\n") or "cannot be written" not in said:
                row.wrong.append(f"{kind}: exit code {refused.exitcode}, {said[-300:]}")
        again = children.start(children.command, cache, *words)
        again.join(stage.LIMIT_S)
        on.hold(row, kind, cache)
        row.leftovers += stage.left_running(cache, [refused.pid, again.pid])


def clock(on: Stage, kind: str, row: Row) -> None:
    """The clocks of the worker and of who looks at it are set again and again: nobody notices."""
    on.undisturbed(kind)
    with on.cache() as cache:
        job = jobs.submit(on.specs[kind])
        worker = children.start(children.worker, cache, fault=f"clock {on.draw.randrange(10**6)}")
        row.times += 1
        with children.stepping_clock(on.draw.randrange(10**6)):
            while (now := jobs.get(job.id)).state in (jobs.QUEUED, jobs.RUNNING):
                if jobs.reap():
                    row.wrong.append(f"{kind}: a healthy job was interrupted: {jobs.get(job.id).error}")
                if now.state == jobs.RUNNING and not jobs.worker_alive():
                    row.wrong.append(f"{kind}: a healthy worker was taken for dead")
                if row.wrong:
                    break
                time.sleep(0.02)
        if not row.wrong and jobs.get(job.id).attempts != 1:
            row.wrong.append(f"{kind}: it took {jobs.get(job.id).attempts} attempts")
        stage.ended(job.id)
        stage.end(worker)
        on.hold(row, kind, cache)
        row.leftovers += stage.left_running(cache, [worker.pid])


def can_mount() -> bool:
    """Return whether this process may mount a small disk."""
    return os.geteuid() == 0 and os.access("/bin/mount", os.X_OK)


@contextlib.contextmanager
def _small_disk(folder: Path, size: str) -> Iterator[Callable[[], object]]:
    """A disk of its own at `folder`; a function that makes it large enough."""
    folder.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(folder)], check=True, capture_output=True)
    try:
        yield lambda: subprocess.run(["mount", "-o", "remount,size=1g", str(folder)], check=True, capture_output=True)
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


@contextlib.contextmanager
def _read_only(folder: Path) -> Iterator[None]:
    """Nobody can write in `folder`, root neither where it may mount."""
    if can_mount():
        subprocess.run(["mount", "-t", "tmpfs", "-o", "ro", "tmpfs", str(folder)], check=True, capture_output=True)
        try:
            yield
        finally:
            subprocess.run(["umount", "-l", str(folder)], check=True)
        return
    folder.chmod(0o500)
    try:
        yield
    finally:
        folder.chmod(0o700)
