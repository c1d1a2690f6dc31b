"""Export: files of a pruned model, healed or not."""

import streamlit as st

from pages.components.export import files, folders, pruned_model
from pages.components.shared import frame, state, stored_results

frame.require()


with frame.errors_shown():
    frame.header("Export", "How do I save the pruned model?")
    model = state.current_model()
    found = stored_results.any_of(model)
    if found is None:
        st.info(
            "This model has no results yet. Compute its distance map first: it suggests a block to"
            " remove."
        )
        st.page_link("pages/explore.py", label="Compute a map", icon=":material/grid_on:")
        folders.on_this_machine(model)
    else:
        with st.container(border=True):
            choice = pruned_model.choose(found, model)
            if choice is not None:
                with frame.errors_shown():
                    pruned_model.show_gains(choice)
                request = folders.request(choice)
                with frame.errors_shown():
                    request = files.show(choice)
        with frame.errors_shown():
            folders.on_this_machine(model)
        if choice is not None:
            specs = [choice.heal.spec] if choice.heal else []
            frame.commands([*specs, request])
