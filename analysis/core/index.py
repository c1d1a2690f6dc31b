"""Index of stored results, so that a list or a choice of them does not read every result.

The folders are the truth: the index may be deleted at any moment and is made again from them. Each query first brings it up to
date (`index_sync`). A result counts only with the checksum that it was stored with, and is checked again where it is opened.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from analysis.core.index_file import GOOD, OWN, UNREAD, bound_values, committed, folder_of, marks, places
from analysis.core.index_sync import fresh, once_for, rows


@dataclass(frozen=True, slots=True)
class IndexEntry:
    """A stored result as the index knows it."""

    place: str
    kind: str
    key: str
    """The fingerprint it is stored under."""
    mtime_ns: int
    summary: str
    """JSON of the description that a package above registers (`index_sync.DESCRIPTIONS`)."""

    @property
    def precomputed(self) -> bool:
        """Return whether it is read-only, computed elsewhere: one of the committed results, or of a pack."""
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
class ResultFilter:
    """Filter of stored results: a result must pass all of it."""

    kinds: tuple[str, ...]
    """In the order in which they are listed."""
    weights: tuple[str, str, str] | None = None
    """Identity, source and revision of the model, the first "" where it is not known; told by its name where either identity is
    not known. Results of several models are of each whose weights are known. None for any model."""
    names: tuple[str, ...] = ()
    """Of models; none for all."""
    words: tuple[str, ...] = ()
    """Words that must all occur in the searched text, in small letters."""
    materials: tuple[str, ...] = ()
    """Materials, as the column has them; a result matches that was measured on any of them; none for all."""
    places: tuple[str, ...] = ()
    """Where they lie, as in `index_file.places`; none for everywhere."""
    having: tuple[tuple[str, Any], ...] = ()
    """Columns of the index with the value that each must have; a tuple of values for any one of them."""
    quantization: str | None = None
    """Of the weights; None for any. Results of several models pass."""
    in_any: tuple[str, ...] = ()
    """Kinds whose results pass in any quantization."""

    def parts(self) -> Iterator[tuple[str, str, str, dict[str, Any]]]:
        """For every kind and place its name, the condition and its values: apart, each is one search of an index."""
        parts, values = ["kind = :kind", f"state = {GOOD}"], dict[str, Any]()
        if self.weights is not None:
            sql, filter_values = _weights_filter(self.weights)
            parts.append(sql)
            values |= filter_values
        filters, filter_values = self._filters()
        parts += filters
        values |= filter_values
        for kind in self.kinds:
            for place, condition, place_values in self._places():
                yield kind, place, " AND ".join([*parts, condition]), values | place_values | {"kind": kind}

    def _places(self) -> Iterator[tuple[str, str, dict[str, str]]]:
        """Yield each wanted place, its condition and the values of that: a result counts at the first place that has it."""
        listed = places()
        for number, place in enumerate(listed):
            if not self.places or place in self.places:
                names = [f":place{n}" for n in range(number + 1)]
                values = {f"place{n}": listed[n] for n in range(number + 1)}
                condition = f"place = {names[-1]}"
                if number:
                    condition = f"({condition} AND {_IS_NOT_AT.format(places=', '.join(names[:-1]))})"
                yield place, condition, values

    def _filters(self) -> tuple[list[str], dict[str, Any]]:
        """Return the conditions that need neither kind nor place, with their values."""
        parts = [f"name IN ({marks('name', self.names)})"] if self.names else []
        parts += [f"instr(said, :word{number})" for number in range(len(self.words))]
        if self.materials:
            parts.append(f"({' OR '.join(f'instr(materials, :material{n})' for n in range(len(self.materials)))})")
        values = bound_values("name", self.names) | bound_values("word", self.words) | bound_values("material", self.materials)
        for number, (column, value) in enumerate(self.having):
            choices = value if isinstance(value, tuple) else (value,)
            parts.append(f"{column} IN ({marks(f'having{number}_', choices)})")
            values |= bound_values(f"having{number}_", choices)
        if self.quantization is not None:
            free = f" OR kind IN ({marks('free', self.in_any)})" if self.in_any else ""
            parts.append(f"(quantization IS NULL OR quantization = :quantization{free})")
            values |= {"quantization": self.quantization} | bound_values("free", self.in_any)
        return parts, values

    def row(self) -> tuple[str, dict[str, Any]]:
        """Return one condition on a row of any of the kinds and places, with its values.

        The columns of `by_strength` come first, so that SQLite reads the rows of one model from that index alone.
        """
        condition, values = once_for(self, self._row)
        return condition, dict(values)

    def _row(self) -> tuple[str, dict[str, Any]]:
        values: dict[str, Any] = bound_values("kind", self.kinds)
        parts = [f"kind IN ({marks('kind', self.kinds)})", f"state = {GOOD}"]
        if self.weights is not None:
            identity, source, revision = self.weights
            values |= {"identity": identity, "source": source, "revision": revision, "named": named_weights(source, revision)}
            conditions = ["weights IN (:identity, :named)", *([_OF_SEVERAL] if self._has_several() else [])]
            parts.append(f"({' OR '.join(conditions)})" if identity else "(source = :source AND revision = :revision)")
        at_places = []
        for _, condition, place_values in self._places():
            at_places.append(condition)
            values |= place_values
        sql, filter_values = self._filters()
        return " AND ".join([*parts, f"({' OR '.join(at_places)})", *sql]), values | filter_values

    def _has_several(self) -> bool:
        """Return True if any of the kinds has results of several models, which have no weights of their own."""
        sql = f"SELECT 1 FROM results WHERE source IS NULL AND kind IN ({marks('kind', self.kinds)}) AND state = {GOOD} LIMIT 1"
        return bool(rows(self.kinds, sql, bound_values("kind", self.kinds)))


_OF_SEVERAL = "(source IS NULL AND instr(identities, :identity))"


_IS_NOT_AT = f"""NOT EXISTS (
    SELECT 1 FROM results own
    WHERE own.place IN ({{places}}) AND own.kind = results.kind AND own.key = results.key AND own.state = {GOOD}
)"""


def _weights_filter(weights: tuple[str, str, str]) -> tuple[str, dict[str, Any]]:
    values = dict(zip(("identity", "source", "revision"), weights, strict=True))
    by_name = "source = :source AND revision = :revision"
    if not weights[0]:
        return f"({by_name})", values
    values["named"] = named_weights(weights[1], weights[2])
    return f"((weights IS NOT NULL AND weights IN (:identity, :named)) OR {_OF_SEVERAL})", values


def named_weights(source: str, revision: str) -> str:
    """Return the index's value in place of an identity that is not known."""
    return f"{source}\n{revision}"


