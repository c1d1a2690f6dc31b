"""What is asked for, in three decisions: which cut, how much time, start. Everything else is folded away."""

import streamlit as st

from analysis import jobs
from analysis.core.blocks import Removal
from analysis.data.spec import BenchmarkSpec
from analysis.experiments.heal.spec import HealSpec
from analysis.models.spec import ModelFacts, ModelSpec
from pages.components.heal import block_choice, length, recipe
from pages.components.shared import frame, start, state, words
from pages.components.shared.library import Found


def show(
    model: ModelSpec, known: ModelFacts, questions: BenchmarkSpec, distances: Found | None, current: Removal | None
) -> HealSpec | None:
    """Draw the form; its button queues the heal. Returns what it says, None while that is no heal yet.

    Args:
        model: the model to cut and heal.
        known: its size.
        questions: those of the curve on screen: asking the same ones puts the healed model on that curve.
        distances: the map that the most similar block is taken from, if there is one.
        current: the cut of the Explore page, where it is known.
    """
    with st.container(border=True):
        block = block_choice.show(distances, known.n_layers, current)
    if block is None:
        return None
    with frame.errors_shown():
        begun = recipe.begin(model, known, block)
        with st.container(border=True):
            st.header("2 How much time", anchor=False)
            chosen = length.show(begun.preset, begun.key, known)
        place = st.container(border=True)
        with st.expander("Advanced", icon=":material/tune:", key="advanced"):
            asked = recipe.advanced(begun, questions, chosen)
        with place:
            st.header("3 Start", anchor=False)
            _start_button(asked, known)
        return asked.spec
    return None


def _start_button(asked: recipe.Asked, known: ModelFacts) -> None:
    """Draw how long it will take, and the button."""
    spec = asked.spec
    if spec is not None:
        length.say_expected(spec, known, jobs.active())
    clicked = start.button(
        "Start healing", type="primary", key="start-heal", icon=":material/healing:", width="stretch"
    )  # fmt: skip
    if not clicked:
        return
    if spec is None:
        st.error("Choose a file of healing text first; it is under Advanced.")
        return
    block = spec.block
    job = start.start(spec, f"Heal [{block.start}, {block.stop}), {words.heal_length(spec)}")
    if job is None:
        return
    if asked.control:
        start.start(spec.as_control(), f"Control of [{block.start}, {block.stop}), {words.heal_length(spec)}")
    state.show_result("heal", job.id)
    st.rerun()
