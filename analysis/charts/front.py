"""The trade-off: accuracy or loss against size or speed, with the models that others dominate significantly."""

from collections.abc import Sequence
from html import escape
from typing import Any

from plotly.graph_objs import Figure

from analysis.charts.look import bars, finish, known_ends, palette, translucent
from analysis.core import blocks
from analysis.results import verdict
from analysis.results.compared.candidates import Candidate
from analysis.results.compared.front import SIZE, Front
from analysis.results.stored.reading import ACCURACY, BITS
from analysis.results.verdict import BEST, DOMINATED, TIED
from analysis.results.words import goals

KINDS = ("unpruned", "pruned", "healed", "other model")
"""Kinds of models by the names of their traces; other models carry their own names."""
_SYMBOLS = {"unpruned": "circle", "pruned": "circle", "healed": "diamond"}
"""Symbols of models in the precision of the front's condition."""
_OF_OTHERS = ("square", "cross", "x", "star", "hourglass", "bowtie")
"""Symbols of other models in the order of their names. Names beside the points would cover other points on a narrow screen."""
_OF_PRECISION = {"8-bit": "triangle-up", "NF4": "triangle-down"}
"""Symbols of quantized weights. Colours stay those of the kinds."""
_OTHER_DTYPE, _FILE = "hexagon", "pentagon"
"""Symbols of another dtype, and of a quantized file."""
_MEGABYTE = 1e6
_ON_A_LOG_AXIS = 4.0
"""Where the largest model has this many times the bytes of the smallest, equal steps of the axis are equal ratios."""


def trade_off(front: Front, by: str, *, dark: bool, height: int = 400) -> Figure:
    """Draw every model with its 95 % interval, and a line through the best measured ones.

    Filled: best measured. Filled and pale: measured lower, statistically tied. Open and pale: dominated significantly. The
    colour is the kind, the symbol the precision.

    Args:
        front: all candidates on the same questions or texts.
        by: `front.SIZE` or `front.SPEED`; models without a speed are not drawn on the latter.
        dark: whether the background is dark.
        height: pixels.
    """
    colours = palette(dark)
    shades = dict(zip(KINDS, (colours.unpruned, colours.pruned, colours.healed, colours.chance), strict=True))
    best, standing = verdict.best(front, by), verdict.standing(front, by)
    drawn_models = [candidate for candidate, _ in standing]
    data: list[dict[str, Any]] = [
        {
            "type": "scatter",
            "name": "best measured",
            "mode": "lines",
            "x": [_x(candidate, by) for candidate in best],
            "y": [candidate.readings[front.quantity].value for candidate in best],
            "line": {"color": colours.marker, "width": 1, "dash": "2px,3px", "shape": "hv"},
            "hoverinfo": "skip",
        }
    ]
    for series in sorted(
        {_series(candidate, front) for candidate in front.candidates}, key=lambda series: (KINDS.index(series[0]), series[1])
    ):
        shade = shades[series[0]]
        held = {
            rank: [candidate for candidate, own in standing if own == rank and _series(candidate, front) == series]
            for rank in (DOMINATED, TIED, BEST)
        }
        drawn = {rank: models for rank, models in held.items() if models}
        for rank, models in drawn.items():
            colour = {DOMINATED: translucent(shade, 0.4), TIED: translucent(shade, 0.6), BEST: shade}[rank]
            points = _points(_named(series, front), _symbol(series, models[0], front), models, by, colour, rank, front)
            # The legend has one line for each symbol. The standing is a shade, and the page explains it.
            data.append(points | {"legendgroup": "/".join(series), "showlegend": rank == list(drawn)[-1]})
    is_share = front.quantity == ACCURACY
    x: dict[str, Any] = {
        "title": "weights, MB" if by == SIZE else "speed relative to the unpruned model",
        "gridcolor": colours.grid,
    }
    sizes = [candidate.memory for candidate in drawn_models]
    if by == SIZE and max(sizes, default=0) > _ON_A_LOG_AXIS * min(sizes, default=0):
        ticks = [step * 10**power for power in range(-3, 8) for step in (1, 2, 5)]
        x |= {"type": "log", "tickvals": ticks, "ticktext": [f"{tick:,g}" for tick in ticks]}
    unit = "bits per byte" if front.quantity == BITS else "nats per token"
    y = {"title": "accuracy" if is_share else f"loss, {unit}", "gridcolor": colours.grid}
    if is_share:
        y["tickformat"] = ".0%"
    else:
        y["autorange"] = "reversed"  # better is up on both
    return finish(Figure(data), height, x=x, y=y, clickmode="event+select")


