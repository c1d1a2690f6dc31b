"""Plotly figures about a prompt: surprisal token by token, the path of every token through the
layers, the logit lens.
"""

import html
from collections.abc import Sequence
from typing import Any

import numpy as np
from plotly.graph_objs import Figure

from analysis.charts.look import PATH, Palette, colour_bar, finish, palette
from analysis.core.blocks import Removal
from analysis.experiments.prompt.comparison_spec import CompareResult, Variant
from analysis.experiments.prompt.microscope_spec import MicroscopeResult

_COLOURS_END_AT = 90
"""Percentile at which the colour scale of the map ends, since the first and the last layer have the
largest values."""
_DASHES = {"unpruned": "dash", "pruned": "solid", "instant": "dot", "healed": "solid"}
_SYMBOLS = {
    "unpruned": "circle",
    "pruned": "square",
    "instant": "diamond-open",
    "healed": "diamond",
}
_PROBABILITY = {False: ("#ffffff", "#79c2bb", "#1c2530"), True: ("#1a2026", "#1f756d", "#eef1f3")}
"""Colours of probability 0, of probability 1, and of the text on both, by dark mode."""
_TICKS = 44
"""Maximum number of tokens named below the map; the others are named on hover."""
_ABOVE = {"yanchor": "bottom", "len": 0.6, "thickness": 9}
"""Position of a colour bar above the map."""


def visible(piece: str, max_chars: int | None = None) -> str:
    """Return the text of a token as a label: one line, stripped, with markup escaped.

    Args:
        piece: the text of the token, from any author.
        max_chars: maximum number of characters.
    """
    label = piece.replace("\r", "").replace("\n", "↵").replace("\t", "⇥").strip(" ") or (
        "␣" if piece else "…"
    )
    label = "".join(letter if letter.isprintable() else "\ufffd" for letter in label)
    if max_chars is not None and len(label) > max_chars:
        label = f"{label[: max_chars - 1]}…"
    return html.escape(label)


def names(variants: Sequence[Variant]) -> list[str]:
    """Return a name for each variant; several of one kind are numbered."""
    labels = [variant.label for variant in variants]
    shown_names = []
    for index, label in enumerate(labels):
        number = labels[: index + 1].count(label)
        called = "instant heal" if label == "instant" else label
        shown_names.append(called if labels.count(label) == 1 else f"{called} {number}")
    return shown_names


def colour(variant: Variant, colours: Palette) -> str:
    """Return the colour of the change that was made to a model."""
    return {"unpruned": colours.unpruned, "pruned": colours.pruned}.get(
        variant.label, colours.healed
    )


def surprise_curve(
    result: CompareResult, *, is_own: bool = False, dark: bool = False, height: int = 250
) -> Figure:
    """Draw the surprisal of every generated token, one line per variant.

    Args:
        result: the generated texts.
        is_own: surprisal under the model that generated the text instead of the unpruned model.
        dark: whether the page is dark.
        height: pixels.
    """
    colours = palette(dark)
    figure = Figure()
    for index, ((variant, text), name) in enumerate(
        zip(result.written, names(result.spec.variants), strict=False)
    ):
        surprise = text.own_surprise if is_own else text.unpruned_surprise
        shade = colour(variant, colours)
        figure.add_scatter(
            x=list(range(1, len(surprise) + 1)),
            y=surprise,
            mode="lines+markers",
            name=name,
            line={"color": shade, "width": 1.6, "dash": _DASHES[variant.label]},
            marker={"color": shade, "size": 5, "symbol": _SYMBOLS[variant.label]},
            text=[f"“{visible(piece)}”" for piece in text.pieces],
            hovertemplate=f"{name}, token %{{x}} %{{text}}<br>%{{y:.3f}} nats<extra></extra>",
            cliponaxis=False,
        )
        parting = result.parts_at(index)
        if parting is not None and parting < len(surprise):
            figure.add_scatter(
                x=[parting + 1],
                y=[surprise[parting]],
                mode="markers",
                name=f"{name} parts",
                marker={"symbol": "circle-open", "size": 13, "color": shade, "line": {"width": 2}},
                hoverinfo="skip",
                showlegend=False,
            )
    x = {"title": "generated token", "gridcolor": colours.grid, "rangemode": "tozero"}
    y = {"title": "surprisal, nats", "gridcolor": colours.grid, "rangemode": "tozero"}
    return finish(figure, height, x=x, y=y)