def entries(
    wanted: ResultFilter, *, first: tuple[str, str, str] | None = None, most: int | None = None, wait: bool = False
) -> list[IndexEntry]:
    """Return stored results by kind and place, newest first and read-only ones last; each fingerprint of a kind once.

    Args:
        wanted: which.
        first: results of these weights, as in `ResultFilter`, come before all others.
        most: no more than so many; None for all.
        wait: whether to wait until everything is read, however long that takes.
    """
    listed: list[IndexEntry] = []
    sides, values = [""], dict[str, Any]()
    if first is not None:
        sql, values = _weights_filter(first)
        sides = [f"AND {sql}", f"AND NOT {sql}"]
    with fresh(wanted.kinds, wait=wait) as db:
        for side in sides:
            for kind, place, where, filter_values in wanted.parts():
                n_left = -1 if most is None else most - len(listed)
                sql = (
                    f"SELECT number, key, mtime_ns FROM results WHERE {where} {side} ORDER BY mtime_ns DESC, key LIMIT {n_left}"
                )
                rows = db.execute(
                    f"SELECT key, mtime_ns, summary FROM ({sql}) JOIN summaries USING (number)", values | filter_values
                )
                listed += [IndexEntry(place, kind, *row) for row in rows]
    return listed


def entry(kind: str, key: str) -> IndexEntry | None:
    """The result with this fingerprint, a read-only one where there is no other."""
    with fresh((kind,)) as db:
        for _, place, where, values in ResultFilter((kind,)).parts():
            sql = f"SELECT key, mtime_ns, summary FROM results JOIN summaries USING (number) WHERE {where} AND key = :key"
            if row := db.execute(sql, values | {"key": key}).fetchone():
                return IndexEntry(place, kind, *row)
    return None


