"""Heal: whether a short QLoRA training repairs what the cut broke."""

import streamlit as st

from analysis.results import ModelFacts
from pages.components import block_choice, frame, guard, header, heal_panel, library, recipe_form, state

frame.require()


def facts() -> ModelFacts | None:
    """The current model's size, from whatever has been measured of it."""
    model = state.current_model()
    for kind in ("distances", "sweep", "inspect", "heal"):
        found = library.find(kind, model, any_precision=True)
        if found:
            return found[0].result.model
    return None


with guard.errors_shown():
    header.show("Heal", "Can the damage be repaired?")
    model, known = state.current_model(), facts()
    left, right = st.columns([4, 7], gap="medium")
    with left, st.container(border=True):
        if known is None:
            st.info("Nothing is known of this model yet: compute its distance map first, so that there is a block to choose.")
            st.page_link("pages/explore.py", label="Compute a map", icon=":material/grid_on:")
        else:
            maps = library.find("distances", model, any_precision=True)
            shown = state.shown_result("distances", [found.key for found in maps])
            block = block_choice.show(library.by_key("distances", shown), known.n_layers)
            if block:
                recipe_form.show(model, block)
    with right:
        heal_panel.show()
