"""The trade-off: how good a model is against what it weighs or how fast it writes, with what no other one beats."""

from collections.abc import Sequence
from html import escape
from typing import Any

from plotly.graph_objs import Figure

from analysis.charts.look import SELECTED, bars, finish, palette, translucent
from analysis.core import blocks
from analysis.core.blocks import Removal
from analysis.reading import front as fronts
from analysis.reading.front import SIZE, Front, Offer
from analysis.reading.reading import ACCURACY

OFFERS = ("unpruned", "pruned", "healed", "other model")
"""Kinds of offers by the names of their traces."""
_SYMBOLS = {"unpruned": "circle", "pruned": "circle", "healed": "diamond", "other model": "square"}
_MEGABYTE = 1e6


def trade_off(front: Front, by: str, cut: Removal | None, *, dark: bool, height: int = 400) -> Figure:
    """Every offer with its 95 % interval; a line through those that no other beats, and a ring around the cut on screen.

    Args:
        front: all offers of one condition.
        by: `front.SIZE` or `front.SPEED`; what has no speed is not drawn on the latter.
        cut: the block to ring; None for no ring.
        dark: whether the background is dark.
        height: pixels.
    """
    colours = palette(dark)
    shades = dict(zip(OFFERS, (colours.unpruned, colours.pruned, colours.healed, colours.chance), strict=True))
    drawn = [offer for offer in front.offers if _x(offer, by) is not None]
    best = front.best(by)
    data: list[dict[str, Any]] = [
        {
            "type": "scatter",
            "name": "not beaten",
            "mode": "lines",
            "x": [_x(offer, by) for offer in best],
            "y": [offer.reading.value for offer in best],
            "line": {"color": colours.marker, "width": 1, "dash": "2px,3px", "shape": "hv"},
            "hoverinfo": "skip",
        }
    ]
    for kind in OFFERS:
        those = [offer for offer in drawn if _kind(offer) == kind]
        kept = [offer for offer in those if offer in best]
        beaten = [offer for offer in those if offer not in best]
        if beaten:
            data.append(_points(f"{kind}, beaten", kind, beaten, by, translucent(shades[kind], 0.45)))
        if kept:
            data.append(_points(kind, kind, kept, by, shades[kind]))
    here = [offer for offer in drawn if cut is not None and offer.cut == cut and not offer.is_rival]
    if here:
        data.append(
            {
                "type": "scatter",
                "name": "on screen",
                "mode": "markers",
                "x": [_x(offer, by) for offer in here],
                "y": [offer.reading.value for offer in here],
                "marker": {"symbol": "circle-open", "size": 15, "color": SELECTED, "line": {"width": 3}},
                "hoverinfo": "skip",
            }
        )
    is_share = front.quantity == ACCURACY
    x = {"title": "weights, MB" if by == SIZE else "times the unpruned model's speed", "gridcolor": colours.grid}
    y = {"title": "accuracy" if is_share else "loss, nats per token", "gridcolor": colours.grid}
    if is_share:
        y["tickformat"] = ".0%"
    else:
        y["autorange"] = "reversed"  # better is up on both
    return finish(Figure(data), height, x=x, y=y, clickmode="event+select")


def _points(name: str, kind: str, offers: Sequence[Offer], by: str, shade: str) -> dict[str, Any]:
    """Filled where no other offer is better for as little; open and pale where one is."""
    read = [offer.reading for offer in offers]
    ends = [None if one.low is None or one.high is None else (one.low, one.high) for one in read]
    symbol = _SYMBOLS[kind] if name == kind else f"{_SYMBOLS[kind]}-open"
    return {
        "type": "scatter",
        "name": name,
        "mode": "markers",
        "x": [_x(offer, by) for offer in offers],
        "y": [offer.reading.value for offer in offers],
        "error_y": {**bars([one.value for one in read], ends, width=0), "color": shade},
        "marker": {"symbol": symbol, "size": 9, "color": shade},
        "customdata": [_taken(offer) for offer in offers],
        "text": ["<br>".join(map(escape, said(offer, by))) for offer in offers],
        "hovertemplate": "%{text}<extra></extra>",
    }


def said(offer: Offer, by: str) -> list[str]:
    """An offer in a few lines: what it is, how good, and what it costs."""
    reading, change = offer.reading, offer.change
    what = f"without {offer.cut.describe()}" if offer.cut else "unpruned"
    who = f"{offer.facts.name}, {what}" if offer.is_rival else what
    digits = ".1%" if reading.quantity == ACCURACY else ".3f"
    ends = "" if reading.low is None else f", 95 % interval {reading.low:{digits}} to {reading.high:{digits}}"
    lines = [f"{who}{f', healed ({reading.repair})' if reading.repair else ''}", f"{reading.value:{digits}}{ends}"]
    if change is not None and change.low is not None and change.high is not None:
        scale, sign, unit = (100, "+.1f", " points") if reading.quantity == ACCURACY else (1, "+.3f", " nats")
        against = f"{scale * change.low:{sign}} to {scale * change.high:{sign}}{unit}"
        lines.append(f"against the unpruned model {scale * change.difference:{sign}} ({against})")
        if not change.is_settled:
            lines.append("no difference seen" + (f"; would need about {change.needed:,}" if change.needed else ""))
    speed = "" if by == SIZE or offer.times is None else f", {offer.times:.2f} times as fast"
    return [*lines, f"{offer.bytes / _MEGABYTE:,.0f} MB{speed}"]


def _taken(offer: Offer) -> str:
    """What a click takes: the cut as it is written; nothing for what has none, or belongs to another model."""
    return "" if offer.is_rival or offer.cut is None else blocks.written(offer.cut)


def _kind(offer: Offer) -> str:
    if offer.is_rival:
        return "other model"
    if offer.reading.repair:
        return "healed"
    return "pruned" if offer.cut else "unpruned"


def _x(offer: Offer, by: str) -> float | None:
    return offer.bytes / _MEGABYTE if by == fronts.SIZE else offer.times
