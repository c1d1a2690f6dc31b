"""The queue of long computations, as pages and the command line see it.

A job is a row in `cache/jobs.sqlite` plus a folder `cache/jobs/ID/` with `spec.json`, `events.jsonl` and `log.txt`. It runs
in a worker process of its own, one per cache folder, that outlives the server which started it: call `submit`, then
`ensure_worker`; call `reap` on every refresh, so that a worker that was killed is noticed.
"""

import contextlib
import json
import os
import re
import secrets
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from analysis import job_table, processes, storage
from analysis.errors import JobError
from analysis.job_table import (
    CANCELLED,
    DONE,
    FAILED,
    INTERRUPTED,
    QUEUED,
    RUNNING,
    STATES,
    Job,
    Standing,
    redact,
)
from analysis.spec import Spec

__all__ = [
    "CANCELLED",
    "DONE",
    "FAILED",
    "INTERRUPTED",
    "QUEUED",
    "RUNNING",
    "STATES",
    "Job",
    "active",
    "cancel",
    "delete",
    "ensure_worker",
    "events",
    "get",
    "list_jobs",
    "log_tail",
    "reap",
    "redact",
    "resume",
    "submit",
    "worker_alive",
]

STUCK_S = 8.0
"""A worker that has been asked to stop, and silent, for this long is ended: even its watchdog is stuck."""

_ID = re.compile(r"[0-9a-f]{10}")
_REPOSITORY = Path(__file__).resolve().parent.parent
_LOG_TAIL_BYTES = 256 * 1024
_WORKER_LOG_BYTES = 1024 * 1024
_started: list[subprocess.Popen[bytes]] = []
"""Workers this process started: asked about now and then, so that an ended one does not stay a zombie."""

_TITLES = {
    "distances": "Distance map",
    "damage": "Damage map",
    "sweep": "Accuracy curve",
    "evaluate": "Evaluation",
    "heal": "Heal",
    "inspect": "Model check",
    "export": "Export",
}


def submit(spec: Spec, label: str | None = None) -> Job:
    """Put a request into the queue.

    Args:
        spec: what to compute.
        label: the line to show people; None for one made from the spec.

    Returns:
        The new job, or the one that already waits or runs with an identical spec.

    Raises:
        StorageError: when the cache folder cannot be written.
    """
    fingerprint = spec.fingerprint()
    with job_table.transaction(write=True) as db:
        twin = _active_twin(db, spec.kind, fingerprint)
        if twin is not None:
            return twin
        job_id = secrets.token_hex(5)
        content = json.dumps({"kind": spec.kind, "spec": spec.to_json()}, indent=1)
        # Written before the row is committed, so that there is never a row without its folder.
        storage.write_atomic(job_table.folder(job_id) / "spec.json", content.encode())
        job_table.insert(
            db,
            id=job_id,
            kind=spec.kind,
            spec=json.dumps(spec.to_json()),
            fingerprint=fingerprint,
            label=label or _label(spec),
            created_at=time.time(),
        )
    return get(job_id)


def _active_twin(db: Any, kind: str, fingerprint: str) -> Job | None:
    sql = "SELECT * FROM jobs WHERE kind = ? AND fingerprint = ? AND state IN (?, ?) AND cancel_requested_at IS NULL"
    row = db.execute(sql, (kind, fingerprint, QUEUED, RUNNING)).fetchone()
    return None if row is None else job_table.read(row)


def _label(spec: Spec) -> str:
    """A line like "Heal of SmolLM2-135M, layers 11-15 (5 layers), block [11, 16)"."""
    model, block = getattr(spec, "model", None), getattr(spec, "block", None)
    label = _TITLES.get(spec.kind, spec.kind)
    if model is not None:
        label += f" of {Path(model.source).name or model.source}"
    return label if block is None else f"{label}, {block.describe()}"


def get(job_id: str) -> Job:
    """The job with this id, as it is now.

    Raises:
        JobError: when there is none.
    """
    with job_table.transaction() as db:
        return job_table.read(_row(db, job_id))


