"""Compare: the texts that pruned and healed models generate, the effect of each layer, and all
stored runs side by side.
"""

import streamlit as st

from pages.components.compare import methods_view, microscope, runs_view, side_by_side
from pages.components.shared import frame, state

frame.require()

VIEWS = {
    "Prompt": side_by_side.show,
    "Microscope": microscope.show,
    "Runs": runs_view.show,
    "Methods": methods_view.show,
}

with frame.errors_shown():
    place = frame.header("Compare", "Is it still good?", (4, 7))
    # An address with a pinned run is one of the table of runs.
    first = "Runs" if state.pinned() else "Prompt"
    with place:
        view = st.segmented_control(
            "View",
            list(VIEWS),
            default=first,
            required=True,
            key="compare-view",
            label_visibility="collapsed",
            persist_state="session",
            wrap=True,
        )
    VIEWS[view](state.current_model())