def count(wanted: ResultFilter) -> int:
    """How many `entries` there are."""
    where, values = wanted.row()
    return int(rows(wanted.kinds, f"SELECT count(*) FROM results WHERE {where}", values)[0][0])


@dataclass(frozen=True)
class Ranking:
    """Order of results for a requested model: those in its precision and from its source come before others."""

    source: str
    dtype: str
    quantization: str
    across: bool = False
    """Whether strength counts before the kind; else the kinds come one after the other."""
    usual: str = ""
    """Of equally strong curves those of this strategy come first; "" for none. Only where strength counts before the kind."""

    def order(self, kinds: Sequence[str]) -> tuple[str, dict[str, Any]]:
        """Return the order in which results of these kinds answer for the model, with its values."""
        kind = f"CASE kind {' '.join(f'WHEN :kind{number} THEN {number}' for number in range(len(kinds)))} END"
        fits = ["coalesce(quantization != :like_quantization, 0)", "coalesce(:like_dtype NOT IN ('auto', dtype), 0)"]
        strength = [*fits, "strength DESC", "coalesce(source != :like_source, 1)"]
        # Committed files carry the time of the checkout: among equal committed maps the paper's C4 comes first.
        last = [
            "CASE WHEN place != :own AND kind = 'distances' THEN told_on ELSE '' END",
            "place != :own",
            "mtime_ns DESC",
            "key",
        ]
        parts = [*strength, kind, ":usual NOT IN ('', strategy)", *last] if self.across else [kind, *strength, *last]
        values = {"like_source": self.source, "like_dtype": self.dtype, "like_quantization": self.quantization, "own": OWN}
        return ", ".join(parts), values | bound_values("kind", kinds) | {"usual": self.usual}


def best(
    wanted: ResultFilter,
    like: Ranking,
    *,
    most: int | None = None,
    first: str = "",
    wait: bool = False,
    numbers: Sequence[int] | None = None,
) -> list[IndexEntry]:
    """Return stored results, the strongest evidence first, by one statement of the index.

    Args:
        wanted: which results.
        like: the model that they are asked about.
        most: number of results at most; None for all.
        first: an order that comes before all others, "n_cuts DESC"; "" for none.
        wait: whether to wait until every stored result was read once.
        numbers: only these, as `numbers_of` and `scored` give them; None for all.
    """
    where, values = wanted.row()
    if numbers is not None:
        where = f"number IN ({', '.join(map(str, sorted(numbers)))}) AND {where}"
    order, order_values = like.order(wanted.kinds)
    order = f"{first}, {order}" if first else order
    values |= order_values | {"most": -1 if most is None else most}
    query = f"SELECT number, place, kind, key, mtime_ns FROM results WHERE {where} ORDER BY {order} LIMIT :most"
    sql = f"SELECT place, kind, key, mtime_ns, summary FROM ({query}) found CROSS JOIN summaries USING (number)"
    return [IndexEntry(*row) for row in rows(wanted.kinds, sql, values, wait=wait)]


def numbers_of(wanted: ResultFilter, like: Ranking, *, most: int) -> list[int]:
    """Return the numbers in the index of the results of `best`."""
    where, values = wanted.row()
    order, order_values = like.order(wanted.kinds)
    sql = f"SELECT number FROM results WHERE {where} ORDER BY {order} LIMIT :most"
    return [row[0] for row in rows(wanted.kinds, sql, values | order_values | {"most": most})]


