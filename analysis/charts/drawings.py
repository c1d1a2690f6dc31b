"""Drawings of ideas in the lesson: the residual stream, and the angle between two states."""

from plotly.graph_objs import Figure

from analysis.charts.look import Palette, finish, palette
from analysis.results.words import lesson
from analysis.results.words.lesson import Arrow

_HIDDEN = {"visible": False, "fixedrange": True}
_BOX = 0.36
"""Half the width of a drawn layer; layers stand one unit apart."""
_RIM = 2.05
"""Radius of the protractor, a little more than the longest arrow."""


def stream(n_layers: int | None = None, *, dark: bool = False, height: int = 150) -> Figure:
    """Draw the residual stream as a line: each layer reads from it and adds to it. Shown are the first two layers and the last.

    Args:
        n_layers: L; None while the model is unknown.
        dark: whether the page is dark.
        height: pixels.
    """
    colours, figure = palette(dark), Figure()
    last = "L−1" if n_layers is None else str(n_layers - 1)
    names = ["0", "1", last] if n_layers is None or n_layers > 2 else [str(layer) for layer in range(n_layers)]
    places = [1.0 + 1.5 * index + (0.6 if index == 2 else 0.0) for index in range(len(names))]
    end = places[-1] + 1.0
    ends = [0.25, *(x_ + 0.72 for x_ in places)]
    states = ["x[0]", *(f"x[{int(name) + 1}]" if name.isdecimal() else "x[L]" for name in names)]
    figure.add_scatter(
        x=[-0.1, end], y=[0, 0], mode="lines", name="stream", line={"color": colours.marker, "width": 5}, hoverinfo="skip"
    )
    figure.add_scatter(
        x=ends,
        y=[-0.36] * len(ends),
        mode="text",
        name="states",
        text=[f"<b>{state}</b>" for state in states],
        textfont={"color": colours.marker},
        hovertemplate="%{text}, the residual stream<extra></extra>",
    )
    for x_ in places:
        _branch(figure, x_, colours)
    figure.add_scatter(
        x=[x_ - 0.1 for x_ in places],
        y=[1] * len(places),
        mode="text",
        name="layers",
        text=[f"layer {name}" for name in names],
        textfont={"color": colours.marker},
        hovertext=[f"layer {name} adds f(x[{name}])" for name in names],
        hovertemplate="%{hovertext}<extra></extra>",
    )
    if len(names) == 3 and names[2] != "2":
        figure.add_annotation(x=places[2] - 1.08, y=1, text="<b>· · ·</b>", showarrow=False)
    figure.update_traces(showlegend=False)
    x, y = {**_HIDDEN, "range": [-0.15, end + 0.1]}, {**_HIDDEN, "range": [-0.6, 1.45]}
    return finish(figure, height, x=x, y=y, margin={"l": 0, "r": 0, "t": 0, "b": 0})


def _branch(figure: Figure, x: float, colours: Palette) -> None:
    """One layer: a branch that leaves the stream, passes the layer and is added to the stream at `x`."""
    line = {"color": colours.unpruned, "width": 2}
    path = {"x": [x - 0.62, x - 0.62, x - 0.1 - _BOX], "y": [0, 1, 1]}
    figure.add_scatter(**path, mode="lines", line=line, hoverinfo="skip", name="branch")
    return_path = {"x": [x - 0.1 + _BOX, x + 0.42, x + 0.42], "y": [1, 1, 0.2]}
    figure.add_scatter(**return_path, mode="lines", line=line, hoverinfo="skip", name="branch")
    figure.add_shape(
        type="rect",
        x0=x - 0.1 - _BOX,
        x1=x - 0.1 + _BOX,
        y0=0.68,
        y1=1.32,
        fillcolor=colours.kept,
        line={"width": 0},
        layer="below",
    )
    figure.add_scatter(
        x=[x + 0.42],
        y=[0],
        mode="markers+text",
        name="sum",
        text=["<b>+</b>"],
        textfont={"size": 15},
        marker={"color": colours.kept, "size": 21, "line": {"color": colours.unpruned, "width": 1.5}},
        hovertemplate="the layer adds its output to the stream<extra></extra>",
    )


def arrows(a: Arrow, b: Arrow, *, scaled: bool = True, dark: bool = False, height: int = 330) -> Figure:
    """Two states as arrows on a protractor whose scale is the angular distance.

    Args:
        a: the state before the layers; drawn horizontal in the lesson.
        b: the state after them, on the same side of `a` as the protractor.
        scaled: whether the protractor shows its numbers; not while the distance is a question.
        dark: whether the page is dark.
        height: pixels.
    """
    colours, figure = palette(dark), Figure()
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
        hovertemplate=f"{180 * distance:.0f}°, distance {distance:.3f}<extra></extra>" if scaled else None,
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
