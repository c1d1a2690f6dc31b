"""Export: what to take away of a cut, healed or not."""

import streamlit as st

from analysis.models.spec import ModelSpec
from pages.components.export import files, folders, takeaway
from pages.components.shared import command, frame, library, state
from pages.components.shared.library import Found

frame.require()


def known(model: ModelSpec) -> Found | None:
    """Any result of the model, which says what it is."""
    kinds = ("distances", "sweep", "inspect", "heal")
    return next((found[0] for kind in kinds if (found := library.find(kind, model, any_precision=True))), None)


with frame.errors_shown():
    frame.header("Export", "What do I take with me?")
    model = state.current_model()
    found = known(model)
    if found is None:
        st.info("Nothing is known of this model yet: compute its distance map first, so that there is a cut to take away.")
        st.page_link("pages/explore.py", label="Compute a map", icon=":material/grid_on:")
        folders.on_this_machine(model)
    else:
        left, right = st.columns([4, 7], gap="medium")
        with left, st.container(border=True):
            choice = takeaway.show(found, model)
        if choice is not None:
            with left, st.container(border=True), frame.errors_shown():
                files.reports(choice)
            with right, st.container(border=True), frame.errors_shown():
                folders.show(choice)
            with right, frame.errors_shown():
                folders.on_this_machine(model)
                st.header("Recipes and files", anchor=False)
                files.show(choice)
                specs = [choice.heal.spec] if choice.heal else []
                command.show([*specs, folders.request(choice)])