def firsts(
    wanted: ResultFilter, like: Ranking, per: Sequence[str], *, most: int, first: str = ""
) -> list[tuple[IndexEntry, int]]:
    """Return the strongest result of each group of equal columns, with the largest number of questions in the group.

    Args:
        wanted, like, first: as in `best`.
        per: columns.
        most: number of groups at most, those with the strongest results.
    """
    where, values = wanted.row()
    group = ", ".join(per)
    sizes = f"SELECT {group}, max(n_asked) FROM results WHERE {where} GROUP BY {group}"
    largest = {tuple(more_columns): n for *more_columns, n in rows(wanted.kinds, sizes, values)}
    order, order_values = like.order(wanted.kinds)
    order = f"{first}, {order}" if first else order
    sql = f"SELECT number, n_asked, place, kind, key, mtime_ns, {group} FROM results WHERE {where} ORDER BY {order}"
    strongest = rows(wanted.kinds, sql, values | order_values, first_of=(slice(6, None), most))
    numbers = ", ".join(str(row[0]) for row in strongest)
    summaries = dict(rows(wanted.kinds, f"SELECT number, summary FROM summaries WHERE number IN ({numbers})", {}))
    # Results may come and go between the statements.
    return [
        (IndexEntry(place, kind, key, mtime_ns, summaries[number]), largest.get(tuple(more_columns), n))
        for number, n, place, kind, key, mtime_ns, *more_columns in strongest
        if number in summaries
    ]


@dataclass(frozen=True)
class Scoring:
    """Which scores are asked for: those that pass all of it."""

    conditions: tuple[str, ...] = ()
    """Any one of these; none for all."""
    cut: str | None = None
    """Removed layers as `blocks.written` has them, "" for the unpruned model; None for all."""
    quantity: str = ""
    """"" for all."""
    but: str = ""
    """A condition that is left out."""
    needs_unpruned: bool = False
    """Whether the unpruned model must have a score under the same condition."""
    of_repaired: bool = False
    """Whether scores of repaired models count."""


def scored(
    wanted: ResultFilter, like: Ranking, scoring: Scoring, *, most: int = 1, per_condition: bool = False
) -> list[tuple[int, str]]:
    """Return numbers in the index of the strongest results with such scores, each with a condition of them.

    A result with a score under every one of the conditions comes before others.

    Args:
        wanted, like: as in `best`.
        scoring: which scores.
        most: number of results at most.
        per_condition: whether to return the strongest result for each condition.
    """
    where, values = wanted.row()
    order, order_values = like.order(wanted.kinds)
    values |= order_values | {"most": most} | bound_values("condition", scoring.conditions)
    parts = [] if scoring.of_repaired else ["s.repair = ''"]
    if scoring.conditions:
        parts.append(f"s.condition IN ({marks('condition', scoring.conditions)})")
    for name, value in (("cut", scoring.cut), ("quantity", scoring.quantity or None)):
        if value is not None:
            parts.append(f"s.{name} = :{name}")
            values[name] = value
    if scoring.but:
        parts.append("s.condition != :but")
        values["but"] = scoring.but
    if scoring.needs_unpruned:
        # The conditions are few and their scores many: it is asked once for each condition.
        listed = f"SELECT DISTINCT s.condition FROM scores s WHERE {' AND '.join(parts)}"
        unpruned = (
            "SELECT 1 FROM scores u CROSS JOIN results ON results.number = u.number "
            f"WHERE u.cut = '' AND u.repair = '' AND u.condition = listed.condition AND {where}"
        )
        parts.append(f"s.condition IN (SELECT condition FROM ({listed}) listed WHERE EXISTS ({unpruned}))")
    # CROSS JOIN keeps the scores, which are few, in front of the results.
    joined = f"FROM scores s CROSS JOIN results ON results.number = s.number WHERE {' AND '.join([*parts, where])}"
    if per_condition:
        sql = f"SELECT results.number, s.condition {joined} ORDER BY {order}"
        return rows(wanted.kinds, sql, values, first_of=(slice(1, 2), most))
    if len(scoring.conditions) > 1:
        order = f"count(DISTINCT s.condition) DESC, {order}"
        sql = f"SELECT results.number, s.condition {joined} GROUP BY results.number ORDER BY {order} LIMIT :most"
    else:
        sql = f"SELECT results.number, s.condition {joined} ORDER BY {order} LIMIT :most"
    return rows(wanted.kinds, sql, values)