def _row(db: Any, job_id: str) -> Any:
    """The row of a job; everything that takes an id from outside passes here before the id is used in a path."""
    row = None
    if isinstance(job_id, str) and _ID.fullmatch(job_id):
        row = db.execute("SELECT * FROM jobs WHERE id = ?", (job_id,)).fetchone()
    if row is None:
        raise JobError(f"There is no job {str(job_id)[:40]!r}; `python -m analysis jobs list` shows those there are.")
    return row


def list_jobs(limit: int = 50) -> list[Job]:
    """The running job, then those that wait in the order they will run, then ended ones, newest first.

    Jobs of another version that cannot be read are left out.
    """
    order = (
        "ORDER BY state != ?, state != ?, CASE WHEN state = ? THEN position END, "
        "coalesce(finished_at, created_at) DESC, number DESC"
    )
    with job_table.transaction() as db:
        rows = db.execute(f"SELECT * FROM jobs {order} LIMIT ?", (RUNNING, QUEUED, QUEUED, limit)).fetchall()
    found = []
    for row in rows:
        with contextlib.suppress(JobError):
            found.append(job_table.read(row))
    return found


def active() -> list[Job]:
    """The jobs that run or wait, in order."""
    return [job for job in list_jobs(limit=1000) if job.is_active]


def cancel(job_id: str) -> Job:
    """Stop a job: one that waits at once, one that runs within 5 s; what it finished is kept.

    Raises:
        JobError: when there is no such job, or it has ended already.
    """
    with job_table.transaction(write=True) as db:
        state = _row(db, job_id)["state"]
        if state == QUEUED:
            sql = "UPDATE jobs SET state = ?, finished_at = ?, error = ? WHERE id = ?"
            db.execute(sql, (CANCELLED, time.time(), "It was cancelled before it began.", job_id))
        elif state == RUNNING:
            # The first request counts: a second click must not give a stuck worker more time.
            sql = "UPDATE jobs SET cancel_requested_at = coalesce(cancel_requested_at, ?) WHERE id = ?"
            db.execute(sql, (time.time(), job_id))
        elif state != CANCELLED:
            raise JobError(f"Job {job_id} cannot be cancelled: it has ended already, with state {state}.")
    return get(job_id)


def resume(job_id: str) -> Job:
    """Put an interrupted, cancelled or failed job back into the queue; it goes on from what it saved.

    Raises:
        JobError: when there is no such job, it has not ended, it is done, or the same work is active under another id.
    """
    with job_table.transaction(write=True) as db:
        row = _row(db, job_id)
        if row["state"] not in (INTERRUPTED, CANCELLED, FAILED):
            raise JobError(
                f"Job {job_id} cannot be resumed: it is {row['state']}, and only an interrupted, cancelled or failed job can."
            )
        twin = _active_twin(db, row["kind"], row["fingerprint"])
        if twin is not None:
            raise JobError(f"Job {job_id} cannot be resumed: the same work is already {twin.state} as job {twin.id}.")
        job_table.requeue(db, job_id)
    return get(job_id)


def delete(job_id: str) -> None:
    """Forget a job and remove its folder; the results it stored stay.

    Raises:
        JobError: when there is no such job, or it runs.
    """
    with job_table.transaction(write=True) as db:
        if _row(db, job_id)["state"] == RUNNING:
            raise JobError(f"Job {job_id} cannot be deleted while it runs: cancel it first.")
        db.execute("DELETE FROM jobs WHERE id = ?", (job_id,))
    shutil.rmtree(job_table.folder(job_id), ignore_errors=True)


def events(job_id: str, offset: int = 0) -> tuple[list[dict[str, Any]], int]:
    """What a job reported after `offset`, and the offset to ask with next time.

    Each event has `t` (seconds since the epoch), `attempt` and the fields of `Progress`. A last line that is only half
    written is left for the next call; a line that a killed worker left broken is passed over.
    """
    file = get(job_id).folder / "events.jsonl"
    try:
        with file.open("rb") as stream:
            size = stream.seek(0, os.SEEK_END)
            offset = offset if 0 <= offset <= size else 0
            stream.seek(offset)
            content = stream.read(size - offset)
    except FileNotFoundError:
        return [], 0
    complete = content[: content.rfind(b"\n") + 1]
    found = []
    for line in complete.split(b"\n"):
        with contextlib.suppress(ValueError):
            event = json.loads(line)
            if isinstance(event, dict):
                found.append(event)
    return found, offset + len(complete)


