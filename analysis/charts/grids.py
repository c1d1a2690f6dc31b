"""The curves of a grid side by side: a panel for each model and material, a line for each way of choosing layers."""

from collections.abc import Sequence
from math import log10
from typing import Any

from plotly.graph_objs import Figure
from plotly.subplots import make_subplots

from analysis.charts.curves import GUIDE, LOSS_TICKS, dodge, n_axis
from analysis.charts.look import Palette, bars, finish, known_ends, palette, style_of, translucent, with_interval
from analysis.experiments.batch.grid_cells import CutScores, GridCell, PairedChange
from analysis.experiments.batch.grid_spec import GridResult

ACCURACY, LOSS = "accuracy", "loss"
_SIDES = 2
"""Panels beside each other in one chart: three are too narrow to read on paper."""
_HEIGHT = 230
_LEAST_LOSS = 1e-3
"""Nats: where an axis of losses ends that reach further down than it can show."""
_MOST_PANELS = 24
"""Panels of one chart; a larger grid is read by its tables, and panel by panel."""


def panels(result: GridResult, quantity: str) -> dict[str, list[GridCell]]:
    """The finished curves that share a panel, by its title: one model on one question set or text.

    Args:
        result: the grid.
        quantity: `ACCURACY` or `LOSS`.
    """
    cells_by_panel: dict[str, dict[tuple[str, str], GridCell]] = {}
    for cell in result.cells:
        on = cell.questions if quantity == ACCURACY else cell.texts
        if cell.cuts and on:
            # With each text the same questions were asked, and with each question set the same texts read: one line of each.
            cells_by_panel.setdefault(f"{cell.model}, {cell.precision}: {on}", {}).setdefault(
                (cell.strategy, cell.map_texts), cell
            )
    return {title: list(lines.values()) for title, lines in cells_by_panel.items()}


def _last(result: GridResult) -> int:
    return max((cut.n for cell in result.cells for cut in cell.cuts), default=1)


def _scale(result: GridResult, quantity: str) -> dict[str, Any]:
    """Return a vertical axis that holds every interval of the grid; it is logarithmic for losses, which some blocks ruin."""
    cuts = [cut for cell in result.cells for cut in cell.cuts if _value(cut, quantity) is not None]
    ends = [end for cut in cuts for end in (_interval(cut, quantity) or (_value(cut, quantity) or 0.0,))]
    ends += [cell.chance for cell in result.cells if cell.chance is not None and quantity == ACCURACY]
    if quantity == LOSS:
        ends = [log10(max(end, _LEAST_LOSS)) for end in ends]
    margin = 0.05 * (max(ends) - min(ends)) or 0.1
    span = [min(ends) - margin, max(ends) + margin]
    if quantity == ACCURACY:
        return {"title": "accuracy", "tickformat": ".0%", "range": span}
    return {"title": "loss, nats (log scale)", "type": "log", "tickvals": LOSS_TICKS, "range": span}


