"""Functions on the job queue for pages and the command line.

A job is a row in `cache/jobs.sqlite` and a folder `cache/jobs/ID/` with `spec.json`, `events.jsonl`
and `log.txt`. It runs on its `backend`, by default in a worker process on this machine. There is
one worker per cache folder, and it outlives the server that started it. Call `submit`, then
`start`. Call `reap` on every refresh to notice killed workers.
"""

import contextlib
import json
import secrets
import sqlite3
import time
from pathlib import Path
from typing import Any

from analysis.core import host, store
from analysis.core.errors import JobError, LayerscopeError, StorageError
from analysis.core.experiment import title
from analysis.core.failures import redact
from analysis.core.record import Spec
from analysis.jobs.queue import attempt, processes, table
from analysis.jobs.queue import backend as backends
from analysis.jobs.queue import space as job_space
from analysis.jobs.queue.backend import AttemptStatus, Backend
from analysis.jobs.queue.job import (
    CANCELLED,
    DONE,
    FAILED,
    INTERRUPTED,
    LOCAL,
    PAUSED,
    QUEUED,
    RESUMABLE,
    RUNNING,
    Job,
    folder,
)
from analysis.jobs.queue.space import Space
from analysis.jobs.queue.table import RowState, get

FRONT = -(10**9)
END = 10**9
"""Offsets that move a job to the front or the end of any queue."""

_HEARTBEAT_S = 2.0
"""Minimum time between stored heartbeats of a job on another machine, in seconds."""
_UNKNOWN = "{title} no longer knows the job, because its process is gone. {resume}"


def submit(
    spec: Spec,
    label: str | None = None,
    backend: str = LOCAL,
    *,
    owner: str | None = None,
    owner_label: str | None = None,
    is_operator: bool = False,
    limit_s: float | None = None,
    shards: int = 1,
) -> Job:
    """Add a request to the queue, and submit it to its backend unless a worker takes it from the
    queue.

    Args:
        spec: the request.
        label: title of the job (default: one made from the request).
        backend: key of `backend.BACKENDS`.
        owner: permanent identity of the user; None for the user of the machine.
        owner_label: name or e-mail address of the user to show.
        is_operator: whether the user may resume the jobs of others.
        limit_s: seconds after which an attempt is stopped (default: never).
        shards: number of processes that share the request.

    Returns:
        The new job, the queued or running job of an equal request, or a paused one, which resumes.
        Only its owner changes its backend and its number of processes.

    Raises:
        JobError: if there is no such backend, it cannot be used now, or a paused job of somebody
            else does the same work.
        StorageError: if the cache folder cannot be written.
    """
    if host.is_viewer():
        raise JobError(host.VIEWER)
    backends.usable(backend)
    fingerprint = spec.fingerprint()
    with table.transaction(write=True) as db:
        twin = _active_twin(db, spec.kind, fingerprint)
        if twin is not None:
            return twin
        paused = db.execute(
            "SELECT id, owner, owner_label FROM jobs WHERE kind = ? AND fingerprint = ? AND"
            " state = ?",
            (spec.kind, fingerprint, PAUSED),
        ).fetchone()
        if paused is not None:
            job_id = paused["id"]
            is_owner = paused["owner"] == owner
            if not is_owner and owner is not None and not is_operator:
                whose = paused["owner_label"] or "somebody else"
                raise JobError(
                    f"This request cannot be started: job {job_id}, by {whose}, does this work and"
                    " is paused. Only its owner or an operator can resume it."
                )
            table.requeue(db, job_id)
            if is_owner:
                db.execute(
                    "UPDATE jobs SET backend = ?, shards = ? WHERE id = ?",
                    (backend, shards, job_id),
                )
        else:
            job_id = secrets.token_hex(5)
            table.insert(
                db,
                id=job_id,
                kind=spec.kind,
                spec=json.dumps(spec.to_json()),
                fingerprint=fingerprint,
                label=label or _label(spec),
                created_at=time.time(),
                backend=backend,
                owner=owner,
                owner_label=owner_label,
                limit_s=limit_s,
                shards=shards,
            )
    job = get(job_id)
    try:
        _write_request(job)
    except StorageError:
        delete(job_id)
        raise
    return _hand_over(job)


