"""A click on a chart of blocks makes the clicked block the current cut."""

from collections.abc import Callable

import streamlit as st
from plotly.graph_objs import Figure

from analysis.core.blocks import Block, Removal, parse_removal
from analysis.core.errors import BlockRangeError
from pages.components.shared import chart, cuts, words

VIEW = "view"
"""Key of the fragment that shows the current cut: a click redraws all of it, wherever the chart stands."""
_COUNT = "clicks"


def chart_of_blocks(
    figure: Figure, *, key: str, alt: str, file_name: str, n_layers: int, chosen: Callable[[int], Block | None]
) -> None:
    """Draw a chart whose blocks can be clicked.

    A browser remembers what was selected on a chart, and a chart that looks as it did before is the same one to it: it would
    keep silent when the same block is clicked again, and would click it again by itself when the slider comes back. Each
    click therefore ends the charts there are, new ones take their place, and only a chart drawn since is heard.

    Args:
        figure: a chart with `cells`.
        key, alt, file_name: as in `chart.show`.
        n_layers: layers of the model.
        chosen: the strategy's own block of a size, which is no choice by hand.
    """
    count = st.session_state.setdefault(_COUNT, 0)
    name = name_now(key)

    def clicked() -> None:
        block = _block(st.session_state.get(name))
        if count != st.session_state[_COUNT] or block is None or block.size >= n_layers:
            return
        st.session_state[_COUNT] += 1
        try:
            cuts.take(block, chosen(block.size), n_layers)
        except BlockRangeError as error:
            st.toast(words.plain(str(error)), icon=":material/lock:")
        st.rerun(VIEW)

    chart.show(figure, key=name, alt=alt, file_name=file_name, on_select=clicked)


def name_now(key: str) -> str:
    """The key that the chart of this name is drawn under until the next click."""
    count = st.session_state.get(_COUNT, 0)
    return f"{key}-{count}" if count else key


def _block(selection) -> Removal | None:
    """The cut of the clicked point; None where nothing was clicked, or nothing that is a cut."""
    points = selection["selection"]["points"] if selection else []
    try:
        return parse_removal(_text(points[0].get("customdata"))) if points else None
    except BlockRangeError:
        return None


def _text(value) -> str:
    """What a point carries, which arrives as it is or as the only entry of a list."""
    return str(value[0] if isinstance(value, list) and value else value)
