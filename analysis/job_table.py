"""The SQLite table of jobs: what a row says, who may change it."""

import contextlib
import enum
import json
import math
import re
import sqlite3
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from analysis import storage
from analysis.errors import JobError, SpecError, StorageError
from analysis.export_specs import ExportSpec
from analysis.processes import Process
from analysis.spec import Spec
from analysis.specs import SPECS

QUEUED, RUNNING, DONE, FAILED, CANCELLED, INTERRUPTED = STATES = (
    "queued",
    "running",
    "done",
    "failed",
    "cancelled",
    "interrupted",
)

KINDS: dict[str, type[Spec]] = {**SPECS, ExportSpec.kind: ExportSpec}
"""Every request that can be a job."""

_LAYOUT = 1
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
    phase_started_at REAL,
    phase_first_done INTEGER NOT NULL DEFAULT 0,
    progress_at REAL,
    error TEXT,
    result_key TEXT,
    started_at REAL,
    finished_at REAL,
    heartbeat_at REAL,
    cancel_requested_at REAL,
    pid INTEGER,
    pid_started_at REAL,
    host TEXT
)"""
_FRESH: dict[str, Any] = {
    "phase": "",
    "done": 0,
    "total": 0,
    "message": "",
    "values": "{}",
    "phase_started_at": None,
    "phase_first_done": 0,
    "progress_at": None,
    "error": None,
    "started_at": None,
    "finished_at": None,
    "heartbeat_at": None,
    "cancel_requested_at": None,
    "pid": None,
    "pid_started_at": None,
    "host": None,
}
"""What a job forgets when it goes back into the queue; its result key stays, for what was finished is usable."""
_TOKEN = re.compile(r"\b(hf|api_org)_[A-Za-z0-9]{8,}")


def redact(text: str) -> str:
    """The text with everything that looks like a hub token blotted out."""
    return _TOKEN.sub(r"\1_[redacted]", text)


@dataclass(frozen=True)
class Job:
    """One request on its way through the queue, as it was when it was read."""

    id: str
    """Ten hexadecimal digits, made by us."""
    kind: str
    """Which experiment: a key of `KINDS`."""
    spec: Spec
    """What is asked for."""
    state: str
    """queued, running, done, failed, cancelled or interrupted."""
    label: str
    """The line to show people."""
    phase: str
    """What is being done now."""
    done: int
    """Units finished in this phase."""
    total: int
    """Units in this phase; 0 while unknown."""
    message: str
    """The latest sentence reported."""
    values: dict[str, Any]
    """The latest numbers reported."""
    error: str | None
    """Why it failed, was cancelled or interrupted, in one sentence."""
    created_at: float
    """When it was submitted; all times are seconds since the epoch."""
    started_at: float | None
    """When the present or last attempt began."""
    finished_at: float | None
    """When the last attempt ended; of an interrupted one, when it was last heard from."""
    heartbeat_at: float | None
    """The worker's last sign of life."""
    pid: int | None
    """The worker's process, while running and after."""
    pid_started_at: float | None
    """When that process was created: pids are handed out again."""
    host: str | None
    """The machine it runs on."""
    cancel_requested: bool
    """Someone asked to stop it."""
    attempts: int
    """How many times a worker took it."""
    result_key: str | None
    """Fingerprint of the resolved spec, under which the result (a partial one too) is stored; None until known."""
    position: int = 0
    """Order in the queue, lowest first."""
    phase_started_at: float | None = None
    """When the present phase was first reported."""
    phase_first_done: int = 0
    """`done` in that first report: a resumed phase does not begin at 0."""
    progress_at: float | None = None
    """When progress was last reported."""
    cancel_requested_at: float | None = None
    """When the stop was asked for."""

    @property
    def is_active(self) -> bool:
        """Whether it is queued or running."""
        return self.state in (QUEUED, RUNNING)

    @property
    def elapsed_s(self) -> float | None:
        """Seconds the present or last attempt took so far; None if it never began."""
        if self.started_at is None:
            return None
        return max(0.0, (self.finished_at or time.time()) - self.started_at)

    @property
    def eta_s(self) -> float | None:
        """Seconds until the present phase ends, at the pace it had so far; None while unknown."""
        if self.state != RUNNING or self.phase_started_at is None or self.progress_at is None:
            return None
        finished = self.done - self.phase_first_done
        if self.total <= 0 or finished <= 0:
            return None
        pace = (self.progress_at - self.phase_started_at) / finished
        return max(0.0, pace * (self.total - self.done) - (time.time() - self.progress_at))

    @property
    def folder(self) -> Path:
        """Where its spec, events, log and checkpoints lie."""
        return folder(self.id)

    @property
    def process(self) -> Process | None:
        """The worker that has, or had, it."""
        if self.pid is None or self.pid_started_at is None or self.host is None:
            return None
        return Process(self.pid, self.pid_started_at, self.host)


def folder(job_id: str) -> Path:
    """The folder of the job with this id."""
    return storage.cache_dir() / "jobs" / job_id


@contextlib.contextmanager
def transaction(*, write: bool = False) -> Iterator[sqlite3.Connection]:
    """A connection to the table: all that is done in the block is committed, or none of it.

    Readers are never held up by a writer; writers wait for each other.

    Raises:
        StorageError: when the file is damaged, busy for too long, or cannot be written.
    """
    path = storage.cache_dir() / "jobs.sqlite"
    with storage.disk_errors_explained(path):
        path.parent.mkdir(parents=True, exist_ok=True)
    try:
        with contextlib.closing(sqlite3.connect(path, timeout=_BUSY_S, isolation_level=None)) as db:
            db.row_factory = sqlite3.Row
            _prepare(db, path)
            db.execute("BEGIN IMMEDIATE" if write else "BEGIN")
            try:
                yield db
                db.execute("COMMIT")
            except BaseException:
                if db.in_transaction:
                    db.execute("ROLLBACK")
                raise
    except (sqlite3.DatabaseError, Timeout) as error:
        raise StorageError(
            f"The list of jobs in {path} cannot be used ({error}). Check that the disk has space and the folder is "
            f"writable; if the file is damaged, move it aside and a new one is made."
        ) from error


