"""Queries of the index of stored results: lists and choices of results that open none of them.

A result is checked against its checksum when its row is written and again when it is opened.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from analysis.core.index_table import OWN, bound_values, committed, folder_of, placeholders, places, rows


@dataclass(frozen=True, slots=True)
class IndexEntry:
    """A stored result as the index knows it."""

    place: str
    kind: str
    key: str
    """The fingerprint it is stored under."""
    mtime_ns: int
    summary: str
    """JSON of the description (`index_table.DESCRIBE`)."""

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
    """Where they lie, as in `index_table.places`; none for everywhere."""
    having: tuple[tuple[str, Any], ...] = ()
    """Columns of the index with the value that each must have; a tuple of values for any one of them."""
    quantization: str | None = None
    """Of the weights; None for any. Results of several models pass."""

    def condition(self) -> tuple[str, dict[str, Any]]:
        """Return the condition on a row, with its values."""
        values: dict[str, Any] = bound_values("kind", self.kinds)
        parts = [f"kind IN ({placeholders('kind', self.kinds)})", "is_readable"]
        if self.weights is not None:
            sql, weights_values = _weights_condition(self.weights)
            parts.append(sql)
            values |= weights_values
        at_places = []
        for number, place in enumerate(places()):
            values[f"place{number}"] = place
            if not self.places or place in self.places:
                earlier_places = ", ".join(f":place{earlier}" for earlier in range(number))
                hidden = f" AND NOT {_IS_AT.format(places=earlier_places)}" if earlier_places else ""
                at_places.append(f"(place = :place{number}{hidden})")
        filters, filter_values = self._filters()
        return " AND ".join([*parts, f"({' OR '.join(at_places) or 'FALSE'})", *filters]), values | filter_values

    def _filters(self) -> tuple[list[str], dict[str, Any]]:
        """Return the conditions that need neither kind nor place, with their values."""
        parts = [f"name IN ({placeholders('name', self.names)})"] if self.names else []
        parts += [f"instr(said, :word{number})" for number in range(len(self.words))]
        if self.materials:
            parts.append(f"({' OR '.join(f'instr(materials, :material{n})' for n in range(len(self.materials)))})")
        values = bound_values("name", self.names) | bound_values("word", self.words) | bound_values("material", self.materials)
        for number, (column, value) in enumerate(self.having):
            choices = value if isinstance(value, tuple) else (value,)
            parts.append(f"{column} IN ({placeholders(f'having{number}_', choices)})")
            values |= bound_values(f"having{number}_", choices)
        if self.quantization is not None:
            parts.append("(quantization IS NULL OR quantization = :quantization)")
            values["quantization"] = self.quantization
        return parts, values


_IS_AT = """EXISTS (
    SELECT 1 FROM results own
    WHERE own.place IN ({places}) AND own.kind = results.kind AND own.key = results.key AND own.is_readable
)"""
"""Condition that a place of higher precedence has the same result."""


def _weights_condition(weights: tuple[str, str, str]) -> tuple[str, dict[str, Any]]:
    values = dict(zip(("identity", "source", "revision"), weights, strict=True))
    if not weights[0]:
        return "(source = :source AND revision = :revision)", values
    values["named"] = named_weights(weights[1], weights[2])
    return "(weights IN (:identity, :named) OR (source IS NULL AND instr(identities, :identity)))", values


def named_weights(source: str, revision: str) -> str:
    """Return the index's value in place of an identity that is not known."""
    return f"{source}\n{revision}"


def entries(
    wanted: ResultFilter,
    *,
    like: "Ranking | None" = None,
    first: str = "",
    of_first: tuple[str, str, str] | None = None,
    most: int | None = None,
) -> list[IndexEntry]:
    """Return stored results, each once: the strongest evidence first, or by kind and place, newest first and read-only last.

    Args:
        wanted: which.
        like: the requested model, for which the evidence is ranked; None for the order of a list.
        first: an order that comes before all others, for example "n_cuts DESC"; "" for none.
        of_first: results of these weights, as in `ResultFilter`, come before all others.
        most: maximum number of results; None for all.
    """
    where, values = wanted.condition()
    by_place = f"CASE place {' '.join(f'WHEN :place{number} THEN {number}' for number in range(len(places())))} END"
    order = f"{_by_kind(wanted.kinds)}, {by_place}, mtime_ns DESC, key"
    if like is not None:
        order, order_values = like.order(wanted.kinds)
        values |= order_values
    if of_first is not None:
        first, first_values = _weights_condition(of_first)
        first, values = f"{first} DESC", values | first_values
    return _entries(wanted.kinds, where, f"{first}, {order}" if first else order, values, most)


