"""Queries of the index of stored results, which do not open the results.

The checksum of a result is verified when its row is written and when it is opened.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from analysis.core.index_table import OWN, committed, folder_of, places, rows


@dataclass(frozen=True, slots=True)
class IndexEntry:
    """Row of a stored result."""

    place: str
    kind: str
    key: str
    """Fingerprint of the request."""
    mtime_ns: int
    summary: str
    """Summary as JSON (`index_table.DESCRIBE`)."""

    @property
    def precomputed(self) -> bool:
        """Whether the result is read-only, from the gallery or a pack."""
        return self.place != OWN

    @property
    def saved_at(self) -> float:
        """Time of the last save, in seconds since the epoch."""
        return self.mtime_ns / 1e9

    @property
    def folder(self) -> Path:
        """Folder of the result."""
        return folder_of(self.place, self.kind) / self.key


_ENTRY = "place, kind, key, mtime_ns, summary"
"""Columns of an `IndexEntry`."""


@dataclass(frozen=True)
class ResultFilter:
    """Filter of stored results. A result must meet all conditions."""

    kinds: tuple[str, ...]
    """Kinds, in the order in which results are listed."""
    weights: tuple[str, str, str] | None = None
    """Identity, source and revision of the model; None for any model. If the identity of the
    request ("") or of a result is unknown, source and revision are compared. Results of several
    models match each of their known identities."""
    words: tuple[str, ...] = ()
    """Lower-case words that the searched text must contain."""
    materials: tuple[str, ...] = ()
    """Materials (column `materials`), one of which a result must be measured on; empty for any."""
    places: tuple[str, ...] = ()
    """Places, as in `index_table.places`; empty for all."""
    having: tuple[tuple[str, Any], ...] = ()
    """Columns with their required value, or a tuple of possible values."""
    quantization: str | None = None
    """Quantization of the weights; None for any. Results of several models always match."""
    cut: str | None = None
    """Removed layers in the form of `blocks.written`, "" for the unpruned model, that a result must
    score without healing; None for any."""

    def condition(self) -> tuple[str, dict[str, Any]]:
        """Return the condition in SQL, with the values of its parameters."""
        values: dict[str, Any] = {"places": places(), "own": OWN}
        values |= {"kind_order": _ordered(self.kinds), "place_order": _ordered(values["places"])}
        parts = ["is_readable", _HAS_PRECEDENCE]
        # The plus sign keeps SQLite from searching by place instead of by model.
        filters = [("kind", self.kinds), ("+place", self.places or values["places"]), *self.having]
        if self.quantization is not None:
            filters.append(
                ("coalesce(quantization, '')", (self.quantization, ""))
            )  # "" for results of several models
        for number, (column, value) in enumerate(filters):
            parts.append(f"{column} IN (SELECT value FROM json_each(:choices{number}))")
            values[f"choices{number}"] = value if isinstance(value, tuple) else (value,)
        if self.weights is not None:
            weights, weights_values = _weights_condition(self.weights, "wanted")
            parts.append(weights)
            values |= weights_values
        if self.cut is not None:
            parts.append(_SCORES_CUT)
            values["cut"] = self.cut
        parts += [f"instr(said, :word{number})" for number in range(len(self.words))]
        values |= {f"word{number}": word for number, word in enumerate(self.words)}
        if self.materials:
            names = [f"material{number}" for number in range(len(self.materials))]
            measured_on = " OR ".join(f"instr(materials, :{name})" for name in names)
            parts.append(f"({measured_on})")
            values |= dict(zip(names, self.materials, strict=True))
        return " AND ".join(parts), values

    def select(self, columns: str, end: str = "", **values: Any) -> list[tuple[Any, ...]]:
        """Return columns of the matching results.

        Args:
            columns: SQL expressions.
            end: rest of the statement after its condition, such as further conditions, groups and
                order.
            values: values of the parameters in `end`.
        """
        where, own_values = self.condition()
        return rows(
            self.kinds, f"SELECT {columns} FROM results WHERE {where} {end}", own_values | values
        )


_SCORES_CUT = "results.number IN (SELECT number FROM scores WHERE cut = :cut AND repair = '')"
"""Condition that a result scores removed layers without healing."""
_BY_KIND = "instr(:kind_order, char(10) || kind || char(10))"
"""Position of the kind in the filter."""
_BY_PLACE = "instr(:place_order, char(10) || {table}.place || char(10))"
"""Precedence of the place."""
_HAS_PRECEDENCE = f"""(place = :own OR NOT EXISTS (
    SELECT 1 FROM json_each(:places) CROSS JOIN results same
    ON same.place = json_each.value AND same.kind = results.kind AND same.key = results.key
    WHERE same.is_readable
    AND {_BY_PLACE.format(table="same")} < {_BY_PLACE.format(table="results")}
))"""
"""Condition that no place of higher precedence has the same result."""


def _ordered(names: Sequence[str]) -> str:
    """Return names as a text in which the position of a name is its rank."""
    return "".join(f"\n{name}\n" for name in names)


def _weights_condition(weights: tuple[str, str, str], name: str) -> tuple[str, dict[str, Any]]:
    """Return the condition that results are of a model, with the values of its parameters.

    Args:
        weights: as in `ResultFilter`.
        name: beginning of the names of the parameters, so that a statement may have several such
            conditions.
    """
    identity, source, revision = weights
    values = {f"{name}_source": source, f"{name}_revision": revision}
    if not identity:
        return f"(source = :{name}_source AND revision = :{name}_revision)", values
    values = {f"{name}_identity": identity, f"{name}_name": named_weights(source, revision)}
    condition = (
        f"(weights IN (:{name}_identity, :{name}_name)"
        f" OR (source IS NULL AND instr(identities, :{name}_identity)))"
    )
    return condition, values


def named_weights(source: str, revision: str) -> str:
    """Return the value of the column `weights` if the identity is unknown."""
    return f"{source}\n{revision}"


def entries(
    wanted: ResultFilter,
    *,
    like: "Ranking | None" = None,
    first: str = "",
    of_first: tuple[str, str, str] | None = None,
    most: int | None = None,
) -> list[IndexEntry]:
    """Return matching results, each once.

    Args:
        wanted: filter.
        like: ranking, strongest evidence first; None to sort by kind and place, newest first.
        first: SQL order that takes precedence, for example "n_cuts DESC"; "" for none.
        of_first: weights as in `ResultFilter`, whose results come first; None for no such order.
        most: maximum number of results; None for all.
    """
    where, values = wanted.condition()
    order, order_values = (
        like.order()
        if like
        else (f"{_BY_KIND}, {_BY_PLACE.format(table='results')}, mtime_ns DESC, key", {})
    )
    values |= order_values
    if of_first is not None:
        first, first_values = _weights_condition(of_first, "first")
        first = f"{first} DESC"
        values = values | first_values
    # The summaries, which are long, are read for the first rows only.
    query = (
        f"SELECT number FROM results WHERE {where} ORDER BY"
        f" {f'{first}, {order}' if first else order} LIMIT :most"
    )
    sql = f"SELECT {_ENTRY} FROM ({query}) CROSS JOIN results USING (number)"
    return [
        IndexEntry(*row)
        for row in rows(wanted.kinds, sql, values | {"most": -1 if most is None else most})
    ]


def entry(kind: str, key: str) -> IndexEntry | None:
    """Return the result with a fingerprint, preferably of this cache; None if there is none."""
    return next(iter(entries(ResultFilter((kind,), having=(("key", key),)))), None)


def count(wanted: ResultFilter) -> int:
    """Return the number of matching results."""
    return int(wanted.select("count(*)")[0][0])


@dataclass(frozen=True)
class Ranking:
    """Order of results for a requested model; those in its precision come first."""

    source: str
    dtype: str
    quantization: str
    usual: str = ""
    """Strategy whose curves come first among equally strong ones; "" for none."""

    def order(self) -> tuple[str, dict[str, Any]]:
        """Return the order in SQL, with the values of its parameters."""
        fits = [
            "coalesce(quantization != :like_quantization, 0)",
            "coalesce(:like_dtype NOT IN ('auto', dtype), 0)",
        ]
        strength = [
            *fits,
            "strength DESC",
            "coalesce(healed_loss, 1e9)",
            "coalesce(source != :like_source, 1)",
        ]
        # Results of the gallery have the time of the checkout, so equal maps are sorted by text, C4
        # first as in the paper.
        last = [
            "CASE WHEN place != :own AND kind = 'distances' THEN told_on ELSE '' END",
            "place != :own",
            "mtime_ns DESC",
            "key",
        ]
        parts = [*strength, _BY_KIND, ":usual NOT IN ('', strategy)", *last]
        values = {
            "like_source": self.source,
            "like_dtype": self.dtype,
            "like_quantization": self.quantization,
        }
        return ", ".join(parts), values | {"usual": self.usual}


def firsts(
    wanted: ResultFilter,
    like: Ranking,
    per: Sequence[str],
    *,
    each: int = 1,
    most: int | None = None,
    first: str = "",
) -> list[tuple[IndexEntry, int]]:
    """Return the strongest results of each group of equal columns, with the largest number of
    questions in the group.

    Args:
        wanted, like, first: as in `entries`.
        per: columns that define the groups.
        each: maximum number of results per group.
        most: maximum number of results; None for all.
    """
    where, values = wanted.condition()
    order, order_values = like.order()
    values |= order_values | {"each": each, "most": -1 if most is None else most}
    order = f"{first}, {order}" if first else order
    group = ", ".join(per)
    ranked = (
        f"SELECT number, row_number() OVER (PARTITION BY {group} ORDER BY {order}) AS rank,"
        f" max(n_asked) OVER (PARTITION BY {group}) AS largest_n, row_number() OVER (ORDER BY"
        f" {order}) AS position FROM results WHERE {where}"
    )
    sql = (
        f"SELECT {_ENTRY}, largest_n FROM ({ranked}) CROSS JOIN results USING (number) "
        "WHERE rank <= :each ORDER BY position LIMIT :most"
    )
    return [(IndexEntry(*columns), n) for *columns, n in rows(wanted.kinds, sql, values)]


class Score(NamedTuple):
    """Stored accuracy or loss of an unpruned or pruned model without healing."""

    key: str
    """Fingerprint of the result."""
    quantity: str
    condition: str
    cut: str
    """Removed layers in the form of `blocks.written`; "" for the unpruned model."""


def scores(wanted: ResultFilter, like: Ranking, cuts: Sequence[str]) -> list[Score]:
    """Return the score of the strongest result for each condition and removal, the strongest
    results first.

    Args:
        wanted, like: as in `entries`.
        cuts: removals.
    """
    where, values = wanted.condition()
    order, order_values = like.order()
    # CROSS JOIN makes SQLite read the scores first, which are few.
    sql = (
        "SELECT results.key, s.quantity, s.condition, s.cut FROM scores s CROSS JOIN results ON"
        " results.number = s.number WHERE s.repair = '' AND s.cut IN (SELECT value FROM"
        f" json_each(:cuts)) AND {where} ORDER BY {order}"
    )
    strongest: dict[tuple[str, str], Score] = {}
    for row in rows(wanted.kinds, sql, values | order_values | {"cuts": tuple(cuts)}):
        strongest.setdefault(row[2:], Score(*row))
    return list(strongest.values())


class ResultGroup(NamedTuple):
    """Results of one kind and place with the same name and weights."""

    identity: str
    source: str
    revision: str
    is_quantized: bool
    n: int
    newest: IndexEntry


def groups(wanted: ResultFilter) -> list[ResultGroup]:
    """Return matching results in groups, without results of no model."""
    # SQLite returns the other columns from the row with the maximum.
    groups = wanted.select(
        "identity, source, revision, quantization != 'none' AS is_quantized, count(*), place, kind,"
        " key, max(mtime_ns), ''",
        "AND source IS NOT NULL GROUP BY kind, place, identity, source, revision, is_quantized",
    )
    return [ResultGroup._make((*group[:5], IndexEntry(*group[5:]))) for group in groups]


def names(kinds: Sequence[str]) -> list[tuple[str, str]]:
    """Return the pairs of kind and model name with results, newest first."""
    return ResultFilter(tuple(kinds)).select(
        "kind, name", "GROUP BY kind, name ORDER BY max(mtime_ns) DESC"
    )


def last_identity(kinds: Sequence[str], source: str, revision: str) -> str:
    """Return the identity of the weights of the newest result of a model name, "" if it is unknown.

    Results of the cache come first, then those of the gallery and of packs.
    """
    of_name = ResultFilter(tuple(kinds), ("", source, revision))
    order = (
        "ORDER BY place = :own DESC, place = :committed DESC, mtime_ns DESC, identity DESC LIMIT 1"
    )
    identities = of_name.select("identity", f"AND identity != '' {order}", committed=committed())
    return str(identities[0][0]) if identities else ""


def n_of_other_weights(kinds: Sequence[str], source: str, revision: str, identity: str) -> int:
    """Return the number of results of a model name whose identity is known and differs."""
    of_name = ResultFilter(tuple(kinds), ("", source, revision))
    return int(of_name.select("count(*)", "AND identity NOT IN ('', :other)", other=identity)[0][0])


def builds_on(kinds: Sequence[str], key: str, *, but: str) -> IndexEntry | None:
    """Return a result of this cache that was computed from another result; None if there is none.

    Args:
        kinds: kinds of results to search.
        key: fingerprint of the other result.
        but: fingerprint of a result to exclude.
    """
    end = "AND key != :but AND instr(builds_on, :key) ORDER BY number LIMIT 1"
    users = ResultFilter(tuple(kinds), places=(OWN,)).select(_ENTRY, end, key=key, but=but)
    return IndexEntry(*users[0]) if users else None
