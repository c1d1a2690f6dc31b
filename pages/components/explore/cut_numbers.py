"""What the chosen cut costs and saves, in one row of numbers."""

import streamlit as st

from analysis.core import stats
from analysis.core.blocks import Block
from analysis.experiments.accuracy.points import Point
from analysis.experiments.accuracy.spec import SweepResult
from analysis.experiments.maps.spec import DistanceResult
from analysis.models import spec
from analysis.reading import verdicts
from pages.components.shared import cuts, words
from pages.components.shared.cuts import Cut


def show(distances: DistanceResult, sweep: SweepResult | None, cut: Cut) -> None:
    """Draw the row.

    Args:
        distances: the map the block was chosen from.
        sweep: scores by n, if there are any.
        cut: the removed layers, and what was measured without them.
    """
    n, point = cut.n, cut.point
    unpruned = next(iter(cuts.of_size(sweep, 0)), None)
    known = n == 0 or cut.removed is not None
    saved = spec.savings(distances.model, cut.removed)
    columns = st.columns(5, gap="small")
    distance, error = _distance(distances, cut)
    columns[0].metric(
        "Angular distance" if distances.spec.metric == "angular" else "Distance", distance, error, delta_color="off",
        delta_arrow="off", help="Between the two ends of the block, in fractions of π. Scattered layers have no two ends.",
    )  # fmt: skip
    accuracy, loss = words.scores(point)
    change = None
    if point and unpruned and n and point.acc is not None and unpruned.acc is not None:
        change = f"{100 * (point.acc - unpruned.acc):+.1f} points"
    columns[1].metric("Accuracy", accuracy, change, help="Share of questions answered right, ± standard error.")
    change = None
    if point and unpruned and n and point.loss is not None and unpruned.loss is not None:
        change = f"{point.loss - unpruned.loss:+.2f} nats"
    units = words.other_losses(point)
    columns[2].metric(
        "Loss", loss, change, delta_color="inverse",
        help="Nats per token on held-out text, ± standard error." + (f" In other units: {units}." if units else ""),
    )  # fmt: skip
    share = f"{saved.fraction:.1%} of all" if n and known else None
    columns[3].metric(
        "Parameters", _gone(f"−{words.count(saved.parameters)}", n, known), share, delta_color="off", delta_arrow="off",
        help="Removed parameters, and their share of all, embeddings and head included.",
    )  # fmt: skip
    columns[4].metric(
        "Weights", _gone(f"−{words.size(saved.weight_bytes)}", n, known),
        f"in {distances.spec.model.dtype}" if n and known else None,
        delta_color="off", delta_arrow="off", help="Memory that the removed weights no longer take.",
    )  # fmt: skip


def _gone(amount: str, n: int, known: bool) -> str:
    return "0" if n == 0 else amount if known else "–"


def _distance(distances: DistanceResult, cut: Cut) -> tuple[str, str | None]:
    block = cut.removed
    if cut.n == 0:
        return "0", None
    if not isinstance(block, Block):
        return "–", "not one block" if block else None
    row = block.size - 1
    return f"{distances.mean[row][block.start]:.3f}", f"± {distances.stderr[row][block.start]:.3f}"


def notes(sweep: SweepResult | None, cut: Cut) -> list[str]:
    """What a reader must know so as not to misread the scores."""
    n, point = cut.n, cut.point
    if sweep is None:
        return [] if point else ["No accuracy has been measured yet: run a sweep."]
    if point is None and cut.by_hand:
        return [_NOT_SCORED]
    if point is None:
        reach = max([p.n for p in sweep.points], default=0)
        return [f"n = {n} is not among the points measured so far, which reach n = {reach}."]
    if point.block != cut.removed and point.block is not None:
        return [f"The scores at n = {n} were measured without {point.block.describe()}, the choice of another map."]
    units = words.other_losses(point)
    left_out = f"{len(sweep.skipped_rows)} rows of the question file could not be asked and are listed below."
    return [
        *_interval(sweep, point),
        *verdicts.remarks(sweep.points, sweep.lines, sweep.questions),
        *([f"Loss at n = {n} in other units: {units}."] if units else []),
        *([left_out] if sweep.skipped_rows else []),
    ]


_NOT_SCORED = (
    "This cut was picked by hand and has not been scored: the curves are those of the strategy's cuts, the distance and what "
    "is saved are its own."
)


def _interval(sweep: SweepResult, point: Point) -> list[str]:
    """How sure the accuracy is, and whether it differs from the unpruned model's on the same questions."""
    if point.acc is None:
        return []
    low, high = stats.wilson_interval(round(point.acc * point.n_samples), point.n_samples)
    said = f"Accuracy: 95 % interval {low:.0%} to {high:.0%} from {point.n_samples} questions."
    if point not in sweep.points:  # scored on its own
        return [said]
    number = sweep.points.index(point)
    if point.n and len(sweep.questions) > number and sweep.questions[number]:
        pair = verdicts.compare(sweep.questions[0], sweep.questions[number])
        verdict = "a settled difference" if pair.is_settled else "not settled"
        said += (
            f" Against the unpruned model, question by question: {pair.lost} lost, {pair.gained} gained, "
            f"{100 * pair.low:+.0f} to {100 * pair.high:+.0f} points (p = {pair.p_value:.2g}, exact McNemar): {verdict}."
        )
    return [said]
