"""Charts of the lesson: measured values next to predicted ones, and the answers of a class."""

import html
import textwrap
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

from plotly.graph_objs import Figure

from analysis.charts import curves
from analysis.charts.look import (
    ACCURACY,
    LOSS,
    Palette,
    add_level,
    add_levels,
    bars,
    finish,
    palette,
    translucent,
)
from analysis.core.blocks import Block
from analysis.experiments.accuracy.points import Lines, Point
from analysis.experiments.accuracy.sweep_spec import SweepResult
from analysis.experiments.maps.damage_spec import DamageResult
from analysis.experiments.maps.distance_spec import DistanceResult
from analysis.results.compared.cliff import Cliff
from analysis.results.words import lesson
from analysis.results.words.lesson import MeasuredPoint


def turns(
    distances: DistanceResult,
    drawn: Sequence[float | None] = (),
    *,
    dark: bool = False,
    height: int = 230,
) -> Figure:
    """Draw how far each single layer turns the stream, the first row of the distance map, with the
    predicted angles.

    Args:
        distances: the map.
        drawn: the prediction for each layer; None without one.
        dark: whether the page is dark.
        height: pixels.
    """
    colours = palette(dark)
    row = distances.mean[0]
    points = lesson.blocks_of(distances)
    lowest = min(range(len(row)), key=lambda layer: (row[layer], -layer))
    figure = Figure()
    figure.add_bar(
        x=list(range(len(row))),
        y=row,
        name="measured",
        error_y=_bars(points, colours),
        marker={
            "color": [
                colours.pruned if layer == lowest else colours.kept for layer in range(len(row))
            ]
        },
        text=[
            f"layer {layer.place}<br>turn {layer.value:.4f}, 95 % interval {layer.low:.4f} to"
            f" {layer.high:.4f}"
            for layer in points
        ],
        textposition="none",
        hovertemplate="%{text}<extra></extra>",
    )
    _add_own(figure, list(range(len(drawn))), drawn, colours, ".2f", joined=False)
    x = {"title": "layer (0-based)", "range": [-0.7, len(row) - 0.3], "showgrid": False}
    y = {
        "title": "turn, share of 180°",
        "gridcolor": colours.grid,
        "nticks": 5,
        "rangemode": "tozero",
    }
    return finish(figure, height, x=x, y=y, margin={"t": 26, "l": 56}, bargap=0.18)


def _bars(points: Sequence[MeasuredPoint], colours: Palette) -> dict[str, Any]:
    """Return error bars of 95 % intervals."""
    ends = [(point.low, point.high) for point in points]
    return {**bars([point.value for point in points], ends, width=0), "color": colours.unpruned}


def _add_own(
    figure: Figure,
    places: Sequence[Any],
    drawn: Sequence[float | None],
    colours: Palette,
    digits: str,
    *,
    joined: bool = True,
) -> None:
    """Add the drawing of the user as open circles in the colour of markers; nothing if nothing was
    drawn.
    """
    points = [(x, value) for x, value in zip(places, drawn, strict=True) if value is not None]
    if not points:
        return
    figure.add_scatter(
        x=[x for x, _ in points],
        y=[value for _, value in points],
        mode="lines+markers" if joined else "markers",
        name="your drawing",
        line={"color": colours.marker, "width": 1.6, "dash": "2px,3px"},
        marker={"color": colours.marker, "size": 9, "symbol": "circle-open", "line": {"width": 2}},
        hovertemplate=f"you drew %{{y:{digits}}}<extra></extra>",
    )


def blocks_of_one_size(
    distances: DistanceResult,
    guess: Block | None,
    best: Block,
    *,
    dark: bool = False,
    height: int = 330,
) -> Figure:
    """Draw the distance across every block of one size by start layer, with labels for the most
    similar one and a guess.
    """
    colours = palette(dark)
    row = distances.mean[best.size - 1]
    points = lesson.blocks_of(distances, best.size)
    figure = Figure()
    figure.add_bar(
        x=list(range(len(row))),
        y=row,
        name="distance",
        error_y=_bars(points, colours),
        marker={"color": row, "colorscale": "Viridis", "reversescale": True, "line": {"width": 0}},
        text=[
            f"{Block(block.place, best.size).brief()}<br>distance {block.value:.4f}, 95 % interval"
            f" {block.low:.4f} to {block.high:.4f}"
            for block in points
        ],
        textposition="none",
        hovertemplate="%{text}<extra></extra>",
        showlegend=False,
    )
    labels = {best: "your guess, the best"} if guess == best else {best: "most similar"}
    if guess is not None:
        labels.setdefault(guess, "your guess")
    for block, label in labels.items():
        figure.add_annotation(
            x=block.start,
            y=points[block.start].high,
            text=label,
            showarrow=True,
            arrowhead=0,
            ax=0,
            ay=-28 if block == best else -56,
            arrowcolor=colours.marker,
            font={"color": colours.marker},
        )
    x = {
        "title": f"start of the block of {best.size} layers (0-based)",
        "range": [-0.8, len(row) - 0.2],
        "showgrid": False,
    }
    y = {
        "title": "distance, share of 180°",
        "gridcolor": colours.grid,
        "range": [0, max(row) * 1.25],
    }
    return finish(figure, height, x=x, y=y, margin={"t": 8, "b": 46}, bargap=0.18)


