"""Results against a reference: which of their numbers may be compared, and by how much they differ.

Compare shows them for whole runs side by side. The interval of one selected block comes from `changes`.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from analysis.core import stats
from analysis.core.blocks import Block, blocks_up_to
from analysis.core.intervals import Interval
from analysis.data.spec import BenchmarkSpec
from analysis.experiments.accuracy.sweep_spec import EvaluateResult, SweepResult
from analysis.experiments.heal.heal_result import HealResult
from analysis.experiments.maps.damage_spec import DamageResult
from analysis.experiments.maps.distance_spec import Best, DistanceResult
from analysis.results.compared import changes
from analysis.results.stored import reading
from analysis.results.stored.reading import ACCURACY, BITS, LOSS, Reading, Readings
from analysis.results.stored.summaries import (
    KINDS,
    MeasuredResult,
    best_of,
    nearest_n,
    point_of,
    texts_read,
)

NOT_STORED = "no interval: losses per text were not stored"
"""Basis of a difference of losses that cannot be paired by text."""
Arrays = Mapping[str, Any]
"""Array fields of a stored result by name, as `Result.arrays_in`; empty where none are kept."""


@dataclass(frozen=True)
class Difference(Interval):
    """Difference of one number of a run from that of the reference."""

    quantity: str
    """The compared quantity, with its unit."""
    removed: str
    """Removed layers of the reference and of the run."""
    reference: float
    value: float
    difference: float
    """The run minus the reference, on the questions or texts that both were measured on, where these are known."""
    low: float | None
    """Lower end of the 95 % interval of the difference; None where no error is known."""
    high: float | None
    basis: str
    """The data that the interval rests on."""


def same_questions(a: MeasuredResult, b: MeasuredResult) -> bool:
    """Return True where two results asked the same questions, or one of them the first of the other's."""
    first, second = (getattr(result.spec, "benchmark", None) for result in (a, b))
    return first is not None and second is not None and _any_limit(first) == _any_limit(second)


def same_texts(a: MeasuredResult, b: MeasuredResult) -> bool:
    """Return True where two results were measured on the same texts, cut to as many tokens."""
    return texts_read(a) is not None and texts_read(a) == texts_read(b)


def same_tokens(a: MeasuredResult, b: MeasuredResult) -> bool:
    """Return True where losses per token of two results are of the same tokens of the same texts, as far as they say."""
    losses = (next((readings.get(LOSS) for readings in reading.of_all(result)), None) for result in (a, b))
    return same_texts(a, b) and a.model.vocab_size == b.model.vocab_size and reading.have_same_tokens(*losses)


def differences(
    reference: MeasuredResult,
    run: MeasuredResult,
    fraction: float,
    *,
    reference_arrays: Arrays | None = None,
    run_arrays: Arrays | None = None,
) -> tuple[list[Difference], str]:
    """Return the differences of every number of a run that may be compared with the reference's.

    Args:
        reference, run: results of any kind.
        fraction: share of the layers that maps, damage and curves are read at. Beside a result that is about one block they are
            read at that block's share.
        reference_arrays, run_arrays: the stored values of each text, so that differences are paired.

    Returns:
        The differences, and a sentence on quantities that cannot be compared; "" where all can.
    """
    if not {reference.kind, run.kind} <= set(KINDS):
        return [], "Results of this kind have no computed difference. Read them side by side."
    arrays = (reference_arrays or {}, run_arrays or {})
    if isinstance(reference, DistanceResult) and isinstance(run, DistanceResult):
        return _maps(reference, run, fraction, *arrays)
    if isinstance(reference, DamageResult) and isinstance(run, DamageResult):
        return _damage(reference, run, fraction, *arrays)
    if isinstance(reference, DistanceResult | DamageResult) or isinstance(run, DistanceResult | DamageResult):
        return [], "The reference measures another quantity, so there is no difference."
    return _scores(reference, run, fraction)


def recovered(heal: HealResult, field: str = "loss") -> float | None:
    """Return the share of the pruning's cost that a heal recovered: 0 as bad as pruned, 1 as good as unpruned, below 0 worse.

    Args:
        heal: the result.
        field: "loss" or "acc".

    Returns:
        The share; None where it was not measured, or where pruning cost nothing.
    """
    points = (heal.unpruned, heal.pruned, heal.healed)
    losses = [value for point in points if point and (value := getattr(point, field)) is not None]
    if len(losses) < len(points):
        return None
    unpruned, cut, healed = losses
    cost = unpruned - cut  # of an accuracy; both differences change sign for a loss
    return float((healed - cut) / cost) if (cost > 0) == (field == "acc") and cost else None


def _any_limit(benchmark: BenchmarkSpec) -> BenchmarkSpec:
    return replace(benchmark, limit=None)


def _maps(a: DistanceResult, b: DistanceResult, fraction: float, x: Arrays, y: Arrays) -> tuple[list[Difference], str]:
    if a.spec.metric != b.spec.metric:
        return [], f"The reference is a map of {a.spec.metric} distance and this one of {b.spec.metric}, so their units differ."
    return _best_blocks(a, b, fraction, x, y, "least distance", a.text_lengths == b.text_lengths)


def _damage(a: DamageResult, b: DamageResult, fraction: float, x: Arrays, y: Arrays) -> tuple[list[Difference], str]:
    if not same_tokens(a, b):
        return (
            [],
            "The loss increase was measured on other texts or with another vocabulary, so nats per token cannot be compared.",
        )
    return _best_blocks(a, b, fraction, x, y, "least loss increase, nats per token", True)