def _prepare(db: sqlite3.Connection, path: Path) -> None:
    """Create the table in a new file, once, however many processes open it at the same time."""
    db.execute("PRAGMA synchronous = NORMAL")
    if _layout(db) == _LAYOUT:
        return
    # SQLite does not wait its turn when two processes switch a file to WAL, so they take turns here.
    with FileLock(path.with_suffix(".lock"), timeout=_BUSY_S):
        if _layout(db) == 0:
            db.execute("PRAGMA journal_mode = WAL")
            db.execute("BEGIN IMMEDIATE")
            db.execute(_TABLE)
            db.execute(f"PRAGMA user_version = {_LAYOUT}")
            db.execute("COMMIT")
    if _layout(db) != _LAYOUT:
        raise StorageError(
            f"{path} has layout {_layout(db)}, and this version reads layout {_LAYOUT}. Move the file aside to begin anew."
        )


def _layout(db: sqlite3.Connection) -> int:
    return int(db.execute("PRAGMA user_version").fetchone()[0])


def read(row: sqlite3.Row) -> Job:
    """The job in a row.

    Raises:
        JobError: when its kind or its spec is not one that this version knows.
    """
    try:
        columns = dict(row)
        columns["spec"] = KINDS[columns["kind"]].from_json(json.loads(columns["spec"]))
        columns["values"] = json.loads(columns["values"])
        columns["cancel_requested"] = columns["cancel_requested_at"] is not None
        del columns["number"], columns["fingerprint"]
        return Job(**columns)
    except (KeyError, TypeError, ValueError, AttributeError, SpecError) as error:
        raise JobError(
            f"Job {row['id']} was written by another version and cannot be read ({error}); delete it and submit it again."
        ) from error


def insert(db: sqlite3.Connection, **columns: Any) -> None:
    """Put a new job at the end of the queue; runs in the caller's transaction."""
    columns = {**columns, "state": QUEUED, "position": _next_position(db)}
    names = ", ".join(f'"{name}"' for name in columns)
    places = ", ".join("?" * len(columns))
    db.execute(f"INSERT INTO jobs ({names}) VALUES ({places})", tuple(columns.values()))


def requeue(db: sqlite3.Connection, job_id: str) -> None:
    """Put an ended job at the end of the queue again; runs in the caller's transaction."""
    columns = {**_FRESH, "state": QUEUED, "position": _next_position(db)}
    settings = ", ".join(f'"{name}" = ?' for name in columns)
    db.execute(f"UPDATE jobs SET {settings} WHERE id = ?", (*columns.values(), job_id))


def _next_position(db: sqlite3.Connection) -> int:
    return int(db.execute("SELECT coalesce(max(position), 0) + 1 FROM jobs").fetchone()[0])


def claim(process: Process) -> Job | None:
    """Take the job that has waited longest for this worker; None when nobody waits.

    Two workers never get the same job: finding and marking it is one statement.
    """
    with transaction() as db:
        if db.execute("SELECT 1 FROM jobs WHERE state = ? LIMIT 1", (QUEUED,)).fetchone() is None:
            return None
    now = time.time()
    with transaction(write=True) as db:
        rows = db.execute(
            "UPDATE jobs SET state = ?, started_at = ?, heartbeat_at = ?, attempts = attempts + 1, "
            "pid = ?, pid_started_at = ?, host = ? "
            "WHERE number = (SELECT number FROM jobs WHERE state = ? ORDER BY position LIMIT 1) RETURNING *",
            (RUNNING, now, now, process.pid, process.started_at, process.host, QUEUED),
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


class Standing(enum.Enum):
    """What a worker learns when it looks at the row of the job it runs."""

    GO_ON = "go on"
    CANCEL = "cancel"
    """Someone asked to stop it."""
    LOST = "lost"
    """The row is deleted, was marked interrupted, or belongs to a later attempt: keep off."""


def update(job: Job, **columns: Any) -> Standing:
    """Change the row of a running job, if it is still the attempt that `job` was read in.

    `attempts` is the fence: a worker that was thought dead cannot write into the attempt that replaced it.
    """
    owned = "id = ? AND state = ? AND attempts = ?"
    key = (job.id, RUNNING, job.attempts)
    if columns:
        settings = ", ".join(f'"{name}" = ?' for name in columns)
        sql = f"UPDATE jobs SET {settings} WHERE {owned} RETURNING cancel_requested_at"
    else:
        sql = f"SELECT cancel_requested_at FROM jobs WHERE {owned}"
    with transaction(write=bool(columns)) as db:
        rows = db.execute(sql, (*columns.values(), *key)).fetchall()
    if not rows:
        return Standing.LOST
    return Standing.GO_ON if rows[0]["cancel_requested_at"] is None else Standing.CANCEL


def finish(job: Job, state: str, *, error: str | None = None, **columns: Any) -> Standing:
    """End a running job in this state, unless it is no longer the caller's to end."""
    sentence = None if error is None else redact(" ".join(error.split()))
    return update(job, state=state, error=sentence, **{"finished_at": time.time(), **columns})


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
