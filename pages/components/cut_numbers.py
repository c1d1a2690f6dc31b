"""What the chosen cut costs and saves, in one row of numbers."""

import streamlit as st

from analysis import cost, uncertainty
from analysis.blocks import Block
from analysis.results import DistanceResult, Point, SweepResult
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
    for note in _notes(sweep, point, n, block):
        st.caption(note)


def _at(sweep: SweepResult | None, n: int) -> Point | None:
    return next((point for point in sweep.points if point.n == n), None) if sweep else None


def _notes(sweep: SweepResult | None, point: Point | None, n: int, block: Block | None) -> list[str]:
    """What a reader must know so as not to misread the scores."""
    if sweep is None:
        return ["No accuracy has been measured yet: run a sweep."]
    if point is None:
        reach = max([p.n for p in sweep.points], default=0)
        return [f"n = {n} is not among the points measured so far, which reach n = {reach}."]
    if point.block != block and point.block is not None:
        return [f"The scores at n = {n} were measured without {point.block.describe()}, the choice of another map."]
    return [*_interval(sweep, point), *uncertainty.remarks(sweep.points, sweep.lines, sweep.questions)]


def _interval(sweep: SweepResult, point: Point) -> list[str]:
    """How sure the accuracy is, and whether it differs from the unpruned model's on the same questions."""
    if point.acc is None:
        return []
    low, high = uncertainty.wilson_interval(round(point.acc * point.n_samples), point.n_samples)
    said = f"Accuracy: 95 % interval {low:.0%} to {high:.0%} from {point.n_samples} questions."
    number = sweep.points.index(point)
    if point.n and len(sweep.questions) > number and sweep.questions[number]:
        pair = uncertainty.compare(sweep.questions[0], sweep.questions[number])
        verdict = "a settled difference" if pair.is_settled else "not settled"
        said += (
            f" Against the unpruned model, question by question: {pair.lost} lost, {pair.gained} gained, "
            f"{100 * pair.low:+.0f} to {100 * pair.high:+.0f} points (p = {pair.p_value:.2g}, exact McNemar): {verdict}."
        )
    return [said]
