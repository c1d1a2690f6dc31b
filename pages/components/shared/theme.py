"""How a visitor looks at the pages: light or dark, and presenter mode.

Presenter mode is the same pages for a class to read from the last row, in larger type and without a sidebar.
"""

import contextlib
from pathlib import Path

import streamlit as st

from pages.components.shared import state

LARGER = 1.35
"""How much lettering and marks of charts grow; the style enlarges everything else."""
_STYLE = Path(__file__).resolve().parents[2] / "assets" / "presenter.css"
Place = contextlib.AbstractContextManager


def is_dark() -> bool:
    """Return whether the visitor's page is dark."""
    return st.context.theme.type == "dark"


def places() -> tuple[Place, Place]:
    """Where the page goes, and where the jobs go: beside it in the sidebar, or while presenting folded away below it."""
    if not state.presenting():
        return contextlib.nullcontext(), st.sidebar
    st.html(_STYLE)
    main = st.container()
    with st.container(horizontal=True, horizontal_alignment="right", vertical_alignment="center", gap="small"):
        jobs = st.popover("Jobs", type="tertiary", icon=":material/work_history:")
        st.button(
            "Leave presenter mode", key="leave-presenter", type="tertiary", icon=":material/close_fullscreen:",
            on_click=state.present, args=(False,),
        )  # fmt: skip
    return main, jobs


def presenter_switch() -> None:
    """The way into the mode and out of it."""
    with state.showing("presenter", state.presenting()):
        st.toggle(
            "Presenter mode", key="presenter", on_change=lambda: state.present(st.session_state["presenter"]),
            help="Larger text on all pages and no sidebar. A link that ends in ?present=1 opens this mode.",
        )  # fmt: skip
