"""The trade-off: accuracy or loss against size or speed. Models that miss a limit are pale."""

from collections.abc import Sequence
from html import escape
from typing import Any

from plotly.graph_objs import Figure

from analysis.charts.look import bars, finish, known_ends, palette, translucent
from analysis.core import blocks
from analysis.results import verdict
from analysis.results.compared.candidates import (
    BOTH,
    HEALED,
    PRUNED,
    QUANTIZED,
    UNPRUNED,
    Candidate,
)
from analysis.results.compared.front import SIZE, Front
from analysis.results.score.score import ACCURACY, BITS
from analysis.results.verdict import Goal
from analysis.results.words import goals

_VARIANTS = (UNPRUNED, QUANTIZED, PRUNED, BOTH, HEALED)
_QUANTIZED = {QUANTIZED: ("#0f6b66", "#56c2b8"), BOTH: ("#6b4fb0", "#bca6ff")}
"""Shades of quantized variants on a light and on a dark page; the others are those of every
chart."""
_OF_OTHERS = ("square", "cross", "x", "star", "hourglass", "bowtie")
"""Symbols of other models in the order of their names. Names next to the points would cover other
points on a narrow screen."""
_MEGABYTE = 1e6
_ON_A_LOG_AXIS = {"x": 4.0, "y": 2.0}
"""Ratio of the largest to the smallest value from which an axis is logarithmic."""


def trade_off(
    front: Front, by: str, *, dark: bool, height: int = 400, limits: Sequence[Goal] = ()
) -> Figure:
    """Draw the best model of each variant and size with its 95 % interval, and a line through the
    best measured ones.

    The colour is the variant, the symbol the model.

    Args:
        front: all candidates on the same questions or texts.
        by: `front.SIZE` or `front.SPEED`; models without a speed are not drawn on the latter.
        dark: whether the background is dark.
        height: pixels.
        limits: models that miss one of them are pale, and the one on this axis is a line.
    """
    colours = palette(dark)
    shades = {UNPRUNED: colours.unpruned, PRUNED: colours.pruned, HEALED: colours.healed}
    shades |= {variant: pair[dark] for variant, pair in _QUANTIZED.items()}
    best = verdict.best(front, by)
    best_ids = {candidate.id for candidate in best}
    on_axis = [
        candidate for candidate in front.candidates if verdict.price(candidate, by) is not None
    ]
    # Of another model the unpruned forms are alternatives; its pruned ones only if nothing measured
    # is better.
    drawn = _one_a_size(
        [one for one in on_axis if not one.is_other or one.cut is None or one.id in best_ids],
        front.quantity,
    )
    others = sorted({candidate.name for candidate in drawn if candidate.is_other})
    data: list[dict[str, Any]] = [
        {
            "type": "scatter",
            "name": "best measured",
            "showlegend": False,
            "mode": "lines",
            "x": [_x(candidate, by) for candidate in best],
            "y": [candidate.scores[front.quantity].value for candidate in best],
            "line": {"color": colours.marker, "width": 1, "dash": "2px,3px", "shape": "hv"},
            "hoverinfo": "skip",
        }
    ]
    series: dict[tuple[str, str, bool], list[Candidate]] = {}
    for candidate in sorted(
        drawn, key=lambda each: (each.is_other, each.name, _VARIANTS.index(each.variant))
    ):
        fits = all(limit.is_met(candidate) for limit in limits)
        series.setdefault(
            (candidate.name if candidate.is_other else "", candidate.variant, fits), []
        ).append(candidate)
    symbols = {candidate.name: "circle" for candidate in drawn if others and not candidate.is_other}
    symbols |= {other: _OF_OTHERS[index % len(_OF_OTHERS)] for index, other in enumerate(others)}
    for (other, variant, fits), models in sorted(
        series.items(), key=lambda entry: entry[0][2]
    ):  # pale ones below
        shade = shades[variant] if fits else translucent(shades[variant], 0.25)
        data.append(
            {
                "name": variant,
                "showlegend": False,
                **_points(models, by, shade, symbols.get(other, "circle"), front),
            }
        )
    variants = [
        variant for variant in _VARIANTS if any(candidate.variant == variant for candidate in drawn)
    ]
    data += [_legend_entry(variant, "circle", shades[variant]) for variant in variants]
    data += [
        _legend_entry(escape(name), symbol, colours.marker) for name, symbol in symbols.items()
    ]
    is_share = front.quantity == ACCURACY
    title = "weights, MB" if by == SIZE else "speed relative to the unpruned model"
    x: dict[str, Any] = {"title": title, "gridcolor": colours.grid}
    x |= _log("x", [_x(candidate, by) or 0.0 for candidate in drawn]) if by == SIZE else {}
    unit = "bits per byte" if front.quantity == BITS else "nats per token"
    y: dict[str, Any] = {
        "title": "accuracy" if is_share else f"loss, {unit}",
        "gridcolor": colours.grid,
    }
    if is_share:
        y["tickformat"] = ".0%"
    else:  # better is up on both
        y |= {
            "autorange": "reversed",
            **_log("y", [candidate.scores[front.quantity].value for candidate in drawn]),
        }
    figure = finish(
        Figure(data),
        height,
        x=x,
        y=y,
        clickmode="event+select",
        legend={"itemclick": False, "itemdoubleclick": False},
    )
    for limit in limits:
        if limit.kind == (verdict.BYTES if by == SIZE else verdict.SPEED):
            at = limit.value / _MEGABYTE if by == SIZE else limit.value
            figure.add_vline(at, line={"color": colours.marker, "width": 2})
    return figure


