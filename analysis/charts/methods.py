"""Chart of a table of methods: a panel for each number of removed layers, a row for each method,
with its interval.
"""

from collections.abc import Sequence

from plotly.graph_objs import Figure
from plotly.subplots import make_subplots

from analysis.charts.look import (
    Palette,
    bars,
    finish,
    known_ends,
    palette,
    rows,
    style_of,
    with_interval,
)
from analysis.experiments.batch.methods_spec import Ends, MethodsResult, method_name

NATS = "nats"
ACCURACY = "accuracy"
_TITLES = {NATS: "loss minus unpruned, nats/token", ACCURACY: "accuracy minus unpruned"}
_SIDES = 4
"""Panels in a row."""
_ROW = 22
"""Height of the row of a method, pixels."""


def figure(result: MethodsResult, quantity: str = NATS, *, dark: bool = False) -> Figure:
    """Draw every method at every size, each paired with the unpruned model.

    A coloured point differs significantly from the unpruned model, a grey hollow one does not. A
    ring marks the lowest loss of a size if it is significantly below that of every other method.

    Args:
        result: the table, which may be unfinished.
        quantity: `NATS` or `ACCURACY`.
        dark: whether the background is dark.
    """
    sizes = list(result.spec.ns)
    colours = palette(dark)
    methods = [method_name(*method) for method in result.methods]
    columns = min(_SIDES, len(sizes))
    down = -(-len(sizes) // columns)
    subplots = make_subplots(
        down,
        columns,
        subplot_titles=[f"n={n}" for n in sizes],
        shared_yaxes="all",
        horizontal_spacing=0.025,
        vertical_spacing=0.3 / down,
    )
    find = result.nats if quantity == NATS else result.gained
    cells_by_n = {
        n: [(index, ends) for index in result.at(n) if (ends := find(index)) is not None]
        for n in sizes
    }
    for index, n in enumerate(sizes):
        position = {"row": index // columns + 1, "col": index % columns + 1}
        subplots.add_vline(
            0, line={"color": colours.unpruned, "width": 1, "dash": "dot"}, **position
        )
        _add(subplots, result, n, quantity, cells_by_n[n], colours, dark, position)
    # Space for the longest name, as wide as its letters.
    margin = {"l": 14 + 7 * max(map(len, methods)), "t": 34, "b": 44}
    finish(
        subplots,
        80 + down * (40 + _ROW * len(methods)),
        x={},
        y={},
        margin=margin,
        showlegend=False,
    )
    subplots.update_yaxes(gridcolor=colours.grid, title=None, **rows(methods))
    # One scale for all sizes, from the unpruned model on: equal lengths are equal values.
    all_ends = [
        end for cells in cells_by_n.values() for _, ends in cells for end in ends if end is not None
    ]
    low = min([0.0, *all_ends])
    high = max([0.0, *all_ends])
    padding = 0.05 * (high - low) or 1.0
    subplots.update_xaxes(
        gridcolor=colours.grid,
        zeroline=False,
        nticks=3,
        range=[low - padding, high + padding],
        tickformat=".0%" if quantity == ACCURACY else "",
    )
    subplots.update_xaxes(title={"text": _TITLES[quantity], "standoff": 6}, row=down, col=1)
    return subplots.update_annotations(font_size=12)


def _add(
    subplots: Figure,
    result: MethodsResult,
    n: int,
    quantity: str,
    cells: Sequence[tuple[int, Ends]],
    colours: Palette,
    dark: bool,
    position: dict[str, int],
) -> None:
    """Draw the measured cells of a size, each by its place in the table and its difference with the
    interval's ends.
    """
    best = result.best(n) if quantity == NATS else []
    values = [ends[0] for _, ends in cells]
    shades = [
        (
            style_of(result.cells[index].strategy).shade(dark=dark)
            if _is_significant(ends)
            else colours.unpruned
        )
        for index, ends in cells
    ]
    symbols = [
        style_of(result.cells[index].strategy).symbol + ("" if _is_significant(ends) else "-open")
        for index, ends in cells
    ]
    names = [result.cells[index].method for index, _ in cells]
    subplots.add_scatter(
        x=values,
        y=names,
        error_x={
            **bars(values, [known_ends(*ends[1:]) for _, ends in cells], width=3),
            "color": colours.unpruned,
            "thickness": 1.2,
        },
        mode="markers",
        name=f"n = {n}",
        cliponaxis=False,
        marker={
            "color": shades,
            "size": 9,
            "symbol": symbols,
            "line": {"width": 1.3, "color": shades},
        },
        text=[
            _read_out(result, index, ends, quantity, is_best=index in best) for index, ends in cells
        ],
        hovertemplate="%{text}<extra></extra>",
        **position,
    )
    ringed = [(ends[0], result.cells[index].method) for index, ends in cells if index in best]
    if ringed:
        subplots.add_scatter(
            x=[value for value, _ in ringed],
            y=[name for _, name in ringed],
            mode="markers",
            hoverinfo="skip",
            name=f"lowest loss at n = {n}",
            cliponaxis=False,
            marker={
                "symbol": "circle-open",
                "size": 18,
                "color": colours.healed,
                "line": {"width": 2},
            },
            **position,
        )


def _is_significant(ends: Ends) -> bool:
    """Return whether a difference is significant."""
    return ends[1] is not None and ends[2] is not None and (ends[1] > 0 or ends[2] < 0)


def _read_out(
    result: MethodsResult, index: int, ends: Ends, quantity: str, *, is_best: bool
) -> str:
    cell = result.cells[index]
    number = with_interval(ends[0], known_ends(*ends[1:]), "+.3f" if quantity == NATS else "+.1%")
    text = f"<b>{cell.method}</b>, without {cell.removed}<br>{_TITLES[quantity]}: {number}"
    if is_best:
        text += "<br>lowest loss, significantly below every other method"
    return (
        text
        if _is_significant(ends)
        else f"{text}<br>not significantly different from the unpruned model"
    )
