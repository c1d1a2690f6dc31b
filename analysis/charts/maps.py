"""Charts of blocks: distance and damage as heat maps or as lines, with a hover text for every
cell.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from plotly.colors import sample_colorscale  # type: ignore[attr-defined]  # exported without being named there
from plotly.graph_objs import Figure, Scatter

from analysis.charts.look import PATH, colour_bar, finish, palette, unchecked
from analysis.charts.selected import marked, rings
from analysis.core.blocks import ATTENTION, Block, Removal, single_parts
from analysis.experiments.maps import metrics
from analysis.experiments.maps.damage_spec import DamageResult
from analysis.experiments.maps.distance_spec import Best, DistanceResult
from analysis.models.source.sizes import removed_bytes, savings

CELLS = "cells"
"""Name of the trace that carries the hover texts."""
_LAST = "<br>includes the last layer, so its distance is large"
_ALL = "<br>cannot be removed: no layer would remain"


@dataclass(frozen=True)
class ReadOuts:
    """Hover texts of the blocks of a chart: a shared template and the fields of each block."""

    template: str
    """Hover template of plotly; `%{customdata[1]}` is the first field."""
    fields: dict[Block, tuple[str, ...]]
    """Fields by block. They contain no words, since those of hundreds of blocks are sent with each
    redraw."""


def distance_read_outs(
    result: DistanceResult, metric: str, max_size: int | None = None
) -> ReadOuts:
    """Return the hover texts of a distance map.

    Args:
        result: the map.
        metric: which of its metrics.
        max_size: only blocks up to this size.
    """
    is_own_metric = metric == result.spec.metric
    texts = {}
    for n, row in enumerate(
        (result.mean if is_own_metric else result.others[metric])[:max_size], start=1
    ):
        for start, value in enumerate(row):
            ends = _ends(result.interval(Block(start, n)), ".4f") if is_own_metric else ""
            texts[Block(start, n)] = (*_about(Block(start, n), result), f"{value:.4f}", ends)
    words = "distance %{customdata[6]}" + (
        ", 95 % interval %{customdata[7]}" if is_own_metric else ""
    )
    return ReadOuts(_ABOUT.format(words), texts)


def damage_read_outs(result: DamageResult) -> ReadOuts:
    """Return the hover texts of a damage map; blocks that are not measured yet are omitted."""
    texts = {}
    for n, row in enumerate(result.increase, start=1):
        for start, value in enumerate(row):
            if value is None:
                continue
            n_texts = result.n_measured[n - 1][start]
            ends = _ends(result.interval(Block(start, n)), "+.3f")
            texts[Block(start, n)] = (
                *_about(Block(start, n), result),
                f"{value:+.3f}",
                ends,
                str(n_texts),
            )
    words = (
        "loss %{customdata[6]} nats per token, 95 % interval"
        " %{customdata[7]}<br>%{customdata[8]} of "
    )
    words += f"{result.n_texts} texts"
    return ReadOuts(_ABOUT.format(words), texts)


def _ends(ends: tuple[float, float] | None, digits: str) -> str:
    """Return both ends of a 95 % interval."""
    return f"{ends[0]:{digits}} to {ends[1]:{digits}}" if ends else "not known"


_SAVED = "%{{customdata[2]}} parameters (%{{customdata[3]}}), %{{customdata[4]}}%{{customdata[5]}}"
_ABOUT = "<b>%{{customdata[1]}}</b><br>{}<br>" + _SAVED


def _about(block: Block, result: DistanceResult | DamageResult) -> tuple[str, ...]:
    model = result.model
    held = result.spec.model
    saved = savings(model, block)
    n_bytes = removed_bytes(model, block, held.dtype, held.quantization)
    last = "" if block.stop < model.n_layers else _ALL if block.size == model.n_layers else _LAST
    parameters = _short(saved.parameters).strip()
    size = "not known" if n_bytes is None else f"{_short(n_bytes)}B"
    return block.brief(), parameters, f"{saved.fraction:.1%}", size, last


def _short(number: float) -> str:
    """Return a number with a prefix: "17.7 M" of 17,700,000."""
    for size, letter in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if number >= size:
            return f"{number / size:.1f} {letter}"
    return f"{number:.0f} "


def add_cells(figure: Figure, read_outs: ReadOuts, y: Sequence[float]) -> None:
    """Add a transparent marker for every block, at its start layer and at `y`, with the hover text
    and the block as START:SIZE.

    A heat map has no click events. `maxdisplayed` draws one marker only, since hundreds would slow
    down every redraw; hover and click still find the others.
    """
    figure.add_scatter(
        x=[block.start for block in read_outs.fields],
        y=list(y),
        mode="markers",
        name=CELLS,
        customdata=[
            [f"{block.start}:{block.size}", *fields] for block, fields in read_outs.fields.items()
        ],
        hovertemplate=f"{read_outs.template}<extra></extra>",
        marker={"symbol": "square", "size": 12, "opacity": 0, "maxdisplayed": 1},
        selected={"marker": {"opacity": 0}},
        unselected={"marker": {"opacity": 0}},
        showlegend=False,
    )


def hover_texts(marks: Scatter) -> list[str]:
    """Return the hover text of every marker of `add_cells`."""
    texts = []
    for fields in marks.customdata:
        text = marks.hovertemplate.removesuffix("<extra></extra>")
        for index, field in enumerate(fields):
            text = text.replace(f"%{{customdata[{index}]}}", field)
        texts.append(text)
    return texts


_Cells = Sequence[Sequence[float | None]]
_BAR = 48
"""Height of a colour bar above the map, pixels."""
_COLOURS_END_AT = 90
"""Percentile at which the colour scale of the loss-increase map ends, since a few blocks lie far
above the rest."""


def distance_map(
    result: DistanceResult,
    path: Sequence[Best] | None = None,
    *,
    others: Sequence[Best] = (),
    tied: Sequence[Sequence[int]] = (),
    selected: Removal | None = None,
    metric: str | None = None,
    height: int = 470,
) -> Figure:
    """Draw the distance of every block: start layer l to the right, block size n upwards, small
    distances in yellow.

    Args:
        result: the map.
        path: the chosen block of each size, drawn as a line; by default the most similar one,
            l*(n).
        others: blocks of another rule, drawn as a thin line.
        tied: row n-1 holds the starts of blocks statistically tied with the most similar one, drawn
            as small circles.
        selected: the removed layers; a ring marks each contiguous run.
        metric: which of `result.others` to show instead of the map's own.
        height: pixels.
    """
    metric = metric or result.spec.metric
    figure = _block_map(
        result.mean if metric == result.spec.metric else result.others[metric],
        result.n_layers,
        "distance",
    )
    _add_tied(figure, tied)
    _add_path(figure, others, "other path", 1.1, "dot")
    _add_path(figure, result.best if path is None else path, "path", 1.6, "solid")
    read_outs = distance_read_outs(result, metric)
    add_cells(figure, read_outs, [block.size for block in read_outs.fields])
    return ringed(_finish_map(figure, metrics.unit(metric), height, above=False), selected)


def damage_map(
    result: DamageResult, *, selected: Removal | None = None, dark: bool = False, height: int = 330
) -> Figure:
    """Draw the measured loss increase of every block, small increases in yellow; blocks that are
    not measured stay blank.

    Args:
        result: the map, finished or not; a line connects the blocks of lowest loss increase of each
            finished size.
        selected: the removed layers; a ring marks each contiguous run, a note an unmeasured one.
        dark: whether the page is dark.
        height: pixels.
    """
    rows = result.increase
    if len(rows) == 1:
        return _damage_bars(result, selected, dark=dark, height=height)
    figure = _block_map(rows, result.n_layers, "damage")
    values = [value for row in rows for value in row if value is not None]
    if values:
        last = float(np.percentile(values, _COLOURS_END_AT))
        figure.data[0].update(zmin=min(values), zmax=last if last > min(values) else max(values))
    path = [Best(best.n, best.start, best.increase) for best in result.best]
    _add_path(figure, path, "path", 1.6, "solid")
    read_outs = damage_read_outs(result)
    add_cells(figure, read_outs, [block.size for block in read_outs.fields])
    figure = _finish_map(figure, "loss increase, nats/token", height, above=True)
    return figure if selected is None else marked(figure, places_on(result, selected), dark=dark)


def _damage_bars(
    result: DamageResult, selected: Removal | None, *, dark: bool, height: int
) -> Figure:
    """Draw the loss increase of each single layer as a bar: a map of one row is hard to read."""
    colours = palette(dark)
    read_outs = damage_read_outs(result)
    values = [result.increase[0][block.start] or 0.0 for block in read_outs.fields]
    figure = Figure()
    figure.add_bar(
        x=[block.start for block in read_outs.fields],
        y=values,
        name="damage",
        marker={"color": colours.pruned},
        hoverinfo="skip",
        showlegend=False,
    )
    add_cells(figure, read_outs, values)
    x = {
        "title": "removed layer (0-based)",
        "range": [-0.6, result.n_layers - 0.4],
        "showgrid": False,
    }
    y = {"title": "loss increase, nats/token", "gridcolor": colours.grid}
    finish(figure, height, x=x, y=y, margin={"t": 12, "b": 52})
    places = (
        [(start, values[start]) for start, _ in places_on(result, selected)] if selected else []
    )
    return figure if selected is None else marked(figure, places, dark=dark)


def places_on(result: DamageResult, selected: Removal) -> list[tuple[int, int]]:
    """Return start and size of the selected block on a loss-increase map; empty if its increase is
    not measured.

    Of layers that are no single block, the measured runs are returned.
    """
    rows = result.increase
    return [
        (run.start, run.size)
        for run in selected.blocks
        if run.size <= len(rows)
        and run.start < len(rows[run.size - 1])
        and rows[run.size - 1][run.start] is not None
    ]


def ringed(figure: Figure, selected: Removal | None) -> Figure:
    """Return a new figure of a map with rings around the selected layers.

    Args:
        figure: a map of this module.
        selected: the removed layers, with a ring for each contiguous run; None for no ring.
    """
    return rings(figure, [(run.start, run.size) for run in selected.blocks] if selected else [])


def _block_map(rows: _Cells, n_layers: int, name: str) -> Figure:
    """Draw the cells of all blocks, on equal axes for every map of a model.

    Args:
        rows: row n-1 holds the values of the blocks of n layers by start; None stays blank.
        n_layers: L.
        name: of the trace.
    """
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


def _add_path(figure: Figure, path: Sequence[Best], name: str, width: float, dash: str) -> None:
    if not path and name != "path":
        return
    figure.add_scatter(
        x=[best.start for best in path],
        y=[best.n for best in path],
        mode="lines+markers",
        name=name,
        line={"color": PATH, "width": width, "dash": dash},
        marker={"color": PATH, "size": 2.8 * width},
        hoverinfo="skip",
        showlegend=False,
    )


def _add_tied(figure: Figure, tied: Sequence[Sequence[int]]) -> None:
    places = [(start, n) for n, starts in enumerate(tied, start=1) for start in starts]
    if places:
        figure.add_scatter(
            x=[start for start, _ in places],
            y=[n for _, n in places],
            mode="markers",
            name="tied",
            marker={
                "symbol": "circle-open",
                "size": 5,
                "color": PATH,
                "opacity": 0.7,
                "line": {"width": 1},
            },
            hoverinfo="skip",
            showlegend=False,
        )


def _finish_map(figure: Figure, title: str, height: int, *, above: bool) -> Figure:
    """Add axes and a colour bar to a map, above its cells or in their empty corner."""
    heat = figure.data[0]
    heat.colorbar = colour_bar(title, y=1.0 if above else 0.985)
    # A bar above the map is inside the figure, since one outside of the plot would widen the
    # margins.
    domain = [0, 1 - _BAR / (height - 58)] if above else [0, 1]
    return finish(
        figure,
        height,
        x={
            "title": "start layer l (0-based)",
            "range": [-0.6, len(heat.x) - 0.4],
            "showgrid": False,
        },
        y={
            "title": "block size n, layers",
            "range": [0.4, len(heat.y) + 0.6],
            "showgrid": False,
            "domain": domain,
        },
        margin={"t": 6, "b": 52},
    )


def layer_strip(
    n_layers: int, block: Removal | None, *, dark: bool = False, height: int = 62
) -> Figure:
    """Draw one cell per layer, removed ones hatched in the colour of pruning; of a removed sublayer
    half the cell.
    """
    colours = palette(dark)
    dropped = set(block.layers) if block else set()
    single = dict(single_parts(block)) if block else {}
    layers = list(range(n_layers))
    step = 1 if n_layers <= 48 else 4
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
    if single:
        figure.add_bar(
            x=list(single),
            y=[0.5] * len(single),
            base=[
                0.5 if part == ATTENTION else 0 for part in single.values()
            ],  # first the part that the stream reaches first
            width=0.86,
            marker={"color": colours.pruned, "line": {"width": 0}},
            text=[f"layer {layer}, {part} removed" for layer, part in single.items()],
            textposition="none",
            hovertemplate="%{text}<extra></extra>",
            showlegend=False,
        )
    x = {
        "tickvals": layers[::step],
        "range": [-0.6, n_layers - 0.4],
        "showgrid": False,
        "ticks": "",
        "tickangle": 0,
        "tickfont": {"size": 10},
        "fixedrange": True,
    }
    y = {"visible": False, "range": [0, 1], "fixedrange": True}
    return finish(
        figure,
        height,
        x=x,
        y=y,
        margin={"l": 0, "r": 0, "t": 2, "b": 20},
        bargap=0,
        barmode="overlay",
    )


_SHADES = {False: (0.0, 0.93), True: (0.22, 1.0)}
"""Range of the colour scale by dark mode: the last yellows are invisible on white, the first
purples on black."""
_LINES_BAR = 46
"""Height of the colour bar above the lines, pixels; inside the figure it does not widen the
margins."""
_LINES_END_AT = 97
"""Percentile of all blocks at which the vertical axis ends."""
_Rows = Sequence[Sequence[float | None]]


def distance_lines(
    result: DistanceResult, *, metric: str | None = None, dark: bool = False, height: int = 412
) -> Figure:
    """Draw distance against the start layer l, a line for each block size n from dark (n = 1) to
    light, and one of the minima.

    Args:
        result: the map.
        metric: which of `result.others` to draw instead of the map's own.
        dark: whether the page is dark.
        height: pixels.
    """
    metric = metric or result.spec.metric
    rows: _Rows = result.mean if metric == result.spec.metric else result.others[metric]
    return _lines(
        rows[:-1],
        distance_read_outs(result, metric, len(rows) - 1),
        metrics.unit(metric),
        dark,
        height,
    )


def damage_lines(result: DamageResult, *, dark: bool = False, height: int = 412) -> Figure:
    """Draw the measured loss increase against the start layer, as `distance_lines`."""
    return _lines(
        result.increase, damage_read_outs(result), "loss increase, nats/token", dark, height
    )


def picked(figure: Figure, selected: Removal | None, *, dark: bool = False) -> Figure:
    """Return a new figure with a strong line for the size of the selected block."""
    if not isinstance(selected, Block):
        return figure
    spec = figure.to_dict()
    for trace in spec["data"]:
        if trace.get("name") == f"n = {selected.size}":
            trace["line"] = {"color": palette(dark).pruned, "width": 3}
    return unchecked(spec)


def _lines(rows: _Rows, read_outs: ReadOuts, unit: str, dark: bool, height: int) -> Figure:
    figure = Figure()
    colours = palette(dark)
    first, last = _SHADES[dark]
    shades = sample_colorscale(
        "Viridis", [first + (last - first) * n / max(len(rows) - 1, 1) for n in range(len(rows))]
    )
    for n, row in enumerate(rows, start=1):
        figure.add_scatter(
            x=list(range(len(row))),
            y=list(row),
            mode="lines",
            name=f"n = {n}",
            line={"color": shades[n - 1], "width": 1.3},
            hoverinfo="skip",
            showlegend=False,
        )
    measured = [
        [(value, -start) for start, value in enumerate(row) if value is not None] for row in rows
    ]
    lowest = [min(row) for row in measured if row]
    figure.add_scatter(
        x=[-start for _, start in lowest],
        y=[value for value, _ in lowest],
        mode="lines+markers",
        name="minima",
        line={"color": colours.marker, "width": 1.8},
        marker={"size": 4},
        hoverinfo="skip",
        showlegend=False,
    )
    add_cells(
        figure, read_outs, [rows[block.size - 1][block.start] or 0.0 for block in read_outs.fields]
    )
    _add_scale(figure, shades)
    n_layers = max((len(row) for row in rows), default=1)
    # A few blocks are far above all others.
    values = [value for row in measured for value, _ in row] or [1.0]
    low = min(0.0, *values)
    high = float(np.percentile(values, _LINES_END_AT))
    margin = 0.06 * (high - low)
    return finish(
        figure,
        height,
        x={
            "title": "start layer l (0-based)",
            "range": [-0.6, n_layers - 0.4],
            "gridcolor": colours.grid,
        },
        y={
            "title": unit,
            "gridcolor": colours.grid,
            "range": [low - margin * (low < 0), high + margin],
            "domain": [0, 1 - _LINES_BAR / (height - 58)],
        },
        margin={"t": 6, "b": 52},
    )


def _add_scale(figure: Figure, shades: Sequence[str]) -> None:
    """Add the colour bar of block sizes."""
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
            "colorbar": colour_bar("block size n", thickness=8, nticks=6),
        },
        hoverinfo="skip",
        showlegend=False,
    )
