"""The exact read-out of every block, and the invisible marks by which a chart of blocks can be pointed at."""

from collections.abc import Iterable, Sequence

from plotly.graph_objs import Figure

from analysis import cost
from analysis.blocks import Block
from analysis.drawing import PATH, unchecked
from analysis.results import DamageResult, DistanceResult, ModelFacts

CELLS = "cells"
"""Name of the trace that carries the read-outs."""
_LAST = "includes the last layer, which turns the stream towards the next token:<br>such blocks are the least alike"
_ALL = "cannot be removed: no layer would be left"


def distance_read_outs(result: DistanceResult, metric: str, max_size: int | None = None) -> dict[Block, str]:
    """By block, what a pointer reads on a distance map.

    Args:
        result: the map.
        metric: which of its metrics.
        max_size: only blocks up to this size.
    """
    own = metric == result.spec.metric
    found = {}
    for n, row in enumerate((result.mean if own else result.others[metric])[:max_size], start=1):
        for start, value in enumerate(row):
            said = f"distance {value:.4f}" + (f" ± {result.stderr[n - 1][start]:.4f}" if own else "")
            if own and result.wins:
                said += f"<br>most similar of its size in {result.wins[n - 1][start]:.0%} of resamples"
            found[Block(start, n)] = _read_out(Block(start, n), said, result.model)
    return found


def damage_read_outs(result: DamageResult) -> dict[Block, str]:
    """By block, what a pointer reads on a damage map; blocks not measured yet are left out."""
    found = {}
    for n, row in enumerate(result.increase, start=1):
        for start, value in enumerate(row):
            if value is None:
                continue
            error = result.stderr[n - 1][start]
            said = f"loss {value:+.3f}" + ("" if error is None else f" ± {error:.3f}") + " nats per token"
            said += f"<br>{result.n_measured[n - 1][start]} of {result.n_texts} texts"
            found[Block(start, n)] = _read_out(Block(start, n), said, result.model)
    return found


def _read_out(block: Block, said: str, model: ModelFacts) -> str:
    saved = cost.savings(model, block)
    lines = [
        f"<b>{block.describe()}</b>",
        said,
        f"{_short(saved.parameters).strip()} parameters ({saved.fraction:.1%}), {_short(saved.weight_bytes)}B",
    ]
    if block.stop == model.n_layers:
        lines.append(_ALL if block.size == model.n_layers else _LAST)
    return "<br>".join(lines)


def _short(number: float) -> str:
    """17700000 -> "17.7 M"."""
    for size, letter in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if number >= size:
            return f"{number / size:.1f} {letter}"
    return f"{number:.0f} "


def add_cells(figure: Figure, read_outs: dict[Block, str], y: Sequence[float]) -> None:
    """Lay a mark over every block, at its start layer and at `y`: it is read by pointing and picked by clicking.

    A heat map itself tells nobody that it was clicked. Each mark carries its block as START:SIZE. They are transparent, and
    only one of them is really drawn: pointing and clicking find the others from their places alone, and hundreds of
    drawn ones would make every redraw wait.
    """
    figure.add_scatter(
        x=[block.start for block in read_outs],
        y=list(y),
        mode="markers",
        name=CELLS,
        customdata=[f"{block.start}:{block.size}" for block in read_outs],
        text=list(read_outs.values()),
        hovertemplate="%{text}<extra></extra>",
        marker={"symbol": "square", "size": 12, "opacity": 0, "maxdisplayed": 1},
        selected={"marker": {"opacity": 0}},
        unselected={"marker": {"opacity": 0}},
        showlegend=False,
    )


def rings(figure: Figure, places: Iterable[tuple[float, float]], colours: Sequence[str] = ("#ffffff", PATH)) -> Figure:
    """The figure with rings at these places, as a new one; the given one stays as it is and may be shared.

    Args:
        figure: the chart.
        places: x and y of each ring.
        colours: of the rings inside each other, the innermost last; two are seen on any cell of a map.
    """
    spots = list(places)
    spec = figure.to_dict()
    if spots:
        spec["data"] += [
            {
                "type": "scatter",
                "x": [x for x, _ in spots],
                "y": [y for _, y in spots],
                "mode": "markers",
                "name": "selected",
                "marker": {"symbol": "circle-open", "size": size, "color": colour, "line": {"width": 3, "color": colour}},
                "hoverinfo": "skip",
                "showlegend": False,
            }
            for size, colour in zip((15, 11)[-len(colours) :], colours, strict=True)
        ]
    return unchecked(spec)
