"""The SQLite table of jobs: the meaning of a row, who may change it."""

import contextlib
import enum
import json
import math
import os
import re
import sqlite3
import stat
import time
import typing
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from analysis.core import input_files, store
from analysis.core.errors import BusyError, JobError, LayerscopeError, StorageError
from analysis.core.experiment import EXPERIMENTS
from analysis.core.failures import redact
from analysis.core.meter import ResourceUsage
from analysis.jobs.queue import processes
from analysis.jobs.queue.job import (
    CANCELLED,
    FAILED,
    LOCAL,
    QUEUED,
    RUNNING,
    Job,
)
from analysis.jobs.queue.processes import Process

T = typing.TypeVar("T")
_LAYOUT = 11
_ID = re.compile(r"[0-9a-f]{10}")
_HELD = (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)
_AGAIN_S = 0.5
_BUSY_S = 10.0
"""How long to wait for another process that is writing."""
_TABLE = """
CREATE TABLE jobs (
    number INTEGER PRIMARY KEY AUTOINCREMENT,
    id TEXT NOT NULL UNIQUE,
    kind TEXT NOT NULL,
    spec TEXT NOT NULL,
    fingerprint TEXT NOT NULL,
    label TEXT NOT NULL,
    state TEXT NOT NULL,
    position INTEGER NOT NULL,
    created_at REAL NOT NULL,
    attempts INTEGER NOT NULL DEFAULT 0,
    phase TEXT NOT NULL DEFAULT '',
    done INTEGER NOT NULL DEFAULT 0,
    total INTEGER NOT NULL DEFAULT 0,
    message TEXT NOT NULL DEFAULT '',
    "values" TEXT NOT NULL DEFAULT '{}',
    progress_at REAL,
    error TEXT,
    result_key TEXT,
    started_at REAL,
    finished_at REAL,
    heartbeat_at REAL,
    cancel_requested_at REAL,
    pid INTEGER,
    pid_started_at REAL,
    host TEXT,
    stop_as TEXT,
    oom_kills INTEGER,
    backend TEXT NOT NULL DEFAULT 'local',
    pid_born TEXT,
    owner TEXT,
    limit_s REAL,
    owner_label TEXT,
    shards INTEGER NOT NULL DEFAULT 1,
    work TEXT
)"""
_STEPS = {
    1: ("ALTER TABLE jobs ADD COLUMN stop_as TEXT", "ALTER TABLE jobs ADD COLUMN oom_kills INTEGER"),
    # A worker of an older version would take jobs that are meant for another place: the new layout keeps it out.
    2: ("ALTER TABLE jobs ADD COLUMN backend TEXT NOT NULL DEFAULT 'local'",),
    3: tuple(f"ALTER TABLE jobs ADD COLUMN {name} REAL" for name in ("pace_s", "pace_low_s", "pace_high_s")),
    4: ("ALTER TABLE jobs ADD COLUMN pid_born TEXT",),
    5: ("ALTER TABLE jobs ADD COLUMN owner TEXT", "ALTER TABLE jobs ADD COLUMN limit_s REAL"),
    6: ("ALTER TABLE jobs ADD COLUMN shards INTEGER NOT NULL DEFAULT 1",),
    7: ("ALTER TABLE jobs ADD COLUMN work TEXT",),
    8: ("ALTER TABLE jobs ADD COLUMN owner_label TEXT",),
    9: tuple(f"ALTER TABLE jobs DROP COLUMN {name}" for name in ("pace_s", "pace_low_s", "pace_high_s")),
    10: tuple(f"ALTER TABLE jobs DROP COLUMN {name}" for name in ("phase_started_at", "phase_first_done")),
}
"""Statements that turn a file of an older layout into one of the next."""
_FRESH: dict[str, Any] = {
    **{"phase": "", "done": 0, "total": 0, "message": "", "values": "{}"},
    **dict.fromkeys(("progress_at", "error", "started_at", "finished_at", "heartbeat_at")),
    **dict.fromkeys(("cancel_requested_at", "stop_as", "pid", "pid_started_at", "pid_born", "host", "oom_kills")),
}
"""Columns that a job forgets when it goes back into the queue. Its result key stays, for its finished work is usable, and its
work stays, because later work is added to it."""


def _file() -> Path:
    return store.local_dir() / "jobs.sqlite"


def connect(*, is_lasting: bool = True) -> sqlite3.Connection:
    """An open connection to the table, which is made or brought up to date if need be; the caller closes it.

    Args:
        is_lasting: whether committed changes have to outlast a power cut, which each time waits for the disk.

    Raises:
        StorageError: when the file is damaged, of a newer version, busy for too long, or cannot be written.
    """
    path = _file()
    store.make_folder(path.parent)
    with store.disk_errors_explained(path):
        _keep_private(path)
    with _errors_explained(path):
        db = sqlite3.connect(path, timeout=_BUSY_S, isolation_level=None)
        try:
            db.row_factory = sqlite3.Row
            db.execute(f"PRAGMA synchronous = {'FULL' if is_lasting else 'NORMAL'}")
            _prepare(db, path)
        except BaseException:
            db.close()
            raise
    return db


