"""Charts of published and bundled models by share of depth: paths of the most similar block, cliffs and claims."""

import html
from collections.abc import Sequence

from plotly.graph_objs import Figure
from plotly.subplots import make_subplots

from analysis.charts.look import DARK, LIGHT, Palette, Style, bars, finish, palette, translucent
from analysis.experiments.maps.distance_spec import Best
from analysis.results.compared.paper_claims import DepthCosts, ToleranceCurve
from analysis.results.words.lesson import CLIFFS, PATHS, PublishedCliff, PublishedPath

# Neutral shades, since blue, orange and dashed grey already mean something; dash and label distinguish the models.
_STYLES = (
    Style("2px,2px", "triangle-up", "#7a8590", "#8b96a1"),
    Style("5px,3px", "square", "#5f6974", "#a5b0bb"),
    Style("solid", "circle", "#3c4650", "#c6cfd8"),
    Style("9px,3px,2px,3px", "x", "#8a6d3b", "#c9a86a"),
)

_LAST_LABEL = 20
"""Margin that half of the label "100%" at the end of an axis needs, pixels."""
_WITH_COLOUR = Style("solid", "circle", LIGHT.pruned, DARK.pruned)
"""Of the first model of a chart without a model of the user."""


def depth_paths(
    own_path: Sequence[Best] = (),
    n_layers: int = 0,
    name: str = "your model",
    *,
    guess: tuple[float, float] | None = None,
    paths: Sequence[PublishedPath] = PATHS,
    dark: bool = False,
    height: int = 330,
) -> Figure:
    """Where the most similar block of each size begins, in shares of depth, so that models of any depth compare.

    Args:
        own_path: the chosen blocks of the user's model, if it has a map.
        n_layers: its L.
        name: its name, as plain text.
        guess: where a block of a large model was expected to begin, and its size, as shares of depth.
        paths: published choices.
        dark: whether the page is dark.
        height: pixels.
    """
    colours, figure = palette(dark), Figure()
    figure.add_scatter(
        x=[0, 1],
        y=[1, 0],
        mode="lines",
        name="ends at the last layer",
        hoverinfo="skip",
        line={"color": colours.grid, "width": 1.5},
        showlegend=False,
    )
    for path, style in zip(paths, _STYLES, strict=False):
        shade = style.shade(dark=dark)
        blocks = [Best(block.size, block.start, 0.0) for block in path.blocks()]
        _add_path(figure, blocks, path.n_layers, path.name, {"color": shade, "width": 1.6, "dash": style.dash}, 0)
    if own_path:
        shown = [best for best in own_path if best.n <= 0.8 * n_layers]
        _add_path(figure, shown, n_layers, name, {"color": colours.pruned, "width": 3}, 6)
    if guess is not None:
        figure.add_scatter(
            x=[guess[0]],
            y=[guess[1]],
            mode="markers",
            name="your guess",
            marker={"color": colours.marker, "size": 13, "symbol": "circle-open", "line": {"width": 2.5}},
            hovertemplate="your guess begins at %{x:.0%} of depth<extra></extra>",
        )
    _name_the_corner(figure, colours)
    x = {"title": "start of the block, share of depth", "range": [0, 1], "tickformat": ".0%", "gridcolor": colours.grid}
    y = {"title": "layers removed", "range": [0, 0.84], "tickformat": ".0%", "gridcolor": colours.grid}
    return finish(figure, height, x=x, y=y, margin={"b": 46, "r": _LAST_LABEL})


def _add_path(figure: Figure, blocks: Sequence[Best], n_layers: int, name: str, line: dict, marker: int) -> None:
    figure.add_scatter(
        x=[best.start / n_layers for best in blocks],
        y=[best.n / n_layers for best in blocks],
        mode="lines+markers" if marker else "lines",
        name=name,
        line=line,
        marker={"size": marker or 4},
        text=[f"<b>{name}</b>, {n_layers} layers<br>{best.block.brief()}" for best in blocks],
        hovertemplate="%{text}<br>begins at %{x:.0%} of depth, removes %{y:.0%}<extra></extra>",
    )


def _name_the_corner(figure: Figure, colours: Palette) -> None:
    figure.add_annotation(
        x=0.98,
        y=0.7,
        xanchor="right",
        yanchor="middle",
        text="beyond the last layer",
        showarrow=False,
        font={"color": colours.chance},
    )


