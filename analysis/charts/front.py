"""The trade-off: accuracy or loss against size or speed, with the offers that others dominate significantly."""

from collections.abc import Sequence
from html import escape
from typing import Any

from plotly.graph_objs import Figure

from analysis.charts.look import bars, finish, known_ends, palette, translucent
from analysis.charts.selected import marked
from analysis.core import blocks
from analysis.core.blocks import Removal
from analysis.results.compared import front as fronts
from analysis.results.compared.front import (
    BEST,
    DOMINATED,
    SIZE,
    TIED,
    Front,
    Offer,
)
from analysis.results.stored.reading import ACCURACY, BITS
from analysis.results.words import goals

OFFERS = ("unpruned", "pruned", "healed", "other model")
"""Kinds of offers by the names of their traces; other models carry their own names."""
_SYMBOLS = {"unpruned": "circle", "pruned": "circle", "healed": "diamond"}
"""Symbols of offers in the precision of the front's condition."""
_OF_OTHERS = ("square", "cross", "x", "star", "hourglass", "bowtie")
"""Symbols of other models in the order of their names. Names beside the points would cover other points on a narrow screen."""
_OF_PRECISION = {"8-bit": "triangle-up", "NF4": "triangle-down"}
"""Symbols of quantized weights. Colours stay those of the kinds."""
_OTHER_DTYPE, _FILE = "hexagon", "pentagon"
"""Symbols of another dtype, and of a quantized file."""
_MEGABYTE = 1e6
_ON_A_LOG_AXIS = 4.0
"""Where the largest model has this many times the bytes of the smallest, equal steps of the axis are equal ratios."""


def trade_off(front: Front, by: str, cut: Removal | None, *, dark: bool, height: int = 400) -> Figure:
    """Draw every offer with its 95 % interval, and a line through the best measured ones.

    Filled: best measured. Filled and pale: measured lower, statistically tied. Open and pale: dominated significantly. The
    colour is the kind, the symbol the precision.

    Args:
        front: all offers on the same questions or texts.
        by: `front.SIZE` or `front.SPEED`; offers without a speed are not drawn on the latter.
        cut: the block to ring, or to note as not measured; None for neither.
        dark: whether the background is dark.
        height: pixels.
    """
    colours = palette(dark)
    shades = dict(zip(OFFERS, (colours.unpruned, colours.pruned, colours.healed, colours.chance), strict=True))
    offers_drawn = [offer for offer in front.offers if _x(offer, by) is not None]
    best, standing = front.best(by), front.standing(by)
    data: list[dict[str, Any]] = [
        {
            "type": "scatter",
            "name": "best measured",
            "mode": "lines",
            "x": [_x(offer, by) for offer in best],
            "y": [offer.reading.value for offer in best],
            "line": {"color": colours.marker, "width": 1, "dash": "2px,3px", "shape": "hv"},
            "hoverinfo": "skip",
        }
    ]
    for series in sorted(
        {_series(offer, front) for offer in front.offers}, key=lambda series: (OFFERS.index(series[0]), series[1])
    ):
        shade = shades[series[0]]
        held = {
            rank: [offer for offer, own in standing if own == rank and _series(offer, front) == series]
            for rank in (DOMINATED, TIED, BEST)
        }
        drawn = {rank: offers for rank, offers in held.items() if offers}
        for rank, offers in drawn.items():
            colour = {DOMINATED: translucent(shade, 0.4), TIED: translucent(shade, 0.6), BEST: shade}[rank]
            points = _points(_named(series, front), _symbol(series, offers[0], front), offers, by, colour, rank, front)
            # The legend has one line for each symbol. The standing is a shade, and the page explains it.
            data.append(points | {"legendgroup": "/".join(series), "showlegend": rank == list(drawn)[-1]})
    of_block = [
        (_x(offer, by) or 0.0, offer.reading.value) for offer in offers_drawn if offer.cut == cut and not offer.is_rival
    ]
    is_share = front.quantity == ACCURACY
    x: dict[str, Any] = {
        "title": "weights, MB" if by == SIZE else "speed relative to the unpruned model",
        "gridcolor": colours.grid,
    }
    if by == SIZE and max(sizes := [offer.bytes for offer in offers_drawn], default=0) > _ON_A_LOG_AXIS * min(sizes, default=0):
        ticks = [step * 10**power for power in range(-3, 8) for step in (1, 2, 5)]
        x |= {"type": "log", "tickvals": ticks, "ticktext": [f"{tick:,g}" for tick in ticks]}
    unit = "bits per byte" if front.quantity == BITS else "nats per token"
    y = {"title": "accuracy" if is_share else f"loss, {unit}", "gridcolor": colours.grid}
    if is_share:
        y["tickformat"] = ".0%"
    else:
        y["autorange"] = "reversed"  # better is up on both
    figure = finish(Figure(data), height, x=x, y=y, clickmode="event+select")
    return figure if cut is None else marked(figure, of_block, dark=dark)


