"""Index file of results: its tables, and connections to it.

Write-ahead logging, so that readers and the writer do not wait for each other. `synchronous = NORMAL`, for a power cut may take
the last changes, which are then made again, but leaves no broken file.
"""

import contextlib
import os
import re
import sqlite3
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from analysis.core import disk, store

LAYOUT = 5
"""Of the file, which its name says: raise it when a column or a summary says something else than before."""
OWN = "results"
"""Place of results in the cache; any other is read-only: the folder of a result pack, or that of committed results."""
PACKS = "packs"
"""Folder in the cache with the opened result packs. Each is a place of its own, `packs/ID`, laid out as `results` is."""
PACK_NAME = re.compile(r"[0-9a-f]{20}")
"""Name of the folder of a pack."""
UNREAD, GOOD, BAD, NOTHING = range(4)
"""States of a row: to be read, readable, not to be shown, a folder without a result."""
_TABLES = (
    """CREATE TABLE results (
    number INTEGER PRIMARY KEY,
    place TEXT NOT NULL,
    kind TEXT NOT NULL,
    key TEXT NOT NULL,
    state INTEGER NOT NULL DEFAULT 0,
    news INTEGER NOT NULL DEFAULT 0,
    mtime_ns INTEGER NOT NULL DEFAULT 0,
    size INTEGER NOT NULL DEFAULT 0,
    inode INTEGER NOT NULL DEFAULT 0,
    source TEXT,
    revision TEXT,
    identity TEXT,
    identities TEXT,
    is_quantized INTEGER,
    name TEXT,
    builds_on TEXT,
    materials TEXT,
    said TEXT,
    weights TEXT,
    quantization TEXT,
    dtype TEXT,
    strength TEXT,
    told_on TEXT,
    strategy TEXT,
    draw INTEGER,
    dataset TEXT,
    questions TEXT,
    asked_model TEXT,
    map TEXT,
    request TEXT,
    block TEXT,
    generation TEXT,
    adapter TEXT,
    is_score INTEGER,
    accuracy_on TEXT,
    loss_on TEXT,
    n_asked INTEGER,
    n_cuts INTEGER,
    largest INTEGER,
    UNIQUE (place, kind, key)
)""",
    # Apart, so that a search of all rows passes over little.
    "CREATE TABLE summaries (number INTEGER PRIMARY KEY, summary TEXT NOT NULL)",
    # One row for each score of a result: the condition it holds under, the removed layers, the repair of them.
    """CREATE TABLE scores (
    condition TEXT, cut TEXT, repair TEXT, number INTEGER, quantity TEXT, PRIMARY KEY (condition, cut, repair, number)
) WITHOUT ROWID""",
    "CREATE INDEX scores_of_cut ON scores (cut, repair, condition, number)",
    "CREATE INDEX scores_of_result ON scores (number)",
    # Counts the changes of each kind, so that an answer is kept until results of its kinds change.
    "CREATE TABLE versions (kind TEXT PRIMARY KEY, n INTEGER NOT NULL) WITHOUT ROWID",
    """CREATE INDEX by_strength ON results (
    kind, weights, state, place, quantization, dtype, strength, source, told_on, mtime_ns, key,
    is_score, strategy, dataset, accuracy_on, loss_on, n_cuts, n_asked, questions, draw
)""",
    "CREATE INDEX of_weights ON results (identity, kind)",
    "CREATE INDEX of_source ON results (source, kind, state)",
    # With the words, so that a search for one that is nowhere passes over nothing else.
    "CREATE INDEX by_time ON results (kind, place, state, mtime_ns, key, said)",
    "CREATE INDEX by_name ON results (kind, place, state, name, mtime_ns)",
    "CREATE INDEX by_model ON results (kind, place, state, identity, source, revision, is_quantized, mtime_ns, key)",
    "CREATE INDEX unread ON results (kind) WHERE state = 0",
    "CREATE TABLE folders (place TEXT, kind TEXT, mtime_ns INTEGER, PRIMARY KEY (place, kind))",
)
_BUSY_S = 10.0
_MAPPED = 1 << 30