def _write_request(job: Job) -> None:
    """Write the request of a job into its folder, for the machine that runs it, unless it is there.

    The row of a job is older than its folder: a kill between the two leaves no folder that nobody
    knows, and the next submission to a backend writes it.
    """
    file = job.folder / "spec.json"
    if not file.exists():
        content = json.dumps({"kind": job.kind, "spec": job.spec.to_json()}, indent=1)
        store.write_atomic(file, content.encode())


def start() -> None:
    """Start what queued jobs need: the worker of this machine, and submission to the other
    backends.

    Call it after `submit` and `resume`, and on every refresh: a job may resume automatically, or
    its backend may be available again.

    Raises:
        StorageError: if the cache folder cannot be written.
    """
    latest = {job.backend: job for job in map(_hand_over, active())}
    for name, job in latest.items():
        backend = backends.BACKENDS.get(name)
        if backend is not None and backend.has_worker:
            backend.submit(job)


def _hand_over(job: Job) -> Job:
    """Submit a queued job to its backend, unless a worker takes it from the queue; return the
    updated job.
    """
    backend = backends.BACKENDS.get(job.backend)
    if (
        job.state != QUEUED
        or backend is None
        or backend.has_worker
        or backend.available() is not None
    ):
        return job
    job_taken = table.take(job.id)
    if job_taken is not None:
        try:
            _write_request(job_taken)
            (backend.submit if job_taken.attempts == 1 else backend.resume)(job_taken)
        except LayerscopeError as error:
            table.finish(job_taken, FAILED, error=str(error))
    return get(job.id)


def _active_twin(db: Any, kind: str, fingerprint: str) -> Job | None:
    sql = (
        "SELECT * FROM jobs WHERE kind = ? AND fingerprint = ? AND state IN (?, ?) AND"
        " cancel_requested_at IS NULL"
    )
    row = db.execute(sql, (kind, fingerprint, QUEUED, RUNNING)).fetchone()
    return None if row is None else table.read(row)


def _label(spec: Spec) -> str:
    """Return the title of a request, such as "Heal of SmolLM2-135M, layers 11-15"."""
    model = getattr(spec, "model", None)
    block = getattr(spec, "block", None)
    label = title(spec.kind)
    if model is not None:
        label += f" of {Path(model.source).name or model.source}"
    return label if block is None else f"{label}, {block.brief()}"


def list_jobs(limit: int = 50) -> list[Job]:
    """Return jobs: the running one, queued ones in order, paused ones, then ended ones, newest
    first.

    Jobs of a kind that this version does not know are left out.
    """
    return _listed(limit, (RUNNING, QUEUED, PAUSED, DONE, FAILED, CANCELLED, INTERRUPTED))


def active() -> list[Job]:
    """Return the running and queued jobs, in order."""
    return _listed(1000, (RUNNING, QUEUED))


def _listed(limit: int, states: tuple[str, ...]) -> list[Job]:
    order = (
        "ORDER BY state != ?, state != ?, CASE WHEN state = ? THEN position END, state != ?, "
        "coalesce(finished_at, created_at) DESC, number DESC"
    )
    with table.transaction() as db:
        sql = f"SELECT * FROM jobs WHERE state IN ({', '.join('?' * len(states))}) {order} LIMIT ?"
        rows = db.execute(sql, (*states, RUNNING, QUEUED, QUEUED, PAUSED, limit)).fetchall()
    jobs = []
    for row in rows:
        with contextlib.suppress(JobError):
            jobs.append(table.read(row))
    return jobs


def cancel(job_id: str) -> Job:
    """Cancel a job: a queued one at once, a running one within 5 s. Finished work is kept.

    Raises:
        JobError: if there is no such job, or it has ended.
    """
    with table.transaction(write=True) as db:
        state = table.row_of(db, job_id)["state"]
        if state == RUNNING:
            _ask_to_stop(db, job_id, CANCELLED)
        elif state in (QUEUED, PAUSED):
            _end_waiting(db, job_id, CANCELLED, f"It was cancelled while it was {state}.")
        elif state != CANCELLED:
            raise JobError(
                f"Job {job_id} cannot be cancelled: it has already ended, with state {state}."
            )
    return _pass_on(job_id)


