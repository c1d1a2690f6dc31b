"""Charts against the number of removed layers: accuracy, loss and generated text."""

from collections import Counter
from collections.abc import Sequence
from math import log10
from statistics import fmean
from typing import Any

from plotly.graph_objs import Figure

from analysis.charts.look import (
    ACCURACY,
    LEVEL_ENDS,
    LOSS,
    Measure,
    Palette,
    add_level,
    add_levels,
    bar_ends,
    bars,
    finish,
    legend_names,
    palette,
    style_of,
    translucent,
    unchecked,
    wrapped,
)
from analysis.core import blocks
from analysis.data import corpora
from analysis.experiments.accuracy.points import Point
from analysis.experiments.accuracy.sweep_spec import SweepResult
from analysis.experiments.heal.heal_result import HealResult
from analysis.experiments.strategies import DRAW, needs
from analysis.results.compared import cliff
from analysis.results.score import changes
from analysis.results.score.changes import Change


def accuracy_curve(
    sweep: SweepResult,
    heals: Sequence[HealResult] = (),
    *,
    others: Sequence[SweepResult] = (),
    dark: bool = False,
    height: int = 250,
) -> Figure:
    """Draw accuracy against the number of removed layers, with 95 % intervals and the reference
    levels.

    Args:
        sweep: the shown curve; it has a band, and its cliff is marked if it can be located.
        heals: healed models that answered the same questions.
        others: curves of other strategies on the same questions; several draws of `random` become
            one band.
        dark: whether the page is dark.
        height: pixels, for a legend of one row; more rows are added to it, so that the plot keeps
            its size.
    """
    figure = Figure()
    add_levels(figure, sweep.lines, palette(dark))
    figure = _curve(figure, sweep, heals, others, ACCURACY, dark, height)
    located = cliff.locate(sweep)
    if located is not None and located.is_located and located.n is not None:
        colour = palette(dark).unpruned
        is_left = 2 * located.n <= located.last
        figure.add_vline(
            x=located.n, line={"color": colour, "width": 1, "dash": "dot"}, name="cliff"
        )
        figure.add_annotation(
            x=located.n,
            y=1,
            yref="paper",
            text=located.label(),
            hovertext=located.sentence(),
            showarrow=False,
            xanchor="left" if is_left else "right",
            yanchor="top",
            font={"size": 11, "color": colour},
        )
    return figure


def loss_curve(
    sweep: SweepResult,
    heals: Sequence[HealResult] = (),
    *,
    others: Sequence[SweepResult] = (),
    dark: bool = False,
    height: int = 250,
) -> Figure:
    """Draw loss on held-out text against the number of removed layers, with 95 % intervals;
    arguments as `accuracy_curve`.

    With several strategies the axis is logarithmic, since some losses are far above the others.
    """
    figure = _curve(Figure(), sweep, heals, others, LOSS, dark, height)
    if others:  # the legend of the accuracy above it names the curves
        figure.update_traces(showlegend=False)
        figure.update_yaxes(type="log", tickvals=LOSS_TICKS, title="loss, nats (log scale)")
    return figure


def reaching(figure: Figure, n: int) -> Figure:
    """Return a new figure of a curve whose axis reaches at least to n."""
    return unchecked(_reaching(figure, n))


def within(figure: Figure, sizes: range) -> Figure:
    """Return a new figure of a curve whose axes fit these numbers of removed layers; its data stay
    complete.

    The vertical axis fits the points of the range, their intervals and the levels.
    """
    spec: dict[str, Any] = figure.to_dict()
    axis = spec["layout"]["yaxis"]
    left = sizes[0] - 0.5
    right = sizes[-1] + 0.5
    spec["layout"]["xaxis"].update(range=[left, right], dtick=_every(len(sizes)))
    values = [
        y
        for trace in spec["data"]
        for x, y in bar_ends(trace)
        if left < x < right or tuple(trace["x"]) == LEVEL_ENDS
    ]
    if values:
        low, high = (
            (log10(min(values)), log10(max(values)))
            if axis.get("type") == "log"
            else (min(values), max(values))
        )
        margin = 0.06 * (high - low) or 0.1
        axis.update(range=[low - margin, high + margin])
    return unchecked(spec)


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
    colours = palette(dark)
    points = measure.points(sweep)
    if points and points[0].n == 0:
        add_level(
            figure, "unpruned", measure.value(points[0]), colours.unpruned, "dash", measure.digits
        )
    drawn_at_random = dict.fromkeys(
        other_curve.spec.strategy
        for other_curve in others
        if needs(other_curve.spec.strategy, DRAW)
    )
    draws = {
        name: [curve for curve in (*others, sweep) if curve.spec.strategy == name]
        for name in drawn_at_random
    }
    bands = {name: band for name, band in draws.items() if len(band) > 1}
    for band in bands.values():
        _add_draws(figure, band, measure, dark)
    beside = [other_curve for other_curve in others if other_curve.spec.strategy not in bands]
    for index, other_curve in enumerate(beside):
        _add_other(figure, other_curve, measure, dark, dodge(index, len(beside)))
    _add_shown(figure, sweep, measure, colours, sweep.spec.strategy if others else "pruned")
    _add_healed(figure, heals, measure, colours)
    sizes = [point.n for curve in (sweep, *others) for point in curve.points]
    last = max([*sizes, sweep.spec.max_n or 1])
    finish(
        figure,
        height,
        x={**n_axis(last, colours), "title": f"removed layers n{_chosen_on([sweep, *others])}"},
        y={"title": measure.axis, "tickformat": measure.tickformat, "gridcolor": colours.grid},
        legend_columns=_legend_columns(figure) if measure is ACCURACY else 0,
    )
    return figure