@dataclass(frozen=True)
class ResultGroup:
    """Results of one kind that were measured under one name on the same weights."""

    identity: str
    source: str
    revision: str
    is_quantized: bool
    n: int
    newest: IndexEntry


def groups(wanted: ResultFilter) -> list[ResultGroup]:
    """Return stored results in groups; results of no model are left out."""
    result_groups = []
    with fresh(wanted.kinds) as db:
        for kind, place, where, values in wanted.parts():
            # Of columns beside max() SQLite gives those of the row that has it.
            sql = (
                f"SELECT identity, source, revision, is_quantized, count(*), key, max(mtime_ns) FROM results WHERE {where} "
                "AND source IS NOT NULL GROUP BY identity, source, revision, is_quantized"
            )
            for identity, source, revision, is_quantized, n, key, mtime_ns in db.execute(sql, values):
                newest = IndexEntry(place, kind, key, mtime_ns, "")
                result_groups.append(ResultGroup(identity, source, revision, bool(is_quantized), n, newest))
    return result_groups


def names(kinds: Sequence[str]) -> list[tuple[str, str]]:
    """The kinds that there are results of and the names of their models, in pairs, those with the newest results first."""
    newest: dict[tuple[str, str], int] = {}
    with fresh(kinds) as db:
        for kind, _, where, values in ResultFilter(tuple(kinds)).parts():
            for name, mtime_ns in db.execute(f"SELECT name, max(mtime_ns) FROM results WHERE {where} GROUP BY name", values):
                newest[kind, name] = max(mtime_ns, newest.get((kind, name), mtime_ns))
    return sorted(newest, key=lambda pair: -newest[pair])


def last_identity(kinds: Sequence[str], source: str, revision: str) -> str:
    """The identity of the weights that the newest result of this name is of: in the cache, else committed, else in a pack.

    "" where it is not known.
    """
    where, values = ResultFilter(tuple(kinds), ("", source, revision)).row()
    order = "place = :own DESC, place = :committed DESC, mtime_ns DESC, identity DESC"
    values |= {"own": OWN, "committed": committed()}
    identities = rows(kinds, f"SELECT identity FROM results WHERE {where} AND identity != '' ORDER BY {order} LIMIT 1", values)
    return str(identities[0][0]) if identities else ""


def n_of_other_weights(kinds: Sequence[str], source: str, revision: str, identity: str) -> int:
    """How many results of this name were measured on weights that are known and are not these."""
    where, values = ResultFilter(tuple(kinds), ("", source, revision)).row()
    sql = f"SELECT count(*) FROM results WHERE {where} AND identity NOT IN ('', :other)"
    return int(rows(kinds, sql, values | {"other": identity})[0][0])


def builds_on(kinds: Sequence[str], key: str, *, but: str) -> IndexEntry | None:
    """A result in the cache that was made from the one with this fingerprint, the result `but` left out; None without any."""
    with fresh(kinds, wait=True) as db:
        for kind, place, where, values in ResultFilter(tuple(kinds), places=(OWN,)).parts():
            sql = f"SELECT key, mtime_ns FROM results WHERE {where} AND key != :but AND instr(builds_on, :key) LIMIT 1"
            if row := db.execute(sql, values | {"key": key, "but": but}).fetchone():
                return IndexEntry(place, kind, row[0], row[1], "")
    return None


def unread(kinds: Sequence[str]) -> tuple[int, int]:
    """How many results of these kinds were not read yet, and how many there are."""
    sql = f"SELECT total(state = {UNREAD}), count(*) FROM results WHERE kind IN ({marks('kind', kinds)})"
    row = rows(kinds, sql, bound_values("kind", kinds))[0]
    return int(row[0]), int(row[1])
