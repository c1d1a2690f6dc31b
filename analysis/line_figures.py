"""Plotly lines of the distance against the start layer, one for each block size, as in the paper's Fig. 1c."""

from collections.abc import Sequence

import numpy as np
from plotly.colors import sample_colorscale  # type: ignore[attr-defined]  # exported without being named there
from plotly.graph_objs import Figure

from analysis import cells
from analysis.blocks import Block, Removal
from analysis.drawing import finish, palette, unchecked
from analysis.map_figures import METRIC_UNITS
from analysis.results import DamageResult, DistanceResult

_SHADES = {False: (0.0, 0.93), True: (0.22, 1.0)}
"""Part of the scale by whether the page is dark: the last yellows are not seen on white, nor the first purples on black."""
_BAR = 46
"""Height that the bar above the lines takes, pixels; it stands inside the figure: outside it would widen the margins."""
_ENDS_AT = 97
"""Percentile of all blocks where the vertical axis ends."""
_Rows = Sequence[Sequence[float | None]]


def distance_lines(result: DistanceResult, *, metric: str | None = None, dark: bool = False, height: int = 412) -> Figure:
    """Distance against the start layer l, a line for each block size n from dark (n = 1) to light, and one through the minima.

    Args:
        result: the map.
        metric: which of `result.others` to draw instead of the map's own.
        dark: whether the page is dark.
        height: pixels.
    """
    metric = metric or result.spec.metric
    rows: _Rows = result.mean if metric == result.spec.metric else result.others[metric]
    return _lines(rows[:-1], cells.distance_read_outs(result, metric, len(rows) - 1), METRIC_UNITS[metric], dark, height)


def damage_lines(result: DamageResult, *, dark: bool = False, height: int = 412) -> Figure:
    """The measured loss increase against the start layer, as `distance_lines`."""
    return _lines(result.increase, cells.damage_read_outs(result), "loss increase, nats per token", dark, height)


def picked(figure: Figure, selected: Removal | None, *, dark: bool = False) -> Figure:
    """Lines with the chosen size drawn strongly and the cut ringed, as a new figure; the given one may be shared."""
    if not isinstance(selected, Block):
        return figure
    spec = figure.to_dict()
    for trace in spec["data"]:
        if trace.get("name") == f"n = {selected.size}":
            trace["line"] = {"color": palette(dark).pruned, "width": 3}
    ring = (palette(dark).marker, palette(dark).marker)
    return cells.rings(unchecked(spec), _place(spec["data"], selected), ring)


def _place(traces: Sequence[dict], block: Block) -> list[tuple[float, float]]:
    """Where a block's mark is; nowhere if it is not drawn."""
    marks = next(trace for trace in traces if trace["name"] == cells.CELLS)
    name = f"{block.start}:{block.size}"
    return [(x, y) for x, y, said in zip(marks["x"], marks["y"], marks["customdata"], strict=True) if said[0] == name]


def _lines(rows: _Rows, read_outs: cells.ReadOuts, unit: str, dark: bool, height: int) -> Figure:
    figure, colours = Figure(), palette(dark)
    first, last = _SHADES[dark]
    shades = sample_colorscale("Viridis", [first + (last - first) * n / max(len(rows) - 1, 1) for n in range(len(rows))])
    for n, row in enumerate(rows, start=1):
        figure.add_scatter(
            x=list(range(len(row))), y=list(row), mode="lines", name=f"n = {n}", line={"color": shades[n - 1], "width": 1.3},
            hoverinfo="skip", showlegend=False,
        )  # fmt: skip
    known = [[(value, -start) for start, value in enumerate(row) if value is not None] for row in rows]
    lowest = [min(row) for row in known if row]
    figure.add_scatter(
        x=[-start for _, start in lowest], y=[value for value, _ in lowest], mode="lines+markers", name="minima",
        line={"color": colours.marker, "width": 1.8}, marker={"size": 4}, hoverinfo="skip", showlegend=False,
    )  # fmt: skip
    cells.add_cells(figure, read_outs, [rows[block.size - 1][block.start] or 0.0 for block in read_outs.fields])
    _add_scale(figure, shades)
    n_layers = max((len(row) for row in rows), default=1)
    # A few ruinous blocks would press all others into the ground.
    values = [value for row in known for value, _ in row] or [1.0]
    low, high = min(0.0, *values), float(np.percentile(values, _ENDS_AT))
    spare = 0.06 * (high - low)
    return finish(
        figure,
        height,
        x={"title": "start layer l (0-based)", "range": [-0.6, n_layers - 0.4], "gridcolor": colours.grid},
        y={
            "title": unit,
            "gridcolor": colours.grid,
            "range": [low - spare * (low < 0), high + spare],
            "domain": [0, 1 - _BAR / (height - 58)],
        },
        margin={"t": 6, "b": 52},
    )


def _add_scale(figure: Figure, shades: Sequence[str]) -> None:
    """The bar that says which shade is which size."""
    figure.add_scatter(
        x=[None],
        y=[None],
        mode="markers",
        name="sizes",
        marker={
            "color": [1],
            "colorscale": [[0, shades[0]], [0.5, shades[len(shades) // 2]], [1, shades[-1]]],
            "cmin": 1,
            "cmax": max(len(shades), 2),
            "showscale": True,
            "colorbar": {
                "orientation": "h", "x": 1.0, "xanchor": "right", "y": 1.0, "yanchor": "top", "len": 0.5, "thickness": 8,
                "outlinewidth": 0, "nticks": 6, "title": {"text": "block size n", "side": "top", "font": {"size": 12}},
            },
        },
        hoverinfo="skip",
        showlegend=False,
    )  # fmt: skip
