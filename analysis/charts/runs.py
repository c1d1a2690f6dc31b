"""Charts of several runs against the share of layers removed, which compares models of any
depth.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

from plotly.graph_objs import Figure

from analysis.charts.curves import GUIDE, changes_of, dodge, read_out, settled_marker
from analysis.charts.heals import validation_intervals
from analysis.charts.look import (
    ACCURACY,
    Measure,
    Palette,
    Style,
    add_level,
    bars,
    finish,
    legend_names,
    palette,
    translucent,
    with_interval,
)
from analysis.experiments.accuracy.sweep_spec import SweepResult
from analysis.experiments.heal.heal_result import HealResult
from analysis.experiments.maps.damage_spec import DamageResult
from analysis.results.compared import recovery

LOOKS = (
    Style("solid", "circle", "#1f6fb5", "#6bb1f2"),
    Style("solid", "square", "#0a857f", "#4fd0c8"),
    Style("solid", "diamond", "#7a3fa8", "#d3a5ff"),
    Style("solid", "triangle-up", "#12406e", "#b9dcff"),
    Style("solid", "star", "#2e7d47", "#86d99f"),
    Style("solid", "cross", "#4a55b8", "#8f9bff"),
)
"""Styles of runs of pruned and unpruned models; only the reference is dashed."""
HEALED_LOOKS = (
    Style("solid", "diamond", "#c8590a", "#ff9c4a"),
    Style("solid", "square", "#8a3a00", "#ffc48f"),
    Style("solid", "circle", "#a8720a", "#f2cc4d"),
    Style("solid", "triangle-up", "#b3392f", "#ff8d80"),
)
"""Styles of healing runs."""
_MORE_SYMBOLS = ("hexagon", "triangle-down", "pentagon", "bowtie", "hourglass", "star-diamond")
"""Symbols of further runs. None is hollow, since that marks a difference that is not
significant."""
_DASH = "7px,4px"
_SHORT_NAME = 16
"""Maximum length of a name that fits into half of a chart's width on a phone."""


@dataclass(frozen=True)
class DrawnRun:
    """A run on a chart."""

    result: Any
    name: str
    look: int
    """Index of its shade and symbol, the same on every chart."""
    pinned: bool = False
    """Whether it is the reference: dashed, in the colour of markers."""

    def trace(self, looks: Sequence[Style], dark: bool) -> dict[str, Any]:
        """Return the look of its line and markers."""
        style = looks[self.look % len(looks)]
        colour = palette(dark).marker if self.pinned else style.shade(dark=dark)
        symbol = (
            style.symbol
            if self.look < len(looks)
            else _MORE_SYMBOLS[self.look % len(_MORE_SYMBOLS)]
        )
        return {
            "name": f"{escape(self.name)} (reference)" if self.pinned else escape(self.name),
            "mode": "lines+markers",
            "line": {"color": colour, "width": 2, "dash": _DASH if self.pinned else "solid"},
            "marker": {"color": colour, "size": 6, "symbol": "x" if self.pinned else symbol},
            "hovertemplate": "%{text}<extra></extra>",
        }


def best_curves(runs: Sequence[DrawnRun], *, dark: bool = False, height: int = 300) -> Figure:
    """Draw the lowest distance, or loss increase, of each block size against the share of the
    layers it removes.

    Args:
        runs: at least one; all distance maps, or all loss-increase maps.
        dark: whether the page is dark.
        height: pixels.
    """
    figure = Figure()
    is_damage = isinstance(runs[0].result, DamageResult)
    field, digits = ("increase", "+.3f") if is_damage else ("distance", ".4f")
    for run in runs:
        result = run.result
        values = []
        hover = []
        for best in result.best:
            value = getattr(best, field)
            number = with_interval(value, result.interval(best.block), digits)
            share = f"<b>{escape(run.name)}</b>, {best.n / result.n_layers:.0%} of the layers"
            values.append(value)
            hover.append(
                f"{share}<br>{best.block.brief()}<br>{field}"
                f" {number}{', nats/token' if is_damage else ''}"
            )
        shares = [best.n / result.n_layers for best in result.best]
        figure.add_scatter(x=shares, y=values, text=hover, **run.trace(LOOKS, dark))
    title = "lowest loss increase, nats/token" if is_damage else "distance of the best block"
    return _finish(figure, title, height, palette(dark))


