"""Plotly maps: the distance of every block, what the removal of every block costs, and which layers a cut takes out."""

from collections.abc import Sequence

from plotly.graph_objs import Figure

from analysis.blocks import Block, Removal
from analysis.drawing import PATH, finish, palette
from analysis.results import Best, DistanceResult


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
    return finish(figure, height).update_layout(margin={"t": 6, "b": 52})


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
    figure = finish(figure, height)
    return figure.update_layout(margin={"l": 0, "r": 0, "t": 2, "b": 20}, bargap=0)
