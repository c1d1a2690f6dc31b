"""Which pages there are, and that each of them is drawn inside the app's frame."""

import contextlib
from collections.abc import Iterator

import streamlit as st
from streamlit.navigation.page import Page

from pages.components import state

_INSIDE = "inside-frame"


def navigation() -> Page:
    """Draw the menu of pages and return the one that was asked for."""
    return st.navigation(
        [
            st.Page("pages/model.py", title="Model", icon=":material/deployed_code:"),
            st.Page("pages/explore.py", title="Explore", icon=":material/grid_on:", default=True),
            st.Page("pages/heal.py", title="Heal", icon=":material/healing:"),
            st.Page("pages/compare.py", title="Compare", icon=":material/compare:"),
            st.Page("pages/export.py", title="Export", icon=":material/ios_share:"),
            st.Page("pages/learn.py", title="Learn", icon=":material/school:"),
        ],
        position="top" if state.presenting() else "sidebar",
    )


@contextlib.contextmanager
def drawn() -> Iterator[None]:
    """Around the run of a page: says that the frame is there."""
    st.session_state[_INSIDE] = True
    try:
        yield
    finally:
        del st.session_state[_INSIDE]


def require() -> None:
    """First line of a page: draw the frame if it is not there.

    Until `st.navigation` was called once in a server's life, Streamlit takes each file in pages/ for an app of its own, so
    a link straight to a page of a server that has just started would show it without menu and jobs.
    """
    if _INSIDE not in st.session_state:
        navigation()
        st.rerun()
