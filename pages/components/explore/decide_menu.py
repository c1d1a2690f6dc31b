"""The menu beside the slider: choose layers by a goal or in writing, return to the strategy's, open the decision sheet."""

import streamlit as st

from pages.components.explore import goal_view
from pages.components.shared import cuts, state
from pages.components.shared.selection import Shown

MENU = "goal-popover"
"""Key of the menu."""


def show(shown: Shown) -> None:
    """Draw the menu.

    Args:
        shown: the selection.
    """
    menu = st.popover("Decide", icon=":material/flag:", key=MENU, on_change="rerun", help=_HELP)
    with menu, st.container(width=460):
        if menu.open:
            st.markdown("**Start from a goal**")
            goal_view.show(shown.model, shown.strategy, shown.selected, MENU)
            st.markdown("**Enter a block**")
            cuts.field(shown.strategy)
        with st.container(horizontal=True, gap="small"):
            cuts.back_button(shown.cut, shown.strategy)
            if shown.cut.removed is not None:
                _sheet_button()


def _sheet_button() -> None:
    """Open the decision sheet of the removed layers."""
    if st.button(
        "Decision sheet", key="to-sheet", icon=":material/description:", type="tertiary", on_click=state.choose_option,
        args=("way", "Decision sheet"), help="One page: go, measure more or don't, with numbers, cost and risk.",
    ):  # fmt: skip
        st.switch_page("pages/export.py")


_HELP = "Start from a goal, enter a block, restore the strategy's block, or open the decision sheet."