def _points(name: str, plain: str, offers: Sequence[Offer], by: str, shade: str, standing: str, front: Front) -> dict[str, Any]:
    """Markers of one series and standing; those that are dominated are open."""
    read = [offer.reading for offer in offers]
    ends = [known_ends(measured.low, measured.high) for measured in read]
    symbol = f"{plain}-open" if standing == DOMINATED else plain
    return {
        "type": "scatter",
        "name": name,
        "mode": "markers",
        "x": [_x(offer, by) for offer in offers],
        "y": [offer.reading.value for offer in offers],
        "error_y": {**bars([measured.value for measured in read], ends, width=0), "color": shade},
        "marker": {"symbol": symbol, "size": 9, "color": shade},
        "customdata": [_clicked_layers(offer) for offer in offers],
        "text": ["<br>".join(map(escape, [*describe(offer, by, _precision(offer, front)), standing])) for offer in offers],
        "hovertemplate": "%{text}<extra></extra>",
    }


def _precision(offer: Offer, front: Front) -> str:
    """Return the precision of an offer in words where it is not that of the front's condition; "" where it is."""
    own, usual = offer.reading.condition, front.condition
    if (own.precision, own.weights) == (usual.precision, usual.weights):
        return ""
    return own.precision if own.weights == usual.weights else own.precision_in_words()


def _series(offer: Offer, front: Front) -> tuple[str, str]:
    """Return the kind of an offer, and its precision where that has a symbol of its own, or the name of another model."""
    return _kind(offer), offer.name if offer.is_rival else _precision(offer, front)


def _named(series: tuple[str, str], front: Front) -> str:
    """Return the legend's words for a series, short: "pruned, 8-bit" where the others are of its dtype."""
    kind, more = series
    if kind == "other model":
        return escape(more)
    return ", ".join(filter(None, series)).removesuffix(f", {front.condition.precision}")


def _symbol(series: tuple[str, str], offer: Offer, front: Front) -> str:
    """Return the symbol of another model, of a precision, or of a kind in the precision of the front's condition.

    Args:
        series: of the offer.
        offer: any of the series.
        front: all offers.
    """
    kind, more = series
    if kind == "other model":
        names = sorted({offer.name for offer in front.offers if offer.is_rival})
        return _OF_OTHERS[names.index(more) % len(_OF_OTHERS)]
    if not more:
        return _SYMBOLS[kind]
    quantized = next((symbol for name, symbol in _OF_PRECISION.items() if more.startswith(name)), None)
    is_file = offer.reading.condition.weights != front.condition.weights
    return quantized or (_FILE if is_file else _OTHER_DTYPE)


def describe(offer: Offer, by: str, precision: str = "") -> list[str]:
    """Return the lines that describe an offer: its name, its precision where that is given, its quality and its cost."""
    reading = offer.reading
    removed = f"without {offer.cut.describe()}" if offer.cut else "unpruned"
    removed += f", {precision}" if precision else ""
    who = f"{offer.name}, {removed}" if offer.is_rival else removed
    digits = ".1%" if reading.quantity == ACCURACY else ".3f"
    ends = "" if reading.low is None else f", 95 % interval {reading.low:{digits}} to {reading.high:{digits}}"
    lines = [f"{who}{f', healed ({reading.repair})' if reading.repair else ''}", f"{reading.value:{digits}}{ends}"]
    if (offer.cut is not None or offer.change is not None) and not offer.is_rival and reading.quantity != BITS:
        lines += goals.clauses(offer)
    speed = "" if by == SIZE else _speed(offer)
    return [*lines, f"{offer.bytes / _MEGABYTE:,.0f} MB{speed}"]


def _speed(offer: Offer) -> str:
    if offer.gain is None:
        return ""
    ends = f"95 % {1 + offer.gain.low:.2f} to {1 + offer.gain.high:.2f}{'' if offer.gain.is_measured else ', not timed itself'}"
    return f", {1 + offer.gain.value:.2f} times as fast ({ends})"


def _clicked_layers(offer: Offer) -> str:
    """Return the removed layers that a click selects, as text; "" for an offer without any, or of another model."""
    return "" if offer.is_rival or offer.cut is None else blocks.written(offer.cut)


def _kind(offer: Offer) -> str:
    if offer.is_rival:
        return "other model"
    if offer.reading.repair:
        return "healed"
    return "pruned" if offer.cut else "unpruned"


def _x(offer: Offer, by: str) -> float | None:
    return offer.bytes / _MEGABYTE if by == fronts.SIZE else offer.times
