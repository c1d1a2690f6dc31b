"""The top of a page: its name, the question it answers, and the model it is about."""

import streamlit as st

from pages.components import library, state


def show(title: str, question: str) -> None:
    """Draw the title, the question, and a line on the current model."""
    st.title(title, anchor=False)
    model = state.current_model()
    known = library.find("inspect", model) or library.find("distances", model)
    facts = known[0].result.model if known else None
    words = [facts.name, f"{facts.n_layers} layers", facts.family] if facts else [state.name(model)]
    if model.quantization != "none":
        words.append(model.quantization)
    st.caption(f"{question} · {', '.join(words)}")