def _best_blocks(
    a: DistanceResult | DamageResult,
    b: DistanceResult | DamageResult,
    fraction: float,
    x: Arrays,
    y: Arrays,
    quantity: str,
    alike: bool,
) -> tuple[list[Difference], str]:
    """The chosen blocks of a fraction of the layers, text by text where every text was kept."""
    n, m = (nearest_n(fraction, result.n_layers) for result in (a, b))
    first, second = best_of(a, n), best_of(b, m)
    if first is None or second is None:
        return [], f"Blocks of {fraction:.0%} of the layers are not measured in both."
    reference, value = (best.distance if isinstance(best, Best) else best.increase for best in (first, second))
    texts = [_per_text(a, first.block, x), _per_text(b, second.block, y)]
    removed = f"{first.block.describe()}; {second.block.describe()}"
    if alike and same_texts(a, b) and all(len(losses) for losses in texts) and len(texts[0]) == len(texts[1]):
        mean, low, high = stats.compare_losses(texts[0], texts[1], getattr(a, "text_tokens", None))
        return [Difference(quantity, removed, reference, value, mean, low, high, f"paired, {len(texts[0])} texts")], ""
    if isinstance(a, DamageResult):
        return [Difference(quantity, removed, reference, value, value - reference, None, None, NOT_STORED)], ""
    errors = (b.stderr[m - 1][second.start], a.stderr[n - 1][first.start])
    least, most = stats.independent(value, errors[0], reference, errors[1])
    basis = "treated as independent: texts not stored" if same_texts(a, b) else "independent: other texts"
    return [Difference(quantity, removed, reference, value, value - reference, least, most, basis)], ""


def _per_text(result: DistanceResult | DamageResult, block: Block, arrays: Arrays) -> list[float]:
    """Return each text's value of a block; empty where these were not kept."""
    if isinstance(result, DistanceResult):
        distances = arrays.get("text_distances", {}).get(result.spec.metric)
        return [] if distances is None else [float(v) for v in distances[:, block.start, block.stop]]
    losses = arrays.get("text_losses")
    if losses is None:
        return []
    index = 1 + blocks_up_to(len(result.increase), result.n_layers).index(block)
    increases = (losses[index] - losses[0]).astype(float)
    return [float(v) for v in increases] if np.isfinite(increases).all() else []


def _readings(result: MeasuredResult, n: int) -> Readings:
    """Return the scores of a curve at n removed layers, of a healed model, or of an evaluation."""
    if isinstance(result, SweepResult):
        point = point_of(result, n)
        return {} if point is None else reading.of_sweep(result, point.block)
    if isinstance(result, HealResult):
        return reading.of_heal(result, "healed")
    assert isinstance(result, EvaluateResult), type(result)
    return reading.of_evaluate(result)


def _share(result: MeasuredResult) -> float | None:
    """Return the fraction of the layers that a result about one block removes; None for curves."""
    if isinstance(result, HealResult):
        return float(result.spec.block.size / result.model.n_layers)
    return result.point.n / result.model.n_layers if isinstance(result, EvaluateResult) else None


def _scores(reference: MeasuredResult, run: MeasuredResult, fraction: float) -> tuple[list[Difference], str]:
    fixed = [share for share in (_share(run), _share(reference)) if share is not None]
    position = fixed[0] if fixed else fraction
    # Only a curve is read at a share of layers, and a curve also knows the unpruned model.
    n, m = (nearest_n(position, result.model.n_layers) if position else 0 for result in (reference, run))
    a, b = _readings(reference, n), _readings(run, m)
    if not a or not b:
        return [], f"Pruning {position:.0%} of the layers is not measured in both."
    quantities, missing = [], []
    accuracy = _difference(a.get(ACCURACY), b.get(ACCURACY)) if same_questions(reference, run) else None
    quantities += [accuracy] if accuracy else []
    missing += [] if accuracy else ["other questions"]
    loss = _loss(a.get(LOSS), b.get(LOSS), same_tokens(reference, run)) if same_texts(reference, run) else None
    quantities += [loss] if loss else []
    missing += [] if loss else ["other texts"]
    if not quantities:
        return [], "The result was measured on other questions and other texts than the reference."
    return quantities, f"Not compared: it was measured on {missing[0]}." if missing else ""


def _loss(a: Reading | None, b: Reading | None, tokens: bool) -> Difference | None:
    """Nats per token if the tokens are the same, else bits per byte."""
    if tokens or a is None or b is None:
        return _difference(a, b)
    bits = [in_bits and replace(in_bits, losses=()) for in_bits in map(reading.in_bits, (a, b))]
    return _difference(*bits)


def _difference(a: Reading | None, b: Reading | None) -> Difference | None:
    if a is None or b is None:
        return None
    name, unpaired = _QUANTITIES[a.quantity]
    change, unit = changes.between(a, b), "questions" if a.is_share else "texts"
    p_value = "" if change.p_value is None else f", McNemar p = {change.p_value:.2g}"
    basis = f"paired, {change.n} {unit}{p_value}" if change.paired else unpaired
    removed = "; ".join("unpruned" if each.cut is None else each.cut.describe() for each in (a, b))
    return Difference(name, removed, a.value, b.value, change.difference, change.low, change.high, basis)


_QUANTITIES = {
    ACCURACY: ("accuracy", "treated as independent: answers not stored"),
    LOSS: ("loss, nats per token", NOT_STORED),
    BITS: ("loss, bits per byte", "treated as independent: another vocabulary gives other tokens"),
}
"""Names of the quantities, and the basis of a difference that is not paired."""