def _by_kind(kinds: Sequence[str]) -> str:
    return (
        "0" if not kinds else f"CASE kind {' '.join(f'WHEN :kind{number} THEN {number}' for number in range(len(kinds)))} END"
    )


def _entries(kinds: Sequence[str], where: str, order: str, values: dict[str, Any], most: int | None) -> list[IndexEntry]:
    """Return the first rows of an order; the long column of summaries is read of these alone."""
    query = f"SELECT number FROM results WHERE {where} ORDER BY {order} LIMIT :most"
    sql = f"SELECT place, kind, key, mtime_ns, summary FROM ({query}) CROSS JOIN results USING (number)"
    return [IndexEntry(*row) for row in rows(kinds, sql, values | {"most": -1 if most is None else most})]


def entry(kind: str, key: str) -> IndexEntry | None:
    """Return the result with this fingerprint, one of this cache if there are several; None if there is none."""
    return next(iter(entries(ResultFilter((kind,), having=(("key", key),)))), None)


def count(wanted: ResultFilter) -> int:
    """Return the number of `entries`."""
    where, values = wanted.condition()
    return int(rows(wanted.kinds, f"SELECT count(*) FROM results WHERE {where}", values)[0][0])


@dataclass(frozen=True)
class Ranking:
    """Order of results for a requested model: those in its precision and from its source come before others."""

    source: str
    dtype: str
    quantization: str
    usual: str = ""
    """Of equally strong curves those of this strategy come first; "" for none."""

    def order(self, kinds: Sequence[str]) -> tuple[str, dict[str, Any]]:
        """Return the order in which results of these kinds answer for the model, with its values."""
        kind = _by_kind(kinds)
        fits = ["coalesce(quantization != :like_quantization, 0)", "coalesce(:like_dtype NOT IN ('auto', dtype), 0)"]
        strength = [*fits, "strength DESC", "coalesce(healed_loss, 1e9)", "coalesce(source != :like_source, 1)"]
        # Committed files carry the time of the checkout: among equal committed maps the paper's C4 comes first.
        last = [
            "CASE WHEN place != :own AND kind = 'distances' THEN told_on ELSE '' END",
            "place != :own",
            "mtime_ns DESC",
            "key",
        ]
        parts = [*strength, kind, ":usual NOT IN ('', strategy)", *last]
        values = {"like_source": self.source, "like_dtype": self.dtype, "like_quantization": self.quantization, "own": OWN}
        return ", ".join(parts), values | bound_values("kind", kinds) | {"usual": self.usual}


def firsts(
    wanted: ResultFilter, like: Ranking, per: Sequence[str], *, each: int = 1, most: int | None = None, first: str = ""
) -> list[tuple[IndexEntry, int]]:
    """Return the strongest results of each group of equal columns, with the largest number of questions in the group.

    Args:
        wanted, like, first: as in `entries`.
        per: columns.
        each: maximum number of results of a group.
        most: maximum number of results; None for all.
    """
    where, values = wanted.condition()
    order, order_values = like.order(wanted.kinds)
    order, group = f"{first}, {order}" if first else order, ", ".join(per)
    ranked = (
        f"SELECT number, row_number() OVER (PARTITION BY {group} ORDER BY {order}) AS rank, "
        f"max(n_asked) OVER (PARTITION BY {group}) AS largest_n, row_number() OVER (ORDER BY {order}) AS position "
        f"FROM results WHERE {where}"
    )
    sql = (
        f"SELECT place, kind, key, mtime_ns, summary, largest_n FROM ({ranked}) CROSS JOIN results USING (number) "
        "WHERE rank <= :each ORDER BY position LIMIT :most"
    )
    found = rows(wanted.kinds, sql, values | order_values | {"each": each, "most": -1 if most is None else most})
    return [(IndexEntry(*columns), n) for *columns, n in found]


