"""Queries of the index of stored results: lists and choices of results that open none of them.

A result is checked against its checksum when its row is written and again when it is opened.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from analysis.core.index_table import OWN, committed, folder_of, places, rows


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


_ENTRY = "place, kind, key, mtime_ns, summary"
"""Columns of an `IndexEntry`."""


@dataclass(frozen=True)
class ResultFilter:
    """Filter of stored results: a result must pass all of it."""

    kinds: tuple[str, ...]
    """In the order in which they are listed."""
    weights: tuple[str, str, str] | None = None
    """Identity, source and revision of the model, the first "" where it is not known; told by its name where either identity is
    not known. Results of several models are of each whose weights are known. None for any model."""
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
        values: dict[str, Any] = {"kinds": self.kinds, "places": places(), "own": OWN}
        parts = ["is_readable", _HAS_PRECEDENCE]
        filters = [("kind", self.kinds), ("place", self.places or values["places"]), *self.having]
        for number, (column, value) in enumerate(filters):
            parts.append(f"{column} IN (SELECT value FROM json_each(:choices{number}))")
            values[f"choices{number}"] = value if isinstance(value, tuple) else (value,)
        if self.weights is not None:
            weights, weights_values = _weights_condition(self.weights)
            parts.append(weights)
            values |= weights_values
        if self.words:
            parts.append("NOT EXISTS (SELECT 1 FROM json_each(:words) WHERE NOT instr(said, value))")
            values["words"] = self.words
        if self.materials:
            parts.append("EXISTS (SELECT 1 FROM json_each(:materials) WHERE instr(materials, value))")
            values["materials"] = self.materials
        if self.quantization is not None:
            parts.append("(quantization IS NULL OR quantization = :quantization)")
            values["quantization"] = self.quantization
        return " AND ".join(parts), values

    def select(self, columns: str, end: str = "", **values: Any) -> list[tuple[Any, ...]]:
        """Return columns of all results that pass.

        Args:
            columns: expressions in SQL.
            end: continuation of the statement: further conditions, groups and order.
            values: values of parameters in `end`.
        """
        where, own_values = self.condition()
        return rows(self.kinds, f"SELECT {columns} FROM results WHERE {where} {end}", own_values | values)


_BY_KIND = "instr(:kinds, json_quote(kind))"
"""Position of a result's kind in a filter."""
_BY_PLACE = "instr(:places, json_quote({table}.place))"
"""Precedence of a result's place."""
_HAS_PRECEDENCE = f"""(place = :own OR NOT EXISTS (
    SELECT 1 FROM results same
    WHERE same.place IN (SELECT value FROM json_each(:places)) AND same.kind = results.kind AND same.key = results.key
        AND same.is_readable AND {_BY_PLACE.format(table="same")} < {_BY_PLACE.format(table="results")}
))"""
"""Condition that no place of higher precedence has the same result."""


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
    order, order_values = like.order() if like else (f"{_BY_KIND}, {_BY_PLACE.format(table='results')}, mtime_ns DESC, key", {})
    values |= order_values
    if of_first is not None:
        first, first_values = _weights_condition(of_first)
        first, values = f"{first} DESC", values | first_values
    # The long column of summaries is read of the first rows alone.
    query = f"SELECT number FROM results WHERE {where} ORDER BY {f'{first}, {order}' if first else order} LIMIT :most"
    sql = f"SELECT {_ENTRY} FROM ({query}) CROSS JOIN results USING (number)"
    return [IndexEntry(*row) for row in rows(wanted.kinds, sql, values | {"most": -1 if most is None else most})]


def entry(kind: str, key: str) -> IndexEntry | None:
    """Return the result with this fingerprint, one of this cache if there are several; None if there is none."""
    return next(iter(entries(ResultFilter((kind,), having=(("key", key),)))), None)


def count(wanted: ResultFilter) -> int:
    """Return the number of `entries`."""
    return int(wanted.select("count(*)")[0][0])


