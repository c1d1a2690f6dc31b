"""How a heal trains, and the button that starts it."""

from dataclasses import replace

import streamlit as st

from analysis.core.blocks import Block
from analysis.data.spec import BenchmarkSpec
from analysis.experiments.heal.spec import HealSpec
from analysis.models.spec import ModelFacts, ModelSpec
from pages.components import heal_questions, heal_text, recipe_numbers, recipe_source
from pages.components.shared import frame, start, state, theme, words


def show(model: ModelSpec, known: ModelFacts, block: Block, asked: BenchmarkSpec) -> None:
    """Draw the recipe; submitting it queues the heal.

    Args:
        model: the model to cut and heal.
        known: its size.
        block: the layers to remove.
        asked: the questions of the curve on screen: asking the same ones puts the healed model on that curve.
    """
    with frame.errors_shown():
        begin = recipe_source.show(model, known, block)
        st.caption(begin.why)
        sized = recipe_numbers.sized_by(begin.preset, begin.key)
        source = heal_text.show(begin.preset, begin.key)
        with st.form(f"heal-form-{begin.key}", border=False):
            values = recipe_numbers.show(begin.preset, begin.key, sized)
            values |= heal_questions.show(begin.preset, asked, begin.key)
            control = st.checkbox(
                "A control as well", key=f"{begin.key}-control", disabled=not begin.preset.trains,
                help="A second job trains the unpruned model in the same way: what the healing text does by itself.",
            )  # fmt: skip
            started = st.form_submit_button(
                "Start healing", type=theme.main_button(), key="start-heal", icon=":material/healing:", width="stretch"
            )
            with st.container(horizontal=True, vertical_alignment="center", gap="small"):
                name = st.text_input(
                    "Save as", key=f"{begin.key}-save-as", placeholder="Name of your recipe", label_visibility="collapsed"
                )
                saved = st.form_submit_button("Save recipe", key="save-recipe", help="Keeps these numbers under that name.")
        if not started and not saved:
            return
        if not source:
            st.error("Choose a file of healing text first.")
            return
        spec = recipe_numbers.changed(begin.preset, {**values, "source": source})
        if saved:
            recipe_numbers.save(name, spec)
        else:
            _start(spec, control=control)


def _start(spec: HealSpec, *, control: bool) -> None:
    block = spec.block
    job = start.start(spec, f"Heal [{block.start}, {block.stop}), {words.heal_length(spec)}")
    if job is None:
        return
    if control:
        same = replace(spec, control=True, instant=False, distill=0.0, junction=0.0, steps=spec.steps)
        start.start(same, f"Control of [{block.start}, {block.stop}), {words.heal_length(spec)}")
    state.show_result("heal", job.id)
    st.rerun()
