"""Ask for a fresh distance map."""

import streamlit as st

from analysis.data.spec import CorpusSpec
from analysis.experiments.maps.spec import DistanceSpec
from analysis.models.spec import ModelSpec
from pages.components.shared import frame, inputs, start, theme, words


def show(model: ModelSpec, key: str) -> None:
    """Draw the form; submitting it queues a job."""
    with frame.errors_shown():
        source = inputs.texts(key)
        with st.form(f"{key}-form", border=False):
            left, middle, right = st.columns(3)
            n_texts = left.number_input("How many", 1, 100_000, 32, key=f"{key}-n", help="How many documents to draw.")
            seq_len = middle.number_input(
                "Tokens per text", 16, 131_072, 256, step=16, key=f"{key}-len", help="Longer documents are cut to this many."
            )
            seed = right.number_input("Seed", 0, 2**31, 0, key=f"{key}-seed", help="Seed of the draw.")
            if st.form_submit_button("Compute map", type=theme.main_button(), key=f"{key}-go"):
                if not source:
                    st.error("Choose a file first.")
                    return
                corpus = CorpusSpec(source=source, n_texts=int(n_texts), seq_len=int(seq_len), seed=int(seed))
                label = f"Distance map, {words.texts(corpus)} {n_texts} × {seq_len}"
                start.start_and_show(DistanceSpec(model=model, corpus=corpus), label)
