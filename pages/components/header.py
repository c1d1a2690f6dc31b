"""The top of a page: its name, the question it answers, and the model it is about."""

import streamlit as st
from streamlit.delta_generator import DeltaGenerator

from pages.components import library, state, words


def show(title: str, question: str) -> DeltaGenerator:
    """Draw the title, the question and a line on the current model; returns the space to the right of them."""
    left, right = st.columns(2, vertical_alignment="bottom", gap="small")
    model = state.current_model()
    known = library.find("inspect", model) or library.find("distances", model)
    facts = known[0].result.model if known else None
    about = [facts.name, f"{facts.n_layers} layers"] if facts else [state.name(model)]
    if model.quantization != "none":
        about.append(model.quantization)
    with left.container(gap=None):
        st.title(title, anchor=False)
        st.caption(f"{question} · {words.plain(', '.join(about))}")
        other = len(library.of_other_weights(model))
        if other:
            them = "1 stored result of this name is" if other == 1 else f"{other} stored results of this name are"
            st.caption(f":material/info: {them} of other weights than those that lie there now, and not shown.")
    return right.container(horizontal=True, gap="small", horizontal_alignment="right", vertical_alignment="center")
