"""The SQLite table of jobs: its layout, and functions that read and change rows."""

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
from analysis.jobs.queue.job import CANCELLED, FAILED, LOCAL, QUEUED, RUNNING, Job
from analysis.jobs.queue.processes import Process

T = typing.TypeVar("T")
_LAYOUT = 11
_ID = re.compile(r"[0-9a-f]{10}")
_HELD = (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)
_AGAIN_S = 0.5
_BUSY_S = 10.0
"""Time to wait for another process that writes, in seconds."""
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
    1: (
        "ALTER TABLE jobs ADD COLUMN stop_as TEXT",
        "ALTER TABLE jobs ADD COLUMN oom_kills INTEGER",
    ),
    # The new layout keeps out workers of older versions, which would take jobs of other backends.
    2: ("ALTER TABLE jobs ADD COLUMN backend TEXT NOT NULL DEFAULT 'local'",),
    3: tuple(
        f"ALTER TABLE jobs ADD COLUMN {name} REAL"
        for name in ("pace_s", "pace_low_s", "pace_high_s")
    ),
    4: ("ALTER TABLE jobs ADD COLUMN pid_born TEXT",),
    5: ("ALTER TABLE jobs ADD COLUMN owner TEXT", "ALTER TABLE jobs ADD COLUMN limit_s REAL"),
    6: ("ALTER TABLE jobs ADD COLUMN shards INTEGER NOT NULL DEFAULT 1",),
    7: ("ALTER TABLE jobs ADD COLUMN work TEXT",),
    8: ("ALTER TABLE jobs ADD COLUMN owner_label TEXT",),
    9: tuple(
        f"ALTER TABLE jobs DROP COLUMN {name}" for name in ("pace_s", "pace_low_s", "pace_high_s")
    ),
    10: tuple(
        f"ALTER TABLE jobs DROP COLUMN {name}" for name in ("phase_started_at", "phase_first_done")
    ),
}
"""Statements that upgrade a file from each layout to the next."""
_FRESH: dict[str, Any] = {
    **{"phase": "", "done": 0, "total": 0, "message": "", "values": "{}"},
    **dict.fromkeys(("progress_at", "error", "started_at", "finished_at", "heartbeat_at")),
    **dict.fromkeys(
        ("cancel_requested_at", "stop_as", "pid", "pid_started_at", "pid_born", "host", "oom_kills")
    ),
}
"""Columns that are reset when a job is queued again. The result key stays, because finished work is
reused, and the used resources stay, because those of later attempts are added."""


def _file() -> Path:
    return store.local_dir() / "jobs.sqlite"


