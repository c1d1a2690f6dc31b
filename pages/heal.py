"""Heal: whether a short QLoRA training repairs what the cut broke."""

import streamlit as st

from analysis.core.blocks import Removal
from analysis.data.spec import BenchmarkSpec
from analysis.models.spec import ModelFacts, ModelSpec
from pages.components.heal import form, panel
from pages.components.shared import cuts, frame, library, state

frame.require()


def facts(model: ModelSpec) -> ModelFacts | None:
    """The current model's size, from whatever has been measured of it."""
    for kind in ("distances", "sweep", "inspect", "heal"):
        found = library.find(kind, model, any_precision=True)
        if found:
            return found[0].result.model
    return None


def shown(kind: str, model: ModelSpec) -> library.Found | None:
    """The result that Explore shows of a kind."""
    return library.shown(kind, library.find(kind, model, any_precision=True))


def cut_on_explore(model: ModelSpec) -> Removal | None:
    """What the Explore page removes."""
    found = cuts.on_explore(model)
    return found[0].removed if found else None


with frame.errors_shown():
    frame.header("Heal", "Can the damage be repaired?")
    model = state.current_model()
    known = facts(model)
    asked = None
    left, right = st.columns([4, 7], gap="medium")
    with left:
        if known is None:
            st.info("Nothing is known of this model yet: compute its distance map first, so that there is a block to choose.")
            st.page_link("pages/explore.py", label="Compute a map", icon=":material/grid_on:")
        else:
            sweep = shown("sweep", model)
            questions = sweep.result.spec.benchmark if sweep else BenchmarkSpec()
            asked = form.show(model, known, questions, shown("distances", model), cut_on_explore(model))
    with right:
        panel.show(asked)