@contextlib.contextmanager
def transaction(*, write: bool = False, is_lasting: bool = True) -> Iterator[sqlite3.Connection]:
    """A connection to the table: all that is done in the block is committed, or none of it.

    Readers are never held up by a writer; writers wait for each other.

    Args:
        write: whether it will.
        is_lasting: as in `connect`; changes that are not become so as soon as later ones are, and a power cut before loses no
            more.

    Raises:
        StorageError: when the file is damaged, busy for too long, or cannot be written.
    """
    with contextlib.closing(connect(is_lasting=is_lasting)) as db, _errors_explained(_file()):
        db.execute("BEGIN IMMEDIATE" if write else "BEGIN")
        try:
            yield db
            db.execute("COMMIT")
        except BaseException:
            if db.in_transaction:
                db.execute("ROLLBACK")
            raise


def waited(action: Callable[[], T], on_wait: Callable[[str], None] | None = None) -> T:
    """Return the result of the action, tried again for as long as another process holds the list of jobs.

    Args:
        action: reads or writes the list.
        on_wait: hears once that the list is held.
    """
    while True:
        try:
            return action()
        except BusyError as error:
            if on_wait is not None:
                on_wait(str(error))
                on_wait = None
            time.sleep(_AGAIN_S)


@contextlib.contextmanager
def _errors_explained(path: Path) -> Iterator[None]:
    try:
        yield
    except (sqlite3.DatabaseError, Timeout) as error:
        if isinstance(error, Timeout) or getattr(error, "sqlite_errorcode", 0) & 0xFF in _HELD:
            raise BusyError(
                f"The list of jobs in {path} cannot be used ({error}): another process has locked it for {_BUSY_S:g} s. "
                "Try again."
            ) from error
        if getattr(error, "sqlite_errorcode", None) == sqlite3.SQLITE_FULL:
            raise StorageError(store.NO_SPACE.format(then="try again")) from error
        if _is_damage(error):
            _move_aside(path)
            raise StorageError(
                f"The list of jobs in {path} is damaged ({error}). It was moved to {path.name}.damaged, and a new list begins. "
                "Results are kept. Try again."
            ) from error
        raise StorageError(
            f"The list of jobs in {path} cannot be used ({error}). Check that the disk has space and the folder is writable."
        ) from error


def _is_damage(error: Exception) -> bool:
    return getattr(error, "sqlite_errorcode", 0) & 0xFF in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)


def _move_aside(path: Path) -> None:
    """Move a damaged file away, unless another process has replaced it since."""
    with store.disk_errors_explained(path), FileLock(path.with_suffix(".lock"), timeout=_BUSY_S):
        try:
            with contextlib.closing(sqlite3.connect(path)) as db:
                is_damaged = db.execute("PRAGMA quick_check").fetchone()[0] != "ok"
        except sqlite3.DatabaseError as error:
            is_damaged = _is_damage(error)
        for end in ("", "-wal", "-shm") if is_damaged else ():
            with contextlib.suppress(FileNotFoundError):
                os.replace(f"{path}{end}", f"{path}.damaged{end}")


def _prepare(db: sqlite3.Connection, path: Path) -> None:
    """Create the table in a new file, or bring an older one up to date, once, however many processes open it at once."""
    if _layout(db) == _LAYOUT:
        return
    # SQLite does not wait its turn when two processes switch a file to WAL, so they take turns here.
    with FileLock(path.with_suffix(".lock"), timeout=_BUSY_S):
        if _layout(db) == 0:
            db.execute("PRAGMA journal_mode = WAL")
            _change(db, [_TABLE], _LAYOUT)
        while (layout := _layout(db)) in _STEPS:
            _change(db, _STEPS[layout], layout + 1)
    if _layout(db) != _LAYOUT:
        raise StorageError(
            f"{path} has layout {_layout(db)}, but this version reads layout {_LAYOUT}. Move the file aside to start a new one."
        )


def _change(db: sqlite3.Connection, statements: Iterable[str], layout: int) -> None:
    """Run the statements and note the layout that they lead to, all or nothing: a connection that closes rolls back."""
    for statement in ("BEGIN IMMEDIATE", *statements, f"PRAGMA user_version = {layout}", "COMMIT"):
        db.execute(statement)


