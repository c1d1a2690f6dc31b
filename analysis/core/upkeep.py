"""Index file of results: made, brought up to date with the folders, moved aside when it is broken.

The time at which a kind's folder changed shows new entries, and the writer of a result reports its rewrites (`note`). A look at
the times and sizes of all files finds other changes: an edit by hand, or a machine that shares the folder. That look takes no
more than a twentieth of the time.

Write-ahead logging, so that readers and the writer do not wait for each other. `synchronous = NORMAL`, for a power cut may take
the last changes, which are then made again, but leaves no broken file.
"""

import contextlib
import logging
import os
import sqlite3
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from analysis.core import disk, store
from analysis.core.errors import CorruptResultError, LayerscopeError, StorageError
from analysis.core.options import imported

LAYOUT = 5
"""Of the file, which its name says: raise it when a column or a summary says something else than before."""
DESCRIBED_BY = "analysis.results.stored.summaries:described"
"""Called with the kind and a stored result: returns the values of its columns, from `source` on, by name. A name and no
import, because this package is below that one."""
FEW = 200
"""So many results are read while the caller waits; more are read behind their back, and come as they are read."""

OWN = "results"
"""Place of results in the cache; any other is a folder of committed results."""
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
_BUSY_S = 10.0
_MAPPED = 1 << 30
_KEPT_ANSWERS = 256
"""So many answers to statements are kept."""
_SAY_S = 5.0
_BROKEN = ("malformed", "not a database", "no such table", "no such column", "corrupt")
_log = logging.getLogger(__name__)


def marks(name: str, values: Sequence[str]) -> str:
    """The places of values in a statement, which `named` fills."""
    return ", ".join(f":{name}{number}" for number in range(len(values)))


def named(name: str, values: Sequence[str]) -> dict[str, Any]:
    """Values by the names that `marks` gives them."""
    return {f"{name}{number}": value for number, value in enumerate(values)}


def folder_of(place: str, kind: str) -> Path:
    """Where results of a kind lie."""
    return (store.cache_dir() / OWN if place == OWN else Path(place)) / kind


def places() -> tuple[str, str]:
    """Return the place of results in the cache, and that of the committed results."""
    return OWN, str(store.precomputed_dir())


def note(kind: str, key: str) -> None:
    """Say that a result was written anew, or cannot be read; where that cannot be noted, the next look at its file tells."""
    values = {"place": OWN, "kind": kind, "key": key}
    with contextlib.suppress(sqlite3.Error, StorageError, OSError), _of_cache().opened() as db, _transaction(db, [kind]):
        done = db.execute(f"UPDATE results SET {_ANEW} WHERE place = :place AND kind = :kind AND key = :key", values)
        if not done.rowcount:
            db.execute("INSERT OR IGNORE INTO results (place, kind, key) VALUES (:place, :kind, :key)", values)


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

    def close(self) -> None:
        """Close the connections."""
        for db in self.connections.values():
            db.close()
        self.connections.clear()


_scope = threading.local()


def _in_once() -> "_Once | None":
    return getattr(_scope, "now", None)


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
    kept = _of_cache()
    with kept.fresh(kinds, wait=wait) as db:
        which = f"SELECT kind, n FROM versions WHERE kind IN ({marks('kind', kinds)}) ORDER BY kind"
        versions = db.execute(which, named("kind", kinds)).fetchall()
        asked = (*versions, sql, str(first_of), *sorted(values.items()))
        if (answer := kept.answers.get(asked)) is None:
            answer = kept.answers[asked] = _taken(db.execute(sql, values), first_of)
            while len(kept.answers) > _KEPT_ANSWERS:
                with contextlib.suppress(StopIteration, KeyError, RuntimeError):  # another thread drops the same
                    del kept.answers[next(iter(kept.answers))]
        return answer


def _taken(found: sqlite3.Cursor, first_of: tuple[slice, int] | None) -> list[tuple[Any, ...]]:
    if first_of is None:
        return found.fetchall()
    (columns, most), firsts = first_of, dict[Any, tuple[Any, ...]]()
    for row in found:
        firsts.setdefault(row[columns], row)
        if len(firsts) == most:
            break
    found.close()
    return list(firsts.values())


def _of_cache() -> "_Index":
    try:
        file = store.local_dir() / f"index-{LAYOUT}.sqlite"
    except StorageError:  # a machine of a cluster, which has no disk of its own that we were told of
        file = None
    which = str(store.cache_dir()), str(file)
    with _indices_held:
        if which not in _indices:
            _indices[which] = _Index(file)
        return _indices[which]


