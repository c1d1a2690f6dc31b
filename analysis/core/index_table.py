"""SQLite index of the stored results, with a row per result.

A row is written when its result is saved. Before each query, `rows` compares the table with the
result folders, so that copied or deleted folders, opened packs and machines that share the cache
are taken into account. A missing or damaged index is rebuilt from the folders.
"""

import contextlib
import itertools
import json
import logging
import os
import re
import secrets
import sqlite3
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from pkgutil import resolve_name
from typing import Any

from filelock import FileLock

from analysis.core import disk, store
from analysis.core.errors import CorruptResultError, StorageError, UnknownRequestError

DESCRIBE = "analysis.results.stored.summaries:described"
"""Function in a higher package that returns the column values of a stored result, with the rows of
the table `scores` under "scores"."""

LAYOUT = 13
"""Version of the layout, part of the file name. Raise it if a column or a summary changes its
meaning."""
OWN = "results"
"""Place of the results of this cache. The other places are read-only: the gallery and opened
packs."""
PACKS = "packs"
"""Folder of the opened packs in the cache. Each pack is a place, `packs/ID`."""
_PACK_ID = re.compile("[0-9a-f]{20}")
_TABLES = (
    """CREATE TABLE results (
    number INTEGER PRIMARY KEY, place, kind, key, is_readable, is_complete, mtime_ns, size,
    source, revision, identity, identities, name, builds_on, materials, said, weights,
    quantization, dtype, strength, healed_loss, told_on, strategy, draw, dataset, questions,
    asked_model, map, request, block, generation, adapter, is_score, accuracy_on, loss_on,
    n_asked, n_cuts, largest, summary,
    UNIQUE (place, kind, key)
)""",
    # A row per score of a result: its condition, the removed layers and the healing method.
    """CREATE TABLE scores (
    condition TEXT, cut TEXT, repair TEXT, number INTEGER, quantity TEXT,
    PRIMARY KEY (condition, cut, repair, number)
) WITHOUT ROWID""",
    """CREATE INDEX of_model ON results (
    kind, weights, is_readable, place, quantization, dtype, strength, healed_loss, source, told_on,
    mtime_ns, key, is_score, strategy, dataset, accuracy_on, loss_on, n_cuts, n_asked,
    questions, draw
)""",
    (
        "CREATE INDEX of_source ON results (source, revision, kind, is_readable, place, identity,"
        " mtime_ns)"
    ),
    (
        "CREATE INDEX unfinished ON results (place, kind, key, mtime_ns, size) WHERE NOT"
        " (is_readable AND is_complete)"
    ),
    "CREATE INDEX scores_of_cut ON scores (cut, repair, condition, number)",
    "CREATE INDEX scores_of_result ON scores (number)",
)
_BUSY_TIMEOUT_S = 10.0
_UNSETTLED_NS = 2_000_000_000
"""Age from which on a folder's modification time shows each later change, given the resolution of
time stamps."""
_CHUNK = 200
"""Number of results written in one transaction."""
_log = logging.getLogger(__name__)
_compared: dict[tuple[int, str, str], int] = {}
"""Modification times of the folders that this process has compared, by table, place and kind."""
_in_memory: dict[Path, sqlite3.Connection] = {}
"""In-memory tables of caches without a writable index file, by cache folder."""
_memory_lock = threading.RLock()


def folder_of(place: str, kind: str) -> Path:
    """Return the folder of the results of a kind."""
    return store.cache_dir() / place / kind  # the place of the gallery is an absolute path


def committed() -> str:
    """Return the place of the gallery."""
    return str(store.precomputed_dir())


def packs() -> tuple[str, ...]:
    """Return the places of the opened packs."""
    folders = (store.cache_dir() / PACKS).glob("*")
    return tuple(
        sorted(f"{PACKS}/{folder.name}" for folder in folders if _PACK_ID.fullmatch(folder.name))
    )


def places() -> tuple[str, ...]:
    """Return all places by precedence: the cache, the gallery, the opened packs."""
    return OWN, committed(), *packs()