def cliffs(
    own_range: tuple[float, float] | None = None,
    name: str = "your model",
    *,
    published: Sequence[PublishedCliff] = CLIFFS,
    dark: bool = False,
    height: int = 300,
) -> Figure:
    """The share of layers at which answers collapse, by family, with the user's own cliff.

    Args:
        own_range: between which shares of the user's layers its cliff begins; None where none is settled.
        name: its name, as plain text.
        published: the families.
        dark: whether the page is dark.
        height: pixels.
    """
    colours, figure = palette(dark), Figure()
    rows = [(entry.name, entry.low, entry.high, colours.unpruned) for entry in published]
    if own_range is not None:
        rows.append((name, *own_range, colours.pruned))
    rows.sort(key=lambda row: (row[1] + row[2]) / 2)
    for label, low, high, colour in rows:
        range_text = f"{low:.0%}" if low == high else f"{low:.0%} to {high:.0%}"
        figure.add_scatter(
            x=[low, high],
            y=[label, label],
            mode="lines+markers",
            name=label,
            line={"color": colour, "width": 7},
            marker={"size": 11},
            hovertemplate=f"{label}<br>cliff at {range_text} of the layers<extra></extra>",
            showlegend=False,
        )
        figure.add_annotation(
            x=high, y=label, text=range_text, showarrow=False, xanchor="left", xshift=11, font={"color": colour}
        )
    x = {"title": "layers removed at the cliff", "range": [0, 0.8], "tickformat": ".0%", "gridcolor": colours.grid}
    y = {"showgrid": False, "automargin": True, "range": [-0.6, len(rows) - 0.4]}
    return finish(figure, height, x=x, y=y, margin={"t": 4, "l": 8, "b": 46})


def claims(
    depths: Sequence[DepthCosts], tolerances: Sequence[ToleranceCurve], *, dark: bool = False, height: int = 560
) -> Figure:
    """Draw the cost of each layer by its depth, and below it the cost of removing a share of the layers, with 95 % intervals.

    Args:
        depths: loss increase of each single layer, one entry per model. The scale is logarithmic, and a layer whose removal
            lowers the loss is not on it.
        tolerances: loss increase by share of removed layers, one entry per model.
        dark: whether the page is dark.
        height: pixels.
    """
    colours = palette(dark)
    figure = make_subplots(2, 1, vertical_spacing=0.17)
    names = list(dict.fromkeys([*(one.name for one in tolerances), *(one.name for one in depths)]))
    looks = dict(zip(names, [_WITH_COLOUR, *_STYLES], strict=False))
    for depth in depths:
        drawn = [layer for layer in depth.layers if layer.increase > 0]
        floor = 0.5 * min((layer.increase for layer in drawn), default=1.0)
        _add_model(
            figure,
            1,
            depth.name,
            looks[depth.name],
            [(layer.depth, layer.increase, max(layer.low, floor), layer.high) for layer in drawn],
            [
                f"without layer {layer.layer}: {layer.increase:+.3f} nats/token, 95 % interval {layer.low:+.3f} to "
                f"{layer.high:+.3f}<br>{depth.n_texts} texts, {depth.precision}"
                for layer in drawn
            ],
            is_named=depth.name not in {curve.name for curve in tolerances},
            dark=dark,
        )
    for curve in tolerances:
        _add_model(
            figure,
            2,
            curve.name,
            looks[curve.name],
            [(point.share, point.increase, point.low, point.high) for point in curve.points],
            [
                f"n = {point.n} of {curve.n_layers} layers: {point.increase:+.3f} bits per byte, 95 % interval "
                f"{point.low:+.3f} to {point.high:+.3f}<br>{curve.n_texts} texts, {curve.precision}"
                for point in curve.points
            ],
            is_named=True,
            dark=dark,
        )
    margin = {"b": 46, "r": _LAST_LABEL, "t": 30 + 18 * max(0, len(names) - 1)}
    share = {"tickformat": ".0%", "gridcolor": colours.grid}
    finish(figure, height, x={**share, "range": [0, 1]}, y={}, margin=margin)
    figure.update_xaxes(title={"text": "depth of the removed layer", "standoff": 6}, row=1, col=1)
    figure.update_yaxes(title={"text": "loss increase, nats/token", "standoff": 16}, type="log", dtick=1, row=1, col=1)
    figure.update_xaxes(**share, range=[-0.01, 0.52], zeroline=False, row=2, col=1)
    figure.update_xaxes(title={"text": "layers removed by similarity, share of depth", "standoff": 6}, row=2, col=1)
    figure.update_yaxes(title={"text": "loss increase, bits per byte", "standoff": 16}, zeroline=False, row=2, col=1)
    return figure.update_yaxes(gridcolor=colours.grid)


def _add_model(
    figure: Figure,
    row: int,
    name: str,
    style: Style,
    points: Sequence[tuple[float, float, float, float]],
    texts: Sequence[str],
    *,
    is_named: bool,
    dark: bool,
) -> None:
    """Draw one model of a panel: place, value and both ends of the interval of each point."""
    shade, label = style.shade(dark=dark), html.escape(name)
    values = [value for _, value, _, _ in points]
    figure.add_scatter(
        x=[place for place, *_ in points],
        y=values,
        mode="lines+markers",
        name=label,
        legendgroup=label,
        showlegend=is_named,
        line={"color": shade, "width": 2, "dash": style.dash},
        marker={"size": 6, "symbol": style.symbol},
        error_y={**bars(values, [(low, high) for *_, low, high in points]), "color": translucent(shade, 0.6)},
        text=[f"<b>{label}</b>, {text}" for text in texts],
        hovertemplate="%{text}<extra></extra>",
        row=row,
        col=1,
    )