def answers(
    sweep: SweepResult,
    cliff: Cliff,
    drawn: Sequence[float | None] = (),
    mark: int | None = None,
    *,
    dark: bool = False,
    height: int = 300,
) -> Figure:
    """Draw the accuracy curve with 95 % intervals, the predicted curve, and the measured start of
    the cliff.

    Points are filled only if they differ significantly from the unpruned model, as on all curves.

    Args:
        sweep: the curve.
        cliff: of the curve.
        drawn: predicted accuracy for n = 0, 1, ...; None without a prediction.
        mark: predicted n of the cliff; None without a prediction.
        dark: whether the page is dark.
        height: pixels.
    """
    colours = palette(dark)
    figure = Figure()
    points = ACCURACY.points(sweep)
    last = cliff.last if cliff.latest is None else cliff.latest
    if cliff.earliest <= last:
        figure.add_vrect(
            x0=cliff.earliest - 0.5,
            x1=last + 0.5,
            fillcolor=translucent(colours.unpruned, 0.13),
            line={"width": 0},
            layer="below",
            annotation={
                "text": "the cliff begins here" if cliff.is_located else "a cliff may begin here",
                "font": {"size": 11, "color": colours.unpruned},
            },
            annotation_position="bottom" if cliff.is_located else "bottom right",
        )
    add_levels(figure, sweep.lines, colours)
    add_level(figure, "halfway", cliff.midpoint, colours.unpruned, "dash", ".1%")
    sides = [ACCURACY.interval(point) or (0.0, 1.0) for point in points]
    numbers = [point.n for point in points]
    figure.add_scatter(
        x=[*numbers, *reversed(numbers)],
        y=[*(high for _, high in sides), *(low for low, _ in reversed(sides))],
        mode="lines",
        fill="toself",
        fillcolor=translucent(colours.pruned, 0.17),
        line={"width": 0},
        name="95 % interval",
        hoverinfo="skip",
    )
    figure.add_scatter(
        x=numbers,
        y=[ACCURACY.value(point) for point in points],
        mode="lines+markers",
        name="measured",
        line={"color": translucent(colours.pruned, curves.GUIDE), "width": 1.4},
        marker=curves.settled_marker(
            curves.changes_of(sweep, ACCURACY), "circle", colours.pruned, 7
        ),
        text=[ACCURACY.hover(point) for point in points],
        hovertemplate="%{text}<extra></extra>",
    )
    _add_own(figure, list(range(len(drawn))), drawn, colours, ".0%")
    with_guess(figure, mark, dark=dark)
    step = 1 if cliff.last <= 10 else 2 if cliff.last <= 20 else 5
    x = {
        "title": "removed layers n",
        "range": [-0.5, cliff.last + 0.5],
        "gridcolor": colours.grid,
        "dtick": step,
    }
    expected = [value for value in drawn if value is not None]
    y = {
        "title": "accuracy",
        "tickformat": ".0%",
        "gridcolor": colours.grid,
        "range": _accuracy_range(sweep, expected),
    }
    return finish(figure, height, x=x, y=y, margin={"t": 48})


def with_guess(figure: Figure, mark: int | None, *, dark: bool = False) -> Figure:
    """Add the predicted cliff to a chart against removed layers; None adds nothing."""
    if mark is not None:
        colour = palette(dark).marker
        figure.add_vline(x=mark, line={"color": colour, "width": 1.6}, name="your cliff")
        figure.add_annotation(
            x=mark,
            y=1.0,
            yref="paper",
            text="your cliff",
            showarrow=False,
            xanchor="left",
            yanchor="top",
            xshift=4,
            font={"color": colour},
        )
    return figure


