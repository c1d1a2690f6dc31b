"""Plotly figures of results: what each chart shows, in colours whose meaning never changes.

Grey dashed is the unpruned model, blue a pruned one, orange a healed one, light dotted the level of guessing; distances
run from yellow (similar) to purple. Backgrounds are transparent and fonts are left to the page, so that one figure fits a
light and a dark theme; `dark` only picks the shade of each meaning that has enough contrast.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from plotly.graph_objs import Figure

from analysis.blocks import Block, Removal
from analysis.results import Best, DistanceResult, HealResult, Lines, Point, SweepResult


@dataclass(frozen=True)
class Palette:
    """One shade per meaning."""

    unpruned: str
    pruned: str
    healed: str
    chance: str
    kept: str
    """A layer that stays in the model."""
    marker: str
    """The line at the chosen n."""
    grid: str


LIGHT = Palette("#5f6974", "#1f6fb5", "#c8590a", "#8a939d", "#c9d1d8", "#1c2530", "rgba(90,105,120,0.16)")
DARK = Palette("#a5b0bb", "#6bb1f2", "#ff9c4a", "#77828d", "#47525d", "#e4e8ec", "rgba(160,175,190,0.16)")

PATH = "#111417"
"""The path lies on the yellow cells of the map in both themes, so it is dark in both."""


def palette(dark: bool) -> Palette:
    """The shades for a dark or a light page."""
    return DARK if dark else LIGHT


def normalise_rows(mean: Sequence[Sequence[float]]) -> list[list[float]]:
    """Shift and scale each row to [0, 1] on its own, as in the paper's Fig. 4.

    A row with one cell, or with all cells equal, has no range to scale by: its cells are 0, its own minimum.
    """
    rows = []
    for row in mean:
        low, high = min(row), max(row)
        span = high - low
        rows.append([(value - low) / span if span > 0 else 0.0 for value in row])
    return rows


def distance_map(
    result: DistanceResult,
    path: Sequence[Best] | None = None,
    *,
    selected: Block | None = None,
    row_normalised: bool = False,
    height: int = 470,
) -> Figure:
    """The distance of every block: start layer l to the right, block size n upwards, similar in yellow.

    Args:
        result: the map.
        path: the chosen block of each size, drawn as a line; by default the most similar one, l*(n).
        selected: the block to ring.
        row_normalised: colour by each row's own range instead of by distance; the hover always gives the distance.
        height: pixels.
    """
    path = result.best if path is None else path
    total = result.n_layers
    shown = normalise_rows(result.mean) if row_normalised else result.mean
    figure = Figure()
    figure.add_heatmap(
        x=list(range(total)),
        y=list(range(1, total + 1)),
        z=[[*row, *[None] * (total - len(row))] for row in shown],
        text=_map_hover(result),
        hovertemplate="%{text}<extra></extra>",
        hoverongaps=False,
        colorscale="Viridis",
        reversescale=True,
        xgap=0.6,
        ygap=0.6,
        name="distance",
        colorbar={
            "orientation": "h",
            "x": 1.0,
            "xanchor": "right",
            "y": 0.985,
            "yanchor": "top",
            "len": 0.5,
            "thickness": 10,
            "outlinewidth": 0,
            "nticks": 5,
            "title": {
                "text": "each row scaled to [0, 1]" if row_normalised else "distance, fraction of π",
                "side": "top",
                "font": {"size": 12},
            },
        },
    )
    figure.add_scatter(
        x=[best.start for best in path],
        y=[best.n for best in path],
        mode="lines+markers",
        name="path",
        line={"color": PATH, "width": 1.6},
        marker={"color": PATH, "size": 4.5},
        hoverinfo="skip",
        showlegend=False,
    )
    if selected is not None:
        for size, colour in ((15, "#ffffff"), (11, PATH)):
            figure.add_scatter(
                x=[selected.start],
                y=[selected.size],
                mode="markers",
                name="selected",
                marker={"symbol": "circle-open", "size": size, "color": colour, "line": {"width": 3, "color": colour}},
                hoverinfo="skip",
                showlegend=False,
            )
    figure.update_xaxes(title="start layer l (0-based)", range=[-0.6, total - 0.4], showgrid=False, zeroline=False)
    figure.update_yaxes(title="block size n, layers", range=[0.4, total + 0.6], showgrid=False, zeroline=False)
    return _finish(figure, height).update_layout(margin={"t": 6, "b": 52})


def _map_hover(result: DistanceResult) -> list[list[str]]:
    return [
        [
            f"{Block(start, n).describe()}<br>distance {value:.4f} ± {result.stderr[n - 1][start]:.4f}"
            for start, value in enumerate(row)
        ]
        for n, row in enumerate(result.mean, start=1)
    ]


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
    figure.update_xaxes(
        tickvals=layers[::every],
        range=[-0.6, n_layers - 0.4],
        showgrid=False,
        zeroline=False,
        ticks="",
        tickangle=0,
        tickfont={"size": 10},
        fixedrange=True,
    )
    figure.update_yaxes(visible=False, range=[0, 1], fixedrange=True)
    figure = _finish(figure, height)
    return figure.update_layout(margin={"l": 0, "r": 0, "t": 2, "b": 20}, bargap=0)


@dataclass(frozen=True)
class _Measure:
    """How a measured number of a `Point` is read and written."""

    field: str
    name: str
    axis: str
    tickformat: str
    digits: str
    """Format of hovers."""
    label: str
    """Format of texts beside points."""
    unit: str

    def value(self, point: Point | None) -> float | None:
        return getattr(point, self.field) if point else None

    def error(self, point: Point) -> float:
        return getattr(point, f"{self.field}_stderr") or 0.0

    def hover(self, point: Point) -> str:
        what = point.block.describe() if point.block else "unpruned model, n = 0"
        count = point.n_samples if self.field == "acc" else point.n_texts
        numbers = f"{self.name} {self.value(point):{self.digits}} ± {self.error(point):{self.digits}}"
        return f"{what}<br>{numbers}<br>{count} {self.unit}"

    def error_bars(self, points: Sequence[Point], width: int = 2) -> dict[str, Any]:
        return {"type": "data", "array": [self.error(point) for point in points], "thickness": 1, "width": width}


_ACCURACY = _Measure("acc", "accuracy", "accuracy", ".0%", ".1%", ".1%", "questions")
_LOSS = _Measure("loss", "loss", "loss, nats per token", "", ".3f", ".2f", "texts")


def accuracy_curve(
    sweep: SweepResult, heals: Sequence[HealResult] = (), *, n: int | None = None, dark: bool = False, height: int = 250
) -> Figure:
    """Accuracy against the number of removed layers, with standard errors and the levels it is read against."""
    figure = Figure()
    _add_levels(figure, sweep.lines, palette(dark))
    return _curve(figure, sweep, heals, _ACCURACY, n, palette(dark), height)


def loss_curve(
    sweep: SweepResult, heals: Sequence[HealResult] = (), *, n: int | None = None, dark: bool = False, height: int = 250
) -> Figure:
    """Loss on held-out text against the number of removed layers, with standard errors."""
    return _curve(Figure(), sweep, heals, _LOSS, n, palette(dark), height)


def _curve(
    figure: Figure,
    sweep: SweepResult,
    heals: Sequence[HealResult],
    measure: _Measure,
    n: int | None,
    colours: Palette,
    height: int,
) -> Figure:
    points = [point for point in sweep.points if measure.value(point) is not None]
    if points and points[0].n == 0:
        _add_level(figure, "unpruned", measure.value(points[0]), colours.unpruned, "dash", measure.digits)
    figure.add_scatter(
        x=[point.n for point in points],
        y=[measure.value(point) for point in points],
        error_y=measure.error_bars(points),
        mode="lines+markers",
        name="pruned",
        line={"color": colours.pruned, "width": 2},
        marker={"size": 6},
        text=[measure.hover(point) for point in points],
        hovertemplate="%{text}<extra></extra>",
    )
    healed = [(heal, heal.healed) for heal in heals if heal.healed and measure.value(heal.healed) is not None]
    if healed:
        figure.add_scatter(
            x=[point.n for _, point in healed],
            y=[measure.value(point) for _, point in healed],
            error_y=measure.error_bars([point for _, point in healed]),
            mode="markers",
            name="healed",
            marker={"color": colours.healed, "size": 10, "symbol": "diamond"},
            text=[f"healed, {len(heal.steps)} steps, {heal.precision}<br>{measure.hover(point)}" for heal, point in healed],
            hovertemplate="%{text}<extra></extra>",
        )
    # The slider may stand beyond what was swept: the axis then reaches out to it.
    last = max([point.n for point in sweep.points] + ([n] if n is not None else []) + [sweep.spec.max_n or 1])
    figure.update_xaxes(title="removed layers n", range=[-0.5, last + 0.5], zeroline=False, gridcolor=colours.grid)
    figure.update_xaxes(tickmode="linear", dtick=1 if last <= 10 else 2 if last <= 20 else 5, tickangle=0)
    figure.update_yaxes(title=measure.axis, tickformat=measure.tickformat, gridcolor=colours.grid, zeroline=False)
    if n is not None:
        figure.add_vline(x=n, line={"color": colours.marker, "width": 1.2}, opacity=0.75)
    return _finish(figure, height)


def _add_levels(figure: Figure, lines: Lines | None, colours: Palette) -> None:
    if lines is None:
        return
    levels = [("chance", lines.chance, "dot")]
    if abs(lines.majority - lines.chance) > 1e-9:
        levels.append(("majority", lines.majority, "dashdot"))
    for name, level, dash in levels:
        _add_level(figure, name, level, colours.chance, dash, ".1%")


def _add_level(figure: Figure, name: str, level: float | None, colour: str, dash: str, digits: str) -> None:
    """A horizontal across the whole chart: a trace rather than a shape, so that it has a legend entry and a hover."""
    if level is None:
        return
    figure.add_scatter(
        x=[-1, 1000],
        y=[level, level],
        mode="lines",
        name=name,
        line={"color": colour, "width": 1.5, "dash": dash},
        hovertemplate=f"{name} %{{y:{digits}}}<extra></extra>",
    )


def training_curve(heal: HealResult, *, dark: bool = False, height: int = 320) -> Figure:
    """Training loss of each step, and the loss on held-out text on the way."""
    colours = palette(dark)
    figure = Figure()
    figure.add_scatter(
        x=[step.step for step in heal.steps],
        y=[step.loss for step in heal.steps],
        mode="lines",
        name="training loss",
        line={"color": colours.healed, "width": 1.2},
        opacity=0.55,
        hovertemplate="step %{x}<br>training loss %{y:.4f}<extra></extra>",
    )
    figure.add_scatter(
        x=[check.step for check in heal.validations],
        y=[check.loss for check in heal.validations],
        error_y={
            "type": "data",
            "array": [check.loss_stderr for check in heal.validations],
            "thickness": 1,
            "width": 2,
        },
        mode="lines+markers",
        name="loss on held-out text",
        line={"color": colours.healed, "width": 2.2},
        marker={"size": 7},
        hovertemplate="after step %{x}<br>held-out loss %{y:.4f}<extra></extra>",
    )
    if heal.unpruned is not None:
        _add_level(figure, "unpruned", heal.unpruned.loss, colours.unpruned, "dash", ".4f")
    figure.update_xaxes(
        title="optimizer step",
        range=[-0.02 * heal.spec.steps, heal.spec.steps * 1.02],
        zeroline=False,
        gridcolor=colours.grid,
    )
    figure.update_yaxes(title="loss, nats per token", gridcolor=colours.grid, zeroline=False)
    return _finish(figure, height)


def heal_comparison(heal: HealResult, field: str, *, dark: bool = False, height: int = 260) -> Figure:
    """Unpruned, pruned and healed side by side with their standard errors.

    Args:
        heal: the result.
        field: "acc" or "loss".
        dark: whether the page is dark.
        height: pixels.
    """
    colours = palette(dark)
    measure = _ACCURACY if field == "acc" else _LOSS
    figure = Figure()
    if measure is _ACCURACY:
        _add_levels(figure, heal.lines, colours)
    kinds = (
        ("unpruned", heal.unpruned, colours.unpruned),
        ("pruned", heal.pruned, colours.pruned),
        ("healed", heal.healed, colours.healed),
    )
    for index, (name, point, colour) in enumerate(kinds):
        if point is None or measure.value(point) is None:
            continue
        figure.add_scatter(
            x=[index],
            y=[measure.value(point)],
            error_y=measure.error_bars([point], width=8),
            mode="markers+text",
            name=name,
            marker={"color": colour, "size": 13},
            text=[f"{measure.value(point):{measure.label}}"],
            textposition="middle right",
            hovertemplate=f"{name}<br>{measure.hover(point)}<extra></extra>",
            showlegend=False,
        )
    figure.update_xaxes(
        tickvals=[0, 1, 2], ticktext=[name for name, _, _ in kinds], range=[-0.5, 2.7], showgrid=False, zeroline=False
    )
    figure.update_yaxes(title=measure.axis, tickformat=measure.tickformat, gridcolor=colours.grid, zeroline=False)
    return _finish(figure, height)


def _finish(figure: Figure, height: int) -> Figure:
    """What all charts share: no background of their own, tight margins, a legend above the plot."""
    # Fixed margins, so that the axes of charts that stand above each other line up.
    figure.update_xaxes(title_standoff=6, automargin=False)
    figure.update_yaxes(title_standoff=16, automargin=False)
    return figure.update_layout(
        height=height,
        margin={"l": 66, "r": 8, "t": 30, "b": 40},
        paper_bgcolor="rgba(0,0,0,0)",
        plot_bgcolor="rgba(0,0,0,0)",
        hovermode="closest",
        dragmode=False,
        legend={"orientation": "h", "x": 0, "xanchor": "left", "y": 1.0, "yanchor": "bottom", "font": {"size": 11}},
    )
