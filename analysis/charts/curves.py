"""Charts against the number of removed layers: accuracy, loss, writing and speed."""

from collections.abc import Sequence
from statistics import fmean
from typing import Any

from plotly.graph_objs import Figure

from analysis.charts.look import (
    ACCURACY,
    LOSS,
    Measure,
    Palette,
    add_level,
    add_levels,
    finish,
    palette,
    style_of,
    translucent,
    unchecked,
)
from analysis.experiments.accuracy.points import Point
from analysis.experiments.accuracy.spec import SweepResult
from analysis.experiments.heal.spec import HealResult
from analysis.experiments.speed.spec import WHAT, SpeedLine, SpeedPoint, SpeedResult, Timing
from analysis.experiments.strategies import DRAW, needs
from analysis.reading import verdicts


def accuracy_curve(
    sweep: SweepResult,
    heals: Sequence[HealResult] = (),
    *,
    others: Sequence[SweepResult] = (),
    n: int | None = None,
    dark: bool = False,
    height: int = 250,
) -> Figure:
    """Accuracy against the number of removed layers, with 95 % intervals and the levels it is read against.

    Args:
        sweep: the curve that is read; it has a band, and its knee is marked.
        heals: healed models that answered the same questions.
        others: curves of other strategies on the same questions; several draws of `random` become one band.
        n: where the marker stands.
        dark: whether the page is dark.
        height: pixels, for a legend of one row; more rows are added to it, so that the plot keeps its size.
    """
    figure = Figure()
    add_levels(figure, sweep.lines, palette(dark))
    figure = _curve(figure, sweep, heals, others, ACCURACY, dark, height)
    knee = verdicts.knee(ACCURACY.points(sweep), sweep.lines) if sweep.lines else None
    if knee is not None:
        colour = palette(dark).unpruned
        figure.add_vline(x=knee, line={"color": colour, "width": 1, "dash": "dot"}, name="cliff")
        figure.add_annotation(
            x=knee, y=1, yref="paper", text=f"cliff, n = {knee}", showarrow=False, xanchor="left", yanchor="top",
            font={"size": 11, "color": colour},
        )  # fmt: skip
    return marked(figure, n, dark=dark)


def loss_curve(
    sweep: SweepResult,
    heals: Sequence[HealResult] = (),
    *,
    others: Sequence[SweepResult] = (),
    n: int | None = None,
    dark: bool = False,
    height: int = 250,
) -> Figure:
    """Loss on held-out text against the number of removed layers, with standard errors; arguments as `accuracy_curve`.

    Among several strategies some lose all and would press the others into a line, so that the axis is then logarithmic.
    """
    figure = _curve(Figure(), sweep, heals, others, LOSS, dark, height)
    if others:  # the legend of the accuracy above it names the curves
        figure.update_traces(showlegend=False)
        figure.update_yaxes(type="log", tickvals=_LOSS_TICKS, title="loss, nats (log scale)")
    return marked(figure, n, dark=dark)


def marked(figure: Figure, n: int | None, *, dark: bool = False) -> Figure:
    """A curve with its line at the slider's n, as a new figure: the curve itself need not be built again for another n.

    The axis reaches out to an n beyond what was measured.
    """
    if n is None:
        return figure
    spec = _reaching(figure, n)
    line = {"color": palette(dark).marker, "width": 1.2}
    marker = {"type": "line", "name": "marker", "xref": "x", "yref": "y domain", "x0": n, "x1": n, "y0": 0, "y1": 1}
    spec["layout"]["shapes"] = [{**marker, "line": line, "opacity": 0.75}, *spec["layout"].get("shapes", ())]
    return unchecked(spec)


def reaching(figure: Figure, n: int) -> Figure:
    """A curve whose axis reaches out to n at least, as a new figure."""
    return unchecked(_reaching(figure, n))


def _reaching(figure: Figure, n: int) -> dict[str, Any]:
    spec: dict[str, Any] = figure.to_dict()
    last = spec["layout"]["xaxis"]["range"][1] - 0.5
    if n > last:
        spec["layout"]["xaxis"].update(range=[-0.5, n + 0.5], dtick=_every(n))
    return spec


