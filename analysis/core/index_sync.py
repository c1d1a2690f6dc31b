"""Index of results kept up to date with the folders: changes are brought in before a query, and a broken file is made again.

The time at which a kind's folder changed shows new entries, and the writer of a result reports its rewrites (`note`). A look at
the times and sizes of all files finds other changes: an edit by hand, or a machine that shares the folder. That look takes no
more than a twentieth of the time.
"""

import contextlib
import logging
import os
import sqlite3
import threading
import time
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence, Set
from pathlib import Path
from typing import Any, TypeVar

from analysis.core import disk, store
from analysis.core.errors import CorruptResultError, LayerscopeError, StorageError
from analysis.core.index_file import (
    BAD,
    GOOD,
    LAYOUT,
    NOTHING,
    OWN,
    UNREAD,
    bound_values,
    connect,
    folder_of,
    make_tables,
    marks,
    places,
    transaction,
)
from analysis.core.registry import Registry, modules_named

Describe = Callable[[str, store.StoredResult], dict[str, Any]]
"""From the kind and a stored result to the values of its columns, from `source` on, by name."""
DESCRIPTIONS: Registry[Describe] = Registry(
    "description of results", key=lambda describe: "index", modules=modules_named("summaries")
)
"""One function, which a package above this one registers."""
FEW = 200
"""So many results are read while the caller waits; more are read behind their back, and come as they are read."""

_UNSETTLED_NS = 2_000_000_000
"""A folder that changed so shortly before it was listed may change again at the same time, as coarse clocks tell it."""
_SHARE = 20
_QUICK_S = 0.002
_LOOK_AT_ONCE = 2_000
"""Files that are looked at while the caller waits."""
_CHUNK = 50
_READER = "index"
_PAUSE_S = 0.001
"""The thread that looks at all files rests so long after each chunk."""
_KEPT_ANSWERS = 1024
"""So many answers to statements are kept."""
_LOCKED_S = 0.01
"""First pause between two attempts to read, while somebody else reads; each one is twice as long as the one before."""
_LOCKED_MOST_S = 0.1
_SAY_S = 5.0
_BROKEN = ("malformed", "not a database", "no such table", "no such column", "corrupt")
_log = logging.getLogger(__name__)
T = TypeVar("T")


def note(kind: str, key: str) -> None:
    """Say that a result was written anew, or cannot be read; where that cannot be noted, the next look at its file tells."""
    values = {"place": OWN, "kind": kind, "key": key}
    _forget_versions()
    with contextlib.suppress(sqlite3.Error, StorageError, OSError), _of_cache().opened() as db, transaction(db, [kind]):
        done = db.execute(f"UPDATE results SET {_ANEW} WHERE place = :place AND kind = :kind AND key = :key", values)
        if not done.rowcount:
            db.execute("INSERT OR IGNORE INTO results (place, kind, key) VALUES (:place, :kind, :key)", values)


def forget(place: str) -> None:
    """Forget the results of a place that was removed, so that its folder may come back later with others."""
    _forget_versions()
    with contextlib.suppress(sqlite3.Error, StorageError, OSError), _of_cache().opened() as db:
        kinds = [kind for (kind,) in db.execute("SELECT DISTINCT kind FROM results WHERE place = ?", (place,))]
        with transaction(db, kinds):
            for kind in kinds:
                keys = db.execute("SELECT key FROM results WHERE place = ? AND kind = ?", (place, kind)).fetchall()
                _forget(db, place, kind, {key for (key,) in keys})
            db.execute("DELETE FROM folders WHERE place = ?", (place,))


_ANEW = f"state = {UNREAD}, news = news + 1"


@contextlib.contextmanager
def fresh(kinds: Sequence[str], *, wait: bool = False) -> Iterator[sqlite3.Connection]:
    """A connection to the index after it was brought up to date."""
    with _of_cache().fresh(kinds, wait=wait) as db:
        yield db


@contextlib.contextmanager
def once() -> Iterator[None]:
    """Bring the index up to date only once for each kind while the body runs, in this thread: a page asks a hundred times."""
    if _in_once() is not None:
        yield
        return
    _scope.now = scope = _Once()
    try:
        yield
    finally:
        _scope.now = None
        scope.close()