STEPS = "significant steps"
"""Name of the trace of the strong parts of a line, which has no values of its own."""
LOSS_TICKS = [1, 2, 3, 4, 5, 7, 10, 15, 20, 30, 50]
"""Ticks of a logarithmic axis of losses, nats."""
_COLUMNS = 2
"""Columns of a legend of several rows; three are truncated in a narrow window."""
_ONE_ROW = 5
"""Number of entries that fit into one row."""


def _add_healed(
    figure: Figure, heals: Sequence[HealResult], measure: Measure, colours: Palette
) -> None:
    """Add healed models, to the right of the pruned model that they heal."""
    healed = [
        (heal, heal.healed)
        for heal in heals
        if heal.healed and measure.value(heal.healed) is not None
    ]
    if not healed:
        return
    points = [point for _, point in healed]
    moved = [changes.of_heal(heal, measure.quantity) for heal, _ in healed]
    n_at_size: Counter[int] = Counter()
    asides = []
    for point in points:
        n_at_size[point.n] += 1
        asides.append(
            n_at_size[point.n]
            * min(0.15, 0.38 / sum(neighbour.n == point.n for neighbour in points))
        )
    figure.add_scatter(
        x=[point.n + aside for point, aside in zip(points, asides, strict=True)],
        y=[measure.value(point) for point in points],
        error_y=measure.bars(points),
        mode="markers",
        name="healed",
        marker=settled_marker(moved, "diamond", colours.healed, 10),
        customdata=_clicked_layers(points),
        text=[
            f"{_healed_how(heal)}<br>{read_out(measure, point, change)}"
            for (heal, point), change in zip(healed, moved, strict=True)
        ],
        hovertemplate="%{text}<extra></extra>",
    )


def _healed_how(heal: HealResult) -> str:
    training = (
        f"healed, {len(heal.steps)} steps" if heal.is_trained else "instant heal, no training"
    )
    return f"{training}, {heal.precision_in_words}"


def _legend_columns(figure: Figure) -> int:
    """Return the columns of a legend of more than one row; 0 if one is enough."""
    return _COLUMNS if len(legend_names(figure)) > _ONE_ROW else 0


def _chosen_on(drawn: Sequence[SweepResult]) -> str:
    """Return the texts that the layers of all curves were chosen on, in brackets; "" if they are
    those of the loss, or not the same for all curves.
    """
    chosen_on = {curve.spec.chosen_on for curve in drawn}
    corpus = chosen_on.pop()
    loss_corpus = drawn[0].spec.loss_corpus
    if chosen_on or corpus is None or loss_corpus is None:
        return ""
    if corpus.subject == loss_corpus.subject:
        return ""
    return f" (chosen on texts of {corpora.title(corpus)})"


def n_axis(last: int, colours: Palette) -> dict[str, Any]:
    """Return the horizontal axis of curves up to `last` removed layers."""
    return {
        "title": "removed layers n",
        "range": [-0.5, last + 0.5],
        "gridcolor": colours.grid,
        "tickmode": "linear",
        "dtick": _every(last),
        "tickangle": 0,
    }


def _every(last: int) -> int:
    """Return the distance between the ticks of an axis of n."""
    return 1 if last <= 10 else 2 if last <= 20 else 5


def _is_line(points: Sequence[Point]) -> bool:
    """Return whether points may be joined by a line: each n has one score."""
    return len({point.n for point in points}) == len(points)


def _mode(points: Sequence[Point]) -> str:
    return "lines+markers" if _is_line(points) else "markers"


