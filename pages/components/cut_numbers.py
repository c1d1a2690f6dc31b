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
    columns = st.columns(5, gap="small")
    distance, error = "0", None
    if block is not None:
        distance = f"{distances.mean[block.size - 1][block.start]:.3f}"
        error = f"± {distances.stderr[block.size - 1][block.start]:.3f}"
    columns[0].metric("Angular distance", distance, error, delta_color="off", delta_arrow="off", help="In fractions of π.")
    accuracy, loss = words.scores(point)
    change = None
    if point and unpruned and n and point.acc is not None and unpruned.acc is not None:
        change = f"{100 * (point.acc - unpruned.acc):+.1f} points"
    columns[1].metric("Accuracy", accuracy, change, help="Share of questions answered right, ± standard error.")
    change = None
    if point and unpruned and n and point.loss is not None and unpruned.loss is not None:
        change = f"{point.loss - unpruned.loss:+.2f} nats"
    columns[2].metric("Loss", loss, change, delta_color="inverse", help="Nats per token on held-out text.")
    share = f"{saved.fraction:.1%} of all" if n else None
    columns[3].metric(
        "Parameters", f"−{words.count(saved.parameters)}" if n else "0", share, delta_color="off", delta_arrow="off",
        help="Removed parameters, and their share of all, embeddings and head included.",
    )  # fmt: skip
    columns[4].metric(
        "Weights", f"−{words.size(saved.weight_bytes)}" if n else "0", f"in {distances.spec.model.dtype}" if n else None,
        delta_color="off", delta_arrow="off", help="Memory that the removed weights no longer take.",
    )  # fmt: skip
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
        return (
            f"n = {n} is not among the points measured so far, which reach n = {max([p.n for p in sweep.points], default=0)}."
        )
    if point.block != block and point.block is not None:
        return f"The scores at n = {n} were measured without {point.block.describe()}, the choice of another map."
    unpruned = _at(sweep, 0)
    if unpruned is None or unpruned.acc is None or sweep.lines is None:
        return ""
    if unpruned.acc - 2 * (unpruned.acc_stderr or 0.0) <= max(sweep.lines.chance, sweep.lines.majority):
        return "The uncut model is not told apart from guessing on these questions: accuracy says little here."
    return ""