@dataclass(frozen=True)
class Ranking:
    """Order of results for a requested model: those in its precision and from its source come before others."""

    source: str
    dtype: str
    quantization: str
    usual: str = ""
    """Of equally strong curves those of this strategy come first; "" for none."""

    def order(self) -> tuple[str, dict[str, Any]]:
        """Return the order in which results answer for the model, with its values."""
        fits = ["coalesce(quantization != :like_quantization, 0)", "coalesce(:like_dtype NOT IN ('auto', dtype), 0)"]
        strength = [*fits, "strength DESC", "coalesce(healed_loss, 1e9)", "coalesce(source != :like_source, 1)"]
        # Committed files carry the time of the checkout: among equal committed maps the paper's C4 comes first.
        last = [
            "CASE WHEN place != :own AND kind = 'distances' THEN told_on ELSE '' END",
            "place != :own",
            "mtime_ns DESC",
            "key",
        ]
        parts = [*strength, _BY_KIND, ":usual NOT IN ('', strategy)", *last]
        values = {"like_source": self.source, "like_dtype": self.dtype, "like_quantization": self.quantization}
        return ", ".join(parts), values | {"usual": self.usual}


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
    order, order_values = like.order()
    order, group = f"{first}, {order}" if first else order, ", ".join(per)
    ranked = (
        f"SELECT number, row_number() OVER (PARTITION BY {group} ORDER BY {order}) AS rank, "
        f"max(n_asked) OVER (PARTITION BY {group}) AS largest_n, row_number() OVER (ORDER BY {order}) AS position "
        f"FROM results WHERE {where}"
    )
    sql = (
        f"SELECT {_ENTRY}, largest_n FROM ({ranked}) CROSS JOIN results USING (number) "
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
    order, order_values = like.order()
    # CROSS JOIN keeps the scores, which are few, in front of the results.
    sql = (
        "SELECT results.key, s.quantity, s.condition, s.cut FROM scores s CROSS JOIN results ON results.number = s.number "
        f"WHERE s.repair = '' AND s.cut IN (SELECT value FROM json_each(:cuts)) AND {where} ORDER BY {order}"
    )
    strongest: dict[tuple[str, str], Score] = {}
    for row in rows(wanted.kinds, sql, values | order_values | {"cuts": tuple(cuts)}):
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
    # Next to max() SQLite returns the other columns of the row that has the maximum.
    found = wanted.select(
        "identity, source, revision, quantization != 'none' AS is_quantized, count(*), place, kind, key, max(mtime_ns), ''",
        "AND source IS NOT NULL GROUP BY kind, place, identity, source, revision, is_quantized",
    )
    return [ResultGroup(*group[:5], IndexEntry(*group[5:])) for group in found]


def names(kinds: Sequence[str]) -> list[tuple[str, str]]:
    """Return the pairs of kind and model name that have results, those with the newest results first."""
    return ResultFilter(tuple(kinds)).select("kind, name", "GROUP BY kind, name ORDER BY max(mtime_ns) DESC")


def last_identity(kinds: Sequence[str], source: str, revision: str) -> str:
    """Return the identity of the weights of the newest result under a name: in the cache, else committed, else in a pack.

    "" if it is not known.
    """
    order = "place = :own DESC, place = :committed DESC, mtime_ns DESC, identity DESC"
    of_name = ResultFilter(tuple(kinds), ("", source, revision))
    identities = of_name.select("identity", f"AND identity != '' ORDER BY {order} LIMIT 1", committed=committed())
    return str(identities[0][0]) if identities else ""


def n_of_other_weights(kinds: Sequence[str], source: str, revision: str, identity: str) -> int:
    """Return the number of results under a name that were measured on other weights, of those with a known identity."""
    of_name = ResultFilter(tuple(kinds), ("", source, revision))
    return int(of_name.select("count(*)", "AND identity NOT IN ('', :other)", other=identity)[0][0])


def builds_on(kinds: Sequence[str], key: str, *, but: str) -> IndexEntry | None:
    """Return a result of this cache that was made from the one with this fingerprint, other than `but`; None without any."""
    end = "AND key != :but AND instr(builds_on, :key) ORDER BY number LIMIT 1"
    users = ResultFilter(tuple(kinds), places=(OWN,)).select(_ENTRY, end, key=key, but=but)
    return IndexEntry(*users[0]) if users else None