def _keep_private(path: Path) -> None:
    """Make the file for its owner alone: SQLite gives the files beside it the mode that it has."""
    with contextlib.suppress(FileExistsError):
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600))
    for file in (path, *(path.with_name(path.name + end) for end in ("-wal", "-shm"))):
        # Older versions left it to the umask; who may write to the folder of another user cannot change that.
        with contextlib.suppress(FileNotFoundError, PermissionError):
            if stat.S_IMODE(file.stat().st_mode) & 0o077:
                file.chmod(0o600)


def _layout(db: sqlite3.Connection) -> int:
    return int(db.execute("PRAGMA user_version").fetchone()[0])


def read(row: sqlite3.Row) -> Job:
    """The job in a row.

    Raises:
        JobError: when its kind or one of its columns is not one that this version knows.
    """
    try:
        columns = dict(row)
        columns["values"] = input_files.parsed(columns["values"])
        columns["work"] = (
            None if columns["work"] is None else ResourceUsage.from_json(input_files.parsed_object(columns["work"]))
        )
        columns["cancel_requested"] = columns["cancel_requested_at"] is not None
        del columns["number"], columns["fingerprint"]
        if columns["kind"] not in EXPERIMENTS:
            raise JobError(f"no kind {columns['kind']}")
        return Job(spec_json=columns.pop("spec"), **columns)
    except (KeyError, TypeError, ValueError, AttributeError, LayerscopeError) as error:
        raise JobError(
            f"Job {row['id']} was stored by another version and cannot be read ({error}). Delete it and submit it again."
        ) from error


def row_of(db: sqlite3.Connection, job_id: str) -> sqlite3.Row:
    """The row of a job; everything that takes an id from outside passes here before the id is used in a path.

    Raises:
        JobError: when there is none.
    """
    row = None
    if isinstance(job_id, str) and _ID.fullmatch(job_id):
        row = db.execute("SELECT * FROM jobs WHERE id = ?", (job_id,)).fetchone()
    if row is None:
        raise JobError(f"There is no job {str(job_id)[:40]!r}. `python -m analysis jobs list` shows all jobs.")
    return typing.cast(sqlite3.Row, row)


def get(job_id: str) -> Job:
    """The job with this id, as it is now.

    Raises:
        JobError: when there is none.
    """
    with transaction() as db:
        return read(row_of(db, job_id))


def insert(db: sqlite3.Connection, **columns: Any) -> None:
    """Put a new job at the end of the queue; runs in the caller's transaction."""
    columns = {**columns, "state": QUEUED, "position": _next_position(db)}
    names = ", ".join(f'"{name}"' for name in columns)
    places = ", ".join("?" * len(columns))
    db.execute(f"INSERT INTO jobs ({names}) VALUES ({places})", tuple(columns.values()))


def requeue(db: sqlite3.Connection, job_id: str, *, first: bool = False, message: str = "") -> None:
    """Put an ended job into the queue again, at its end or its front; runs in the caller's transaction."""
    columns = {**_FRESH, "state": QUEUED, "message": message, "position": _next_position(db)}
    if first:
        columns["position"] = int(db.execute("SELECT coalesce(min(position), 1) - 1 FROM jobs").fetchone()[0])
    settings = ", ".join(f'"{name}" = ?' for name in columns)
    db.execute(f"UPDATE jobs SET {settings} WHERE id = ?", (*columns.values(), job_id))


def move(db: sqlite3.Connection, job_id: str, places: int) -> None:
    """Let a queued job change places with those before or after it; runs in the caller's transaction.

    Args:
        db: the connection.
        job_id: the job.
        places: how many places towards the end, or with a minus towards the front; at most to the end or the front.
    """
    rows = db.execute("SELECT id, position FROM jobs WHERE state = ? ORDER BY position, number", (QUEUED,)).fetchall()
    order, positions = [row["id"] for row in rows], sorted(row["position"] for row in rows)
    index = order.index(job_id)
    order.insert(max(0, min(index + places, len(order) - 1)), order.pop(index))
    db.executemany("UPDATE jobs SET position = ? WHERE id = ?", list(zip(positions, order, strict=True)))


def _next_position(db: sqlite3.Connection) -> int:
    return int(db.execute("SELECT coalesce(max(position), 0) + 1 FROM jobs").fetchone()[0])


def claim(process: Process) -> Job | None:
    """Take the job that has waited longest for this machine's worker; None when nobody waits.

    Two workers never get the same job: finding and marking it is one statement.
    """
    return _take(f"backend = '{LOCAL}'", (), process)


def take(job_id: str) -> Job | None:
    """Take a queued job in order to hand it over to where it shall run; None when it no longer waits."""
    return _take("id = ?", (job_id,), None)