class Score(NamedTuple):
    """A stored accuracy or loss of a model that is not healed."""

    key: str
    """Fingerprint of the result."""
    quantity: str
    condition: str
    cut: str
    """Removed layers as `blocks.written` has them, "" for the unpruned model."""


def scores(wanted: ResultFilter, like: Ranking, cuts: Sequence[str]) -> list[Score]:
    """Return the score of the strongest result for each condition and removal, the strongest results first.

    Args:
        wanted, like: as in `entries`.
        cuts: the removals.
    """
    where, values = wanted.condition()
    order, order_values = like.order(wanted.kinds)
    # CROSS JOIN keeps the scores, which are few, in front of the results.
    sql = (
        "SELECT results.key, s.quantity, s.condition, s.cut FROM scores s CROSS JOIN results ON results.number = s.number "
        f"WHERE s.repair = '' AND s.cut IN ({placeholders('cut', cuts)}) AND {where} ORDER BY {order}"
    )
    strongest: dict[tuple[str, str], Score] = {}
    for row in rows(wanted.kinds, sql, values | order_values | bound_values("cut", cuts)):
        strongest.setdefault(row[2:], Score(*row))
    return list(strongest.values())


class ResultGroup(NamedTuple):
    """Results of one kind that were measured under one name on the same weights."""

    identity: str
    source: str
    revision: str
    is_quantized: bool
    n: int
    newest: IndexEntry


def groups(wanted: ResultFilter) -> list[ResultGroup]:
    """Return stored results in groups; results of no model are left out."""
    where, values = wanted.condition()
    # Next to max() SQLite returns the other columns of the row that has the maximum.
    model = "identity, source, revision, quantization != 'none' AS is_quantized"
    sql = (
        f"SELECT {model}, count(*), place, kind, key, max(mtime_ns), '' FROM results WHERE {where} AND source IS NOT NULL "
        "GROUP BY kind, place, identity, source, revision, is_quantized"
    )
    return [
        ResultGroup(identity, source, revision, is_quantized, n, IndexEntry(*newest))
        for identity, source, revision, is_quantized, n, *newest in rows(wanted.kinds, sql, values)
    ]


def names(kinds: Sequence[str]) -> list[tuple[str, str]]:
    """Return the pairs of kind and model name that have results, those with the newest results first."""
    where, values = ResultFilter(tuple(kinds)).condition()
    sql = f"SELECT kind, name FROM results WHERE {where} GROUP BY kind, name ORDER BY max(mtime_ns) DESC"
    return rows(kinds, sql, values)


def last_identity(kinds: Sequence[str], source: str, revision: str) -> str:
    """The identity of the weights that the newest result of this name is of: in the cache, else committed, else in a pack.

    "" where it is not known.
    """
    where, values = ResultFilter(tuple(kinds), ("", source, revision)).condition()
    order = "place = :own DESC, place = :committed DESC, mtime_ns DESC, identity DESC"
    values |= {"own": OWN, "committed": committed()}
    identities = rows(kinds, f"SELECT identity FROM results WHERE {where} AND identity != '' ORDER BY {order} LIMIT 1", values)
    return str(identities[0][0]) if identities else ""


def n_of_other_weights(kinds: Sequence[str], source: str, revision: str, identity: str) -> int:
    """How many results of this name were measured on weights that are known and are not these."""
    where, values = ResultFilter(tuple(kinds), ("", source, revision)).condition()
    sql = f"SELECT count(*) FROM results WHERE {where} AND identity NOT IN ('', :other)"
    return int(rows(kinds, sql, values | {"other": identity})[0][0])


def builds_on(kinds: Sequence[str], key: str, *, but: str) -> IndexEntry | None:
    """Return a result of this cache that was made from the one with this fingerprint, other than `but`; None without any."""
    where, values = ResultFilter(tuple(kinds), places=(OWN,)).condition()
    where += " AND key != :but AND instr(builds_on, :key)"
    found = _entries(kinds, where, "number", values | {"key": key, "but": but}, 1)
    return found[0] if found else None