_indices_held = threading.Lock()
_indices: dict[tuple[str, str], "_Index"] = {}


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
        _make(self._memory)

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
                with contextlib.closing(_connected(self._file)) as db:
                    yield db
                return
            if id(self) not in scope.connections or not self._file.exists():
                scope.connections[id(self)] = _connected(self._file)
            yield scope.connections[id(self)]

    @contextlib.contextmanager
    def fresh(self, kinds: Sequence[str], *, wait: bool) -> Iterator[sqlite3.Connection]:
        """Yield a connection, after changes in the folders of these kinds were brought in."""
        scope, own = _in_once(), id(self)
        try:
            if scope is None:
                self._bring_in(kinds, wait)
            elif left := [kind for kind in kinds if not {(own, kind, wait), (own, kind, True)} & scope.brought]:
                self._bring_in(left, wait)
                scope.brought.update((own, kind, wait) for kind in left)
        except (sqlite3.DatabaseError, StorageError) as error:
            self._get_over(error)
            self._bring_in(kinds, wait)
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
            scope.brought.clear()
            scope.close()
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

    def _bring_in(self, kinds: Sequence[str], wait: bool) -> None:
        with self.opened() as db:
            for kind in kinds:
                for place in places():
                    _bring_in_names(db, place, kind)
                    self._look(db, place, kind, at_once=wait)
            while left := _n_unread(db, kinds):
                if left > FEW and not wait:
                    self._read_later(kinds)
                    return
                if left > FEW:
                    self._read_all(kinds, say=True)
                elif not _read_some(db, kinds):
                    return

    def _look(self, db: sqlite3.Connection, place: str, kind: str, *, at_once: bool) -> None:
        """Look at the times and sizes of all files of a kind, where that is due."""
        at, took = self._looked.get((place, kind), (0.0, 0.0))
        if at and took > _QUICK_S and time.monotonic() - at < _SHARE * took:
            return
        if not at_once and _has_more(db, place, kind, than=_LOOK_AT_ONCE):
            self._read_later([kind])
            return
        began = time.monotonic()
        _bring_in_changes(db, place, kind, again=not at)
        self._looked[place, kind] = (time.monotonic(), time.monotonic() - began)

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
                            self._look(db, place, kind, at_once=True)
                self._read_all(kinds, say=False)
        except (sqlite3.Error, LayerscopeError, OSError):
            _log.warning("The index of the results could not be updated. Trying again.", exc_info=True)
            self._reader = None

    def _read_all(self, kinds: Sequence[str], *, say: bool) -> None:
        """Read the unread results, a part at a time; one process does, and others wait until it has."""
        said_at, left = time.monotonic(), 1
        while left:
            handle = None if self._file is None or self._memory is not None else disk.lock(self._file.with_suffix(".lock"))
            try:
                with self.opened() as db:
                    if handle is None and self._memory is None:
                        time.sleep(0.1)
                    else:
                        _read_some(db, kinds)
                    left = _n_unread(db, kinds)
            finally:
                if handle is not None:
                    os.close(handle)
            if say and time.monotonic() - said_at > _SAY_S:
                _log.warning("Indexing the stored results, once: %s left.", f"{left:,}")
                said_at = time.monotonic()


def _connected(file: Path) -> sqlite3.Connection:
    """A connection to the file, which is made if need be.

    Raises:
        StorageError: when it cannot be made.
        sqlite3.DatabaseError: when it is broken, or cannot be written.
    """
    if not file.exists():
        with store.disk_errors_explained(file):
            _begin(file)
    db = sqlite3.connect(file, timeout=_BUSY_S, isolation_level=None)
    try:
        db.execute("PRAGMA synchronous = NORMAL")
        db.execute(f"PRAGMA mmap_size = {_MAPPED}")  # each connection is new, and its own cache of pages would be empty
        return db
    except BaseException:
        db.close()
        raise


def _begin(file: Path) -> None:
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
                _make(db)
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


def _make(db: sqlite3.Connection) -> None:
    with _transaction(db, ()):
        for statement in _TABLES:
            db.execute(statement)


@contextlib.contextmanager
def _transaction(db: sqlite3.Connection, kinds: Sequence[str]) -> Iterator[None]:
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


def _n_unread(db: sqlite3.Connection, kinds: Sequence[str]) -> int:
    sql = f"SELECT count(*) FROM results WHERE state = {UNREAD} AND kind IN ({marks('kind', kinds)})"
    return int(db.execute(sql, named("kind", kinds)).fetchone()[0])


def _n_of(db: sqlite3.Connection, place: str, kind: str) -> int:
    return int(db.execute("SELECT count(*) FROM results WHERE place = ? AND kind = ?", (place, kind)).fetchone()[0])


def _has_more(db: sqlite3.Connection, place: str, kind: str, *, than: int) -> bool:
    sql = "SELECT 1 FROM results WHERE place = ? AND kind = ? LIMIT 1 OFFSET ?"
    return db.execute(sql, (place, kind, than)).fetchone() is not None


