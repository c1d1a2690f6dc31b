"""The queue of long computations, as pages and the command line see it.

A job is a row in `cache/jobs.sqlite` plus a folder `cache/jobs/ID/` with `spec.json`, `events.jsonl` and `log.txt`. It runs
where its `backend` says, by default in a worker process on this machine, one per cache folder, that outlives the server which
started it: call `submit`, then `start`; call `reap` on every refresh, so that a worker that was killed is noticed.
"""

import contextlib
import json
import secrets
import sqlite3
import time
from pathlib import Path
from typing import Any

from analysis.core import host, store
from analysis.core.errors import JobError, LayerscopeError
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

FRONT, END = -(10**9), 10**9
"""Places by which a job moves to the front or the end of any queue."""

_HEARTBEAT_S = 2.0
"""How often it is written down that a job was seen alive elsewhere."""
_UNKNOWN = "{title} no longer knows the job, because its process is gone. {resume}"


def submit(
    spec: Spec,
    label: str | None = None,
    backend: str = LOCAL,
    *,
    owner: str | None = None,
    owner_label: str | None = None,
    limit_s: float | None = None,
    shards: int = 1,
) -> Job:
    """Put a request into the queue, and hand it over to where it shall run unless a worker takes it from here.

    Args:
        spec: the request.
        label: the line to show people; None for one made from the spec.
        backend: where to run it, a key of `backend.BACKENDS`.
        owner: who of several users asks, by an identity that never changes; None for the user of the machine.
        owner_label: the owner's name or e-mail address to show.
        limit_s: seconds after which an attempt is stopped; None for never.
        shards: how many processes share it.

    Returns:
        The new job, or the one that already waits or runs with an identical spec, or a paused one, which resumes.

    Raises:
        JobError: when there is no such place to run, or it cannot run anything now.
        StorageError: when the cache folder cannot be written.
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
            "SELECT id FROM jobs WHERE kind = ? AND fingerprint = ? AND state = ?", (spec.kind, fingerprint, PAUSED)
        ).fetchone()
        if paused is not None:
            job_id = paused["id"]
            table.requeue(db, job_id)
            db.execute("UPDATE jobs SET backend = ?, shards = ? WHERE id = ?", (backend, shards, job_id))
        else:
            job_id = secrets.token_hex(5)
            content = json.dumps({"kind": spec.kind, "spec": spec.to_json()}, indent=1)
            # Written before the row is committed, so that there is never a row without its folder.
            store.write_atomic(folder(job_id) / "spec.json", content.encode())
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
    return _hand_over(get(job_id))


def start() -> None:
    """Let waiting jobs run: the worker of this machine runs if it has work, and other jobs are where they belong.

    Call it after `submit` and `resume`, and on every refresh: a job may resume by itself, or wait for a place that is back.

    Raises:
        StorageError: when the cache folder cannot be written.
    """
    latest = {job.backend: job for job in map(_hand_over, active())}
    for name, job in latest.items():
        backend = backends.BACKENDS.get(name)
        if backend is not None and backend.has_worker:
            backend.submit(job)


def _hand_over(job: Job) -> Job:
    """Give a queued job to the place where it shall run, unless its worker takes it from the queue; the job as it is then."""
    backend = backends.BACKENDS.get(job.backend)
    if job.state != QUEUED or backend is None or backend.has_worker or backend.available() is not None:
        return job
    job_taken = table.take(job.id)
    if job_taken is not None:
        try:
            (backend.submit if job_taken.attempts == 1 else backend.resume)(job_taken)
        except LayerscopeError as error:
            table.finish(job_taken, FAILED, error=str(error))
    return get(job.id)


def _active_twin(db: Any, kind: str, fingerprint: str) -> Job | None:
    sql = "SELECT * FROM jobs WHERE kind = ? AND fingerprint = ? AND state IN (?, ?) AND cancel_requested_at IS NULL"
    row = db.execute(sql, (kind, fingerprint, QUEUED, RUNNING)).fetchone()
    return None if row is None else table.read(row)


def _label(spec: Spec) -> str:
    """A line like "Heal of SmolLM2-135M, layers 11-15"."""
    model, block = getattr(spec, "model", None), getattr(spec, "block", None)
    label = title(spec.kind)
    if model is not None:
        label += f" of {Path(model.source).name or model.source}"
    return label if block is None else f"{label}, {block.brief()}"


def list_jobs(limit: int = 50) -> list[Job]:
    """The running job, then those that wait in the order they will run, then paused ones, then ended ones, newest first.

    Jobs of a kind that this version does not know are left out.
    """
    return _listed(limit, (RUNNING, QUEUED, PAUSED, DONE, FAILED, CANCELLED, INTERRUPTED))


def active() -> list[Job]:
    """The jobs that run or wait, in order."""
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
    """Stop a job: one that waits at once, one that runs within 5 s; its finished work is kept.

    Raises:
        JobError: when there is no such job, or it has ended already.
    """
    with table.transaction(write=True) as db:
        state = table.row_of(db, job_id)["state"]
        if state == RUNNING:
            _ask_to_stop(db, job_id, CANCELLED)
        elif state in (QUEUED, PAUSED):
            _end_waiting(db, job_id, CANCELLED, f"It was cancelled while it was {state}.")
        elif state != CANCELLED:
            raise JobError(f"Job {job_id} cannot be cancelled: it has already ended, with state {state}.")
    return _pass_on(job_id)


def pause(job_id: str) -> Job:
    """Stop a job as `cancel` does, but to be resumed later: it saves its work, and is kept in sight as paused.

    Raises:
        JobError: when there is no such job, it has ended already, or it is being cancelled.
    """
    with table.transaction(write=True) as db:
        row = table.row_of(db, job_id)
        state, is_cancelled = row["state"], row["cancel_requested_at"] is not None and row["stop_as"] != PAUSED
        if state == RUNNING and not is_cancelled:
            _ask_to_stop(db, job_id, PAUSED)
        elif state == QUEUED:
            _end_waiting(db, job_id, PAUSED, "It was paused before it started.")
        elif state != PAUSED:
            reason = "it is being cancelled" if state == RUNNING else f"it has already ended, with state {state}"
            raise JobError(f"Job {job_id} cannot be paused: {reason}.")
    return _pass_on(job_id)


def _pass_on(job_id: str) -> Job:
    """Tell the place where a job runs that it shall stop; where that is out of reach, `reap` tells it later."""
    job = get(job_id)
    backend = backends.BACKENDS.get(job.backend)
    if job.state == RUNNING and job.cancel_requested and backend is not None:
        with contextlib.suppress(LayerscopeError):
            backend.cancel(job)
    return job


def _ask_to_stop(db: sqlite3.Connection, job_id: str, state: str) -> None:
    # The first request counts: a second click must not give a stuck worker more time.
    sql = "UPDATE jobs SET cancel_requested_at = coalesce(cancel_requested_at, ?), stop_as = ? WHERE id = ?"
    db.execute(sql, (time.time(), state, job_id))


def _end_waiting(db: sqlite3.Connection, job_id: str, state: str, sentence: str) -> None:
    sql = "UPDATE jobs SET state = ?, finished_at = ?, error = ? WHERE id = ?"
    db.execute(sql, (state, time.time(), sentence, job_id))


def resume(job_id: str) -> Job:
    """Put a paused, interrupted, cancelled or failed job back into the queue; it resumes from its saved work, where it ran.

    Raises:
        JobError: when there is no such job, it is active or done, its work is active under another id, or its place is
            unavailable.
    """
    with table.transaction(write=True) as db:
        row = table.row_of(db, job_id)
        if row["state"] not in RESUMABLE:
            raise JobError(
                f"Job {job_id} cannot be resumed: it is {row['state']}. Only paused, interrupted, cancelled and failed "
                "jobs can."
            )
        backends.usable(row["backend"])
        twin = _active_twin(db, row["kind"], row["fingerprint"])
        if twin is not None:
            raise JobError(f"Job {job_id} cannot be resumed: job {twin.id} does the same work and is {twin.state}.")
        table.requeue(db, job_id)
    return _hand_over(get(job_id))


def move(job_id: str, places: int) -> Job:
    """Let a queued job wait shorter or longer.

    Args:
        job_id: the job.
        places: how many places towards the end, or with a minus towards the front; `FRONT` and `END` go all the way.

    Raises:
        JobError: when there is no such job, or it does not wait.
    """
    with table.transaction(write=True) as db:
        state = table.row_of(db, job_id)["state"]
        if state != QUEUED:
            raise JobError(f"Job {job_id} cannot be moved: it is {state}. Only queued jobs have a position in the queue.")
        table.move(db, job_id, places)
    return get(job_id)


def space(job_id: str) -> Space:
    """Return the disk space of a job, and whether anybody else needs its saved files.

    Raises:
        JobError: when there is no such job.
    """
    with table.transaction() as db:
        return job_space.of(db, table.row_of(db, job_id))


def size_bytes(job: Job) -> int:
    """Bytes on the disk of a job's folder, checkpoints, adapter and result."""
    saved = job_space.saved_folders(job.kind, job.result_key)
    return job_space.size_bytes([job.folder, *saved])


