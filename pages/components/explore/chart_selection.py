"""The selection on charts: a click takes a block, and the selected block is marked.

The mark is one symbol in one colour, at the block's own measured value or nowhere. A changed figure
makes the browser replace the chart, which takes most of a third of a second for the charts of one
view. The marks are therefore no part of the figures. They are drawn over them, and follow the
slider and the strip of layers while these are dragged. A triangle on the axis stands at the
slider's number of layers and crosses no curve.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import streamlit as st
from plotly.graph_objs import Figure

from analysis.charts.curves import UNPRUNED
from analysis.charts.look import SELECTED, palette
from analysis.core import blocks
from analysis.core.blocks import Removal, parse_removal
from analysis.core.errors import BlockRangeError
from analysis.results.compared import scores_of_block as scores_of
from analysis.results.compared.front import SIZE, Front
from analysis.results.score.condition import Condition
from analysis.results.score.score import ACCURACY, LOSS, Score
from analysis.results.stored.result import FoundResult
from pages.components.shared import chart, cuts, selection, state
from pages.components.shared.cuts import ChosenStrategy, Cut
from pages.components.shared.selection import Shown

VIEW = "view"
"""Key of the fragment that shows the selection: a click redraws all of it, at any place of the
chart."""


def chart_of_blocks(
    figure: Figure,
    *,
    key: str,
    alt: str,
    file_name: str,
    n_layers: int,
    chosen: Callable[[int], Removal | None],
) -> None:
    """Draw a chart whose blocks, or points of cuts, can be clicked.

    A browser remembers the selection on a chart, and takes a chart that looks as it did before for
    the same one. It would keep silent when the same block is clicked again. It would also click it
    again by itself when the slider comes back. Each click therefore ends the chart, a new one takes
    its place, and only a chart drawn since is heard.

    Args:
        figure: a chart whose points carry, first or alone, removed layers in text form, or
            `UNPRUNED`.
        key, alt, file_name: as in `chart.show`.
        n_layers: layers of the model.
        chosen: the strategy's own block of a size, which is no choice by hand.
    """
    counted = _counted(key)
    count = st.session_state.setdefault(counted, 0)
    name = name_now(key)

    def clicked() -> None:
        clicked_block = _said(st.session_state.get(name))
        removed = _cut(clicked_block)
        is_cut = clicked_block == UNPRUNED or (removed is not None and removed.size < n_layers)
        if count != st.session_state[counted] or not is_cut:
            return
        st.session_state[counted] += 1
        if removed is None:
            state.choose_n(0)
        else:
            cuts.take_or_say(removed, chosen(removed.size), n_layers)
        st.rerun(VIEW)

    chart.show(figure, key=name, alt=alt, file_name=file_name, on_select=clicked)


def name_now(key: str) -> str:
    """Return the widget key of a chart until its next click."""
    count = st.session_state.get(_counted(key), 0)
    return f"{key}-{count}" if count else key


def _counted(key: str) -> str:
    return f"clicks-{key}"


def _said(selection: Mapping[str, Any] | None) -> str:
    """Return the data of the clicked point, which arrives as it is or as the first entry of a list;
    "" without a click.
    """
    points = selection["selection"]["points"] if selection else []
    value = points[0].get("customdata") if points else ""
    return str(value[0] if isinstance(value, list) and value else value)


def _cut(text: str) -> Removal | None:
    try:
        return parse_removal(text)
    except BlockRangeError:
        return None


_marker = st.components.v2.component(
    "layerscope_cut_marks", js=Path(__file__).with_name("cut_marks.js").read_text()
)


@dataclass(frozen=True)
class Mark:
    """Places of blocks on one chart."""

    points: Mapping[str, Sequence[tuple[float, float]]] | None = None
    """Places of the measured values, by block in text form; None if the chart's own cells name
    their blocks."""
    guide: bool = False
    """Whether the horizontal axis is the number of removed layers."""


CELLS = Mark()
"""Marks of maps of blocks and their lines."""


def at_places(
    places: Mapping[Removal | None, Sequence[tuple[float, float]]], guide: bool = False
) -> Mark:
    """Return the mark on a chart, from its measured points by block."""
    return Mark({_key(removed): list(points) for removed, points in places.items()}, guide)


def _key(removed: Removal | None) -> str:
    return blocks.written(removed) if removed else ""


def _n(removed: Removal | None) -> int:
    return removed.size if removed else 0


def mark(marks: Mapping[str, Mark], cut: Cut, strategy: ChosenStrategy, note: str = "") -> None:
    """Mark the selected block on charts, now and whenever they are drawn again; takes no space of
    its own.

    Args:
        marks: by key of the chart.
        cut: the selected block.
        strategy: whose blocks are selected while the slider is dragged.
        note: written beside the mark on a map of blocks.
    """
    dark = chart.is_dark()
    scale = chart.PRESENTER_SCALE if state.presenting() else 1.0
    colours = palette(dark)
    paper = "#13181d" if dark else "#ffffff"
    data: dict[str, Any] = {
        "marks": {key: {"points": mark.points, "guide": mark.guide} for key, mark in marks.items()},
        "look": {
            "line": colours.marker,
            "quiet": colours.unpruned,
            "paper": paper,
            "outer": "#ffffff",
            "inner": SELECTED,
            "scale": scale,
            "note": note,
        },
        "slider": cuts.SLIDER,
        "n": cut.n,
        "cut": _key(cut.removed),
        "blocks": [(run.start, run.size) for run in cut.removed.blocks] if cut.removed else [],
        "path": path(strategy),
    }
    _marker(key="cut-marks", data=data)


def path(strategy: ChosenStrategy) -> dict[int, str]:
    """Return the strategy's own block in text form by number of layers; numbers whose block is not
    known are left out.
    """
    chosen = {n: strategy.cut(n).removed for n in range(1, strategy.distances.n_layers)}
    return {n: blocks.written(removed) for n, removed in chosen.items() if removed is not None}


def of_curves(view: Shown) -> dict[str, Mark]:
    """Return the marks on the charts of accuracy and loss, by quantity; empty without a curve on
    screen.
    """
    if view.sweep is None:
        return {}
    return {
        quantity: at_places(
            {removed: [(_n(removed), score.value)] for removed, score in by_block.items()},
            guide=True,
        )
        for quantity, by_block in scores(view).items()
    }


def scores(view: Shown) -> dict[str, dict[Removal | None, Score]]:
    """Return by quantity the score of every block, None for the unpruned model, under the selected
    condition.
    """
    every = view.scores
    wanted = view.selected
    return _scores(
        selection.versions(every), wanted.accuracy.condition, wanted.loss.condition, every
    )


@st.cache_resource(max_entries=32, show_spinner=False)
def _scores(
    versions: str,
    questions: Condition | None,
    texts: Condition | None,
    _every: Sequence[FoundResult],
) -> dict[str, dict[Removal | None, Score]]:
    results = [entry.result for entry in _every]
    conditions = ((ACCURACY, questions), (LOSS, texts))
    return {
        quantity: scores_of.by_block(results, quantity, condition) if condition else {}
        for quantity, condition in conditions
    }


def of_front(front: Front, by: str, condition: Condition) -> Mark:
    """Return the mark on the trade-off: the selected block, healed or not, at its scores in the
    selected precision.

    Args:
        front: the models on the chart.
        by: `front.SIZE` or `front.SPEED`.
        condition: the selected condition.
    """
    places: dict[Removal | None, list[tuple[float, float]]] = {}
    for candidate in front.candidates:
        across = candidate.memory / 1e6 if by == SIZE else candidate.times
        if (
            not candidate.is_other
            and candidate.condition.precision == condition.precision
            and across is not None
        ):
            places.setdefault(candidate.cut, []).append(
                (across, candidate.scores[front.quantity].value)
            )
    return at_places(places)
