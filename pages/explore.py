"""Explore: the distance map, the layers that the slider removes, and the cost of removing them."""

import streamlit as st

from analysis import service
from pages.components.explore import compute, details, linked_view, map_view, result_choice
from pages.components.jobs import card
from pages.components.shared import frame, selection, state, stored_results

frame.require()

_CLOSED = "hints-gone"
"""Key of the session that says that the hints were closed."""


def hints() -> None:
    """Draw a row of hints for a first visit, until they are closed or a first job ran; none to a class."""
    with st.container(key="hints-place"):  # its place stays when it goes, so that nothing below it is drawn anew
        _row()


@st.fragment
def _row() -> None:
    if st.session_state.get(_CLOSED) or state.presenting() or service.jobs.list_jobs(1):
        return
    with st.container(border=True, key="hints", horizontal=True, vertical_alignment="center", gap="medium"):
        st.markdown(":material/tune: **Slide** n, or **drag** the block, to remove layers", width="content")
        st.markdown(":material/ads_click: **Click** a square of the map to remove that block", width="content")
        st.page_link("pages/learn.py", label="**New here?** Ten-minute lesson", icon=":material/school:", width="content")
        st.space("stretch")
        st.button(
            ":material/close:",
            key="hints-close",
            type="tertiary",
            help="Close these hints",
            on_click=st.session_state.__setitem__,
            args=(_CLOSED, True),
        )


with frame.errors_shown():
    linked_view.tab()  # this and the next before the header, which names faults of the address
    map_view.view()
    place = frame.header("Explore", "Which layers are redundant?")
    current = stored_results.known(state.current_model())
    maps = stored_results.find("distances", current)
    if maps:
        result_choice.prefer("distances", maps, current)
        curves = selection.curves(current)
        result_choice.prefer("sweep", curves, current)
        shown = details.menu(place, current, maps, curves)
        found, sweep = shown.distances, shown.sweep
        result_choice.write_request("distances", found)
        result_choice.write_request("sweep", sweep)
        result_choice.offer(shown.asked, found.result.spec.corpus)
        growing = any(job.kind in card.GROWING for job in service.jobs.active())
        linked_view.show(found.key, sweep.key if sweep else None, current, live=growing)
        hints()
    else:
        result_choice.offer(current, None)
        compute.first_map()