def pause(job_id: str) -> Job:
    """Pause a job: it saves its work, stops, and can be resumed.

    Raises:
        JobError: if there is no such job, it has ended, or it is being cancelled.
    """
    with table.transaction(write=True) as db:
        row = table.row_of(db, job_id)
        state = row["state"]
        is_cancelled = row["cancel_requested_at"] is not None and row["stop_as"] != PAUSED
        if state == RUNNING and not is_cancelled:
            _ask_to_stop(db, job_id, PAUSED)
        elif state == QUEUED:
            _end_waiting(db, job_id, PAUSED, "It was paused before it started.")
        elif state != PAUSED:
            reason = (
                "it is being cancelled"
                if state == RUNNING
                else f"it has already ended, with state {state}"
            )
            raise JobError(f"Job {job_id} cannot be paused: {reason}.")
    return _pass_on(job_id)


def _pass_on(job_id: str) -> Job:
    """Pass the request to stop a job to its backend; if that is unreachable, `reap` tries again."""
    job = get(job_id)
    backend = backends.BACKENDS.get(job.backend)
    if job.state == RUNNING and job.cancel_requested and backend is not None:
        with contextlib.suppress(LayerscopeError):
            backend.cancel(job)
    return job


def _ask_to_stop(db: sqlite3.Connection, job_id: str, state: str) -> None:
    # Keep the time of the first request: a second click must not give a stuck worker more time.
    sql = (
        "UPDATE jobs SET cancel_requested_at = coalesce(cancel_requested_at, ?), stop_as = ? WHERE"
        " id = ?"
    )
    db.execute(sql, (time.time(), state, job_id))


def _end_waiting(db: sqlite3.Connection, job_id: str, state: str, sentence: str) -> None:
    sql = "UPDATE jobs SET state = ?, finished_at = ?, error = ? WHERE id = ?"
    db.execute(sql, (state, time.time(), sentence, job_id))


def resume(job_id: str) -> Job:
    """Put a paused, interrupted, cancelled or failed job back into the queue of its backend; it
    resumes from its saved work.

    Raises:
        JobError: if there is no such job, it is active or done, another job does the same work, or
            its backend cannot be used.
    """
    with table.transaction(write=True) as db:
        row = table.row_of(db, job_id)
        if row["state"] not in RESUMABLE:
            raise JobError(
                f"Job {job_id} cannot be resumed: it is {row['state']}. Only paused, interrupted,"
                " cancelled and failed jobs can."
            )
        backends.usable(row["backend"])
        twin = _active_twin(db, row["kind"], row["fingerprint"])
        if twin is not None:
            raise JobError(
                f"Job {job_id} cannot be resumed: job {twin.id} does the same work and is"
                f" {twin.state}."
            )
        table.requeue(db, job_id)
    return _hand_over(get(job_id))


def move(job_id: str, places: int) -> Job:
    """Move a queued job.

    Args:
        job_id: id of the job.
        places: number of places towards the end, negative towards the front; `FRONT` and `END` move
            it all the way.

    Raises:
        JobError: if there is no such job, or it is not queued.
    """
    with table.transaction(write=True) as db:
        state = table.row_of(db, job_id)["state"]
        if state != QUEUED:
            raise JobError(
                f"Job {job_id} cannot be moved: it is {state}. Only queued jobs have a position in"
                " the queue."
            )
        table.move(db, job_id, places)
    return get(job_id)


def space(job_id: str) -> Space:
    """Return the disk space of a job, and what else needs its saved files.

    Raises:
        JobError: if there is no such job.
    """
    with table.transaction() as db:
        return job_space.of(db, table.row_of(db, job_id))


def size_bytes(job: Job) -> int:
    """Return the size of a job's folder, checkpoints, adapter and result, in bytes."""
    saved = job_space.saved_folders(job.kind, job.result_key)
    return job_space.size_bytes([job.folder, *saved])


def delete(job_id: str, *, saved: bool = False) -> None:
    """Delete a job and its folder.

    Args:
        job_id: id of the job.
        saved: whether to also delete its checkpoints, adapter and result, unless something else
            needs them (see `space`).

    Raises:
        JobError: if there is no such job, or it is running.
    """
    with table.transaction(write=True) as db:
        aside = _forget(db, table.row_of(db, job_id), saved=saved)
    job_space.erase(aside)