def _points(
    name: str, plain: str, models: Sequence[Candidate], by: str, shade: str, standing: str, front: Front
) -> dict[str, Any]:
    """Markers of one series and standing; those that are dominated are open."""
    read = [candidate.readings[front.quantity] for candidate in models]
    ends = [known_ends(measured.low, measured.high) for measured in read]
    symbol = f"{plain}-open" if standing == DOMINATED else plain
    return {
        "type": "scatter",
        "name": name,
        "mode": "markers",
        "x": [_x(candidate, by) for candidate in models],
        "y": [measured.value for measured in read],
        "error_y": {**bars([measured.value for measured in read], ends, width=0), "color": shade},
        "marker": {"symbol": symbol, "size": 9, "color": shade},
        "customdata": [_clicked_layers(candidate) for candidate in models],
        "text": ["<br>".join(map(escape, [*describe(candidate, front), standing])) for candidate in models],
        "hovertemplate": "%{text}<extra></extra>",
    }


def _precision(candidate: Candidate, front: Front) -> str:
    """Return the precision of a model in words if it is not that of the front's condition; "" if it is."""
    own, usual = candidate.readings[front.quantity].condition, front.condition
    if (own.precision, own.weights) == (usual.precision, usual.weights):
        return ""
    return own.precision if own.weights == usual.weights else own.precision_in_words()


def _series(candidate: Candidate, front: Front) -> tuple[str, str]:
    """Return the kind of a model, and its precision if that has a symbol of its own, or the name of another model."""
    return _kind(candidate), candidate.name if candidate.is_other else _precision(candidate, front)


def _named(series: tuple[str, str], front: Front) -> str:
    """Return the legend's words for a series, short: "pruned, 8-bit" where the others are of its dtype."""
    kind, more = series
    if kind == "other model":
        return escape(more)
    return ", ".join(filter(None, series)).removesuffix(f", {front.condition.precision}")


def _symbol(series: tuple[str, str], candidate: Candidate, front: Front) -> str:
    """Return the symbol of another model, of a precision, or of a kind in the precision of the front's condition.

    Args:
        series: of the model.
        candidate: any of the series.
        front: all candidates.
    """
    kind, more = series
    if kind == "other model":
        names = sorted({each.name for each in front.candidates if each.is_other})
        return _OF_OTHERS[names.index(more) % len(_OF_OTHERS)]
    if not more:
        return _SYMBOLS[kind]
    quantized = next((symbol for name, symbol in _OF_PRECISION.items() if more.startswith(name)), None)
    is_file = candidate.is_file or candidate.readings[front.quantity].condition.weights != front.condition.weights
    return quantized or (_FILE if is_file else _OTHER_DTYPE)


def describe(candidate: Candidate, front: Front) -> list[str]:
    """Return the lines that describe a model: what it is, its quality, its changes against the reference and its size."""
    reading, precision = candidate.readings[front.quantity], _precision(candidate, front)
    removed = f"without {candidate.cut.brief()}" if candidate.cut else "unpruned"
    healed = f"healed ({candidate.repair})" if candidate.repair else ""
    what = ", ".join(filter(None, [candidate.name if candidate.is_other else "", removed, precision, healed]))
    digits = ".1%" if reading.quantity == ACCURACY else ".3f"
    ends = "" if reading.low is None else f", 95 % interval {reading.low:{digits}} to {reading.high:{digits}}"
    changes = goals.effects(candidate) if candidate.changes else []
    return [what, f"{reading.value:{digits}}{ends}", *changes, f"{candidate.memory / _MEGABYTE:,.0f} MB"]


def _clicked_layers(candidate: Candidate) -> str:
    """Return the removed layers that a click selects, as text; "" for a model without any, or another model."""
    return "" if candidate.is_other or candidate.cut is None else blocks.written(candidate.cut)


def _kind(candidate: Candidate) -> str:
    if candidate.is_other:
        return "other model"
    if candidate.repair:
        return "healed"
    return "pruned" if candidate.cut else "unpruned"


def _x(candidate: Candidate, by: str) -> float | None:
    return candidate.memory / _MEGABYTE if by == SIZE else candidate.times
