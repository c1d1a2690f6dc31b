"""Heal: repairing a pruned model by a short QLoRA training."""

import streamlit as st

from analysis.data.spec import BenchmarkSpec
from analysis.models.source.model_spec import ModelSpec
from analysis.models.source.sizes import ModelFacts
from pages.components.heal import form, panel
from pages.components.shared import frame, selection, state, stored_results

frame.require()


def facts(model: ModelSpec) -> ModelFacts | None:
    """Return the current model's size, from any stored result of it."""
    for kind in ("distances", "sweep", "inspect", "heal"):
        found = stored_results.find(kind, model, any_precision=True, most=1)
        if found:
            return found[0].result.model
    return None


with frame.errors_shown():
    frame.header("Heal", "Can the pruned model recover?")
    model = state.current_model()
    known = facts(model)
    asked = None
    wide = st.container()
    left, right = st.columns([4, 7], gap="medium")
    with left:
        if known is None:
            st.info("This model has no distance map yet. Compute one to choose a block.")
            st.page_link("pages/explore.py", label="Compute a map", icon=":material/grid_on:")
        else:
            shown = selection.now(model)
            questions = shown.sweep.result.spec.benchmark if shown and shown.sweep else BenchmarkSpec()
            model = shown.asked if shown else model
            asked = form.show(model, known, questions, shown and shown.distances, shown and shown.cut, wide)
    with right:
        panel.show(asked)
