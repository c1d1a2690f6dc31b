"""What the chosen cut costs and saves, in one row of numbers."""

import streamlit as st

from analysis import cost
from analysis.results import DistanceResult, Point, SweepResult
from analysis.specs import Block
from pages.components import words


def show(distances: DistanceResult, sweep: SweepResult | None, n: int, block: Block | None) -> None:
    """Draw the row.

    Args:
        distances: the map the block was chosen from.
        sweep: scores by n, if there are any.
        n: removed layers.
        block: the removed layers; None for n = 0.
    """
    point = _at(sweep, n)
    unpruned = _at(sweep, 0)
    saved = cost.savings(distances.model, block)
    with st.container(horizontal=True, gap="medium", key="cut-numbers"):
        if block is None:
            st.metric("Angular distance", "0", width=170)
        else:
            value = distances.mean[block.size - 1][block.start]
            error = distances.stderr[block.size - 1][block.start]
            st.metric("Angular distance", f"{value:.3f} ± {error:.3f}", width=170, help="Fraction of π; 0.5 is a right angle.")
        accuracy, loss = words.scores(point)
        change = None
        if point and unpruned and n and point.acc is not None and unpruned.acc is not None:
            change = f"{100 * (point.acc - unpruned.acc):+.1f} points"
        st.metric("Accuracy", accuracy, change, width=170, help="Share of questions answered right, ± standard error.")
        change = None
        if point and unpruned and n and point.loss is not None and unpruned.loss is not None:
            change = f"{point.loss - unpruned.loss:+.2f} nats"
        st.metric("Loss", loss, change, delta_color="inverse", width=170, help="Nats per token on held-out text.")
        st.metric(
            "Parameters removed", words.count(saved.parameters), f"{-saved.fraction:.1%} of all" if n else None,
            delta_color="off", width=190, help="Of all parameters, embeddings and head included.",
        )  # fmt: skip
        st.metric("Weights saved", words.size(saved.weight_bytes), width=150, help=f"In {distances.spec.model.dtype}.")
    note = _note(sweep, point, n, block)
    if note:
        st.caption(note)


def _at(sweep: SweepResult | None, n: int) -> Point | None:
    return next((point for point in sweep.points if point.n == n), None) if sweep else None


def _note(sweep: SweepResult | None, point: Point | None, n: int, block: Block | None) -> str:
    """What a reader must know so as not to misread the scores."""
    if sweep is None:
        return "No accuracy has been measured yet: run a sweep."
    if point is None:
        return f"n = {n} is not among the points measured so far, which reach n = {max([p.n for p in sweep.points], default=0)}."
    if point.block != block and point.block is not None:
        return f"The scores at n = {n} were measured without {point.block.describe()}, the choice of another map."
    unpruned = _at(sweep, 0)
    if unpruned and unpruned.acc is not None and unpruned.acc_stderr is not None and sweep.lines:
        if unpruned.acc - 2 * unpruned.acc_stderr <= max(sweep.lines.chance, sweep.lines.majority):
            return "The uncut model is not told apart from guessing on these questions: accuracy says little here."
    return ""
