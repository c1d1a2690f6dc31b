"""Charts of published models by share of depth: paths of the most similar block, and cliffs."""

from collections.abc import Sequence

from plotly.graph_objs import Figure

from analysis.charts.look import Palette, Style, finish, palette
from analysis.experiments.maps.distance_spec import Best
from analysis.results.words.lesson import CLIFFS, PATHS, PublishedCliff, PublishedPath

# Neutral shades, since blue, orange and dashed grey already mean something; dash and label
# distinguish the models.
_STYLES = (
    Style("2px,2px", "triangle-up", "#7a8590", "#8b96a1"),
    Style("5px,3px", "square", "#5f6974", "#a5b0bb"),
    Style("solid", "circle", "#3c4650", "#c6cfd8"),
    Style("9px,3px,2px,3px", "x", "#8a6d3b", "#c9a86a"),
)

_LAST_LABEL = 20
"""Margin that half of the label "100%" at the end of an axis needs, pixels."""


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
    """Draw the start of the most similar block of each size as a share of depth, which compares
    models of any depth.

    Args:
        own_path: the chosen blocks of the user's model, if it has a map.
        n_layers: its L.
        name: its name, as plain text.
        guess: predicted start of a block of a large model and its size, as shares of depth.
        paths: published choices.
        dark: whether the page is dark.
        height: pixels.
    """
    colours = palette(dark)
    figure = Figure()
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
        _add_path(
            figure,
            blocks,
            path.n_layers,
            path.name,
            {"color": shade, "width": 1.6, "dash": style.dash},
            0,
        )
    if own_path:
        blocks_of_own = [best for best in own_path if best.n <= 0.8 * n_layers]
        _add_path(figure, blocks_of_own, n_layers, name, {"color": colours.pruned, "width": 3}, 6)
    if guess is not None:
        figure.add_scatter(
            x=[guess[0]],
            y=[guess[1]],
            mode="markers",
            name="your guess",
            marker={
                "color": colours.marker,
                "size": 13,
                "symbol": "circle-open",
                "line": {"width": 2.5},
            },
            hovertemplate="your guess begins at %{x:.0%} of depth<extra></extra>",
        )
    _name_the_corner(figure, colours)
    x = {
        "title": "start of the block, share of depth",
        "range": [0, 1],
        "tickformat": ".0%",
        "gridcolor": colours.grid,
    }
    y = {
        "title": "layers removed",
        "range": [0, 0.84],
        "tickformat": ".0%",
        "gridcolor": colours.grid,
    }
    return finish(figure, height, x=x, y=y, margin={"b": 46, "r": _LAST_LABEL})


def _add_path(
    figure: Figure, blocks: Sequence[Best], n_layers: int, name: str, line: dict, marker: int
) -> None:
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
    """Draw the share of layers at which accuracy collapses, by family, with the cliff of the user's
    model.

    Args:
        own_range: range of the cliff of the user's model, as shares of layers; None if it has none.
        name: its name, as plain text.
        published: the families.
        dark: whether the page is dark.
        height: pixels.
    """
    colours = palette(dark)
    figure = Figure()
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
            x=high,
            y=label,
            text=range_text,
            showarrow=False,
            xanchor="left",
            xshift=11,
            font={"color": colour},
        )
    x = {
        "title": "layers removed at the cliff",
        "range": [0, 0.8],
        "tickformat": ".0%",
        "gridcolor": colours.grid,
    }
    y = {"showgrid": False, "automargin": True, "range": [-0.6, len(rows) - 0.4]}
    return finish(figure, height, x=x, y=y, margin={"t": 4, "l": 8, "b": 46})