class _Once:
    """Kinds that were brought up to date, and the connection that is kept in that time."""

    def __init__(self) -> None:
        self.brought: set[tuple[int, str, bool]] = set()
        """With whether every stored result was waited for."""
        self.connections: dict[int, sqlite3.Connection] = {}
        self.versions: dict[tuple[Any, ...], list[tuple[str, int]]] = {}
        """Of the kinds of a statement, until this thread changes the index."""
        self.kept: dict[tuple[Any, ...], Any] = {}
        """As `once_for` makes it, just as long."""

    def forget(self) -> None:
        """Look at everything anew."""
        self.brought.clear()
        self.forget_versions()
        self.close()

    def forget_versions(self) -> None:
        """Ask for the versions of kinds anew, and for all that depends on them."""
        self.versions.clear()
        self.kept.clear()

    def close(self) -> None:
        """Close the connections."""
        for db in self.connections.values():
            db.close()
        self.connections.clear()


_scope = threading.local()


def _in_once() -> "_Once | None":
    return getattr(_scope, "now", None)


def _forget_versions() -> None:
    if (scope := _in_once()) is not None:
        scope.forget_versions()


def once_for(key: Hashable, make: Callable[[], T]) -> T:
    """Return a value that is made from the index, and kept until the body of `once` ends or this thread changes the index.

    Args:
        key: tells it from others.
        make: makes it.
    """
    if (scope := _in_once()) is None:
        return make()
    of_cache = id(_of_cache()), key
    if of_cache not in scope.kept:
        scope.kept[of_cache] = make()
    kept: T = scope.kept[of_cache]
    return kept


def rows(
    kinds: Sequence[str],
    sql: str,
    values: Mapping[str, Any],
    *,
    wait: bool = False,
    first_of: tuple[slice, int] | None = None,
) -> list[tuple[Any, ...]]:
    """Return the rows of a statement; the last answers are kept until results of these kinds change.

    Args:
        kinds: of results, which are brought up to date before.
        sql, values: the statement.
        wait: whether to wait until every stored result was read once.
        first_of: columns, and a number: only the first row of each value of these columns, of no more values than this.
    """
    cache, scope = _of_cache(), _in_once()
    scope_key, question = (id(cache), wait, *kinds), (sql, str(first_of), *sorted(values.items()))
    known = None if scope is None else scope.versions.get(scope_key)
    if known is not None and (answer := cache.answers.get((*known, *question))) is not None:
        return answer
    with cache.fresh(kinds, wait=wait) as db:
        version_query = f"SELECT kind, n FROM versions WHERE kind IN ({marks('kind', kinds)}) ORDER BY kind"
        versions = db.execute(version_query, bound_values("kind", kinds)).fetchall()
        if scope is not None:
            scope.versions[scope_key] = versions
        cache_key = (*versions, *question)
        if (answer := cache.answers.get(cache_key)) is None:
            answer = cache.answers[cache_key] = _rows_of(db.execute(sql, values), first_of)
            while len(cache.answers) > _KEPT_ANSWERS:
                with contextlib.suppress(StopIteration, KeyError, RuntimeError):  # another thread drops the same
                    del cache.answers[next(iter(cache.answers))]
        return answer


def _rows_of(cursor: sqlite3.Cursor, first_of: tuple[slice, int] | None) -> list[tuple[Any, ...]]:
    if first_of is None:
        return cursor.fetchall()
    (columns, max_rows), firsts = first_of, dict[Any, tuple[Any, ...]]()
    for row in cursor:
        firsts.setdefault(row[columns], row)
        if len(firsts) == max_rows:
            break
    cursor.close()
    return list(firsts.values())


def _of_cache() -> "_Index":
    try:
        local = store.local_dir()
    except StorageError:  # a machine of a cluster, which has no disk of its own that we were told of
        local = None
    paths = store.cache_dir(), local
    with _indices_held:
        if paths not in _indices:
            _indices[paths] = _Index(None if local is None else local / f"index-{LAYOUT}.sqlite")
        return _indices[paths]


_indices_held = threading.Lock()
_indices: dict[tuple[Path, Path | None], "_Index"] = {}
"""By the cache folder and the folder of this machine alone."""


