"""Plotly maps: the distance of every block, what the removal of every block costs, and which layers a cut takes out."""

from collections.abc import Sequence

import numpy as np
from plotly.graph_objs import Figure

from analysis import cells
from analysis.blocks import Removal
from analysis.drawing import PATH, finish, palette
from analysis.results import Best, DamageResult, DistanceResult

METRIC_UNITS = {
    "angular": "distance, fraction of π",
    "angular-tokens": "distance over all tokens, fraction of π",
    "cosine-tokens": "cosine distance over all tokens",
    "relative-l2": "relative L2 distance",
}
"""What is beside the colours of a distance map, by metric."""

_Cells = Sequence[Sequence[float | None]]
_BAR = 48
"""Height that a colour bar above the map takes, pixels."""
_COLOURS_END_AT = 90
"""Percentile of all blocks where the colours of the damage map end: a few ruinous blocks would make all others look alike."""


def normalise_rows(mean: _Cells) -> list[list[float | None]]:
    """Shift and scale each row to [0, 1] on its own, as in the paper's Fig. 4.

    A row with one cell, or with all cells equal, has no range to scale by: its cells are 0, its own minimum. A cell that is
    not measured stays None.
    """
    rows: list[list[float | None]] = []
    for row in mean:
        known = [value for value in row if value is not None]
        low, span = (min(known), max(known) - min(known)) if known else (0.0, 0.0)
        rows.append([None if value is None else (value - low) / span if span > 0 else 0.0 for value in row])
    return rows


def distance_map(
    result: DistanceResult,
    path: Sequence[Best] | None = None,
    *,
    others: Sequence[Best] = (),
    rivals: Sequence[Sequence[int]] = (),
    selected: Removal | None = None,
    row_normalised: bool = False,
    metric: str | None = None,
    max_size: int | None = None,
    height: int = 470,
) -> Figure:
    """The distance of every block: start layer l to the right, block size n upwards, similar in yellow.

    Args:
        result: the map.
        path: the chosen block of each size, drawn as a line; by default the most similar one, l*(n).
        others: blocks that another rule would choose, drawn as a thin line.
        rivals: row n-1 holds the starts of blocks that are as good as the most similar one, drawn as small circles.
        selected: the cut to ring, each unbroken run of layers by itself.
        row_normalised: colour by each row's own range instead of by distance; the hover always gives the distance.
        metric: which of `result.others` to show instead of the map's own.
        max_size: only blocks up to this size, with the colour bar above the map where it hides none of them.
        height: pixels.
    """
    metric = metric or result.spec.metric
    rows = (result.mean if metric == result.spec.metric else result.others[metric])[:max_size]
    figure = _block_map(normalise_rows(rows) if row_normalised else rows, result.n_layers, "distance")
    _add_rivals(figure, rivals[:max_size])
    _add_path(figure, others, "other path", 1.1, "dot")
    _add_path(figure, result.best if path is None else path, "path", 1.6, "solid", max_size)
    read_outs = cells.distance_read_outs(result, metric, max_size)
    cells.add_cells(figure, read_outs, [block.size for block in read_outs.fields])
    title = "each row scaled to [0, 1]" if row_normalised else METRIC_UNITS[metric]
    return ringed(_finish_map(figure, title, height, above=max_size is not None), selected, max_size)


def damage_map(
    result: DamageResult, *, selected: Removal | None = None, row_normalised: bool = False, height: int = 330
) -> Figure:
    """The measured loss increase of every block, little damage in yellow; blocks not measured yet stay blank.

    Args:
        result: the damage, finished or growing; the least damaging block of each finished size is drawn as a line.
        selected: the cut to ring.
        row_normalised: colour by each row's own range instead of by nats; the hover always gives nats.
        height: pixels.
    """
    rows = result.increase
    figure = _block_map(normalise_rows(rows) if row_normalised else rows, result.n_layers, "damage")
    known = [value for row in rows for value in row if value is not None]
    title = "each row scaled to [0, 1]"
    if known and not row_normalised:
        last = float(np.percentile(known, _COLOURS_END_AT))
        figure.data[0].update(zmin=min(known), zmax=last if last > min(known) else max(known))
        title = "loss increase, nats per token"
    path = [Best(best.n, best.start, best.increase) for best in result.best]
    _add_path(figure, path, "path", 1.6, "solid")
    read_outs = cells.damage_read_outs(result)
    cells.add_cells(figure, read_outs, [block.size for block in read_outs.fields])
    return ringed(_finish_map(figure, title, height, above=True), selected, len(rows))