def _add_band(
    figure: Figure,
    x: Sequence[int],
    low: Sequence[float],
    high: Sequence[float],
    colour: str,
    name: str,
    opacity: float,
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


def _add_shown(
    figure: Figure, sweep: SweepResult, measure: Measure, colours: Palette, name: str
) -> None:
    """Add the main curve: a band of its intervals, its points, and a line that is strong only
    between significant differences.

    A point is filled if it differs significantly from the unpruned model. The line between
    neighbours that do not differ significantly is pale.
    """
    points = measure.points(sweep)
    moved = changes_of(sweep, measure)
    numbers = [point.n for point in points]
    values = [measure.value(point) or 0.0 for point in points]
    ends = [
        measure.interval(point) or (value, value)
        for point, value in zip(points, values, strict=True)
    ]
    _add_band(
        figure,
        numbers,
        [low for low, _ in ends],
        [high for _, high in ends],
        colours.pruned,
        "interval",
        0.17,
    )
    x: list[int | None] = []
    y: list[float | None] = []
    if _is_line(points):
        is_significant = changes.significant_steps(
            sweep, measure.quantity, [sweep.points.index(point) for point in points]
        )
        for index in (index for index, is_apart in enumerate(is_significant) if is_apart):
            x += [*numbers[index : index + 2], None]
            y += [*values[index : index + 2], None]
    figure.add_scatter(
        x=x,
        y=y,
        mode="lines",
        name=STEPS,
        line={"color": colours.pruned, "width": 2.2},
        hoverinfo="skip",
        showlegend=False,
    )
    figure.add_scatter(
        x=numbers,
        y=values,
        mode=_mode(points),
        name=name,
        line={"color": translucent(colours.pruned, GUIDE), "width": 1.2},
        legendrank=1,
        marker=settled_marker(moved, "circle", colours.pruned, 7),
        customdata=_clicked_layers(points),
        text=[
            read_out(measure, point, change) for point, change in zip(points, moved, strict=True)
        ],
        hovertemplate="%{text}<extra></extra>",
    )


def _add_other(
    figure: Figure, sweep: SweepResult, measure: Measure, dark: bool, aside: float
) -> None:
    """Add another curve: its points with their intervals, shifted a little from their n so that
    they do not cover others.
    """
    style = style_of(sweep.spec.strategy)
    points = measure.points(sweep)
    moved = changes_of(sweep, measure)
    shade = style.shade(dark=dark)
    # At n = 0 all curves are the same model, whose interval the shown one has.
    intervals = [measure.interval(point) if point.n else None for point in points]
    figure.add_scatter(
        x=[point.n + (aside if point.n else 0) for point in points],
        y=[measure.value(point) for point in points],
        error_y={
            **bars([measure.value(p) or 0.0 for p in points], intervals, width=0),
            "color": translucent(shade, GUIDE),
        },
        mode=_mode(points),
        name=sweep.spec.strategy,
        line={"color": translucent(shade, GUIDE), "width": 1, "dash": style.dash},
        legendrank=2,
        marker=settled_marker(moved, style.symbol, shade, 6),
        customdata=_clicked_layers(points),
        text=[
            f"<b>{sweep.spec.strategy}</b><br>{read_out(measure, p, change)}"
            for p, change in zip(points, moved, strict=True)
        ],
        hovertemplate="%{text}<extra></extra>",
    )


GUIDE = 0.45
"""Opacity of the line between points that do not differ significantly."""


def changes_of(sweep: SweepResult, measure: Measure) -> list[Change | None]:
    """Return the change of every drawn point against the unpruned model, in the order of
    `measure.points`.
    """
    by_place = changes.against_unpruned(sweep, measure.quantity)
    return [by_place[sweep.points.index(point)] for point in measure.points(sweep)]


UNPRUNED = "unpruned"
"""Value that a click on the unpruned model selects."""


def _clicked_layers(points: Sequence[Point]) -> list[list[Any]]:
    """Return, per point, the removed layers that a click selects, as text, and the n that its mark
    may be shifted from.
    """
    return [[blocks.written(point.block) if point.block else UNPRUNED, point.n] for point in points]


def settled_marker(
    moved: Sequence[Change | None], symbol: str, colour: str, size: float
) -> dict[str, Any]:
    """Return markers that are filled if the difference from the unpruned model is significant,
    otherwise hollow.
    """
    symbols = [
        symbol if change is not None and change.is_significant else f"{symbol}-open"
        for change in moved
    ]
    return {
        "color": colour,
        "size": size,
        "symbol": symbols,
        "line": {"width": 1.3, "color": colour},
    }


def read_out(measure: Measure, point: Point, change: Change | None) -> str:
    """Return the hover text of a point: its number, and its difference from the unpruned model."""
    change_text = (
        "" if change is None else f"<br>{wrapped(changes.describe(change, measure.quantity))}"
    )
    return f"{measure.hover(point)}{change_text}"


def dodge(index: int, n_curves: int) -> float:
    """Return the horizontal shift of a curve from its n, to the right and to the left in turn.

    It is below 0.4, so that the n stays clear.
    """
    step = min(0.13, 0.38 / (n_curves // 2 + n_curves % 2)) if n_curves else 0.0
    return round(step * (index // 2 + 1) * (-1 if index % 2 else 1), 3)


def _add_draws(figure: Figure, draws: Sequence[SweepResult], measure: Measure, dark: bool) -> None:
    """Add several draws of one strategy: a band from lowest to highest, and their mean up to the
    last common n.
    """
    style = style_of(draws[0].spec.strategy)
    name = draws[0].spec.strategy
    values_by_n: dict[int, list[float]] = {}
    for sweep in draws:
        for point in measure.points(sweep):
            values_by_n.setdefault(point.n, []).append(measure.value(point) or 0.0)
    numbers = [n for n, values in sorted(values_by_n.items()) if len(values) == len(draws)]
    lows = [min(values_by_n[n]) for n in numbers]
    highs = [max(values_by_n[n]) for n in numbers]
    means = [fmean(values_by_n[n]) for n in numbers]
    _add_band(figure, numbers, lows, highs, style.shade(dark=dark), f"{name} draws", 0.22)
    figure.add_scatter(
        x=numbers,
        y=means,
        mode="lines",
        name=f"{name} × {len(draws)}",
        line={"color": style.shade(dark=dark), "width": 1.4, "dash": style.dash},
        legendrank=2,
        text=[
            f"<b>{name}</b>, n = {n}<br>mean {measure.name} of {len(draws)} draws"
            f" {mean:{measure.digits}}<br>lowest {low:{measure.digits}}, highest"
            f" {high:{measure.digits}}"
            for n, mean, low, high in zip(numbers, means, lows, highs, strict=True)
        ],
        hovertemplate="%{text}<extra></extra>",
    )


_WRITTEN = (
    ("repetition_rate", "repeated 4-grams", "similarity"),
    ("distinct_rate", "distinct tokens", "deepest"),
    ("sum_acc", "problems solved", "loss-greedy"),
)


def writing_curve(sweep: SweepResult, *, dark: bool = False, height: int = 230) -> Figure:
    """Draw repetition, distinct tokens and right arithmetic answers of generated text against the
    number of removed layers.
    """
    figure = Figure()
    colours = palette(dark)
    for field, name, look in _WRITTEN:
        style = style_of(look)
        points = sorted(
            (p for p in sweep.points if getattr(p, field) is not None), key=lambda point: point.n
        )
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
                f"{point.block.brief() if point.block else 'unpruned model, n = 0'}<br>{name}"
                f" {getattr(point, field):.1%}"
                for point in points
            ],
            hovertemplate="%{text}<extra></extra>",
        )
    last = max([point.n for point in sweep.points] + [1])
    y = {"title": "share", "tickformat": ".0%", "range": [-0.04, 1.04], "gridcolor": colours.grid}
    return finish(figure, height, x=n_axis(last, colours), y=y)


def with_singles(
    figure: Figure, points: Sequence[Point], measure: Measure, *, dark: bool = False
) -> Figure:
    """Add blocks that were scored separately to a curve: pruned-blue diamonds, each with its layers
    on hover.

    Args:
        figure: an accuracy or a loss curve; its axis reaches out to blocks beyond it.
        points: scores on the same questions, or the same text.
        measure: which number the curve is of.
        dark: whether the page is dark.
    """
    measured = [point for point in points if measure.value(point) is not None]
    if not measured:
        return figure
    colour = palette(dark).pruned
    figure.add_scatter(
        x=[point.n for point in measured],
        y=[measure.value(point) for point in measured],
        error_y={**measure.bars(measured), "color": colour},
        mode="markers",
        name="other layers",
        marker={"color": colour, "size": 10, "symbol": "diamond-open", "line": {"width": 2}},
        customdata=_clicked_layers(measured),
        text=[f"other layers<br>{measure.hover(point)}" for point in measured],
        hovertemplate="%{text}<extra></extra>",
        showlegend=figure.layout.legend.entrywidth
        is None,  # a legend of several rows has no space for one more
    )
    low, high = figure.layout.xaxis.range
    figure.update_xaxes(range=[low, max(high, max(point.n for point in measured) + 0.5)])
    return figure
