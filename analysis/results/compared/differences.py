"""Results against a reference: which of their numbers may be compared, and by how much they differ.

Compare shows them for whole runs side by side. The interval of one selected block comes from `changes`.
"""

from dataclasses import dataclass, replace

from analysis.core.intervals import Interval
from analysis.data.spec import BenchmarkSpec
from analysis.experiments.accuracy.sweep_spec import EvaluateResult, SweepResult
from analysis.experiments.heal.heal_result import HealResult
from analysis.results.compared import changes
from analysis.results.stored import reading
from analysis.results.stored.reading import ACCURACY, BITS, LOSS, Reading, Readings
from analysis.results.stored.summaries import (
    SHARE,
    MeasuredResult,
    nearest_n,
    point_of,
    texts_read,
)

NOT_STORED = "no interval: losses per text were not stored"
"""Basis of a difference of losses that cannot be paired by text."""


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


def differences(reference: MeasuredResult, run: MeasuredResult) -> tuple[list[Difference], str]:
    """Return the differences of every score of a run that may be compared with the reference's.

    Args:
        reference, run: results of any kind. Curves are read at `SHARE` of the layers or, beside a result that is about
            one block, at that block's share.

    Returns:
        The differences, and a sentence on quantities that cannot be compared; "" if all can.
    """
    if not all(isinstance(result, SweepResult | HealResult | EvaluateResult) for result in (reference, run)):
        return [], "Results of these kinds have no computed difference. Read them side by side."
    fixed = [share for share in (_share(run), _share(reference)) if share is not None]
    position = fixed[0] if fixed else SHARE
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


def _any_limit(benchmark: BenchmarkSpec) -> BenchmarkSpec:
    return replace(benchmark, limit=None)


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