def _bring_in_names(db: sqlite3.Connection, place: str, kind: str) -> None:
    """Take in folders that came and leave out those that went, where the folder that holds them changed."""
    folder = folder_of(place, kind)
    try:
        mtime_ns, now_ns = folder.stat().st_mtime_ns, time.time_ns()
    except OSError:
        mtime_ns, now_ns = -1, 0
    known = db.execute("SELECT mtime_ns FROM folders WHERE place = ? AND kind = ?", (place, kind)).fetchone()
    if known is not None and known[0] == mtime_ns:
        return
    if mtime_ns == -1 and known is None and not _n_of(db, place, kind):
        return
    there = _names_in(folder)
    settled = mtime_ns if mtime_ns == -1 or now_ns - mtime_ns > _UNSETTLED_NS else 0
    if (known and known[0]) == settled and there == _known_names(db, place, kind):
        return  # a transaction would make every kept answer old
    with _transaction(db, [kind]):
        before = _known_names(db, place, kind)
        _forget(db, place, kind, before - there)
        new = ((place, kind, key) for key in sorted(there - before))
        db.executemany("INSERT INTO results (place, kind, key) VALUES (?, ?, ?)", new)
        if (known and known[0]) != settled:
            db.execute("INSERT OR REPLACE INTO folders VALUES (?, ?, ?)", (place, kind, settled))


def _known_names(db: sqlite3.Connection, place: str, kind: str) -> set[str]:
    return {row[0] for row in db.execute("SELECT key FROM results WHERE place = ? AND kind = ?", (place, kind))}


def _names_in(folder: Path) -> set[str]:
    try:
        with os.scandir(folder) as found:
            # A name with a dot is a draft, or was moved aside as corrupt.
            return {entry.name for entry in found if "." not in entry.name}
    except FileNotFoundError:
        return set()


def _forget(db: sqlite3.Connection, place: str, kind: str, keys: set[str]) -> None:
    which = [(place, kind, key) for key in sorted(keys)]
    same = "place = ? AND kind = ? AND key = ?"
    for table in ("summaries", "scores"):
        db.executemany(f"DELETE FROM {table} WHERE number = (SELECT number FROM results WHERE {same})", which)
    db.executemany(f"DELETE FROM results WHERE {same}", which)


def _bring_in_changes(db: sqlite3.Connection, place: str, kind: str, *, again: bool) -> None:
    """Mark results that changed since they were read, by time, size and place on the disk.

    Args:
        db: the connection.
        place, kind: the folder.
        again: whether to try unreadable results again: another version of this program may.
    """
    folder, changed = os.fspath(folder_of(place, kind)), []
    rows = db.execute("SELECT key, state, mtime_ns, size, inode FROM results WHERE place = ? AND kind = ?", (place, kind))
    for number, (key, state, *before) in enumerate(rows.fetchall()):
        if number % _CHUNK == _CHUNK - 1 and threading.current_thread().name == _READER:
            time.sleep(_PAUSE_S)  # who waits for a page goes first
        if state == UNREAD:
            continue
        try:
            found = os.stat(f"{folder}/{key}/result.json")
            is_same = state != NOTHING and [found.st_mtime_ns, found.st_size, found.st_ino] == before
        except OSError:
            is_same = state == NOTHING
        if not is_same or (again and state == BAD):
            changed.append((place, kind, key))
    if changed:
        with _transaction(db, [kind]):
            db.executemany(f"UPDATE results SET {_ANEW} WHERE place = ? AND kind = ? AND key = ?", changed)


def _read_some(db: sqlite3.Connection, kinds: Sequence[str]) -> bool:
    """Read some of the results that are unread; False where there are none left."""
    sql = f"SELECT number, place, kind, key, news FROM results WHERE state = {UNREAD} AND kind IN ({marks('kind', kinds)})"
    rows = db.execute(f"{sql} LIMIT {_CHUNK}", named("kind", kinds)).fetchall()
    if not rows:
        return False
    found = [(number, news, _read(place, kind, key)) for number, place, kind, key, news in rows]
    with _transaction(db, sorted({kind for _, _, kind, _, _ in rows})):
        for number, news, columns in found:
            summary, scores = columns.pop("summary", None), columns.pop("scores", ())
            settings = ", ".join(f"{name} = :{name}" for name in columns)
            own = {"own_number": number, "own_news": news}
            # A result that was written anew in that time is read once more.
            done = db.execute(f"UPDATE results SET {settings} WHERE number = :own_number AND news = :own_news", columns | own)
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
        columns |= imported(DESCRIBED_BY)(kind, store.read(folder, precomputed=place != OWN)) | {"state": GOOD}
    except FileNotFoundError:
        columns["state"] = NOTHING
    except CorruptResultError as error:
        store.tell_once(f"{error} It is hidden, and computed again on request.")
    return columns