def delete(job_id: str, *, saved: bool = False) -> None:
    """Forget a job and remove its folder.

    Args:
        job_id: the job.
        saved: also remove its checkpoints, its adapter and its result, unless somebody else needs them (`space` says who).

    Raises:
        JobError: when there is no such job, or it runs.
    """
    with table.transaction(write=True) as db:
        aside = _forget(db, table.row_of(db, job_id), saved=saved)
    job_space.erase(aside)


def clear(*, saved: bool = False, owner: str | None = None) -> int:
    """Forget all jobs that have ended, paused ones aside; returns how many there were.

    Args:
        saved: as in `delete`.
        owner: only those of this user; None for everybody's.
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
    """Take a job out of the table; return the folders to erase once that is committed."""
    if row["state"] == RUNNING:
        raise JobError(f"Job {row['id']} cannot be deleted while it runs. Cancel it first.")
    # Set aside while no other process can submit or take a job: work that begins afterwards finds nothing half-deleted.
    folders = job_space.saved_folders(row["kind"], row["result_key"]) if saved and job_space.needed_by(db, row) is None else []
    db.execute("DELETE FROM jobs WHERE id = ?", (row["id"],))
    return [*job_space.set_aside(folders), folder(row["id"])]


def reap() -> list[Job]:
    """Look at the running jobs where they run: those whose worker is gone are marked as interrupted, or resume by themselves.

    Returns:
        Those that no longer run, or began to wait again, as they are now.
    """
    with table.transaction() as db:
        rows = db.execute("SELECT * FROM jobs WHERE state = ?", (RUNNING,)).fetchall()
    ended = []
    for row in rows:
        with contextlib.suppress(JobError):
            job = table.read(row)
            if (job.heartbeat_at or 0.0) > time.time() + processes.SILENCE_S:
                # Of a clock that is ahead, or from before this one was set back: dated now, once, it has to be heard again.
                table.update(job, heartbeat_at=time.time())
            if job.is_over_time and not job.cancel_requested:
                job = _stop_over_time(job)
            if _has_ended(job):
                ended.append(get(job.id))
    return ended


def _stop_over_time(job: Job) -> Job:
    """Ask a job to stop where nobody else counts its time: a worker of its own does, by a clock that nobody sets."""
    backend = backends.BACKENDS.get(job.backend)
    if backend is None or backend.has_worker:
        return job
    table.stop_over_time(job)
    return _pass_on(job.id)


def _has_ended(job: Job) -> bool:
    """Look at a running job where it runs; whether that ended it."""
    backend = backends.BACKENDS.get(job.backend)
    if backend is None:
        return False  # only a process that knows the place can tell
    try:
        if job.cancel_requested:
            backend.cancel(job)
        status = backend.watch(job)
    except LayerscopeError as error:
        # Out of reach is not gone.
        if (sentence := redact(str(error))) != job.error:
            table.update(job, error=sentence)
        return False
    if status is None:
        # It may be about to be handed over by another process, or be watched by one that knows it.
        if time.time() - (job.heartbeat_at or 0.0) < processes.SILENCE_S:
            return False
        status = AttemptStatus(INTERRUPTED, error=_UNKNOWN.format(title=backend.title, resume=attempt.RESUME))
    return _write_down(job, backend, status)


def _write_down(job: Job, backend: Backend, status: AttemptStatus) -> bool:
    """Bring the row of a job up to the state that was seen; return whether that ended it."""
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