def log_tail(job_id: str, n_lines: int = 30) -> str:
    """The last lines of a job's log, with anything that looks like a hub token blotted out."""
    file = get(job_id).folder / "log.txt"
    try:
        with file.open("rb") as stream:
            size = stream.seek(0, os.SEEK_END)
            start = max(0, size - _LOG_TAIL_BYTES)
            stream.seek(start)
            text = stream.read().decode(errors="replace")
    except FileNotFoundError:
        return ""
    if start > 0:
        # The cut may fall inside a token, which would then no longer look like one.
        text = re.sub(r"\A\S*\s?", "", text)
    # A progress bar redraws its line with carriage returns: only what was drawn last counts.
    lines = [line.rstrip("\r").rpartition("\r")[2] for line in text.split("\n")]
    while lines and not lines[-1].strip():
        lines.pop()
    return redact("\n".join(lines[-n_lines:] if n_lines > 0 else []))


def reap() -> list[Job]:
    """Mark as interrupted the running jobs whose worker is gone; returns them as they are now.

    On this host a worker is known by pid and creation time, on another by its heartbeat. A worker that was asked to stop
    and is so stuck that not even its watchdog acts is ended here.
    """
    with job_table.transaction() as db:
        rows = db.execute("SELECT * FROM jobs WHERE state = ?", (RUNNING,)).fetchall()
    ended = []
    for row in rows:
        with contextlib.suppress(JobError):
            job = job_table.read(row)
            if _is_orphan(job) and _end_orphan(job):
                ended.append(get(job.id))
    return ended


def _is_orphan(job: Job) -> bool:
    process, now = job.process, time.time()
    if process is None or not process.is_alive(job.heartbeat_at):
        return True
    silent_s = now - min(job.cancel_requested_at or now, now)
    if silent_s > STUCK_S and now - (job.heartbeat_at or 0.0) > STUCK_S and process.host == processes.host_name():
        process.kill()
        return True
    return False


def _end_orphan(job: Job) -> bool:
    if job.cancel_requested:
        standing = job_table.finish(job, CANCELLED, error="It was cancelled; what was saved before is kept.")
    else:
        sentence = (
            "The worker process ended before the job did (killed, out of memory, or the machine was restarted); "
            "resume the job to go on from what was saved."
        )
        standing = job_table.finish(job, INTERRUPTED, error=sentence, finished_at=job.heartbeat_at or time.time())
    return standing is not Standing.LOST


def worker_alive() -> bool:
    """Whether the worker of this cache folder runs (it starts when it is needed and leaves when idle for long)."""
    return processes.worker() is not None


def ensure_worker(command: Sequence[str] = (sys.executable, "-m", "analysis.worker")) -> bool:
    """Start the worker unless it runs; it belongs to no server and outlives this one.

    Args:
        command: what to start.

    Returns:
        Whether one was started.

    Raises:
        StorageError: when the cache folder cannot be written.
    """
    _started[:] = [worker for worker in _started if worker.poll() is None]
    if worker_alive():
        return False
    cache = storage.cache_dir()
    with storage.disk_errors_explained(cache):
        cache.mkdir(parents=True, exist_ok=True)
    try:
        # Two servers, or two sessions of one, that ask at the same moment start one worker.
        with FileLock(cache / "worker-start.lock", timeout=10):
            if worker_alive():
                return False
            worker = _start(command, cache)
            processes.announce(processes.Process.of(worker.pid))
    except Timeout:
        return False
    _started.append(worker)
    return True


def _start(command: Sequence[str], cache: Path) -> subprocess.Popen[bytes]:
    log = cache / "worker.log"
    with storage.disk_errors_explained(log):
        too_long = log.exists() and log.stat().st_size > _WORKER_LOG_BYTES
        with log.open("wb" if too_long else "ab") as output:
            return subprocess.Popen(
                list(command),
                cwd=_REPOSITORY,
                env={**os.environ, "LAYERSCOPE_CACHE": str(cache)},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
