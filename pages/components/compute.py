"""What can be computed on the Explore page."""

import streamlit as st
from streamlit.delta_generator import DeltaGenerator

from analysis import jobs
from pages.components import map_form, sweep_form
from pages.components.jobs import card
from pages.components.shared import frame, state, theme
from pages.components.shared.library import Found


def menu(place: DeltaGenerator, found: Found, sweep: Found | None) -> None:
    """Beside the title: whether this is precomputed, and the forms of a new map and a new sweep."""
    if st.session_state.pop("job-started", False):
        for name in ("map-popover", "sweep-popover", "damage-popover"):
            st.session_state[name] = False
    with place:
        if found.precomputed:
            st.badge("precomputed", color="gray", help="Made by this program before you opened it; compute your own any time.")
        with st.popover("New map", key="map-popover", on_change="rerun"):
            map_form.show(state.current_model(), "map")
        kind = "secondary" if sweep else theme.main_button()
        with st.popover("Run a sweep", type=kind, key="sweep-popover", on_change="rerun"):
            sweep_form.show(state.current_model(), found.result, "sweep")


def first_map() -> None:
    """What to do when there is no map yet."""
    if _on_its_way():
        st.fragment(_coming, run_every="1s")()
        return
    st.info("This model has no distance map yet. Choose texts and click **Compute map**.")
    with st.container(border=True, width=560):
        map_form.show(state.current_model(), "first-map")


def _on_its_way() -> list[jobs.Job]:
    return [job for job in jobs.active() if job.kind in ("distances", "sweep")]


def _coming() -> None:
    """The job that makes the first map, as the strip shows it."""
    with frame.errors_shown():
        st.info("A map is being computed; it appears here when it is done.")
        for job in _on_its_way()[:1]:
            card.active(job, place=card.place(job), where="first-map")