def _accuracy_range(sweep: SweepResult, drawn: Sequence[float]) -> list[float]:
    """Return a range that contains every interval, level and prediction."""
    sides = [side for point in ACCURACY.points(sweep) for side in ACCURACY.interval(point) or ()]
    levels = [sweep.lines.chance, sweep.lines.majority] if sweep.lines else []
    low = min([*sides, *levels, *drawn], default=0.0)
    high = max([*sides, *levels, *drawn], default=1.0)
    return [max(0.0, low - 0.05), min(1.0, high + 0.05)]


@dataclass(frozen=True)
class Rung:
    """One model on the way from unpruned to healed."""

    name: str
    point: Point
    kind: str
    """`unpruned`, `pruned` or `healed`: its colour."""


def rungs(
    ladder: Sequence[Rung],
    field: str,
    lines: Lines | None,
    drawn: Sequence[float | None] = (),
    *,
    dark: bool = False,
    height: int = 185,
) -> Figure:
    """Draw models in rows, with their 95 % intervals.

    Args:
        ladder: from top to bottom.
        field: "acc" or "loss".
        lines: chance and majority, for an accuracy.
        drawn: the prediction for each; None without one.
        dark: whether the page is dark.
        height: pixels.
    """
    colours = palette(dark)
    measure = ACCURACY if field == "acc" else LOSS
    figure = Figure()
    levels = (
        [("chance", lines.chance, "dot"), ("majority", lines.majority, "dashdot")]
        if lines and measure is ACCURACY
        else []
    )
    for name, level, dash in levels:
        figure.add_scatter(
            x=[level, level],
            y=[-0.6, len(ladder) - 0.4],
            mode="lines",
            name=name,
            showlegend=False,
            line={"color": colours.chance, "width": 1.5, "dash": dash},
            hovertemplate=f"{name} %{{x:.1%}}<extra></extra>",
        )
    for index, rung in enumerate(ladder):
        if measure.value(rung.point) is None:
            continue
        figure.add_scatter(
            x=[measure.value(rung.point)],
            y=[index],
            error_x=measure.bars([rung.point], width=5),
            mode="markers",
            name=rung.name,
            marker={
                "color": getattr(colours, rung.kind),
                "size": 12,
                "symbol": _SYMBOLS.get(rung.kind, "circle"),
            },
            hovertemplate=f"{rung.name}<br>{measure.hover(rung.point)}<extra></extra>",
            showlegend=False,
        )
        figure.add_annotation(
            x=measure.value(rung.point),
            y=index,
            text=f"{measure.value(rung.point):{measure.label}}",
            showarrow=False,
            yshift=13,
            font={"color": getattr(colours, rung.kind)},
        )
    for index, value in enumerate(drawn):
        if value is not None:
            figure.add_scatter(
                x=[value],
                y=[index],
                mode="markers+text",
                name="your drawing",
                showlegend=False,
                text=["yours"],
                textposition="bottom center",
                textfont={"color": colours.marker},
                marker={
                    "color": colours.marker,
                    "size": 12,
                    "symbol": "circle-open",
                    "line": {"width": 2},
                },
                hovertemplate=f"you drew %{{x:{measure.digits}}}<extra></extra>",
            )
    if levels:
        figure.add_annotation(
            x=levels[0][1],
            y=0,
            yref="paper",
            text="chance ",
            showarrow=False,
            xanchor="right",
            yanchor="bottom",
            font={"color": colours.chance},
        )
    y: dict[str, Any] = {
        "tickvals": list(range(len(ladder))),
        "ticktext": [rung.name for rung in ladder],
        "showgrid": False,
    }
    # Space below the last one for the name of a drawn mark.
    y |= {
        "range": [len(ladder) - (0.05 if any(value is not None for value in drawn) else 0.4), -0.75]
    }
    x = {
        "title": measure.axis,
        "tickformat": measure.tickformat,
        "gridcolor": colours.grid,
        "nticks": 7,
    }
    return finish(figure, height, x=x, y=y, margin={"l": 74, "t": 4, "b": 44})


_SYMBOLS = {"healed": "diamond"}


