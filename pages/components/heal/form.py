"""The request in three decisions: removed layers, time, start. Everything else is folded away."""

from dataclasses import replace

import streamlit as st
from streamlit.delta_generator import DeltaGenerator

from analysis import jobs
from analysis.core import host
from analysis.core.blocks import Removal
from analysis.data.spec import BenchmarkSpec
from analysis.experiments.heal import memory, recipes
from analysis.experiments.heal.heal_spec import HealSpec
from analysis.models.source.model_spec import ModelSpec
from analysis.models.source.sizes import DTYPE_BYTES, ModelFacts
from pages.components.heal import block_choice, length, recipe
from pages.components.shared import frame, precision, start, state, words
from pages.components.shared.library import Found


def show(
    model: ModelSpec,
    known: ModelFacts,
    questions: BenchmarkSpec,
    distances: Found | None,
    current: Removal | None,
    wide: DeltaGenerator,
) -> HealSpec | None:
    """Draw the form; its button queues the healing run. Returns its request, None while it is incomplete.

    Args:
        model: the model to cut and heal.
        known: its size.
        questions: those of the curve on screen, so that the healed model can be drawn on that curve.
        distances: the map that the most similar block is taken from, if there is one.
        current: the cut of the Explore page, where it is known.
        wide: a container of the page's whole width, for the settings.
    """
    with st.container(border=True):
        block = block_choice.show(distances, known.n_layers, current)
    if block is None:
        return None
    with frame.errors_shown():
        begun = recipe.begin(model, known, block)
        with st.container(border=True):
            st.header("2 Training time", anchor=False)
            chosen = length.show(begun.preset, begun.key, known)
        place = st.container(border=True)
        with wide, st.expander("Advanced", icon=":material/tune:", key="advanced"):
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
        if (sentence := _does_not_fit(spec, known)) is not None:
            st.warning(words.plain(sentence))
        start.say_what_it_takes(spec)
        st.caption(precision.condition(spec.model, None))
    clicked = start.button(
        "Start healing", type="primary", key="start-heal", icon=":material/healing:", width="stretch"
    )  # fmt: skip
    if not clicked:
        return
    if spec is None:
        st.error("No healing text is chosen. Choose a file under **Advanced**.")
        return
    block = spec.block
    job = start.start(spec, f"Heal {block.halves()}, {words.heal_length(spec)}")
    if job is None:
        return
    if asked.control:
        start.start(spec.as_control(), f"Control of {block.halves()}, {words.heal_length(spec)}")
    state.show_result("heal", job.id)
    st.rerun()


def _does_not_fit(spec: HealSpec, known: ModelFacts) -> str | None:
    """Explain why its training step cannot fit in free memory; None where it can, and where it uses a GPU's memory."""
    if recipes.sees_gpu(spec.model.device):
        return None
    own = "float32" if known.bytes_per_parameter == DTYPE_BYTES["float32"] else "bfloat16"
    model = spec.model if spec.model.dtype in ("float32", "bfloat16") else replace(spec.model, dtype=own)
    return memory.shortage(replace(spec, model=model), known, host.free_bytes(), "this machine")
