"""Step 1 of the lesson: what a layer does."""

import streamlit as st

from analysis.charts import lesson as learn_figures
from pages.components.learn import stored
from pages.components.learn.lesson import Lesson
from pages.components.learn.stored import Shown
from pages.components.shared import chart, theme

TITLE = "What does a layer do?"


def show(lesson: Lesson, shown: Shown) -> None:
    """The stream, and how far each layer of the current model turns it."""
    facts, dark = shown.facts, theme.is_dark()
    left, right = st.columns([4, 7], gap="large")
    with left:
        width = f"here {facts.hidden_size}" if facts else "hundreds of them"
        through = f"all {facts.n_layers} layers" if facts else "all layers"
        st.markdown(
            f"A model keeps a list of numbers for every token, a word or part of one: {width}. Each layer reads the list and "
            f"**adds** to it. Nothing is replaced, so one *residual stream* flows through {through}."
        )
        st.latex(r"x_{l+1} = x_l + f_l(x_l)")
        st.markdown("A layer that hardly turns the stream might not be missed. Which one, here?")
    with right:
        n_layers = facts.n_layers if facts else None
        chart.show(
            learn_figures.stream(n_layers, dark=dark), key="learn-stream", file_name="residual-stream", toolbar=False,
            alt="The residual stream as a line; each layer branches off from it and is added to it again.",
        )  # fmt: skip
        if shown.distances is None:
            stored.missing("How far each layer turns the stream is on its map.", "pages/explore.py", "Compute a map")
            return
        row = shown.distances.mean[0]
        least = min(range(len(row)), key=lambda layer: (row[layer], -layer))
        st.markdown(f"**How far each layer turns the stream.** Layer {least}, in blue, turns it least.")
        chart.show(
            learn_figures.turns(shown.distances, dark=dark), key="learn-turns", file_name="turn-by-layer",
            alt=f"Bars: the turn of each of {len(row)} layers; layer {least} turns the stream least, {row[least]:.3f}.",
        )  # fmt: skip
        errors = shown.distances.stderr[0]
        rows = [{"layer": layer, "turn": value, "stderr": errors[layer]} for layer, value in enumerate(row)]
        chart.folded_table(rows, key="learn-t-turns", alt="Turn of each layer, fraction of pi", file_name="turn-by-layer")