def score_curves(
    curves: Sequence[DrawnRun], measure: Measure, *, dark: bool = False, height: int = 300
) -> Figure:
    """Draw accuracy or loss against the share of layers removed.

    As on a curve of one model, a point is filled if it differs significantly from the unpruned
    model of its own run. All runs but the first are shifted a little, so that none covers another.

    Args:
        curves: their results are `SweepResult`.
        measure: the drawn quantity; accuracies come with one chance line for each set of questions.
        dark: whether the page is dark.
        height: pixels.
    """
    figure = Figure()
    colours = palette(dark)
    if measure is ACCURACY:
        # Sets that mix questions of three, four and five options have chances that differ in the
        # fourth digit only.
        levels = {
            f"{run.result.lines.chance:.1%}": run.result.lines.chance
            for run in curves
            if run.result.lines
        }
        for label, chance in sorted(levels.items(), key=lambda level: level[1]):
            add_level(figure, f"chance, {label}", chance, colours.chance, "dot", ".1%")
    for x, run in enumerate(curves):
        result: SweepResult = run.result
        points = measure.points(result)
        changes = changes_of(result, measure)
        aside = dodge(x - 1, len(curves) - 1) if x else 0.0
        lined = len({point.n for point in points}) == len(points)
        look = run.trace(LOOKS, dark)
        colour = look["line"]["color"]
        figure.add_scatter(
            x=[(point.n + aside) / result.n_layers for point in points],
            y=[measure.value(point) for point in points],
            customdata=[[run.name, point.n / result.n_layers] for point in points],
            error_y={**measure.bars(points), "color": translucent(colour, GUIDE)},
            text=[
                f"<b>{escape(run.name)}</b>,"
                f" {point.n / result.n_layers:.0%}<br>{read_out(measure, point, change)}"
                for point, change in zip(points, changes, strict=True)
            ],
            **look
            | {"marker": settled_marker(changes, look["marker"]["symbol"], colour, 7)}
            | {"line": {**look["line"], "color": translucent(colour, GUIDE), "width": 1.2}}
            | ({} if lined else {"mode": "markers"}),
        )
    figure = _finish(figure, measure.axis, height, colours)
    places = [x for trace in figure.data if trace.customdata for x in trace.x] or [0.0, 1.0]
    air = 0.03 * max(places)
    figure.update_xaxes(range=[min(places) - air, max(places) + air])
    return figure.update_yaxes(tickformat=measure.tickformat)


def heal_curves(heals: Sequence[DrawnRun], *, dark: bool = False, height: int = 300) -> Figure:
    """Draw the validation losses of several healing runs by optimizer step; an instant one is a
    point at step 0.
    """
    figure = Figure()
    colours = palette(dark)
    for run in heals:
        result: HealResult = run.result
        ends = validation_intervals(result)
        figure.add_scatter(
            x=[check.step for check in result.validations],
            y=[check.loss for check in result.validations],
            text=[
                f"<b>{escape(run.name)}</b><br>after step {check.step}<br>held-out loss"
                f" {with_interval(check.loss, end, '.4f')}"
                for check, end in zip(result.validations, ends, strict=True)
            ],
            error_y=bars([check.loss for check in result.validations], ends),
            **run.trace(HEALED_LOOKS, dark),
        )
    for level in sorted(
        {run.result.unpruned_check.loss for run in heals if run.result.unpruned_check}
    ):
        add_level(figure, "unpruned", level, colours.unpruned, "dash", ".3f")
    last = max((check.step for run in heals for check in run.result.validations), default=0) or 1
    figure = _finish(figure, "held-out loss, nats per token", height, colours)
    title = {"text": "optimizer step (0: before training)", "standoff": 6}
    return figure.update_xaxes(title=title, tickformat="", range=[-0.04 * last, 1.04 * last])


def recovery_bars(heals: Sequence[DrawnRun], *, dark: bool = False, height: int = 300) -> Figure:
    """Draw the share of the loss gap between the pruned and the unpruned model that each healing
    run closed.
    """
    figure = Figure()
    colours = palette(dark)
    run_shares = [(run, share) for run in heals if (share := recovery.of(run.result)) is not None]
    for run, share in run_shares:
        result = run.result
        look = run.trace(HEALED_LOOKS, dark)
        points = (result.pruned.loss, result.healed.loss, result.unpruned.loss)
        ends = None if share.low is None or share.high is None else (share.low, share.high)
        figure.add_bar(
            x=[share.share],
            y=[look["name"]],
            orientation="h",
            name=look["name"],
            showlegend=False,
            marker={"color": look["line"]["color"]},
            error_x=bars([share.share], [ends]),
            texttemplate=f"{share.share:.0%} {share.interval}",
            textposition="inside",
            insidetextanchor="start",
            cliponaxis=False,
            hovertemplate=(
                f"{result.spec.block.brief()}<br>pruned {points[0]:.3f}, healed {points[1]:.3f},"
                f" unpruned {points[2]:.3f} nats per token<extra></extra>"
            ),
        )
    shares = [share.share for _, share in run_shares]
    return finish(
        figure,
        height,
        x={
            "title": "share of the loss gap recovered",
            "tickformat": ".0%",
            "gridcolor": colours.grid,
            "range": [min([0.0, *shares]) * 1.08, max([1.0, *shares]) * 1.15],
        },
        y={"autorange": "reversed", "automargin": True},
        margin={"l": 8, "t": 12},
        bargap=0.4,
    )


def _finish(figure: Figure, title: str, height: int, colours: Palette) -> Figure:
    """Add axes and a legend above the plot, in two columns if names are short, without changing the
    height of the plot.
    """
    return finish(
        figure,
        height,
        x={
            "title": "share of the layers removed, n/L",
            "tickformat": ".0%",
            "gridcolor": colours.grid,
            "range": [-0.02, 1.02],
        },
        y={"title": title, "gridcolor": colours.grid},
        legend_columns=2 if max(map(len, legend_names(figure)), default=0) <= _SHORT_NAME else 1,
    )
