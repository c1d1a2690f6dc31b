"""The trade-off: accuracy or loss against size or speed, with the offers that others dominate significantly."""

from collections.abc import Sequence
from html import escape
from typing import Any

from plotly.graph_objs import Figure

from analysis.charts.look import bars, finish, palette, translucent
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
from analysis.results.stored.reading import ACCURACY
from analysis.results.words import goals

OFFERS = ("unpruned", "pruned", "healed", "other model")
"""Kinds of offers by the names of their traces."""
_SYMBOLS = {"unpruned": "circle", "pruned": "circle", "healed": "diamond", "other model": "square"}
_MEGABYTE = 1e6


def trade_off(front: Front, by: str, cut: Removal | None, *, dark: bool, height: int = 400) -> Figure:
    """Draw every offer with its 95 % interval, and a line through the best measured ones.

    Filled: best measured. Filled and pale: measured lower, statistically tied. Open and pale: dominated significantly.

    Args:
        front: all offers of one condition.
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
    for kind in OFFERS:
        for rank, shade in (
            (DOMINATED, translucent(shades[kind], 0.4)),
            (TIED, translucent(shades[kind], 0.6)),
            (BEST, shades[kind]),
        ):
            offers = [offer for offer, kind_of_offer in standing if kind_of_offer == rank and _kind(offer) == kind]
            if offers:
                data.append(_points(kind if rank == BEST else f"{kind}, {rank}", kind, offers, by, shade, rank))
    of_block = [
        (_x(offer, by) or 0.0, offer.reading.value) for offer in offers_drawn if offer.cut == cut and not offer.is_rival
    ]
    is_share = front.quantity == ACCURACY
    x = {"title": "weights, MB" if by == SIZE else "speed relative to the unpruned model", "gridcolor": colours.grid}
    y = {"title": "accuracy" if is_share else "loss, nats per token", "gridcolor": colours.grid}
    if is_share:
        y["tickformat"] = ".0%"
    else:
        y["autorange"] = "reversed"  # better is up on both
    figure = finish(Figure(data), height, x=x, y=y, clickmode="event+select")
    return figure if cut is None else marked(figure, of_block, dark=dark)


def _points(name: str, kind: str, offers: Sequence[Offer], by: str, shade: str, standing: str) -> dict[str, Any]:
    """Markers of one kind and one standing; those that are dominated are open."""
    read = [offer.reading for offer in offers]
    ends = [None if measured.low is None or measured.high is None else (measured.low, measured.high) for measured in read]
    symbol = f"{_SYMBOLS[kind]}-open" if standing == DOMINATED else _SYMBOLS[kind]
    return {
        "type": "scatter",
        "name": name,
        "mode": "markers",
        "x": [_x(offer, by) for offer in offers],
        "y": [offer.reading.value for offer in offers],
        "error_y": {**bars([measured.value for measured in read], ends, width=0), "color": shade},
        "marker": {"symbol": symbol, "size": 9, "color": shade},
        "customdata": [_clicked_layers(offer) for offer in offers],
        "text": ["<br>".join(map(escape, [*describe(offer, by), standing])) for offer in offers],
        "hovertemplate": "%{text}<extra></extra>",
    }


def describe(offer: Offer, by: str) -> list[str]:
    """Return the lines that describe an offer: its name, its quality and its cost."""
    reading = offer.reading
    removed = f"without {offer.cut.describe()}" if offer.cut else "unpruned"
    who = f"{offer.facts.name}, {removed}" if offer.is_rival else removed
    digits = ".1%" if reading.quantity == ACCURACY else ".3f"
    ends = "" if reading.low is None else f", 95 % interval {reading.low:{digits}} to {reading.high:{digits}}"
    lines = [f"{who}{f', healed ({reading.repair})' if reading.repair else ''}", f"{reading.value:{digits}}{ends}"]
    if offer.cut is not None and not offer.is_rival:
        lines += goals.clauses(offer)
    speed = "" if by == SIZE or offer.times is None else f", {offer.times:.2f} times as fast"
    return [*lines, f"{offer.bytes / _MEGABYTE:,.0f} MB{speed}"]


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
