"""The main numbers of a result as rows, for a table."""

from collections.abc import Callable, Iterator
from dataclasses import asdict, is_dataclass
from typing import Any

from analysis.core.blocks import Block
from analysis.core.record import Result

Row = dict[str, Any]


def rows(result: Result) -> list[Row]:
    """One row for each point, block, token or model of a result; columns without any value are left out.

    A kind that says nothing of its own here gives its points, or else its plain numbers and texts in one row.
    """
    found = list(_ROWS.get(result.kind, _any)(result))
    kept = dict.fromkeys(name for row in found for name, value in row.items() if value is not None)
    return [{name: row.get(name) for name in kept} for row in found]


def _any(result: Any) -> Iterator[Row]:
    points = getattr(result, "points", None)
    if isinstance(points, list) and points and all(is_dataclass(point) for point in points):
        yield from map(_point, points)
    else:
        yield {name: value for name, value in result.to_json().items() if isinstance(value, bool | int | float | str)}


def _point(point: Any) -> Row:
    row = {name: value for name, value in asdict(point).items() if not isinstance(value, dict | list)}
    block = getattr(point, "block", None)
    return {**row, "removed": "nothing" if block is None else block.describe()}


def _distances(result: Any) -> Iterator[Row]:
    for n, values in enumerate(result.mean, start=1):
        for start, value in enumerate(values):
            row = {"n": n, "start": start, "block": Block(start, n).describe(), "distance": value}
            row |= {"stderr": result.stderr[n - 1][start], "wins": result.wins[n - 1][start] if result.wins else None}
            yield row | {metric: others[n - 1][start] for metric, others in result.others.items()}


def _damage(result: Any) -> Iterator[Row]:
    for n, values in enumerate(result.increase, start=1):
        for start, value in enumerate(values):
            row = {"n": n, "start": start, "block": Block(start, n).describe(), "increase": value}
            yield row | {"stderr": result.stderr[n - 1][start], "texts": result.n_measured[n - 1][start]}


def _heal(result: Any) -> Iterator[Row]:
    for name in ("unpruned", "pruned", "healed"):
        point = getattr(result, name)
        if point is not None:
            yield {"model": name, **_point(point)}


def _evaluate(result: Any) -> Iterator[Row]:
    yield _point(result.point)


def _speed(result: Any) -> Iterator[Row]:
    for point in result.points:
        timings = {
            f"{what}_{name}": getattr(getattr(point, what), name)
            for what in ("prefill", "decode")
            for name in ("median_s", "low_s", "high_s")
        }
        yield {**_point(point), **timings}


def _compare(result: Any) -> Iterator[Row]:
    for variant, text in result.written:
        for place, piece in enumerate(text.pieces):
            row = {"model": variant.label, "token": place + 1, "piece": piece, "own_surprise": text.own_surprise[place]}
            yield row | {"unpruned_surprise": text.unpruned_surprise[place] if text.unpruned_surprise else None}


def _microscope(result: Any) -> Iterator[Row]:
    for depth, layer in enumerate(result.layers, start=1):
        for token, piece in enumerate(result.pieces):
            row = {"layer": layer, "token": token + 1, "piece": piece, "distance": result.distances[depth - 1][token]}
            yield row | {"guess": result.guess(depth, token), "probability": result.probabilities[depth][token][0]}


_ROWS: dict[str, Callable[[Any], Iterator[Row]]] = {
    "distances": _distances,
    "damage": _damage,
    "evaluate": _evaluate,
    "heal": _heal,
    "speed": _speed,
    "compare": _compare,
    "microscope": _microscope,
}
"""By kind, how its rows are read off."""
