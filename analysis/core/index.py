"""An index of what is stored, so that nobody has to read every result to list them or to choose some.

The folders are the truth: the index may be deleted at any moment, is made again from them, and is brought up to date when it is
asked (`upkeep`). A result counts only with the checksum that it was stored with, and is checked again where it is opened.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from analysis.core.upkeep import GOOD, OWN, UNREAD, folder_of, fresh, marks, named, places


@dataclass(frozen=True, slots=True)
class Entry:
    """A stored result as the index knows it."""

    place: str
    kind: str
    key: str
    """The fingerprint it is stored under."""
    mtime_ns: int
    summary: str
    """JSON of what `DESCRIBED_BY` says of it."""

    @property
    def precomputed(self) -> bool:
        """Whether it is one of the committed results."""
        return self.place != OWN

    @property
    def saved_at(self) -> float:
        """Seconds since the epoch."""
        return self.mtime_ns / 1e9

    @property
    def folder(self) -> Path:
        """Where it lies."""
        return folder_of(self.place, self.kind) / self.key


@dataclass(frozen=True)
class Wanted:
    """Which results are asked for: those that pass all of it."""

    kinds: tuple[str, ...]
    """In the order in which they are listed."""
    weights: tuple[str, str, str] | None = None
    """Identity, source and revision of the model, the first "" where it is not known; told by its name where either identity is
    not known. Results of several models are of each whose weights are known. None for any model."""
    names: tuple[str, ...] = ()
    """Of models; none for all."""
    words: tuple[str, ...] = ()
    """All of which occur in what is searched, in small letters."""
    materials: tuple[str, ...] = ()
    """One of which it was measured on, as the column has them; none for all."""
    is_committed: bool | None = None
    """Whether it is one of the committed results; None for all."""

    def parts(self) -> Iterator[tuple[str, str, str, dict[str, Any]]]:
        """For every kind and place its name, the condition and its values: apart, each is one search of an index."""
        parts, values = ["place = :place", "kind = :kind", f"state = {GOOD}"], dict[str, Any]()
        if self.weights is not None:
            sql, own = _of(self.weights)
            parts.append(sql)
            values |= own
        if self.names:
            parts.append(f"name IN ({marks('name', self.names)})")
        parts += [f"instr(said, :word{number})" for number in range(len(self.words))]
        if self.materials:
            parts.append(f"({' OR '.join(f'instr(materials, :material{n})' for n in range(len(self.materials)))})")
        values |= named("name", self.names) | named("word", self.words) | named("material", self.materials)
        for kind in self.kinds:
            for place in places():
                if self.is_committed in (None, place != OWN):
                    where = " AND ".join(parts if place == OWN else [*parts, _IS_NOT_HERE])
                    yield kind, place, where, values | {"kind": kind, "place": place}


_IS_NOT_HERE = f"""NOT EXISTS (
    SELECT 1 FROM results own
    WHERE own.place = '{OWN}' AND own.kind = results.kind AND own.key = results.key AND own.state = {GOOD}
)"""


def _of(weights: tuple[str, str, str]) -> tuple[str, dict[str, Any]]:
    values = dict(zip(("identity", "source", "revision"), weights, strict=True))
    by_name = "source = :source AND revision = :revision"
    if not weights[0]:
        return f"({by_name})", values
    # Each a search of an index: an OR over different columns would look at every row. The last is of results of several models.
    conditions = ("identity = :identity", f"{by_name} AND identity = ''", "source IS NULL AND instr(identities, :identity)")
    return f"number IN ({' UNION '.join(f'SELECT number FROM results WHERE {one}' for one in conditions)})", values


def entries(
    wanted: Wanted, *, first: tuple[str, str, str] | None = None, most: int | None = None, wait: bool = False
) -> list[Entry]:
    """What is stored, by kind, newest first and committed results last; each fingerprint of a kind once.

    Args:
        wanted: which.
        first: results of these weights, as in `Wanted`, come before all others.
        most: no more than so many; None for all.
        wait: whether to wait until everything is read, however long that takes.
    """
    found: list[Entry] = []
    sides, values = [""], dict[str, Any]()
    if first is not None:
        sql, values = _of(first)
        sides = [f"AND {sql}", f"AND NOT {sql}"]
    with fresh(wanted.kinds, wait=wait) as db:
        for side in sides:
            for kind, place, where, own in wanted.parts():
                left = -1 if most is None else most - len(found)
                sql = f"SELECT number, key, mtime_ns FROM results WHERE {where} {side} ORDER BY mtime_ns DESC, key LIMIT {left}"
                rows = db.execute(f"SELECT key, mtime_ns, summary FROM ({sql}) JOIN summaries USING (number)", values | own)
                found += [Entry(place, kind, *row) for row in rows]
    return found


def entry(kind: str, key: str) -> Entry | None:
    """The result with this fingerprint, a committed one where there is no other."""
    with fresh((kind,)) as db:
        for _, place, where, values in Wanted((kind,)).parts():
            sql = f"SELECT key, mtime_ns, summary FROM results JOIN summaries USING (number) WHERE {where} AND key = :key"
            if row := db.execute(sql, values | {"key": key}).fetchone():
                return Entry(place, kind, *row)
    return None


def count(wanted: Wanted) -> int:
    """How many `entries` there are."""
    with fresh(wanted.kinds) as db:
        parts = [db.execute(f"SELECT count(*) FROM results WHERE {sql}", values) for _, _, sql, values in wanted.parts()]
        return sum(part.fetchone()[0] for part in parts)


@dataclass(frozen=True)
class Group:
    """Results of one kind that were measured under one name on the same weights."""

    identity: str
    source: str
    revision: str
    is_quantized: bool
    n: int
    newest: Entry


def groups(wanted: Wanted) -> list[Group]:
    """What is stored, put together; results of no model are left out."""
    found = []
    with fresh(wanted.kinds) as db:
        for kind, place, where, values in wanted.parts():
            # Of columns beside max() SQLite gives those of the row that has it.
            sql = (
                f"SELECT identity, source, revision, is_quantized, count(*), key, max(mtime_ns) FROM results WHERE {where} "
                "AND source IS NOT NULL GROUP BY identity, source, revision, is_quantized"
            )
            for identity, source, revision, is_quantized, n, key, at in db.execute(sql, values):
                newest = Entry(place, kind, key, at, "")
                found.append(Group(identity, source, revision, bool(is_quantized), n, newest))
    return found


def names(kinds: Sequence[str]) -> list[tuple[str, str]]:
    """The kinds that there are results of and the names of their models, in pairs, those with the newest results first."""
    found: dict[tuple[str, str], int] = {}
    with fresh(kinds) as db:
        for kind, _, where, values in Wanted(tuple(kinds)).parts():
            for name, at in db.execute(f"SELECT name, max(mtime_ns) FROM results WHERE {where} GROUP BY name", values):
                found[kind, name] = max(at, found.get((kind, name), at))
    return sorted(found, key=lambda pair: -found[pair])


def last_identity(kinds: Sequence[str], source: str, revision: str) -> str:
    """The identity of the weights that the newest result of this name is of, a committed one only where there is no other.

    "" where it is not known.
    """
    newest = (False, 0, "")
    with fresh(kinds) as db:
        for _, place, where, values in Wanted(tuple(kinds), ("", source, revision)).parts():
            sql = f"SELECT mtime_ns, identity FROM results WHERE {where} AND identity != '' ORDER BY mtime_ns DESC LIMIT 1"
            if row := db.execute(sql, values).fetchone():
                newest = max(newest, (place == OWN, *row))
    return newest[2]


def n_of_other_weights(kinds: Sequence[str], source: str, revision: str, identity: str) -> int:
    """How many results of this name were measured on weights that are known and are not these."""
    n = 0
    with fresh(kinds) as db:
        for _, _, where, values in Wanted(tuple(kinds), ("", source, revision)).parts():
            sql = f"SELECT count(*) FROM results WHERE {where} AND identity NOT IN ('', :other)"
            n += db.execute(sql, values | {"other": identity}).fetchone()[0]
    return n


def builds_on(kinds: Sequence[str], key: str, *, but: str) -> Entry | None:
    """A result in the cache that was made from the one with this fingerprint, the result `but` left out; None without any."""
    with fresh(kinds, wait=True) as db:
        for kind, place, where, values in Wanted(tuple(kinds), is_committed=False).parts():
            sql = f"SELECT key, mtime_ns FROM results WHERE {where} AND key != :but AND instr(builds_on, :key) LIMIT 1"
            if row := db.execute(sql, values | {"key": key, "but": but}).fetchone():
                return Entry(place, kind, row[0], row[1], "")
    return None


def unread(kinds: Sequence[str]) -> tuple[int, int]:
    """How many results of these kinds were not read yet, and how many there are."""
    with fresh(kinds) as db:
        sql = f"SELECT total(state = {UNREAD}), count(*) FROM results WHERE kind IN ({marks('kind', kinds)})"
        row = db.execute(sql, named("kind", kinds)).fetchone()
    return int(row[0]), int(row[1])