class _Index:
    """The index of one cache folder, as one process sees it."""

    def __init__(self, file: Path | None) -> None:
        self._file = file
        self._memory: sqlite3.Connection | None = None
        """Instead of the file where none can be written."""
        self._held = threading.RLock()
        self._looked: dict[tuple[str, str], tuple[float, float]] = {}
        """When all files of a folder were last looked at, and how long that took: seconds of the monotonic clock."""
        self._reader: threading.Thread | None = None
        self._left: set[str] = set()
        """Kinds that the reader has not come to."""
        self.answers: dict[tuple[Any, ...], list[tuple[Any, ...]]] = {}
        """Rows of the last statements, by the versions of their kinds and the statement."""
        if file is None:
            self._keep_in_memory()

    def _keep_in_memory(self) -> None:
        self._memory = sqlite3.connect(":memory:", isolation_level=None, check_same_thread=False)
        make_tables(self._memory)

    @contextlib.contextmanager
    def opened(self) -> Iterator[sqlite3.Connection]:
        """A connection, closed afterwards; each statement is a transaction of its own unless one is begun."""
        if self._memory is not None:
            with self._held:
                yield self._memory
        else:
            assert self._file is not None
            scope = _in_once()
            if scope is None:
                with contextlib.closing(connect(self._file)) as db:
                    yield db
                return
            if id(self) not in scope.connections or not self._file.exists():
                scope.connections[id(self)] = connect(self._file)
            yield scope.connections[id(self)]

    @contextlib.contextmanager
    def fresh(self, kinds: Sequence[str], *, wait: bool) -> Iterator[sqlite3.Connection]:
        """Yield a connection, after changes in the folders of these kinds were brought in."""
        scope, index_id = _in_once(), id(self)
        try:
            if scope is None:
                self._refresh(kinds, wait)
            elif stale_kinds := [
                kind for kind in kinds if not {(index_id, kind, wait), (index_id, kind, True)} & scope.brought
            ]:
                self._refresh(stale_kinds, wait)
                scope.brought.update((index_id, kind, wait) for kind in stale_kinds)
        except (sqlite3.DatabaseError, StorageError) as error:
            self._get_over(error)
            self._refresh(kinds, wait)
        with self.opened() as db:
            try:
                yield db
            except sqlite3.DatabaseError as error:
                self._get_over(error)
                raise StorageError("The index of the stored results was damaged and is being rebuilt. Try again.") from error

    def _get_over(self, error: Exception) -> None:
        """Continue without the file as it is, which held nothing that the folders do not say."""
        if self._memory is not None:
            raise error
        self._looked.clear()
        self.answers.clear()
        if (scope := _in_once()) is not None:
            scope.forget()
        if isinstance(error, StorageError) or not any(word in str(error) for word in _BROKEN):
            _log.warning("The index of the results in %s cannot be stored (%s). This process uses its own.", self._file, error)
            self._keep_in_memory()
        else:
            self._move_aside(error)

    def _move_aside(self, error: Exception) -> None:
        assert self._file is not None
        _log.warning(
            "The index of the results in %s is damaged (%s). It was moved aside and is being rebuilt.", self._file, error
        )
        with store.disk_errors_explained(self._file), contextlib.suppress(FileNotFoundError):
            os.replace(self._file, self._file.with_name(f"{self._file.name}.damaged"))

    def _refresh(self, kinds: Sequence[str], wait: bool) -> None:
        with self.opened() as db:
            for kind in kinds:
                for place in places():
                    self._scan(db, place, kind, at_once=wait)
            n_left = _n_unread(db, kinds)
        if n_left > FEW and not wait:
            self._read_later(kinds)
        elif n_left:
            self._read_all(kinds, say=True)

    def _scan(self, db: sqlite3.Connection, place: str, kind: str, *, at_once: bool) -> None:
        """Bring in the changes of a folder; files of a large one are looked at by the thread unless the caller waits."""
        looked_at, took = self._looked.get((place, kind), (0.0, 0.0))
        is_due = not looked_at or took <= _QUICK_S or time.monotonic() - looked_at >= _SHARE * took
        if is_due and not at_once and _has_more(db, place, kind, than=_LOOK_AT_ONCE):
            self._read_later([kind])
            is_due = False
        started = time.monotonic()
        _bring_in(db, place, kind, files=is_due, again=not looked_at)
        if is_due:
            self._looked[place, kind] = (time.monotonic(), time.monotonic() - started)

    def _read_later(self, kinds: Sequence[str]) -> None:
        """Let a thread read the unread results, so that nobody waits for it."""
        with self._held:
            self._left |= set(kinds)
            if self._reader is None or not self._reader.is_alive():
                self._reader = threading.Thread(target=self._read_what_is_left, name=_READER, daemon=True)
                self._reader.start()

    def _read_what_is_left(self) -> None:
        cache = store.cache_dir()
        try:
            while True:
                with self._held:
                    kinds, self._left = sorted(self._left), set()
                    if not kinds or store.cache_dir() != cache:
                        self._reader = None
                        return
                for kind in kinds:
                    for place in places():
                        with self.opened() as db:
                            self._scan(db, place, kind, at_once=True)
                self._read_all(kinds, say=False)
        except (sqlite3.Error, LayerscopeError, OSError):
            _log.warning("The index of the results could not be updated. Trying again.", exc_info=True)
            self._reader = None

    def _read_all(self, kinds: Sequence[str], *, say: bool) -> None:
        """Read the unread results, a part at a time; one caller of all processes does, and others wait until it has."""
        said_at, n_left, pause = time.monotonic(), 1, _LOCKED_S
        while n_left:
            handle = None
            if self._file is not None and self._memory is None:
                with store.disk_errors_explained(self._file):
                    handle = disk.lock(self._file.with_suffix(".lock"))
            try:
                with self.opened() as db:
                    if handle is None and self._memory is None:
                        time.sleep(pause)
                        pause = min(2 * pause, _LOCKED_MOST_S)
                    else:
                        _read_some(db, kinds)
                    n_left = _n_unread(db, kinds)
            finally:
                if handle is not None:
                    os.close(handle)
            if say and time.monotonic() - said_at > _SAY_S:
                _log.warning("Indexing the stored results, once: %s left.", f"{n_left:,}")
                said_at = time.monotonic()