def rows(kinds: Sequence[str], sql: str, values: dict[str, Any]) -> list[tuple[Any, ...]]:
    """Update the table, which is rebuilt if it is damaged, and return the rows of a query.

    Args:
        kinds: kinds of results that the query reads.
        sql: query.
        values: values of its parameters. Tuples are passed as JSON arrays, for `json_each`.

    Raises:
        StorageError: if the table cannot be rebuilt.
    """
    values = {
        name: json.dumps(value, ensure_ascii=False) if isinstance(value, tuple) else value
        for name, value in values.items()
    }
    try:
        return _answer(kinds, sql, values)
    except (sqlite3.DatabaseError, StorageError) as error:
        _replace_file(error)
    try:
        return _answer(kinds, sql, values)
    except sqlite3.DatabaseError as error:
        raise StorageError(
            f"The index of the stored results cannot be read ({error}). Try again."
        ) from error


def _answer(kinds: Sequence[str], sql: str, values: dict[str, Any]) -> list[tuple[Any, ...]]:
    with _opened() as db:
        _update(db, kinds)
        return db.execute(sql, values).fetchall()


def record(kind: str, key: str) -> None:
    """Write the row of a result of this cache after it was saved, or found damaged.

    Errors are ignored, because the next query compares the folder with the table.
    """
    with contextlib.suppress(sqlite3.Error, StorageError, OSError), _opened() as db:
        _write(db, [(OWN, kind, key)])


@contextlib.contextmanager
def _opened() -> Iterator[sqlite3.Connection]:
    cache = store.cache_dir()
    if cache in _in_memory:
        with _memory_lock:
            yield _in_memory[cache]
        return
    file = _file()
    if not file.exists():
        with store.disk_errors_explained(file):
            _create(file)
    with contextlib.closing(
        sqlite3.connect(file, timeout=_BUSY_TIMEOUT_S, isolation_level=None)
    ) as db:
        db.execute("PRAGMA synchronous = NORMAL")  # rows lost in a power cut are read again
        yield db


def _file() -> Path:
    return store.local_dir() / f"index-{LAYOUT}.sqlite"


def _create(file: Path) -> None:
    """Create the file with its tables, unless another process has created it."""
    store.make_folder(file.parent)
    with FileLock(file.with_suffix(".lock"), mode=0o600):
        if file.exists():
            return
        _remove(file)  # a leftover log would be applied to the new file
        with contextlib.closing(_new_tables()) as db:
            store.write_atomic(file, db.serialize())
        with contextlib.closing(sqlite3.connect(file, timeout=_BUSY_TIMEOUT_S)) as db:
            db.execute("PRAGMA journal_mode = WAL")  # readers do not block the writer


def _new_tables() -> sqlite3.Connection:
    """Return empty tables in memory."""
    db = sqlite3.connect(":memory:", isolation_level=None, check_same_thread=False)
    for statement in (*_TABLES, f"PRAGMA user_version = {secrets.randbits(31)}"):
        db.execute(statement)
    return db


def _remove(file: Path) -> None:
    for suffix in ("", "-wal", "-shm"):
        disk.remove(file.with_name(file.name + suffix))


def _replace_file(error: Exception) -> None:
    """Delete a damaged file, or continue in memory if no file can be written."""
    if store.cache_dir() in _in_memory:
        raise error
    if (
        isinstance(error, StorageError)
        or isinstance(error, sqlite3.OperationalError)
        and "no such" not in str(error)
    ):
        _log.warning(
            "The index of the stored results cannot be written (%s). This process keeps it in"
            " memory.",
            error,
        )
        _in_memory[store.cache_dir()] = _new_tables()
        return
    _log.warning(
        "The index of the stored results, %s, is damaged (%s). It is rebuilt.", _file(), error
    )
    _remove(_file())