def _legend_entry(name: str, symbol: str, colour: str) -> dict[str, Any]:
    """Return a trace without points: a colour is a variant of any model, a symbol a model in any
    variant.
    """
    return {
        "type": "scatter",
        "name": name,
        "mode": "markers",
        "x": [None],
        "y": [None],
        "marker": {"symbol": symbol, "size": 9, "color": colour},
        "hoverinfo": "skip",
    }


def _one_a_size(candidates: Sequence[Candidate], quantity: str) -> list[Candidate]:
    """Return the best measured candidate of each model, variant and size."""
    best: dict[tuple[str, str, int], Candidate] = {}
    for candidate in sorted(candidates, key=lambda each: verdict.badness(each, quantity)):
        best.setdefault(
            (candidate.name if candidate.is_other else "", candidate.variant, candidate.memory),
            candidate,
        )
    return list(best.values())


def _log(axis: str, values: Sequence[float]) -> dict[str, Any]:
    """Return the settings of a logarithmic axis if the values are far apart; without it most of the
    plot would be empty.
    """
    if max(values, default=0) <= _ON_A_LOG_AXIS[axis] * min(values, default=0):
        return {}
    steps = (1, 3) if axis == "x" else (1, 1.5, 2, 3, 4, 6, 8)
    ticks = [step * 10**power for power in range(-3, 8) for step in steps]
    return {
        "type": "log",
        "tickvals": ticks,
        "ticktext": [f"{tick:,g}" for tick in ticks],
        "tickangle": 0,
    }


def _points(
    models: Sequence[Candidate], by: str, shade: str, symbol: str, front: Front
) -> dict[str, Any]:
    """Return the markers of one series."""
    read = [candidate.scores[front.quantity] for candidate in models]
    ends = [known_ends(measured.low, measured.high) for measured in read]
    return {
        "type": "scatter",
        "mode": "markers",
        "x": [_x(candidate, by) for candidate in models],
        "y": [measured.value for measured in read],
        "error_y": {**bars([measured.value for measured in read], ends, width=0), "color": shade},
        "marker": {"symbol": symbol, "size": 9, "color": shade},
        "customdata": [_clicked_layers(candidate) for candidate in models],
        "text": ["<br>".join(map(escape, describe(candidate, front))) for candidate in models],
        "hovertemplate": "%{text}<extra></extra>",
    }


def describe(candidate: Candidate, front: Front) -> list[str]:
    """Return the lines that describe a model: variant, quality, changes against the reference and
    size.
    """
    score = candidate.scores[front.quantity]
    digits = ".1%" if score.quantity == ACCURACY else ".3f"
    ends = (
        ""
        if score.low is None
        else f", 95 % interval {score.low:{digits}} to {score.high:{digits}}"
    )
    changes = goals.effects(candidate) if candidate.changes else []
    return [
        candidate.description,
        f"{score.value:{digits}}{ends}",
        *changes,
        f"{candidate.memory / _MEGABYTE:,.0f} MB",
    ]


def _clicked_layers(candidate: Candidate) -> str:
    """Return the removed layers that a click selects, as text; "" for a model without any, or
    another model.
    """
    return "" if candidate.is_other or candidate.cut is None else blocks.written(candidate.cut)


def _x(candidate: Candidate, by: str) -> float | None:
    return candidate.memory / _MEGABYTE if by == SIZE else candidate.times
