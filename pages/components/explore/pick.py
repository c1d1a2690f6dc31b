"""A click on a chart of blocks selects the clicked one."""

from collections.abc import Callable

import streamlit as st
from plotly.graph_objs import Figure

from analysis.charts.curves import UNPRUNED
from analysis.core.blocks import Removal, parse_removal
from analysis.core.errors import BlockRangeError
from pages.components.shared import chart, cuts, state

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
