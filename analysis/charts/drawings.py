"""Drawings of ideas in the lesson: the residual stream, and the angle between two states."""

import itertools
from collections.abc import Mapping
from dataclasses import dataclass
from html import escape

from plotly.graph_objs import Figure

from analysis.charts.look import finish, palette
from analysis.results.words import lesson
from analysis.results.words.lesson import Arrow

_HIDDEN = {"visible": False, "fixedrange": True}
_RIM = 2.05
"""Radius of the protractor, a little more than the longest arrow."""


@dataclass(frozen=True)
class Walk:
    """The residual stream of the last token of a prompt through a model."""

    turns: Mapping[str, float]
    """Turn of each layer that runs, as a share of 180 degrees."""
    token: str
    """The predicted next token."""
    probability: float


def stream(unpruned: Walk, pruned: Walk, *, dark: bool = False, height: int = 270) -> Figure:
    """Draw the residual stream of one token as a chain of arrows, one a layer, unpruned and pruned.

    Each arrow has the same length. It rises by the angle by which its layer turns the stream.

    Args:
        unpruned: all layers.
        pruned: the layers that are left.
        dark: whether the page is dark.
        height: pixels.
    """
    colours = palette(dark)
    figure = Figure()
    styles = (
        ("unpruned", unpruned, colours.unpruned, "dash"),
        ("pruned", pruned, colours.pruned, "solid"),
    )
    for name, walk, shade, dash in styles:
        steps = [lesson.arrow(180 * turn, 1.0) for turn in walk.turns.values()]
        x, y = ([0.0, *itertools.accumulate(step[axis] for step in steps)] for axis in (0, 1))
        figure.add_scatter(
            x=x,
            y=y,
            mode="lines+markers+text",
            name=name,
            line={"color": shade, "width": 2, "dash": dash},
            marker={"symbol": "arrow", "angleref": "previous", "size": 9, "color": shade},
            text=[
                *[""] * len(steps),
                f"<b>“{escape(walk.token.strip())}”</b> {walk.probability:.0%}",
            ],
            textposition=(
                "middle right" if name == "unpruned" else "top left"
            ),  # the pruned chain ends further left
            textfont={"color": shade},
            cliponaxis=False,
            hovertext=[
                "before layer 0",
                *(f"layer {layer}: turns {180 * turn:.0f}°" for layer, turn in walk.turns.items()),
            ],
            hovertemplate="%{hovertext}<extra></extra>",
        )
    return finish(figure, height, x=_HIDDEN, y=_HIDDEN, margin={"l": 0, "r": 90, "t": 26, "b": 0})


def arrows(
    a: Arrow, b: Arrow, *, scaled: bool = True, dark: bool = False, height: int = 330
) -> Figure:
    """Draw two states as arrows on a protractor whose scale is the angular distance.

    Args:
        a: the state before the layers; drawn horizontal in the lesson.
        b: the state after them, on the same side of `a` as the protractor.
        scaled: whether the protractor shows its numbers.
        dark: whether the page is dark.
        height: pixels.
    """
    colours = palette(dark)
    figure = Figure()
    marks = [index / 20 for index in range(21)]
    rim = [lesson.arrow(180 * mark, _RIM) for mark in marks]
    figure.add_scatter(
        x=[x for x, _ in rim],
        y=[y for _, y in rim],
        mode="lines",
        name="protractor",
        hoverinfo="skip",
        line={"color": colours.chance, "width": 1.5, "shape": "spline"},
    )
    scale = [lesson.arrow(180 * mark, _RIM * 1.13) for mark in (0, 0.25, 0.5, 0.75, 1)]
    figure.add_scatter(
        x=[x for x, _ in scale],
        y=[y for _, y in scale],
        mode="text",
        name="scale",
        hoverinfo="skip",
        text=["0", "0.25", "0.5", "0.75", "1"] if scaled else ["0", "", "", "", "1"],
        textfont={"color": colours.unpruned},
    )
    distance = lesson.angular_distance(a, b)
    arc = [lesson.arrow(180 * distance * mark, 0.42) for mark in marks]
    figure.add_scatter(
        x=[x for x, _ in arc],
        y=[y for _, y in arc],
        mode="lines",
        name="angle",
        line={"color": colours.healed, "width": 3, "shape": "spline"},
        hovertemplate=(
            f"{180 * distance:.0f}°, distance {distance:.3f}<extra></extra>" if scaled else None
        ),
        hoverinfo=None if scaled else "skip",
    )
    to_rim = lesson.arrow(180 * distance, _RIM)
    figure.add_scatter(
        x=[0, to_rim[0]],
        y=[0, to_rim[1]],
        mode="lines",
        name="direction",
        hoverinfo="skip",
        line={"color": colours.pruned, "width": 1, "dash": "dot"},
    )
    for tip, colour, name in ((a, colours.unpruned, "before"), (b, colours.pruned, "after")):
        figure.add_annotation(
            x=tip[0],
            y=tip[1],
            ax=0,
            ay=0,
            xref="x",
            yref="y",
            axref="x",
            ayref="y",
            text="",
            showarrow=True,
            arrowhead=2,
            arrowwidth=3.5,
            arrowcolor=colour,
            name=name,
        )
    # Beside the middle of its arrow, on the side away from the other one.
    aside = lesson.arrow(180 * distance + 90, 0.2)
    figure.add_scatter(
        x=[a[0] / 2, b[0] / 2 + 1.6 * aside[0]],
        y=[-0.15, b[1] / 2 + aside[1]],
        mode="text",
        name="names",
        text=["<b>before</b>", "<b>after</b>"],
        textfont={"color": [colours.unpruned, colours.pruned]},
        hoverinfo="skip",
    )
    figure.update_traces(showlegend=False)
    x = {**_HIDDEN, "range": [-2.5, 2.5], "constrain": "domain"}
    y = {**_HIDDEN, "range": [-0.28, 2.42], "scaleanchor": "x", "constrain": "domain"}
    return finish(figure, height, x=x, y=y, margin={"l": 0, "r": 0, "t": 0, "b": 0})