def _curve(
    figure: Figure,
    sweep: SweepResult,
    heals: Sequence[HealResult],
    others: Sequence[SweepResult],
    measure: Measure,
    dark: bool,
    height: int,
) -> Figure:
    colours, points = palette(dark), measure.points(sweep)
    if points and points[0].n == 0:
        add_level(figure, "unpruned", measure.value(points[0]), colours.unpruned, "dash", measure.digits)
    drawn_at_random = dict.fromkeys(other.spec.strategy for other in others if needs(other.spec.strategy, DRAW))
    draws = {name: [curve for curve in (*others, sweep) if curve.spec.strategy == name] for name in drawn_at_random}
    bands = {name: found for name, found in draws.items() if len(found) > 1}
    for found in bands.values():
        _add_draws(figure, found, measure, dark)
    for other in others:
        if other.spec.strategy not in bands:
            _add_other(figure, other, measure, dark)
    sides = [measure.interval(point) for point in points]
    numbers = [point.n for point in points]
    _add_band(figure, numbers, [low for low, _ in sides], [high for _, high in sides], colours.pruned, "interval", 0.17)
    figure.add_scatter(
        x=numbers,
        y=[measure.value(point) for point in points],
        mode=_mode(points),
        name=sweep.spec.strategy if others else "pruned",
        line={"color": colours.pruned, "width": 2.6},
        legendrank=1,
        marker={"size": 6},
        text=[measure.hover(point) for point in points],
        hovertemplate="%{text}<extra></extra>",
    )
    healed = [(heal, heal.healed) for heal in heals if heal.healed and measure.value(heal.healed) is not None]
    if healed:
        figure.add_scatter(
            x=[point.n for _, point in healed],
            y=[measure.value(point) for _, point in healed],
            error_y=measure.interval_bars([point for _, point in healed]),
            mode="markers",
            name="healed",
            marker={"color": colours.healed, "size": 10, "symbol": "diamond"},
            text=[f"{_healed_how(heal)}<br>{measure.hover(point)}" for heal, point in healed],
            hovertemplate="%{text}<extra></extra>",
        )
    drawn = [point.n for curve in (sweep, *others) for point in curve.points]
    last = max([*drawn, sweep.spec.max_n or 1])
    rows = _more_legend_rows(figure) if measure is ACCURACY else 0
    finish(
        figure,
        height + rows * _LEGEND_ROW,
        x=_n_axis(last, colours),
        y={"title": measure.axis, "tickformat": measure.tickformat, "gridcolor": colours.grid},
        margin={"t": 30 + rows * _LEGEND_ROW},
        legend={"entrywidthmode": "fraction", "entrywidth": 1 / _COLUMNS} if rows else {},
    )
    return figure


_LOSS_TICKS = [1, 2, 3, 4, 5, 7, 10, 15, 20, 30, 50]
_COLUMNS = 2
"""Entries side by side in a legend of several rows; three are cut off in a narrow window."""
_LEGEND_ROW = 18
"""Height of a further row of the legend, pixels."""
_ONE_ROW = 5
"""Entries that fit into one row, as long as they are the levels and one curve."""


def _healed_how(heal: HealResult) -> str:
    how = f"healed, {len(heal.steps)} steps" if heal.spec.trains else "instant heal, no training"
    return f"{how}, {heal.precision}"