def distance_and_damage(
    distances: DistanceResult,
    damage: DamageResult,
    size: int,
    guess: Block | None = None,
    *,
    dark: bool = False,
    height: int = 300,
) -> Figure:
    """Draw the measured loss increase of blocks of one size against their distance.

    Args:
        distances: the distance map.
        damage: the loss-increase map; blocks that are not measured are omitted.
        size: block size n.
        guess: the block with the lowest predicted loss increase.
        dark: whether the page is dark.
        height: pixels.
    """
    colours = palette(dark)
    figure = Figure()
    costs = {
        start: cost for start, cost in enumerate(damage.increase[size - 1]) if cost is not None
    }
    row = distances.mean[size - 1]
    figure.add_scatter(
        x=[row[start] for start in costs],
        y=list(costs.values()),
        mode="markers",
        name="blocks",
        marker={"color": colours.pruned, "size": 8, "opacity": 0.75},
        text=[
            f"{Block(start, size).brief()}<br>distance {row[start]:.4f}<br>loss {cost:+.3f} nats"
            " per token"
            for start, cost in costs.items()
        ],
        hovertemplate="%{text}<extra></extra>",
        showlegend=False,
    )
    if costs:
        similar = min(costs, key=row.__getitem__)
        cheapest = min(costs, key=costs.__getitem__)
        labels = (
            {cheapest: "lowest loss increase", similar: "most similar"}
            if similar != cheapest
            else {similar: "best in both"}
        )
        if guess is not None and guess.start in costs:
            labels[guess.start] = (
                f"{labels[guess.start]}, yours" if guess.start in labels else "yours"
            )
        is_log = min(costs.values()) > 0
        for start, label in labels.items():
            figure.add_scatter(
                x=[row[start]],
                y=[costs[start]],
                mode="markers+text",
                text=[f"<b>{label}</b>"],
                textposition="middle right",
                marker={
                    "color": colours.marker,
                    "size": 11,
                    "symbol": "circle-open",
                    "line": {"width": 2.5},
                },
                name=label,
                hoverinfo="skip",
                showlegend=False,
            )
        figure.update_yaxes(type="log" if is_log else "linear")
    x = {"title": "distance, share of 180°", "gridcolor": colours.grid}
    y = {
        "title": "loss increase, nats",
        "gridcolor": colours.grid,
        **({"tickvals": _TICKS} if costs and is_log else {}),
    }
    return finish(figure, height, x=x, y=y, margin={"t": 8, "b": 46})


_TICKS = [0.01, 0.03, 0.1, 0.3, 1, 3, 10, 30]


def votes(
    options: Sequence[str],
    counts: Sequence[int],
    right: Collection[int] | None,
    *,
    dark: bool = False,
    height: int = 240,
) -> Figure:
    """Draw the number of each answer in a class.

    Args:
        options: the possible answers.
        counts: number of answers by option.
        right: correct options; None before the reveal.
        dark: whether the page is dark.
        height: pixels.
    """
    colours = palette(dark)
    figure = Figure()
    places = list(range(len(options)))
    is_list = len(options) <= 8
    shades = [
        colours.pruned if right is not None and index in right else colours.unpruned
        for index in places
    ]
    hover = [
        f"{html.escape(option)}<br>{count} answered"
        for option, count in zip(options, counts, strict=True)
    ]
    figure.add_bar(
        x=list(counts) if is_list else places,
        y=places if is_list else list(counts),
        orientation="h" if is_list else "v",
        name="answers",
        marker={"color": shades},
        text=[str(count) if count else "" for count in counts],
        textposition="outside",
        cliponaxis=False,
        hovertext=hover,
        hovertemplate="%{hovertext}<extra></extra>",
        showlegend=False,
    )
    if right is not None:
        figure.add_scatter(
            x=[None],
            y=[None],
            mode="markers",
            name="correct answers",
            marker={"color": colours.pruned, "symbol": "square", "size": 10},
        )
    step = 1 if is_list else max(1, len(options) // 8)
    indices = [index for index in places if index % step == 0]
    axis = {
        "tickvals": indices,
        "ticktext": [_wrapped(html.escape(options[index])) for index in indices],
        "showgrid": False,
    }
    highest = max([*counts, 4])
    amount = {
        "range": [0, 1.15 * highest],
        "gridcolor": colours.grid,
        "dtick": max(1, -(-highest // 5)),
        "title": "answers",
    }
    if is_list:
        axis["range"] = [len(options) - 0.5, -0.5]
        return finish(
            figure, height, x=amount, y={**axis, "automargin": True}, margin={"l": 8, "t": 26}
        )
    return finish(figure, height, x=axis, y=amount, margin={"t": 26, "l": 50})


def _wrapped(text: str) -> str:
    """Return a long answer in several lines."""
    return "<br>".join(textwrap.wrap(text, 34)) or text
