"""Quality and speed of an exported pruned model beside those of the unpruned model, from the best evidence."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from analysis.core import stats
from analysis.core.blocks import PartSet, Removal
from analysis.experiments.accuracy.sweep_spec import EvaluateResult, SweepResult
from analysis.experiments.heal.heal_result import HealResult
from analysis.experiments.speed.speed_spec import SpeedResult
from analysis.results import evidence, reading
from analysis.results import speed as speeds
from analysis.results.reading import Change, Reading, Readings

Scored = SweepResult | EvaluateResult | HealResult
"""Results that say how good a model is."""


@dataclass(frozen=True)
class Quality:
    """A quantity of the unpruned model and of the exported one, measured under the same condition."""

    before: Reading
    after: Reading

    @property
    def change(self) -> Change:
        """Return the change of the second against the first."""
        return reading.change(self.before, self.after)


def quality(quantity: str, results: Sequence[Scored], cut: Removal, heal: HealResult | None = None) -> Quality | None:
    """Return the strongest evidence on removed layers, healed or not, that has the unpruned model beside it.

    Args:
        quantity: `reading.ACCURACY` or `reading.LOSS`.
        results: all there is of the model, newest first.
        cut: the removed layers.
        heal: the healing run; None for the pruned, unhealed model.

    Returns:
        None where the quantity has not been measured of both under one condition.
    """
    for result in evidence.ranked(results):
        found = _of(result, cut, heal).get(quantity)
        whole = _unpruned(result).get(quantity)
        if found is None:
            continue
        if whole is None:  # an evaluation has one model: another may have the unpruned one
            others = (_unpruned(other).get(quantity) for other in evidence.ranked(results))
            whole = next((other for other in others if other and other.condition == found.condition), None)
        if whole is not None and whole.condition == found.condition:
            return Quality(whole, found)
    return None


def _of(result: Scored, cut: Removal, heal: HealResult | None) -> Readings:
    """Return the scores of a result without the removed layers, healed or not."""
    if isinstance(result, SweepResult):
        return reading.of_sweep(result, cut) if heal is None else {}
    if isinstance(result, EvaluateResult):
        is_it = result.spec.block == cut and result.spec.adapter == (heal.adapter if heal else None)
        return reading.of_evaluate(result) if is_it else {}
    if heal is None:
        return reading.of_heal(result, "pruned") if result.is_of(cut) else {}
    return reading.of_heal(result, "healed") if result.spec == heal.spec else {}


def _unpruned(result: Scored) -> Readings:
    if isinstance(result, SweepResult):
        return reading.of_sweep(result, None)
    if isinstance(result, EvaluateResult):
        return reading.of_evaluate(result) if result.spec.block is None and result.spec.adapter is None else {}
    return reading.of_heal(result, "unpruned")


@dataclass(frozen=True)
class Amount:
    """A measured number with its 95 % interval; None twice where a single repeat gives none."""

    value: float
    low: float | None
    high: float | None


@dataclass(frozen=True)
class Speed:
    """Generation speed of the unpruned and the pruned model."""

    before: Amount
    """Tokens per second."""
    after: Amount
    times: Amount
    """Speed ratio, from the two of each round, which were measured one after the other."""
    rounds: int
    result: SpeedResult
    """The source of the numbers: machine, precision, lengths."""


def speed(results: Sequence[SpeedResult], removed: int | Removal) -> Speed | None:
    """Return the speed without n layers, at any place in the model, or without removed parts.

    Means are geometric, since times scatter by factors; intervals are Student's t of the logarithms.

    Args:
        results: measurements of the model, the preferred one first.
        removed: layers; of whole layers their number counts.

    Returns:
        None where no measurement has both the unpruned model and this removal.
    """
    n = removed if isinstance(removed, int | PartSet) else removed.size
    for result in results:
        seconds = {point.block if point.parts else point.n: point.decode.repeats_s for point in result.points}
        if n in seconds and 0 in seconds:
            before, after = (_mean([math.log(result.tokens_per_s("decode", one)) for one in seconds[at]]) for at in (0, n))
            gain = speeds.speed_gain(result, n)
            times = Amount(after.value / before.value, None, None)
            if gain is not None:
                times = Amount(1 + gain.value, 1 + gain.low, 1 + gain.high)
            return Speed(before, after, times, min(len(seconds[0]), len(seconds[n])), result)
    return None


def _mean(logarithms: Sequence[float]) -> Amount:
    mean, stderr = stats.mean_and_stderr(logarithms)
    low, high = stats.mean_interval(mean, stderr, len(logarithms)) or (None, None)
    return Amount(math.exp(mean), *(None if end is None else math.exp(end) for end in (low, high)))
