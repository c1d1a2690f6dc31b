"""The exact read-out of every block, and the invisible marks by which a chart of blocks can be pointed at."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from plotly.graph_objs import Figure, Scatter

from analysis import cost
from analysis.blocks import Block
from analysis.drawing import PATH, unchecked
from analysis.results import DamageResult, DistanceResult, ModelFacts

CELLS = "cells"
"""Name of the trace that carries the read-outs."""
_LAST = "<br>includes the last layer, which turns the stream towards the next token:<br>such blocks are the least alike"
_ALL = "<br>cannot be removed: no layer would be left"


@dataclass(frozen=True)
class ReadOuts:
    """What a pointer reads on the blocks of a chart: the words that all of them share, and each block's own."""

    template: str
    """Lines of plotly's hover language; `%{customdata[1]}` is the first of the fields."""
    fields: dict[Block, tuple[str, ...]]
    """By block; as many for each. Words are kept out of them: there are hundreds of blocks, and all is sent at each redraw."""


def distance_read_outs(result: DistanceResult, metric: str, max_size: int | None = None) -> ReadOuts:
    """What is read on a distance map.

    Args:
        result: the map.
        metric: which of its metrics.
        max_size: only blocks up to this size.
    """
    own = metric == result.spec.metric
    found = {}
    for n, row in enumerate((result.mean if own else result.others[metric])[:max_size], start=1):
        for start, value in enumerate(row):
            error = f"{result.stderr[n - 1][start]:.4f}" if own else ""
            wins = f"{result.wins[n - 1][start]:.0%}" if own and result.wins else ""
            found[Block(start, n)] = (*_about(Block(start, n), result.model), f"{value:.4f}", error, wins)
    words = "distance %{customdata[6]}" + (" ± %{customdata[7]}" if own else "")
    words += "<br>most similar of its size in %{customdata[8]} of resamples" if own and result.wins else ""
    return ReadOuts(_ABOUT.format(words), found)


def damage_read_outs(result: DamageResult) -> ReadOuts:
    """What is read on a damage map; blocks not measured yet are left out."""
    found = {}
    for n, row in enumerate(result.increase, start=1):
        for start, value in enumerate(row):
            if value is None:
                continue
            error = result.stderr[n - 1][start]
            spread, texts = "" if error is None else f" ± {error:.3f}", str(result.n_measured[n - 1][start])
            found[Block(start, n)] = (*_about(Block(start, n), result.model), f"{value:+.3f}", spread, texts)
    words = "loss %{customdata[6]}%{customdata[7]} nats per token<br>%{customdata[8]} of " + f"{result.n_texts} texts"
    return ReadOuts(_ABOUT.format(words), found)


_SAVED = "%{{customdata[2]}} parameters (%{{customdata[3]}}), %{{customdata[4]}}%{{customdata[5]}}"
_ABOUT = "<b>%{{customdata[1]}}</b><br>{}<br>" + _SAVED


def _about(block: Block, model: ModelFacts) -> tuple[str, ...]:
    saved = cost.savings(model, block)
    last = "" if block.stop < model.n_layers else _ALL if block.size == model.n_layers else _LAST
    parameters, size = _short(saved.parameters).strip(), f"{_short(saved.weight_bytes)}B"
    return block.describe(), parameters, f"{saved.fraction:.1%}", size, last


def _short(number: float) -> str:
    """17700000 -> "17.7 M"."""
    for size, letter in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if number >= size:
            return f"{number / size:.1f} {letter}"
    return f"{number:.0f} "


def add_cells(figure: Figure, read_outs: ReadOuts, y: Sequence[float]) -> None:
    """Lay a mark over every block, at its start layer and at `y`: it is read by pointing and picked by clicking.

    A heat map itself tells nobody that it was clicked. Each mark carries its block as START:SIZE. They are transparent, and
    only one of them is really drawn: pointing and clicking find the others from their places alone, and hundreds of
    drawn ones would make every redraw wait.
    """
    figure.add_scatter(
        x=[block.start for block in read_outs.fields],
        y=list(y),
        mode="markers",
        name=CELLS,
        customdata=[[f"{block.start}:{block.size}", *fields] for block, fields in read_outs.fields.items()],
        hovertemplate=f"{read_outs.template}<extra></extra>",
        marker={"symbol": "square", "size": 12, "opacity": 0, "maxdisplayed": 1},
        selected={"marker": {"opacity": 0}},
        unselected={"marker": {"opacity": 0}},
        showlegend=False,
    )


def said(marks: Scatter) -> list[str]:
    """The whole read-out of every mark of `add_cells`, in the words of the hover."""
    found = []
    for fields in marks.customdata:
        text = marks.hovertemplate.removesuffix("<extra></extra>")
        for place, field in enumerate(fields):
            text = text.replace(f"%{{customdata[{place}]}}", field)
        found.append(text)
    return found


def rings(figure: Figure, places: Iterable[tuple[float, float]], colours: tuple[str, str] = ("#ffffff", PATH)) -> Figure:
    """The figure with rings at these places, as a new one; the given one stays as it is and may be shared.

    Args:
        figure: the chart.
        places: x and y of each ring.
        colours: of the outer and of the inner ring; two are seen on any cell of a map.
    """
    spots, spec = list(places), figure.to_dict()
    if not spots:
        return unchecked(spec)
    outer, inner = colours[0], colours[-1]
    spec["data"].append(
        {
            "type": "scatter",
            "x": [x for x, _ in spots],
            "y": [y for _, y in spots],
            "mode": "markers",
            "name": "selected",
            "marker": {"symbol": "circle-open", "size": 11, "color": inner, "line": {"width": 3, "color": inner}},
            "hoverinfo": "skip",
            "showlegend": False,
        }
    )
    around = {
        "type": "circle", "xsizemode": "pixel", "ysizemode": "pixel", "x0": -7.5, "x1": 7.5, "y0": -7.5, "y1": 7.5,
        "line": {"width": 3, "color": outer},
    }  # fmt: skip
    spec["layout"]["shapes"] = [{**around, "xanchor": x, "yanchor": y} for x, y in spots]
    return unchecked(spec)