def _update(db: sqlite3.Connection, kinds: Sequence[str]) -> None:
    """Write the rows of new and changed results, and delete the rows of deleted ones.

    Only folders with a new modification time are listed. Time and size of `result.json` are
    compared at each query for incomplete results, and once per process for the others.
    """
    growing: dict[tuple[str, str], dict[str, tuple[int, int]]] = {}
    (table,) = db.execute("PRAGMA user_version").fetchone()
    for place, kind, key, mtime_ns, size in db.execute(
        "SELECT place, kind, key, mtime_ns, size FROM results WHERE NOT (is_readable AND"
        " is_complete)"
    ):
        growing.setdefault((place, kind), {})[key] = mtime_ns, size
    for place, kind in itertools.product(places(), kinds):
        folder = folder_of(place, kind)
        folder_ns, _ = _stamp(folder)
        now_ns = time.time_ns()
        stamps = growing.get((place, kind), {})
        names = set(stamps)
        gone = set[str]()
        if is_changed := _compared.get((table, place, kind)) != folder_ns:
            rows = db.execute(
                "SELECT key, mtime_ns, size FROM results WHERE place = ? AND kind = ?",
                (place, kind),
            )
            stamps = {key: (mtime_ns, size) for key, mtime_ns, size in rows}
            names = _names_in(folder)
            gone = stamps.keys() - names
        changed = [
            (place, kind, key)
            for key in sorted(names)
            if stamps.get(key) != _stamp(folder / key / "result.json")
        ]
        if len(changed) > 10 * _CHUNK:
            _log.warning("Indexing %s stored results, once.", f"{len(changed):,}")
        for start in range(0, len(changed), _CHUNK):
            _write(db, changed[start : start + _CHUNK])
        if gone:
            db.execute("BEGIN IMMEDIATE")
            with db:
                _delete(db, [(place, kind, key) for key in sorted(gone)])
        if is_changed:
            _compared[table, place, kind] = folder_ns if now_ns - folder_ns > _UNSETTLED_NS else -1


def _names_in(folder: Path) -> set[str]:
    with contextlib.suppress(FileNotFoundError, NotADirectoryError):
        # Names with a dot are drafts and corrupt results.
        return {name for name in os.listdir(folder) if "." not in name}
    return set()


def _stamp(path: Path) -> tuple[int, int]:
    """Return modification time and size of a file or folder; zeros if it does not exist."""
    try:
        status = path.stat()
    except OSError:
        return 0, 0
    return status.st_mtime_ns, status.st_size


def _write(db: sqlite3.Connection, results: Sequence[tuple[str, str, str]]) -> None:
    """Read results and write their rows."""
    described = [(result, *_described(*result)) for result in results]
    db.execute("BEGIN IMMEDIATE")
    with db:
        _delete(db, results)
        for (place, kind, key), columns, scores in described:
            columns |= {"place": place, "kind": kind, "key": key}
            names = ", ".join(columns)
            number = db.execute(
                f"INSERT INTO results ({names}) VALUES"
                f" ({', '.join(f':{name}' for name in columns)})",
                columns,
            ).lastrowid
            values = (
                (condition, cut, repair, number, quantity)
                for quantity, condition, cut, repair in scores
            )
            db.executemany("INSERT OR IGNORE INTO scores VALUES (?, ?, ?, ?, ?)", values)


def _described(
    place: str, kind: str, key: str
) -> tuple[dict[str, Any], Sequence[tuple[str, str, str, str]]]:
    """Return the column values and scores of a result; only time and size if it cannot be read."""
    folder = folder_of(place, kind) / key
    mtime_ns, size = _stamp(folder / "result.json")
    columns: dict[str, Any] = {
        "is_readable": 0,
        "is_complete": 0,
        "mtime_ns": mtime_ns,
        "size": size,
    }
    if size:
        try:
            facts = resolve_name(DESCRIBE)(kind, store.read(folder, precomputed=place != OWN))
            scores = facts.pop("scores")
            return columns | {"is_readable": 1} | facts, scores
        except UnknownRequestError:  # the command `jobs` shows their number
            pass
        except CorruptResultError as error:
            _log.warning("%s It is hidden, and computed again on request.", error)
    return columns, ()


def _delete(db: sqlite3.Connection, results: Sequence[tuple[str, str, str]]) -> None:
    same = "place = ? AND kind = ? AND key = ?"
    db.executemany(
        f"DELETE FROM scores WHERE number = (SELECT number FROM results WHERE {same})", results
    )
    db.executemany(f"DELETE FROM results WHERE {same}", results)
