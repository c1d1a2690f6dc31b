"""Numbers that may stand beside a curve: those of its own condition only; others are named with their own condition."""

from collections.abc import Sequence

from analysis.core.blocks import PartSet
from analysis.experiments.accuracy.sweep_spec import EvaluateResult, SweepResult
from analysis.experiments.heal.heal_result import HealResult
from analysis.results import reading
from analysis.results.reading import ACCURACY, LOSS, Reading, Readings

Scored = SweepResult | EvaluateResult | HealResult
"""Results that say how good a model is."""


def may_stand(sweep: SweepResult, other: Scored, quantity: str) -> bool:
    """Return True where a number may be drawn on a curve: model, precision, questions or texts, and their number are the same.

    A healed model without some sublayers may only where the curve has these: so many sublayers are not so many layers.

    Args:
        sweep: the curve.
        other: the result to draw on it; of a healing run its healed model, of another curve its unpruned one.
        quantity: `ACCURACY` or `LOSS`; a result that has not measured it may not stand.
    """
    if _is_of_other_parts(sweep, other):
        return False
    own, its = reading.of_sweep(sweep, None).get(quantity), _of(other).get(quantity)
    return own is not None and its is not None and own.condition == its.condition


def elsewhere(sweep: SweepResult, heals: Sequence[HealResult]) -> list[str]:
    """Return a sentence per healing run that may not stand on a curve, with its own condition and its own unpruned model."""
    sentences = []
    for heal in heals:
        unlike = [name for name in (ACCURACY, LOSS) if name in _of(heal) and not may_stand(sweep, heal, name)]
        if unlike:
            whole, healed = reading.of_heal(heal, "unpruned"), _of(heal)
            scores = " and ".join(_scores(healed[name], whole.get(name)) for name in unlike)
            model = f"{heal.spec.block.brief()}, healed by {heal.spec.recipe}"
            why = "sublayers are removed" if _is_of_other_parts(sweep, heal) else "measured differently"
            sentences.append(f"Not on the curve ({why}): {model}, {scores}.")
    return sentences


def _is_of_other_parts(sweep: SweepResult, other: Scored) -> bool:
    """Return True for a healing run of removed sublayers that a curve does not have."""
    cut = other.spec.block if isinstance(other, HealResult) and not other.spec.control else None
    return isinstance(cut, PartSet) and all(point.block != cut for point in sweep.points)


def _scores(healed: Reading, unpruned: Reading | None) -> str:
    reference = "" if unpruned is None else f" (unpruned: {unpruned.number()})"
    return f"{healed.in_words()} on {healed.on_what()}{reference}"


def _of(result: Scored) -> Readings:
    if isinstance(result, SweepResult):
        return reading.of_sweep(result, None)
    return reading.of_evaluate(result) if isinstance(result, EvaluateResult) else reading.of_heal(result, "healed")