def connect(*, is_lasting: bool = True) -> sqlite3.Connection:
    """Return an open connection to the table, which is created or upgraded if needed; the caller
    closes it.

    Args:
        is_lasting: whether each commit waits for the disk, so that it survives a power cut.

    Raises:
        StorageError: if the file is damaged, of a newer version, busy for too long, or cannot be
            written.
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
    """Yield a connection to the table whose changes are committed together, or rolled back after an
    error.

    Readers never wait for a writer; writers wait for each other.

    Args:
        write: whether the transaction writes.
        is_lasting: as in `connect`. Other changes become lasting with the next lasting commit.

    Raises:
        StorageError: if the file is damaged, busy for too long, or cannot be written.
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
    """Return the result of an action, repeated while another process holds the list of jobs.

    Args:
        action: function that reads or writes the list.
        on_wait: called once with a message if the list is held.
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
                f"The list of jobs in {path} cannot be used ({error}): another process has locked"
                f" it for {_BUSY_S:g} s. Try again."
            ) from error
        if getattr(error, "sqlite_errorcode", None) == sqlite3.SQLITE_FULL:
            raise StorageError(store.NO_SPACE.format(then="try again")) from error
        if _is_damage(error):
            _move_aside(path)
            raise StorageError(
                f"The list of jobs in {path} is damaged ({error}). It was moved to"
                f" {path.name}.damaged, and a new list begins. Results are kept. Try again."
            ) from error
        raise StorageError(
            f"The list of jobs in {path} cannot be used ({error}). Check that the disk has space"
            " and the folder is writable."
        ) from error


def _is_damage(error: Exception) -> bool:
    return getattr(error, "sqlite_errorcode", 0) & 0xFF in (
        sqlite3.SQLITE_CORRUPT,
        sqlite3.SQLITE_NOTADB,
    )


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
    """Create the table in a new file, or upgrade an older one, in one process at a time."""
    if _layout(db) == _LAYOUT:
        return
    # SQLite reports an error instead of waiting if two processes switch a file to WAL.
    with FileLock(path.with_suffix(".lock"), timeout=_BUSY_S):
        if _layout(db) == 0:
            db.execute("PRAGMA journal_mode = WAL")
            _change(db, [_TABLE], _LAYOUT)
        while (layout := _layout(db)) in _STEPS:
            _change(db, _STEPS[layout], layout + 1)
    if _layout(db) != _LAYOUT:
        raise StorageError(
            f"{path} has layout {_layout(db)}, but this version reads layout {_LAYOUT}. Move the"
            " file aside to start a new one."
        )


def _change(db: sqlite3.Connection, statements: Iterable[str], layout: int) -> None:
    """Run statements and store the new layout in one transaction; closing the connection rolls
    back.
    """
    for statement in ("BEGIN IMMEDIATE", *statements, f"PRAGMA user_version = {layout}", "COMMIT"):
        db.execute(statement)


def _keep_private(path: Path) -> None:
    """Make the file readable by its owner alone; SQLite gives the same mode to the files next to
    it.
    """
    with contextlib.suppress(FileExistsError):
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600))
    for file in (path, *(path.with_name(path.name + end) for end in ("-wal", "-shm"))):
        # Older versions used the umask. Another user's file cannot be changed.
        with contextlib.suppress(FileNotFoundError, PermissionError):
            if stat.S_IMODE(file.stat().st_mode) & 0o077:
                file.chmod(0o600)


def _layout(db: sqlite3.Connection) -> int:
    return int(db.execute("PRAGMA user_version").fetchone()[0])


def read(row: sqlite3.Row) -> Job:
    """Return the job in a row.

    Raises:
        JobError: if this version does not know its kind or one of its columns.
    """
    try:
        columns = dict(row)
        columns["values"] = input_files.parsed(columns["values"])
        columns["work"] = (
            None
            if columns["work"] is None
            else ResourceUsage.from_json(input_files.parsed_object(columns["work"]))
        )
        columns["cancel_requested"] = columns["cancel_requested_at"] is not None
        del columns["number"], columns["fingerprint"]
        if columns["kind"] not in EXPERIMENTS:
            raise JobError(f"no kind {columns['kind']}")
        return Job(spec_json=columns.pop("spec"), **columns)
    except (KeyError, TypeError, ValueError, AttributeError, LayerscopeError) as error:
        raise JobError(
            f"Job {row['id']} was stored by another version and cannot be read ({error}). Delete it"
            " and submit it again."
        ) from error


def row_of(db: sqlite3.Connection, job_id: str) -> sqlite3.Row:
    """Return the row of a job. Ids from outside are checked here before they are used in a path.

    Raises:
        JobError: if there is no such job.
    """
    row = None
    if isinstance(job_id, str) and _ID.fullmatch(job_id):
        row = db.execute("SELECT * FROM jobs WHERE id = ?", (job_id,)).fetchone()
    if row is None:
        raise JobError(
            f"There is no job {str(job_id)[:40]!r}. `python -m analysis jobs list` shows all jobs."
        )
    return typing.cast(sqlite3.Row, row)


def get(job_id: str) -> Job:
    """Return the current state of a job.

    Raises:
        JobError: if there is no such job.
    """
    with transaction() as db:
        return read(row_of(db, job_id))


def insert(db: sqlite3.Connection, **columns: Any) -> None:
    """Add a new job at the end of the queue, in the caller's transaction."""
    columns = {**columns, "state": QUEUED, "position": _next_position(db)}
    names = ", ".join(f'"{name}"' for name in columns)
    parameters = ", ".join("?" * len(columns))
    db.execute(f"INSERT INTO jobs ({names}) VALUES ({parameters})", tuple(columns.values()))


def requeue(db: sqlite3.Connection, job_id: str, *, first: bool = False, message: str = "") -> None:
    """Queue an ended job again, at the end or the front of the queue, in the caller's
    transaction.
    """
    columns = {**_FRESH, "state": QUEUED, "message": message, "position": _next_position(db)}
    if first:
        columns["position"] = int(
            db.execute("SELECT coalesce(min(position), 1) - 1 FROM jobs").fetchone()[0]
        )
    settings = ", ".join(f'"{name}" = ?' for name in columns)
    db.execute(f"UPDATE jobs SET {settings} WHERE id = ?", (*columns.values(), job_id))


def move(db: sqlite3.Connection, job_id: str, places: int) -> None:
    """Move a queued job, in the caller's transaction.

    Args:
        db: connection.
        job_id: id of the job.
        places: number of places towards the end, negative towards the front, clipped to the queue.
    """
    rows = db.execute(
        "SELECT id, position FROM jobs WHERE state = ? ORDER BY position, number", (QUEUED,)
    ).fetchall()
    order = [row["id"] for row in rows]
    positions = sorted(row["position"] for row in rows)
    index = order.index(job_id)
    order.insert(max(0, min(index + places, len(order) - 1)), order.pop(index))
    db.executemany(
        "UPDATE jobs SET position = ? WHERE id = ?", list(zip(positions, order, strict=True))
    )