def _take(which: str, values: tuple[str, ...], process: Process | None) -> Job | None:
    with transaction() as db:
        if db.execute(f"SELECT 1 FROM jobs WHERE state = ? AND {which} LIMIT 1", (QUEUED, *values)).fetchone() is None:
            return None
    now = time.time()
    process_columns = (
        None if process is None else (process.pid, process.started_at, process.born, process.host, processes.oom_kills())
    )
    worker = process_columns or (None,) * 5
    with transaction(write=True) as db:
        rows = db.execute(
            "UPDATE jobs SET state = ?, started_at = ?, heartbeat_at = ?, attempts = attempts + 1, "
            "pid = ?, pid_started_at = ?, pid_born = ?, host = ?, oom_kills = ? "
            f"WHERE number = (SELECT number FROM jobs WHERE state = ? AND {which} ORDER BY position LIMIT 1) RETURNING *",
            (RUNNING, now, now, *worker, QUEUED, *values),
        ).fetchall()
        if not rows:
            return None
        try:
            return read(rows[0])
        except JobError as error:
            db.execute(
                "UPDATE jobs SET state = ?, error = ?, finished_at = ? WHERE id = ?", (FAILED, str(error), now, rows[0]["id"])
            )
            return None


class RowState(enum.Enum):
    """State of a worker's job as its row shows it."""

    GO_ON = "go on"
    STOP = "stop"
    """Someone asked to stop it, for good or for now."""
    LOST = "lost"
    """The row is deleted, was marked interrupted, or belongs to a later attempt: keep off."""


def update(job: Job, **columns: Any) -> RowState:
    """Change the row of a running job, if it is still the attempt that `job` was read in.

    `attempts` is the fence: a worker that was thought dead cannot write into the attempt that replaced it.

    A state outlasts a power cut; progress and signs of life, which come several times a second, may be lost with it.
    """
    with transaction(write=bool(columns), is_lasting="state" in columns) as db:
        return write(db, job, columns)


def write(db: sqlite3.Connection, job: Job, columns: dict[str, Any]) -> RowState:
    """As `update`, in the caller's transaction."""
    owned = "id = ? AND state = ? AND attempts = ?"
    key = (job.id, RUNNING, job.attempts)
    if columns:
        settings = ", ".join(f'"{name}" = ?' for name in columns)
        sql = f"UPDATE jobs SET {settings} WHERE {owned} RETURNING cancel_requested_at"
    else:
        sql = f"SELECT cancel_requested_at FROM jobs WHERE {owned}"
    rows = db.execute(sql, (*columns.values(), *key)).fetchall()
    if not rows:
        return RowState.LOST
    return RowState.GO_ON if rows[0]["cancel_requested_at"] is None else RowState.STOP


def finish(job: Job, state: str, *, error: str | None = None, **columns: Any) -> RowState:
    """End a running job in this state, unless it is no longer the caller's to end."""
    sentence = None if error is None else redact(" ".join(error.split()))
    return update(job, state=state, error=sentence, **{"finished_at": time.time(), **columns})


STOPPED = "It was {state}. Finished parts are kept."


def finish_stopped(job: Job, sentence: str = STOPPED, **columns: Any) -> RowState:
    """End a running job that was asked to stop in the state that was asked for, unless it is no longer the caller's to end.

    Args:
        job: the attempt that ends.
        sentence: why, with {state} in the place of the state.
        columns: other columns to store.
    """
    with transaction(write=True) as db:
        return write_stopped(db, job, sentence, **columns)


def write_stopped(db: sqlite3.Connection, job: Job, sentence: str, **columns: Any) -> RowState:
    """As `finish_stopped`, in the caller's transaction."""
    # Read where it is written: the wish to pause may turn into one to cancel until the last moment.
    row = db.execute("SELECT stop_as, cancel_requested_at FROM jobs WHERE id = ?", (job.id,)).fetchone()
    state = (row and row["stop_as"]) or CANCELLED
    if row and job.limit_s is not None and (row["cancel_requested_at"] or 0.0) - (job.started_at or 0.0) > job.limit_s:
        sentence = f"It reached the limit of {job.limit_s / 3600:.3g} h for a job. {sentence}"
    ended = {"state": state, "error": sentence.format(state=state), "finished_at": time.time(), **columns}
    return write(db, job, ended)


def stop_over_time(job: Job) -> None:
    """Ask an attempt to stop that runs for longer than it may; one that was asked already is let be."""
    sql = "UPDATE jobs SET cancel_requested_at = ?, stop_as = ? WHERE id = ? AND attempts = ? AND cancel_requested_at IS NULL"
    with transaction(write=True) as db:
        db.execute(sql, (time.time(), CANCELLED, job.id, job.attempts))


def to_json(value: Any) -> str:
    """One line of strict JSON: numbers of array libraries become plain ones, those that are not finite become null."""
    return json.dumps(_plain(value), allow_nan=False)


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {str(key): _plain(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(entry) for entry in value]
    if hasattr(value, "item"):
        value = value.item()
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value if isinstance(value, str | int | float | None) else str(value)
