"""Plotly curves of results: what each chart shows, in the colours of `drawing`."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from plotly.graph_objs import Figure

from analysis.drawing import Palette, finish, palette
from analysis.results import HealResult, Lines, Point, SweepResult


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
    return finish(figure, height)


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
    return finish(figure, height)


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
    return finish(figure, height)
