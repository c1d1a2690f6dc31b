"""The selection on charts: a click takes a block, a drag across a curve the range of n, and the selected block is marked.

The mark is one symbol in one colour, at the block's own measured value or nowhere. A changed figure makes the browser replace
the chart, which takes most of a third of a second for the charts of one view. The marks are therefore no part of the figures.
They are drawn over them, and follow the slider and the strip of layers while these are dragged. A triangle on the axis stands
at the slider's number of layers and crosses no curve.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import streamlit as st
from plotly.graph_objs import Figure

from analysis.charts.curves import UNPRUNED
from analysis.charts.look import SELECTED, palette
from analysis.charts.selected import RATES
from analysis.core import blocks
from analysis.core.blocks import Removal, parse_removal
from analysis.core.errors import BlockRangeError
from analysis.experiments.speed.speed_spec import SpeedResult
from analysis.results.compared import scores_of_block as scores_of
from analysis.results.compared.front import SIZE, Front
from analysis.results.compared.generations import Generations
from analysis.results.stored.reading import ACCURACY, LOSS, Condition
from analysis.results.stored.result import FoundResult
from pages.components.shared import address, chart, cuts, selection, state
from pages.components.shared.cuts import ChosenStrategy, Cut
from pages.components.shared.selection import Shown

VIEW = "view"
"""Key of the fragment that shows the selection: a click redraws all of it, at any place of the chart."""
_LAST = "last-click"


def chart_of_blocks(
    figure: Figure, *, key: str, alt: str, file_name: str, n_layers: int, chosen: Callable[[int], Removal | None]
) -> None:
    """Draw a chart whose blocks, or points of cuts, can be clicked.

    A browser remembers the selection on a chart, and takes a chart that looks as it did before for the same one. It would keep
    silent when the same block is clicked again. It would also click it again by itself when the slider comes back. Each click
    therefore ends the chart, a new one takes its place, and only a chart drawn since is heard.

    Args:
        figure: a chart whose points carry, first or alone, removed layers in text form, or `UNPRUNED`.
        key, alt, file_name: as in `chart.show`.
        n_layers: layers of the model.
        chosen: the strategy's own block of a size, which is no choice by hand.
    """
    counted = _counted(key)
    count = st.session_state.setdefault(counted, 0)
    name = name_now(key)

    def clicked() -> None:
        said = _said(st.session_state.get(name))
        removed = _cut(said)
        is_cut = said == UNPRUNED or (removed is not None and removed.size < n_layers)
        if count != st.session_state[counted] or not is_cut:
            return
        st.session_state[counted] += 1
        st.session_state[_LAST] = (key, removed)
        if removed is None:
            state.choose_n(0)
        else:
            cuts.take_or_say(removed, chosen(removed.size), n_layers)
        st.rerun(VIEW)

    chart.show(figure, key=name, alt=alt, file_name=file_name, on_select=clicked)


def name_now(key: str) -> str:
    """The key that the chart of this name is drawn under until the next click."""
    count = st.session_state.get(_counted(key), 0)
    return f"{key}-{count}" if count else key


def is_last(removed: Removal, *keys: str) -> bool:
    """Return True where the last click was on these removed layers, on a chart of one of these names."""
    key, clicked = st.session_state.get(_LAST, ("", None))
    return key in keys and clicked == removed


def _counted(key: str) -> str:
    return f"clicks-{key}"


def _said(selection) -> str:
    """Return the data of the clicked point, which arrives as it is or as the first entry of a list; "" without a click."""
    points = selection["selection"]["points"] if selection else []
    value = points[0].get("customdata") if points else ""
    return str(value[0] if isinstance(value, list) and value else value)


def _cut(said: str) -> Removal | None:
    try:
        return parse_removal(said)
    except BlockRangeError:
        return None


_BRUSH = "brush"
_HANDLES = "sizes-handles"
_brush = st.components.v2.component("layerscope_brush", js=Path(__file__).with_name("brush.js").read_text())


def listen(charts: Sequence[str], n_layers: int) -> None:
    """Let a range be dragged across curves; takes no place of its own.

    Args:
        charts: their keys.
        n_layers: layers of the model.
    """

    def heard() -> None:
        state.choose_sizes(address.read_sizes(str(st.session_state[_BRUSH].get("range"))))

    told = {"charts": list(charts), "last": n_layers - 1, "look": palette(chart.is_dark()).pruned}
    _brush(key=_BRUSH, data=told, on_range_change=heard)


def handles(n_layers: int) -> None:
    """Draw the slider whose two handles set the range, by pointer or keys."""
    kept = state.sizes(n_layers) or range(n_layers)
    with state.showing(_HANDLES, (kept[0], kept[-1])):
        st.slider(
            "Removed layers shown, n",
            0,
            n_layers - 1,
            key=_HANDLES,
            on_change=_set,
            args=(n_layers,),
            help="Charts and tables show only this range of n. You can also drag across a curve.",
        )


def _set(n_layers: int) -> None:
    first, last = st.session_state[_HANDLES]
    if first < last:  # else the handles spring back: there is no curve of one number
        _choose(None if (first, last) == (0, n_layers - 1) else range(first, last + 1))


def way_back(n_layers: int) -> None:
    """Name the selected range, where there is one, with a button back to all n."""
    asked, kept = state.sizes(), state.sizes(n_layers)
    if asked is None:
        return
    said = f"n = {asked[0]} to {asked[-1]}"
    if kept is None:
        st.caption(f"{said} does not fit a model of {n_layers} layers, so all n are shown.", width="content")
    n = min(state.chosen_n(), n_layers - 1)
    outside = f" The selected n = {n} is not among them." if kept and n not in kept else ""
    st.button(
        f"Only {said}",
        key="all-sizes",
        icon=":material/close:",
        type="tertiary",
        on_click=_choose,
        args=(None,),
        help=f"Charts and tables show only these numbers of removed layers.{outside} Click to show all.",
    )


def _choose(sizes: range | None) -> None:
    state.choose_sizes(sizes)
    st.rerun(VIEW)


_marker = st.components.v2.component("layerscope_cut_marks", js=Path(__file__).with_name("cut_marks.js").read_text())


@dataclass(frozen=True)
class Mark:
    """Places of blocks on one chart."""

    points: Mapping[str, Sequence[tuple[float, float]]] | None = None
    """Places of the measured values, by block in text form; None where the chart's own cells name their blocks."""
    guide: bool = False
    """Whether the horizontal axis is the number of removed layers."""


