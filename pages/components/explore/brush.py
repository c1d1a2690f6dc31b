"""The range of n that charts and tables keep to: dragged across a curve, or set by two handles."""

from collections.abc import Sequence
from pathlib import Path

import streamlit as st

from analysis.charts.look import palette
from pages.components.explore import pick
from pages.components.shared import address, state, theme

_KEY = "brush"
_HANDLES = "sizes-handles"
_brush = st.components.v2.component("layerscope_brush", js=Path(__file__).with_suffix(".js").read_text())


def listen(charts: Sequence[str], n_layers: int) -> None:
    """Let a range be dragged across curves; takes no place of its own.

    Args:
        charts: their keys.
        n_layers: layers of the model.
    """

    def heard() -> None:
        state.choose_sizes(address.read_sizes(str(st.session_state[_KEY].get("range"))))

    told = {"charts": list(charts), "last": n_layers - 1, "look": palette(theme.is_dark()).pruned}
    _brush(key=_KEY, data=told, on_range_change=heard)


def handles(n_layers: int) -> None:
    """Draw the slider whose two handles set the range, by pointer or keys."""
    kept = state.sizes(n_layers) or range(n_layers)
    with state.showing(_HANDLES, (kept[0], kept[-1])):
        st.slider(
            "Removed layers shown, n", 0, n_layers - 1, key=_HANDLES, on_change=_set, args=(n_layers,),
            help="Charts and tables show only this range of n. You can also drag across a curve.",
        )  # fmt: skip


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
        f"Only {said}", key="all-sizes", icon=":material/close:", type="tertiary", on_click=_choose, args=(None,),
        help=f"Charts and tables show only these numbers of removed layers.{outside} Click to show all.",
    )  # fmt: skip


def _choose(sizes: range | None) -> None:
    state.choose_sizes(sizes)
    st.rerun(pick.VIEW)