def marks(name: str, values: Sequence[str]) -> str:
    """The places of values in a statement, which `bound_values` fills."""
    return ", ".join(f":{name}{number}" for number in range(len(values)))


def bound_values(name: str, values: Sequence[str]) -> dict[str, Any]:
    """Values by the names that `marks` gives them."""
    return {f"{name}{number}": value for number, value in enumerate(values)}


def folder_of(place: str, kind: str) -> Path:
    """Where results of a kind lie."""
    return store.cache_dir() / place / kind  # an absolute place, as that of the committed results is, stands for itself


def committed() -> str:
    """Return the place of the committed results."""
    return str(store.precomputed_dir())


def packs() -> tuple[str, ...]:
    """Return the places of the opened packs."""
    try:
        return tuple(f"{PACKS}/{name}" for name in sorted(os.listdir(store.cache_dir() / PACKS)) if PACK_NAME.fullmatch(name))
    except (FileNotFoundError, NotADirectoryError):
        return ()


def places() -> tuple[str, ...]:
    """Return the places of results in the order in which they count: of the cache, committed ones, those of opened packs."""
    return OWN, committed(), *packs()


def connect(file: Path) -> sqlite3.Connection:
    """A connection to the file, which is made if need be.

    Raises:
        StorageError: when it cannot be made.
        sqlite3.DatabaseError: when it is broken, or cannot be written.
    """
    if not file.exists():
        with store.disk_errors_explained(file):
            _create(file)
    db = sqlite3.connect(file, timeout=_BUSY_S, isolation_level=None)
    try:
        db.execute("PRAGMA synchronous = NORMAL")
        db.execute(f"PRAGMA mmap_size = {_MAPPED}")  # each connection is new, and its own cache of pages would be empty
        return db
    except BaseException:
        db.close()
        raise


def _create(file: Path) -> None:
    """Make the file, whole, however many processes want to; for its owner alone, as all that lies in the cache."""
    store.make_folder(file.parent)
    while (handle := disk.lock(file.with_suffix(".lock"))) is None:
        time.sleep(0.01)
    try:
        if file.exists():
            return
        for end in ("-wal", "-shm"):  # of a file that was deleted or moved aside: they would be taken for those of the new one
            file.with_name(file.name + end).unlink(missing_ok=True)
        with disk.draft(file, is_folder=False, private=True) as (draft, _):
            with contextlib.closing(sqlite3.connect(draft, isolation_level=None)) as db:
                db.execute("PRAGMA journal_mode = WAL")
                make_tables(db)
            os.replace(draft, file)
        _remove_former(file)
    finally:
        os.close(handle)


def _remove_former(file: Path) -> None:
    """Remove the indices of former layouts: a former version that still runs here makes its own again."""
    for old in file.parent.glob("index-*.sqlite*"):
        number = old.name.removeprefix("index-").partition(".")[0]
        if number.isdecimal() and int(number) < LAYOUT:
            with contextlib.suppress(OSError):
                old.unlink()


def make_tables(db: sqlite3.Connection) -> None:
    """Make all tables in an empty database."""
    with transaction(db, ()):
        for statement in _TABLES:
            db.execute(statement)


@contextlib.contextmanager
def transaction(db: sqlite3.Connection, kinds: Sequence[str]) -> Iterator[None]:
    """Run the body as one transaction, and count it as a change of these kinds."""
    db.execute("BEGIN IMMEDIATE")
    try:
        yield
        counted = "INSERT INTO versions VALUES (?, abs(random() / 4)) ON CONFLICT DO UPDATE SET n = n + 1"
        db.executemany(counted, [(kind,) for kind in kinds])
        db.execute("COMMIT")
    except BaseException:
        if db.in_transaction:
            db.execute("ROLLBACK")
        raise