def ringed(figure: Figure, selected: Removal | None, max_size: int | None = None) -> Figure:
    """A map with its cut ringed, as a new figure: the map itself need not be built again for another cut.

    Args:
        figure: a map of this room.
        selected: the cut, each unbroken run of layers ringed by itself; None rings nothing.
        max_size: the largest block on the map; None for all.
    """
    runs = selected.blocks if selected else []
    return cells.rings(figure, [(run.start, run.size) for run in runs if max_size is None or run.size <= max_size])


def _block_map(rows: _Cells, n_layers: int, name: str) -> Figure:
    """Cells of all blocks on axes that are the same for every map of a model; their read-outs are laid over them."""
    figure = Figure()
    figure.add_heatmap(
        x=list(range(n_layers)),
        y=list(range(1, len(rows) + 1)),
        z=[[*row, *[None] * (n_layers - len(row))] for row in rows],
        hoverinfo="skip",
        hoverongaps=False,
        colorscale="Viridis",
        reversescale=True,
        xgap=0.6,
        ygap=0.6,
        name=name,
    )
    return figure


def _add_path(figure: Figure, path: Sequence[Best], name: str, width: float, dash: str, max_size: int | None = None) -> None:
    shown = [best for best in path if max_size is None or best.n <= max_size]
    if not shown and name != "path":
        return
    figure.add_scatter(
        x=[best.start for best in shown],
        y=[best.n for best in shown],
        mode="lines+markers",
        name=name,
        line={"color": PATH, "width": width, "dash": dash},
        marker={"color": PATH, "size": 2.8 * width},
        hoverinfo="skip",
        showlegend=False,
    )


def _add_rivals(figure: Figure, rivals: Sequence[Sequence[int]]) -> None:
    places = [(start, n) for n, starts in enumerate(rivals, start=1) for start in starts]
    if places:
        figure.add_scatter(
            x=[start for start, _ in places],
            y=[n for _, n in places],
            mode="markers",
            name="rivals",
            marker={"symbol": "circle-open", "size": 5, "color": PATH, "opacity": 0.7, "line": {"width": 1}},
            hoverinfo="skip",
            showlegend=False,
        )


def _finish_map(figure: Figure, title: str, height: int, *, above: bool) -> Figure:
    bar = {
        "orientation": "h",
        "x": 1.0,
        "xanchor": "right",
        "y": 1.0 if above else 0.985,
        "yanchor": "top",
        "len": 0.5,
        "thickness": 10,
        "outlinewidth": 0,
        "nticks": 5,
        "title": {"text": title, "side": "top", "font": {"size": 12}},
    }
    heat = figure.data[0]
    heat.colorbar = bar
    # A bar above the map is inside the figure, since one outside of the plot would widen the margins.
    domain = [0, 1 - _BAR / (height - 58)] if above else [0, 1]
    return finish(
        figure,
        height,
        x={"title": "start layer l (0-based)", "range": [-0.6, len(heat.x) - 0.4], "showgrid": False},
        y={"title": "block size n, layers", "range": [0.4, len(heat.y) + 0.6], "showgrid": False, "domain": domain},
        margin={"t": 6, "b": 52},
    )


def layer_strip(n_layers: int, block: Removal | None, *, dark: bool = False, height: int = 62) -> Figure:
    """One cell per layer, the dropped ones hatched in the colour of pruning."""
    colours = palette(dark)
    dropped = set(block.layers) if block else set()
    layers = list(range(n_layers))
    every = 1 if n_layers <= 48 else 4
    figure = Figure()
    figure.add_bar(
        x=layers,
        y=[1] * n_layers,
        width=0.86,
        marker={
            "color": [colours.pruned if layer in dropped else colours.kept for layer in layers],
            "pattern": {
                "shape": ["/" if layer in dropped else "" for layer in layers],
                "fgcolor": "rgba(255,255,255,0.75)",
                "fillmode": "overlay",
                "size": 6,
            },
            "line": {"width": 0},
        },
        text=[f"layer {layer}, {'removed' if layer in dropped else 'kept'}" for layer in layers],
        textposition="none",
        hovertemplate="%{text}<extra></extra>",
        showlegend=False,
    )
    x = {
        "tickvals": layers[::every],
        "range": [-0.6, n_layers - 0.4],
        "showgrid": False,
        "ticks": "",
        "tickangle": 0,
        "tickfont": {"size": 10},
        "fixedrange": True,
    }
    y = {"visible": False, "range": [0, 1], "fixedrange": True}
    return finish(figure, height, x=x, y=y, margin={"l": 0, "r": 0, "t": 2, "b": 20}, bargap=0)