def _n_unread(db: sqlite3.Connection, kinds: Sequence[str]) -> int:
    sql = f"SELECT count(*) FROM results WHERE state = {UNREAD} AND kind IN ({marks('kind', kinds)})"
    return int(db.execute(sql, bound_values("kind", kinds)).fetchone()[0])


def _has_more(db: sqlite3.Connection, place: str, kind: str, *, than: int) -> bool:
    sql = "SELECT 1 FROM results WHERE place = ? AND kind = ? LIMIT 1 OFFSET ?"
    return db.execute(sql, (place, kind, than)).fetchone() is not None


def _bring_in(db: sqlite3.Connection, place: str, kind: str, *, files: bool, again: bool) -> None:
    """Insert results that came, delete those that went, and mark those that changed since they were read.

    Args:
        db: the connection.
        place, kind: the folder.
        files: whether to compare the time, size and place on the disk of every file; else only a changed folder is listed.
        again: whether to try unreadable results again: another version of this program may.
    """
    folder = folder_of(place, kind)
    try:
        mtime_ns, now_ns = folder.stat().st_mtime_ns, time.time_ns()
    except OSError:
        mtime_ns, now_ns = -1, 0
    row = db.execute("SELECT mtime_ns FROM folders WHERE place = ? AND kind = ?", (place, kind)).fetchone()
    listed_ns = None if row is None else row[0]
    if listed_ns == mtime_ns and not files:
        return
    rows = db.execute("SELECT key, state, mtime_ns, size, inode FROM results WHERE place = ? AND kind = ?", (place, kind))
    states = {key: (state, status) for key, state, *status in rows}
    names = states.keys() if listed_ns == mtime_ns else _names_in(folder)
    changed = _changed(folder, {key: states[key] for key in states if key in names}, again=again) if files else []
    settled_ns = mtime_ns if mtime_ns == -1 or now_ns - mtime_ns > _UNSETTLED_NS else 0
    if settled_ns == listed_ns and names == states.keys() and not changed:
        return  # a transaction would make every kept answer old
    with transaction(db, [kind]):
        _forget(db, place, kind, states.keys() - names)
        new = ((place, kind, key) for key in sorted(names - states.keys()))
        db.executemany("INSERT OR IGNORE INTO results (place, kind, key) VALUES (?, ?, ?)", new)
        results = ((place, kind, key) for key in changed)
        db.executemany(f"UPDATE results SET {_ANEW} WHERE place = ? AND kind = ? AND key = ?", results)
        db.execute("INSERT OR REPLACE INTO folders VALUES (?, ?, ?)", (place, kind, settled_ns))