def _next_position(db: sqlite3.Connection) -> int:
    return int(db.execute("SELECT coalesce(max(position), 0) + 1 FROM jobs").fetchone()[0])


def claim(process: Process) -> Job | None:
    """Take the next job of this machine's worker; None if the queue is empty.

    Finding and marking the job is one statement, so that two workers never get the same one.
    """
    return _take(f"backend = '{LOCAL}'", (), process)


def take(job_id: str) -> Job | None:
    """Take a queued job to submit it to its backend; None if it is no longer queued."""
    return _take("id = ?", (job_id,), None)


def _take(which: str, values: tuple[str, ...], process: Process | None) -> Job | None:
    with transaction() as db:
        if (
            db.execute(
                f"SELECT 1 FROM jobs WHERE state = ? AND {which} LIMIT 1", (QUEUED, *values)
            ).fetchone()
            is None
        ):
            return None
    now = time.time()
    process_columns = (
        None
        if process is None
        else (process.pid, process.started_at, process.born, process.host, processes.oom_kills())
    )
    worker = process_columns or (None,) * 5
    with transaction(write=True) as db:
        rows = db.execute(
            "UPDATE jobs SET state = ?, started_at = ?, heartbeat_at = ?, attempts = attempts + 1,"
            " pid = ?, pid_started_at = ?, pid_born = ?, host = ?, oom_kills = ? WHERE number ="
            f" (SELECT number FROM jobs WHERE state = ? AND {which} ORDER BY position LIMIT 1)"
            " RETURNING *",
            (RUNNING, now, now, *worker, QUEUED, *values),
        ).fetchall()
        if not rows:
            return None
        try:
            return read(rows[0])
        except JobError as error:
            db.execute(
                "UPDATE jobs SET state = ?, error = ?, finished_at = ? WHERE id = ?",
                (FAILED, str(error), now, rows[0]["id"]),
            )
            return None


class RowState(enum.Enum):
    """Instruction of the row of a running job to its worker."""

    GO_ON = "go on"
    STOP = "stop"
    """Stop, because the job is paused or cancelled."""
    LOST = "lost"
    """Leave the row alone: it is deleted, interrupted, or belongs to a later attempt."""


def update(job: Job, **columns: Any) -> RowState:
    """Change the row of a running job, if `job` is still the current attempt.

    The number of attempts is the fence that keeps a worker that was thought dead from writing to
    the attempt that replaced it. A state survives a power cut; progress and heartbeats, which come
    several times a second, may not.
    """
    with transaction(write=bool(columns), is_lasting="state" in columns) as db:
        return write(db, job, columns)


def write(db: sqlite3.Connection, job: Job, columns: dict[str, Any]) -> RowState:
    """Do `update` in the caller's transaction."""
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
    """End a running job in a state, if `job` is still the current attempt."""
    sentence = None if error is None else redact(" ".join(error.split()))
    return update(job, state=state, error=sentence, **{"finished_at": time.time(), **columns})


STOPPED = "It was {state}. Finished parts are kept."


def finish_stopped(job: Job, sentence: str = STOPPED, **columns: Any) -> RowState:
    """End a running job in the state that the request to stop named, if `job` is still the current
    attempt.

    Args:
        job: the attempt that ends.
        sentence: message with `{state}` for the state.
        columns: other columns to store.
    """
    with transaction(write=True) as db:
        return write_stopped(db, job, sentence, **columns)


def write_stopped(db: sqlite3.Connection, job: Job, sentence: str, **columns: Any) -> RowState:
    """Do `finish_stopped` in the caller's transaction."""
    # Read in the same transaction: a request to pause may become one to cancel at any time.
    row = db.execute(
        "SELECT stop_as, cancel_requested_at FROM jobs WHERE id = ?", (job.id,)
    ).fetchone()
    state = (row and row["stop_as"]) or CANCELLED
    if (
        row
        and job.limit_s is not None
        and (row["cancel_requested_at"] or 0.0) - (job.started_at or 0.0) > job.limit_s
    ):
        sentence = f"It reached the limit of {job.limit_s / 3600:.3g} h for a job. {sentence}"
    ended = {
        "state": state,
        "error": sentence.format(state=state),
        "finished_at": time.time(),
        **columns,
    }
    return write(db, job, ended)


def stop_over_time(job: Job) -> None:
    """Ask an attempt over its time limit to stop, unless it was asked already."""
    sql = (
        "UPDATE jobs SET cancel_requested_at = ?, stop_as = ? WHERE id = ? AND attempts = ? AND"
        " cancel_requested_at IS NULL"
    )
    with transaction(write=True) as db:
        db.execute(sql, (time.time(), CANCELLED, job.id, job.attempts))


def to_json(value: Any) -> str:
    """Return strict JSON on one line: numbers of array libraries become plain ones, and NaN and
    infinity become null.
    """
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
