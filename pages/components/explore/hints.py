"""Three hints for somebody who is here for the first time."""

import streamlit as st

from analysis import jobs
from pages.components.shared import state

_GONE = "hints-gone"


def show() -> None:
    """Draw one row of hints, until they are closed or a first job shows that somebody knows the way; never to a class."""
    with st.container(key="hints-place"):  # its place stays when it goes, so that nothing below it is drawn anew
        st.fragment(_row)()


def _row() -> None:
    if st.session_state.get(_GONE) or state.presenting() or jobs.list_jobs(1):
        return
    with st.container(border=True, key="hints", horizontal=True, vertical_alignment="center", gap="medium"):
        st.markdown(":material/tune: **Slide** n, or **drag** the block, to remove layers", width="content")
        st.markdown(":material/ads_click: **Click** a square of the map to remove that block", width="content")
        st.page_link("pages/learn.py", label="**New here?** Ten-minute lesson", icon=":material/school:", width="content")
        st.space("stretch")
        st.button(
            ":material/close:", key="hints-close", type="tertiary", help="Close these hints",
            on_click=st.session_state.__setitem__, args=(_GONE, True),
        )  # fmt: skip