CELLS = Mark()
"""Marks of maps of blocks and their lines."""


def at_values(values: Mapping[Removal | None, Sequence[float]]) -> Mark:
    """The mark of a chart against removed layers.

    Args:
        values: by block, its measured values in the condition of the chart.
    """
    return Mark({_key(removed): [(_n(removed), value) for value in own] for removed, own in values.items()}, guide=True)


def at_places(places: Mapping[Removal | None, Sequence[tuple[float, float]]]) -> Mark:
    """The mark of a chart with other axes.

    Args:
        places: by block, where its measured values are.
    """
    return Mark({_key(removed): list(own) for removed, own in places.items()})


def _key(removed: Removal | None) -> str:
    return blocks.written(removed) if removed else ""


def _n(removed: Removal | None) -> int:
    return removed.size if removed else 0


def mark(marks: Mapping[str, Mark], cut: Cut, strategy: ChosenStrategy) -> None:
    """Mark the selected block on charts, now and whenever they are drawn again; takes no space of its own.

    Args:
        marks: by key of the chart.
        cut: the selected block.
        strategy: whose blocks are selected while the slider is dragged.
    """
    dark, scale = chart.is_dark(), chart.LARGER if state.presenting() else 1.0
    colours = palette(dark)
    paper = "#13181d" if dark else "#ffffff"
    told: dict[str, Any] = {
        "marks": {key: {"points": mark.points, "guide": mark.guide} for key, mark in marks.items()},
        "look": {
            "line": colours.marker,
            "quiet": colours.unpruned,
            "paper": paper,
            "outer": "#ffffff",
            "inner": SELECTED,
            "scale": scale,
        },
        "slider": cuts.SLIDER,
        "n": cut.n,
        "cut": _key(cut.removed),
        "blocks": [(run.start, run.size) for run in cut.removed.blocks] if cut.removed else [],
        "path": path(strategy),
    }
    _marker(key="cut-marks", data=told)


def path(strategy: ChosenStrategy) -> dict[int, str]:
    """Return the strategy's own block in text form by number of layers; numbers whose block is not known are left out."""
    chosen = {n: strategy.cut(n).removed for n in range(1, strategy.distances.n_layers)}
    return {n: blocks.written(removed) for n, removed in chosen.items() if removed is not None}


def of_curves(shown: Shown) -> dict[str, Mark]:
    """Marks of the charts of accuracy and loss, by quantity: every block that is scored under the selected condition.

    Args:
        shown: the selection; without a curve on screen there are no charts.
    """
    if shown.sweep is None:
        return {}
    every, wanted = shown.evidence.scores, shown.selected.selection
    return _of_curves(selection.versions(every), wanted.questions, wanted.texts, every)


@st.cache_resource(max_entries=32, show_spinner=False)
def _of_curves(
    versions: str, questions: Condition | None, texts: Condition | None, _every: Sequence[FoundResult]
) -> dict[str, Mark]:
    results = [entry.result for entry in _every]
    found = {}
    for quantity, condition in ((ACCURACY, questions), (LOSS, texts)):
        scores = scores_of.by_block(results, quantity, condition) if condition else {}
        found[quantity] = at_values({removed: [one.value] for removed, one in scores.items()})
    return found


def of_generations(found: Generations) -> Mark:
    """The mark of the chart of generation: repetition, distinct tokens and right answers of each block."""
    values = {
        removed: [value for name in RATES if (value := getattr(each.point, name)) is not None]
        for removed, each in found.by_block.items()
    }
    return at_values(values)


def of_speed(speed: SpeedResult, field: str) -> Mark:
    """Return the mark of the chart of speed, in milliseconds: of separately timed blocks.

    Args:
        speed: the measurement.
        field: "decode" or "prefill".
    """
    return at_values({point.block: [1e3 * getattr(point, field).median_s] for point in speed.of_layers})


def of_front(front: Front, by: str, shown: Condition) -> Mark:
    """The mark of the trade-off: the selected block, healed or not, at its own scores in the selected precision.

    Args:
        front: the models on the chart.
        by: `front.SIZE` or `front.SPEED`.
        shown: the selected condition.
    """
    places: dict[Removal | None, list[tuple[float, float]]] = {}
    for candidate in front.candidates:
        across = candidate.memory / 1e6 if by == SIZE else candidate.times
        if not candidate.is_other and candidate.condition.precision == shown.precision and across is not None:
            places.setdefault(candidate.cut, []).append((across, candidate.readings[front.quantity].value))
    return at_places(places)
