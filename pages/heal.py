"""Heal: repairing a pruned model by a short QLoRA training."""

import streamlit as st

from analysis.data.spec import BenchmarkSpec
from pages.components.heal import form, panel, runs
from pages.components.shared import frame, selection, state, stored_results

frame.require()


with frame.errors_shown():
    frame.header("Heal", "Can the pruned model recover?")
    model = state.current_model()
    known = stored_results.facts(model)
    listed = runs.runs_of(model)
    asked = None
    left, right = st.columns([4, 7], gap="medium")
    with left:
        if known is None:
            st.info("This model has no distance map yet. Compute one to choose a block.")
            st.page_link("pages/explore.py", label="Compute a map", icon=":material/grid_on:")
        else:
            shown = selection.now(model)
            questions = (
                shown.sweep.result.spec.benchmark if shown and shown.sweep else BenchmarkSpec()
            )
            with st.container(border=True):
                block = selection.choose_block(model, shown, known.n_layers)
                if block is not None:
                    asked = form.show(
                        listed, shown.asked if shown else model, known, block, questions
                    )
    with right:
        panel.show(listed, asked)