def figure(result: GridResult, quantity: str = ACCURACY, *, dark: bool = False) -> Figure:
    """Draw all panels in one chart on shared scales, up to the largest readable number.

    Args:
        result: the grid.
        quantity: `ACCURACY` or `LOSS`.
        dark: whether the background is dark.
    """
    shown = dict(list(panels(result, quantity).items())[:_MOST_PANELS])
    if not shown:
        return finish(Figure(), _HEIGHT, x={}, y={})
    columns, colours = min(_SIDES, len(shown)), palette(dark)
    rows = -(-len(shown) // columns)
    height = 90 + _HEIGHT * rows
    subplots = make_subplots(
        rows,
        columns,
        subplot_titles=list(shown),
        shared_xaxes="all",
        shared_yaxes="all",
        horizontal_spacing=0.06,
        vertical_spacing=60 / height,
    )
    shown_names: set[str] = set()
    for index, cells in enumerate(shown.values()):
        position = {"row": index // columns + 1, "col": index % columns + 1}
        _add(subplots, cells, quantity, colours, dark, position, shown_names)
    scale = _scale(result, quantity)
    finish(subplots, height, x={}, y={}, margin={"t": 64}, legend={"y": 1 + 34 / height})
    subplots.update_xaxes(**{**n_axis(_last(result), colours), "title": None}, zeroline=False)
    subplots.update_yaxes(gridcolor=colours.grid, zeroline=False, **{**scale, "title": None})
    subplots.update_yaxes(title=scale["title"], col=1)
    subplots.update_xaxes(title="removed layers n", row=rows)
    return subplots.update_annotations(font_size=12)


def _add(
    figure: Figure,
    cells: Sequence[GridCell],
    quantity: str,
    colours: Palette,
    dark: bool,
    position: dict[str, int],
    shown_names: set[str],
) -> None:
    """Draw the lines of a panel; names that other panels added to the legend are not repeated."""
    several_maps = len({cell.map_texts for cell in cells if cell.map_texts}) > 1
    for index, cell in enumerate(cells):
        rule = cell.strategy.partition(",")[0]
        name = f"{cell.strategy}, {cell.map_texts}" if several_maps and cell.map_texts else cell.strategy
        style, shade = style_of(rule), style_of(rule).shade(dark=dark)
        cuts = [cut for cut in cell.cuts if _value(cut, quantity) is not None]
        changes = [_change(cut, quantity) for cut in cuts]
        is_apart = [change is not None and change.is_significant for change in changes]
        colour = [shade if is_significant else colours.unpruned for is_significant in is_apart]
        values, aside = [_value(cut, quantity) or 0.0 for cut in cuts], dodge(index, len(cells)) if len(cells) > 1 else 0.0
        figure.add_scatter(
            x=[cut.n + (aside if cut.n else 0) for cut in cuts],
            y=values,
            error_y={
                **bars(values, [_interval(cut, quantity) if cut.n or not index else None for cut in cuts], width=0),
                "color": translucent(colours.unpruned, GUIDE),
            },
            mode="lines+markers",
            name=name,
            legendgroup=name,
            showlegend=name not in shown_names,
            line={"color": translucent(shade, GUIDE), "width": 1.2, "dash": style.dash},
            marker={
                "color": colour,
                "size": 6,
                "symbol": [style.symbol if is_significant else f"{style.symbol}-open" for is_significant in is_apart],
                "line": {"width": 1.3, "color": colour},
            },
            text=[_read_out(name, cut, quantity) for cut in cuts],
            hovertemplate="%{text}<extra></extra>",
            **position,
        )
        shown_names.add(name)
    chance = {cell.chance for cell in cells if cell.chance is not None}
    if quantity == ACCURACY and len(chance) == 1:
        last = max((cut.n for cell in cells for cut in cell.cuts), default=1)
        level = chance.pop()
        figure.add_scatter(
            x=[0, last],
            y=[level, level],
            mode="lines",
            name="chance",
            legendgroup="chance",
            showlegend="chance" not in shown_names,
            line={"color": colours.chance, "width": 1.5, "dash": "dot"},
            hovertemplate="chance %{y:.1%}<extra></extra>",
            **position,
        )
        shown_names.add("chance")


def _value(cut: CutScores, quantity: str) -> float | None:
    return cut.acc if quantity == ACCURACY else cut.loss


def _change(cut: CutScores, quantity: str) -> PairedChange | None:
    return cut.acc_change if quantity == ACCURACY else cut.loss_change


def _interval(cut: CutScores, quantity: str) -> tuple[float, float] | None:
    return known_ends(*((cut.acc_low, cut.acc_high) if quantity == ACCURACY else (cut.loss_low, cut.loss_high)))


def _read_out(name: str, cut: CutScores, quantity: str) -> str:
    """Return the hover text of a point."""
    digits, signed = (".1%", "+.1%") if quantity == ACCURACY else (".3f", "+.3f")
    number = with_interval(_value(cut, quantity) or 0.0, _interval(cut, quantity), digits)
    text = f"<b>{name}</b>, without {cut.removed}<br>{quantity} {number}"
    change = _change(cut, quantity)
    if change is None:
        return text
    change_text = with_interval(change.difference, known_ends(change.low, change.high), signed)
    return f"{text}<br>change {change_text}{'' if change.is_significant else ': not significantly different'}"