def token_map(
    result: MicroscopeResult,
    *,
    block: Removal | None = None,
    position: int | None = None,
    dark: bool = False,
) -> Figure:
    """Draw the distance across every layer at every token: tokens to the right, layers upwards,
    small distances in yellow.

    Args:
        result: the measured values.
        block: the selected layers, which are framed.
        position: the token that is framed.
        dark: whether the page is dark.
    """
    count = len(result.layers)
    n_tokens = len(result.pieces)
    values = [value for row in result.distances for value in row]
    figure = Figure()
    figure.add_heatmap(
        x=list(range(n_tokens)),
        y=list(range(count)),
        z=result.distances,
        zmin=0,
        zmax=float(np.percentile(values, _COLOURS_END_AT)) or 1.0,
        text=[[_moved(result, row, token) for token in range(n_tokens)] for row in range(count)],
        hovertemplate="%{text}<extra></extra>",
        colorscale="Viridis",
        reversescale=True,
        xgap=0.6 if n_tokens < 60 else 0,
        ygap=0.6,
        name="distance",
        colorbar=colour_bar("distance, share of 180°", **_ABOVE),
    )
    for width, shade in ((4.5, "#ffffff"), (2, PATH)):
        figure.add_scatter(
            x=list(range(n_tokens)),
            y=[depth - 0.5 for depth in result.settled],
            mode="lines+markers",
            line={"color": shade, "width": width, "shape": "hvh"},
            marker={"color": shade, "size": width + 2},
            name="final guess settles",
            hoverinfo="skip",
            showlegend=False,
        )
    for first, last in _runs(result.layers, block):
        _frame(figure, (-0.5, n_tokens - 0.5), (first - 0.5, last + 0.5), palette(dark).pruned, 2.5)
    if position is not None:
        _frame(figure, (position - 0.5, position + 0.5), (-0.5, count - 0.5), PATH, 1.5)
    step = -(-n_tokens // _TICKS)
    ticks = list(range(0, n_tokens, step))
    x = {
        "tickvals": ticks,
        "ticktext": [visible(result.pieces[token], 12) for token in ticks],
        "tickangle": -60 if _is_turned(result) else 0,
        "range": [-0.6, n_tokens - 0.4],
        "showgrid": False,
        "tickfont": {"size": 11},
    }
    y = {"title": "layer (0-based)", **_rows([str(layer) for layer in result.layers])}
    return finish(figure, map_height(count), x=x, y=y, margin=_margin(result))


def map_height(n_layers: int) -> int:
    """Return the height of the map and of the lens next to it, pixels."""
    return 150 + max(260, min(15 * n_layers + 15, 620))


def lens(result: MicroscopeResult, position: int, *, dark: bool = False) -> Figure:
    """Draw the most likely next tokens after every layer at one token: higher probabilities to the
    left, deeper layers above.

    Args:
        result: the measured values.
        position: the token after which the model predicts.
        dark: whether the page is dark.
    """
    depths = range(len(result.guesses))
    guesses = [
        [result.guess(depth, position, rank) for rank in range(len(result.guesses[0][0]))]
        for depth in depths
    ]
    chances = [result.probabilities[depth][position] for depth in depths]
    impossible, certain, ink = _PROBABILITY[dark]
    rows = [
        zip(pieces, values, strict=True) for pieces, values in zip(guesses, chances, strict=True)
    ]
    figure = Figure()
    figure.add_heatmap(
        x=list(range(1, len(guesses[0]) + 1)),
        y=list(depths),
        z=chances,
        zmin=0,
        zmax=1,
        text=[[f"{visible(piece, 9)} {chance:.0%}" for piece, chance in row] for row in rows],
        texttemplate="%{text}",
        textfont={"size": 10 if len(guesses) < 50 else 8, "color": ink},
        customdata=[
            [f"{_depth(result, depth)}<br>“{visible(piece)}”" for piece in guesses[depth]]
            for depth in depths
        ],
        hovertemplate="%{customdata}, guess %{x}<br>probability %{z:.4f}<extra></extra>",
        colorscale=[[0, impossible], [1, certain]],
        xgap=1,
        ygap=1,
        name="guesses",
        colorbar=colour_bar("probability of the guess", **_ABOVE),
    )
    final = result.guesses[-1][position][0]
    settled = result.settled[position]
    for depth in depths:
        if final in result.guesses[depth][position]:
            rank = result.guesses[depth][position].index(final) + 1
            _frame(
                figure,
                (rank - 0.48, rank + 0.48),
                (depth - 0.46, depth + 0.46),
                palette(dark).marker,
                1.4,
            )
    figure.add_hline(
        y=settled - 0.5,
        line={"color": palette(dark).marker, "width": 2, "dash": "dot"},
        name="settled",
    )
    ranks = ["most likely", "2nd", "3rd", "4th", "5th"][: len(guesses[0])]
    x = {
        "tickvals": list(range(1, len(ranks) + 1)),
        "ticktext": ranks,
        "showgrid": False,
        "range": [0.5, len(ranks) + 0.5],
    }
    y = {"title": "after layer", **_rows(["embedding", *(str(layer) for layer in result.layers)])}
    return finish(figure, map_height(len(result.layers)), x=x, y=y, margin=_margin(result))


def _moved(result: MicroscopeResult, row: int, token: int) -> str:
    position = f"token {token + 1} “{visible(result.pieces[token])}”, layer {result.layers[row]}"
    depth = row + 1
    guess = (
        f"then predicts “{visible(result.guess(depth, token))}” at"
        f" {result.probabilities[depth][token][0]:.1%}"
    )
    return f"{position}<br>distance {result.distances[row][token]:.4f}<br>{guess}"


def _depth(result: MicroscopeResult, depth: int) -> str:
    return f"after layer {result.layers[depth - 1]}" if depth else "embeddings, before any layer"


def _rows(labels: Sequence[str]) -> dict[str, Any]:
    """Return an axis with one row per label, each named if there is space."""
    step = 1 if len(labels) <= 42 else 4
    return {
        "tickvals": list(range(0, len(labels), step)),
        "ticktext": list(labels[::step]),
        "range": [-0.6, len(labels) - 0.4],
        "showgrid": False,
        "tickfont": {"size": 10},
    }


def _runs(layers: Sequence[int], block: Removal | None) -> list[tuple[int, int]]:
    """Return the first and last row of every contiguous run of removed layers."""
    rows = [row for row, layer in enumerate(layers) if block is not None and layer in block.layers]
    runs: list[tuple[int, int]] = []
    for row in rows:
        runs = (
            [*runs[:-1], (runs[-1][0], row)]
            if runs and row == runs[-1][1] + 1
            else [*runs, (row, row)]
        )
    return runs


def _frame(
    figure: Figure, x: tuple[float, float], y: tuple[float, float], shade: str, width: float
) -> None:
    figure.add_shape(
        type="rect",
        x0=x[0],
        x1=x[1],
        y0=y[0],
        y1=y[1],
        line={"color": shade, "width": width},
        layer="above",
    )


def _margin(result: MicroscopeResult) -> dict[str, int]:
    """Return the margins of the map and the lens, which align their rows."""
    return {"t": 52, "b": 78 if _is_turned(result) else 34}


def _is_turned(result: MicroscopeResult) -> bool:
    """Return whether the names of tokens are rotated to fit below the map."""
    return len(result.pieces) > 9