def clear(*, saved: bool = False, owner: str | None = None) -> int:
    """Delete all ended jobs, and return their number. Paused jobs stay.

    Args:
        saved: as in `delete`.
        owner: identity of the user whose jobs are deleted (default: all users).
    """
    aside = []
    with table.transaction(write=True) as db:
        ended = (DONE, FAILED, CANCELLED, INTERRUPTED)
        sql = "SELECT * FROM jobs WHERE state IN (?, ?, ?, ?) AND (? IS NULL OR owner = ?)"
        rows = db.execute(sql, (*ended, owner, owner)).fetchall()
        for row in rows:
            aside += _forget(db, row, saved=saved)
    job_space.erase(aside)
    return len(rows)


def _forget(db: sqlite3.Connection, row: sqlite3.Row, *, saved: bool) -> list[Path]:
    """Delete the row of a job; return the folders to erase after the commit."""
    if row["state"] == RUNNING:
        raise JobError(f"Job {row['id']} cannot be deleted while it runs. Cancel it first.")
    # Rename inside the transaction: an equal request that starts later must not find half-deleted
    # files.
    folders = (
        job_space.saved_folders(row["kind"], row["result_key"])
        if saved and job_space.needed_by(db, row) is None
        else []
    )
    db.execute("DELETE FROM jobs WHERE id = ?", (row["id"],))
    return job_space.set_aside([*folders, folder(row["id"])])


def reap() -> list[Job]:
    """Poll the running jobs: those whose worker is gone become interrupted, or are queued again if
    they resume automatically.

    Returns:
        The updated jobs that no longer run.
    """
    with table.transaction() as db:
        rows = db.execute("SELECT * FROM jobs WHERE state = ?", (RUNNING,)).fetchall()
    ended = []
    for row in rows:
        with contextlib.suppress(JobError):
            job = table.read(row)
            if (job.heartbeat_at or 0.0) > time.time() + processes.SILENCE_S:
                # A heartbeat from the future, by another clock, counts as one of now, once.
                table.update(job, heartbeat_at=time.time())
            if job.is_over_time and not job.cancel_requested:
                job = _stop_over_time(job)
            if _has_ended(job):
                ended.append(get(job.id))
    return ended


def _stop_over_time(job: Job) -> Job:
    """Ask a job over its time limit to stop; a worker process does so itself, by a monotonic
    clock.
    """
    backend = backends.BACKENDS.get(job.backend)
    if backend is None or backend.has_worker:
        return job
    table.stop_over_time(job)
    return _pass_on(job.id)


def _has_ended(job: Job) -> bool:
    """Poll a running job, and return whether it has ended."""
    backend = backends.BACKENDS.get(job.backend)
    if backend is None:
        return False  # its backend is that of an extension of another process
    try:
        if job.cancel_requested:
            backend.cancel(job)
        status = backend.watch(job)
    except LayerscopeError as error:
        # The backend is unreachable, but the job may still run.
        if (sentence := redact(str(error))) != job.error:
            table.update(job, error=sentence)
        return False
    if status is None:
        # Another process may be submitting it, or know it.
        if time.time() - (job.heartbeat_at or 0.0) < processes.SILENCE_S:
            return False
        status = AttemptStatus(
            INTERRUPTED, error=_UNKNOWN.format(title=backend.title, resume=attempt.RESUME)
        )
    return _store_status(job, backend, status)


def _store_status(job: Job, backend: Backend, status: AttemptStatus) -> bool:
    """Store the status of a running job, and return whether the job has ended."""
    columns = {} if status.result_key is None else {"result_key": status.result_key}
    if status.progress is not None:
        attempt.report(job, status.progress)
    attempt.count(job, status.work)
    if status.state == INTERRUPTED:
        standing = attempt.interrupt(job, status.error, finished_at=job.heartbeat_at)
    elif status.state == CANCELLED:
        standing = table.finish_stopped(job, **columns)
    elif status.state in (DONE, FAILED):
        standing = table.finish(job, status.state, error=status.error, **columns)
    else:
        is_due = job.error is not None or time.time() - (job.heartbeat_at or 0.0) >= _HEARTBEAT_S
        if is_due and not backend.has_worker:
            table.update(job, heartbeat_at=time.time(), error=None, **columns)
        return False
    return standing is not RowState.LOST