def _names_in(folder: Path) -> set[str]:
    try:
        with os.scandir(folder) as files:
            # A name with a dot is a draft, or was moved aside as corrupt.
            return {entry.name for entry in files if "." not in entry.name}
    except (FileNotFoundError, NotADirectoryError):
        return set()


def _changed(folder: Path, states: Mapping[str, tuple[int, list[int]]], *, again: bool) -> list[str]:
    """Return the results whose files are not as they were when they were read."""
    changed = []
    for number, (key, (state, before)) in enumerate(states.items()):
        if number % _CHUNK == _CHUNK - 1 and threading.current_thread().name == _READER:
            time.sleep(_PAUSE_S)  # who waits for a page goes first
        if state == UNREAD:
            continue
        try:
            status = os.stat(f"{folder}/{key}/result.json")
            is_same = state != NOTHING and [status.st_mtime_ns, status.st_size, status.st_ino] == before
        except OSError:
            is_same = state == NOTHING
        if not is_same or (again and state == BAD):
            changed.append(key)
    return changed


def _forget(db: sqlite3.Connection, place: str, kind: str, keys: Set[str]) -> None:
    results = [(place, kind, key) for key in sorted(keys)]
    same = "place = ? AND kind = ? AND key = ?"
    for table in ("summaries", "scores"):
        db.executemany(f"DELETE FROM {table} WHERE number = (SELECT number FROM results WHERE {same})", results)
    db.executemany(f"DELETE FROM results WHERE {same}", results)


def _read_some(db: sqlite3.Connection, kinds: Sequence[str]) -> bool:
    """Read some of the results that are unread; False where there are none left."""
    sql = f"SELECT number, place, kind, key, news FROM results WHERE state = {UNREAD} AND kind IN ({marks('kind', kinds)})"
    rows = db.execute(f"{sql} LIMIT {_CHUNK}", bound_values("kind", kinds)).fetchall()
    if not rows:
        return False
    readings = [(number, news, _read(place, kind, key)) for number, place, kind, key, news in rows]
    with transaction(db, sorted({kind for _, _, kind, _, _ in rows})):
        for number, news, columns in readings:
            summary, scores = columns.pop("summary", None), columns.pop("scores", ())
            settings = ", ".join(f"{name} = :{name}" for name in columns)
            identifiers = {"own_number": number, "own_news": news}
            # A result that was written anew in that time is read once more.
            done = db.execute(
                f"UPDATE results SET {settings} WHERE number = :own_number AND news = :own_news", columns | identifiers
            )
            if done.rowcount and summary is not None:
                db.execute("INSERT OR REPLACE INTO summaries VALUES (?, ?)", (number, summary))
            if done.rowcount:
                db.execute("DELETE FROM scores WHERE number = ?", (number,))
                columns_of_scores = ((condition, cut, repair, number, quantity) for quantity, condition, cut, repair in scores)
                db.executemany("INSERT OR IGNORE INTO scores VALUES (?, ?, ?, ?, ?)", columns_of_scores)
    return True


def _read(place: str, kind: str, key: str) -> dict[str, Any]:
    """The columns of a result as it lies there now."""
    folder = folder_of(place, kind) / key
    columns: dict[str, Any] = {"state": BAD}
    try:
        status = os.stat(folder / "result.json")
        columns |= {"mtime_ns": status.st_mtime_ns, "size": status.st_size, "inode": status.st_ino}
        columns |= DESCRIPTIONS["index"](kind, store.read(folder, precomputed=place != OWN)) | {"state": GOOD}
    except FileNotFoundError:
        columns["state"] = NOTHING
    except CorruptResultError as error:
        store.warn_once(f"{error} It is hidden, and computed again on request.")
    return columns