def _more_legend_rows(figure: Figure) -> int:
    """Rows of the legend beyond the first."""
    entries = sum(trace.showlegend is not False for trace in figure.data)
    return 0 if entries <= _ONE_ROW else -(-entries // _COLUMNS) - 1


def _n_axis(last: int, colours: Palette) -> dict[str, Any]:
    return {
        "title": "removed layers n",
        "range": [-0.5, last + 0.5],
        "gridcolor": colours.grid,
        "tickmode": "linear",
        "dtick": _every(last),
        "tickangle": 0,
    }


def _every(last: int) -> int:
    """Distance between the ticks of an axis of n."""
    return 1 if last <= 10 else 2 if last <= 20 else 5


def _mode(points: Sequence[Point]) -> str:
    """A line, unless two cuts of one size would make it go up and down at one place."""
    return "lines+markers" if len({point.n for point in points}) == len(points) else "markers"


def _add_band(
    figure: Figure, x: Sequence[int], low: Sequence[float], high: Sequence[float], colour: str, name: str, opacity: float
) -> None:
    figure.add_scatter(
        x=[*x, *reversed(x)],
        y=[*high, *reversed(low)],
        mode="lines",
        fill="toself",
        fillcolor=translucent(colour, opacity),
        line={"width": 0},
        name=name,
        hoverinfo="skip",
        showlegend=False,
    )


def _add_other(figure: Figure, sweep: SweepResult, measure: Measure, dark: bool) -> None:
    style, points = style_of(sweep.spec.strategy), measure.points(sweep)
    figure.add_scatter(
        x=[point.n for point in points],
        y=[measure.value(point) for point in points],
        mode=_mode(points),
        name=sweep.spec.strategy,
        line={"color": style.shade(dark=dark), "width": 1.4, "dash": style.dash},
        legendrank=2,
        marker={"color": style.shade(dark=dark), "size": 5.5, "symbol": style.symbol},
        text=[f"<b>{sweep.spec.strategy}</b><br>{measure.hover(point)}" for point in points],
        hovertemplate="%{text}<extra></extra>",
    )


def _add_draws(figure: Figure, draws: Sequence[SweepResult], measure: Measure, dark: bool) -> None:
    """Several draws of one strategy: lowest to highest as a band, and their mean where all of them have got to."""
    style, name = style_of(draws[0].spec.strategy), draws[0].spec.strategy
    found: dict[int, list[float]] = {}
    for sweep in draws:
        for point in measure.points(sweep):
            found.setdefault(point.n, []).append(measure.value(point) or 0.0)
    numbers = [n for n, values in sorted(found.items()) if len(values) == len(draws)]
    lows, highs = [min(found[n]) for n in numbers], [max(found[n]) for n in numbers]
    means = [fmean(found[n]) for n in numbers]
    _add_band(figure, numbers, lows, highs, style.shade(dark=dark), f"{name} draws", 0.22)
    figure.add_scatter(
        x=numbers,
        y=means,
        mode="lines",
        name=f"{name} × {len(draws)}",
        line={"color": style.shade(dark=dark), "width": 1.4, "dash": style.dash},
        legendrank=2,
        text=[
            f"<b>{name}</b>, n = {n}<br>mean {measure.name} of {len(draws)} draws {mean:{measure.digits}}<br>"
            f"lowest {low:{measure.digits}}, highest {high:{measure.digits}}"
            for n, mean, low, high in zip(numbers, means, lows, highs, strict=True)
        ],
        hovertemplate="%{text}<extra></extra>",
    )


_WRITTEN = (
    ("repetition_rate", "repeated 4-grams", "similarity"),
    ("distinct_rate", "distinct tokens", "deepest"),
    ("sum_acc", "sums right", "loss-greedy"),
)


def writing_curve(sweep: SweepResult, *, n: int | None = None, dark: bool = False, height: int = 230) -> Figure:
    """What the cut models write by themselves: repetition, variety and sums, against the number of removed layers."""
    figure, colours = Figure(), palette(dark)
    for field, name, look in _WRITTEN:
        style = style_of(look)
        points = sorted((p for p in sweep.points if getattr(p, field) is not None), key=lambda point: point.n)
        if not points:
            continue
        figure.add_scatter(
            x=[point.n for point in points],
            y=[getattr(point, field) for point in points],
            mode=_mode(points),
            name=name,
            line={"color": style.shade(dark=dark), "width": 2, "dash": style.dash},
            marker={"color": style.shade(dark=dark), "size": 6, "symbol": style.symbol},
            text=[
                f"{point.block.describe() if point.block else 'unpruned model, n = 0'}<br>{name} {getattr(point, field):.1%}"
                for point in points
            ],
            hovertemplate="%{text}<extra></extra>",
        )
    last = max([point.n for point in sweep.points] + [1])
    y = {"title": "share", "tickformat": ".0%", "range": [-0.04, 1.04], "gridcolor": colours.grid}
    finish(figure, height, x=_n_axis(last, colours), y=y)
    return marked(figure, n, dark=dark)


def with_singles(figure: Figure, points: Sequence[Point], measure: Measure, *, dark: bool = False) -> Figure:
    """Add cuts that were scored on their own to a curve: pruned-blue diamonds, each with its layers on hover.

    Args:
        figure: an accuracy or a loss curve; its axis reaches out to cuts beyond it.
        points: cuts that answered the same questions, or read the same text.
        measure: which number the curve is of.
        dark: whether the page is dark.
    """
    shown = [point for point in points if measure.value(point) is not None]
    if not shown:
        return figure
    colour = palette(dark).pruned
    figure.add_scatter(
        x=[point.n for point in shown],
        y=[measure.value(point) for point in shown],
        error_y={**measure.interval_bars(shown), "color": colour},
        mode="markers",
        name="scored on their own",
        marker={"color": colour, "size": 10, "symbol": "diamond-open", "line": {"width": 2}},
        text=[f"scored on its own<br>{measure.hover(point)}" for point in shown],
        hovertemplate="%{text}<extra></extra>",
        showlegend=False,  # the legend's rows are counted before
    )
    low, high = figure.layout.xaxis.range
    figure.update_xaxes(range=[low, max(high, max(point.n for point in shown) + 0.5)])
    return figure


def speed_chart(speed: SpeedResult, field: str, *, n: int | None = None, dark: bool = False, height: int = 250) -> Figure:
    """Milliseconds against the number of removed layers: medians with quartiles, the fitted line, the marker.

    Args:
        speed: the measurement.
        field: "decode" for a new token, "prefill" for the whole prompt.
        n: where the marker stands.
        dark: whether the page is dark.
        height: pixels.
    """
    figure, colours = Figure(), palette(dark)
    line: SpeedLine | None = getattr(speed, field)
    last = max([point.n for point in speed.points] + [n or 0, 1])
    if line is not None:
        reach = list(range(last + 1))
        seconds = [line.at(speed.n_layers - removed) for removed in reach]
        figure.add_scatter(
            x=reach,
            y=[1e3 * value for value in seconds],
            mode="lines",
            name="line",
            line={"color": colours.pruned, "width": 1.4},
            text=[f"{speed.tokens_per_s(field, value):,.1f} tokens/s" if value > 0 else "" for value in seconds],
            hovertemplate="n = %{x}, on the line<br>%{y:.2f} ms<br>%{text}<extra></extra>",
        )
    for name, points, colour in (
        ("unpruned", [point for point in speed.points if point.n == 0], colours.unpruned),
        ("pruned", [point for point in speed.points if point.n], colours.pruned),
    ):
        if points:
            _add_points(figure, name, points, speed, field, colour)
    y = {"title": f"{WHAT[field]}, ms", "rangemode": "tozero", "gridcolor": colours.grid}
    x = {
        "title": "removed layers n",
        "range": [-0.5, last + 0.5],
        "gridcolor": colours.grid,
        "dtick": 1 if last <= 10 else 5,
        "tickangle": 0,
    }
    finish(figure, height, x=x, y=y)
    if n is not None:
        figure.add_vline(x=n, line={"color": colours.marker, "width": 1.2}, opacity=0.75)
    return figure


def _add_points(figure: Figure, name: str, points: Sequence[SpeedPoint], speed: SpeedResult, field: str, colour: str) -> None:
    timings: list[Timing] = [getattr(point, field) for point in points]
    texts = [
        f"{point.block.describe() if point.block else 'unpruned model, n = 0'}<br>"
        f"median {1e3 * timing.median_s:.2f} ms, quartiles {1e3 * timing.low_s:.2f} to {1e3 * timing.high_s:.2f}<br>"
        f"{speed.tokens_per_s(field, timing.median_s):,.1f} tokens/s, {len(timing.repeats_s)} repeats"
        for point, timing in zip(points, timings, strict=True)
    ]
    figure.add_scatter(
        x=[point.n for point in points],
        y=[1e3 * timing.median_s for timing in timings],
        error_y={
            "type": "data",
            "symmetric": False,
            "array": [1e3 * (timing.high_s - timing.median_s) for timing in timings],
            "arrayminus": [1e3 * (timing.median_s - timing.low_s) for timing in timings],
            "thickness": 1,
            "width": 3,
        },
        mode="markers",
        name=name,
        marker={"color": colour, "size": 8, "symbol": "square" if name == "unpruned" else "circle"},
        text=texts,
        hovertemplate="%{text}<extra></extra>",
    )
