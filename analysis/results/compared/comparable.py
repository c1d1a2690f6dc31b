"""Comparability of results: one chart has scores of one condition only, and others are listed with
their own condition.
"""

from collections.abc import Sequence

from analysis.core.blocks import PartSet
from analysis.experiments.accuracy.sweep_spec import EvaluateResult, SweepResult
from analysis.experiments.heal.heal_result import HealResult
from analysis.results.score import stored_scores
from analysis.results.score.score import ACCURACY, LOSS, Score, Scores, have_same_tokens
from analysis.results.score.stored_scores import Scored
from analysis.results.stored.summaries import MeasuredResult, texts_read


def is_comparable(sweep: SweepResult, other: Scored, quantity: str) -> bool:
    """Return whether a score may be drawn on a curve: both need the same model, precision, and
    questions or texts.

    A healed model without sublayers also needs a point of the curve without the same sublayers.

    Args:
        sweep: the curve.
        other: the result to draw on it. A healing run stands for its healed model, another curve
            for its unpruned model.
        quantity: `ACCURACY` or `LOSS`.
    """
    if _has_other_sublayers(sweep, other):
        return False
    sweep_score = stored_scores.of_sweep(sweep, None).get(quantity)
    other_reading = _drawn(other).get(quantity)
    return (
        sweep_score is not None
        and other_reading is not None
        and sweep_score.condition == other_reading.condition
    )


def incomparable(sweep: SweepResult, heals: Sequence[HealResult]) -> list[str]:
    """Return a sentence for each healing run that may not be drawn on a curve, with its scores and
    their condition.
    """
    sentences = []
    for heal in heals:
        unlike = [
            name
            for name in (ACCURACY, LOSS)
            if name in _drawn(heal) and not is_comparable(sweep, heal, name)
        ]
        if unlike:
            unpruned = stored_scores.of_heal(heal, "unpruned")
            healed = _drawn(heal)
            scores = " and ".join(_scores(healed[name], unpruned.get(name)) for name in unlike)
            model = f"{heal.spec.block.brief()}, healed by {heal.spec.recipe}"
            reason = (
                "sublayers are removed"
                if _has_other_sublayers(sweep, heal)
                else "measured differently"
            )
            sentences.append(f"Not on the curve ({reason}): {model}, {scores}.")
    return sentences


def same_texts(first: MeasuredResult, second: MeasuredResult) -> bool:
    """Return whether two results were measured on the same texts, truncated to the same length."""
    return texts_read(first) is not None and texts_read(first) == texts_read(second)


def same_tokens(first: MeasuredResult, second: MeasuredResult) -> bool:
    """Return whether the losses of two results are of the same texts and tokens, by vocabulary size
    and bits per byte.
    """
    losses = (
        next((scores.get(LOSS) for scores in stored_scores.of_all(result)), None)
        for result in (first, second)
    )
    same_vocabulary = first.model.vocab_size == second.model.vocab_size
    return same_texts(first, second) and same_vocabulary and have_same_tokens(*losses)


def _has_other_sublayers(sweep: SweepResult, other: Scored) -> bool:
    """Return whether a healing run removes sublayers that no point of a curve removes."""
    cut = other.spec.removed if isinstance(other, HealResult) else None
    return isinstance(cut, PartSet) and all(point.block != cut for point in sweep.points)


def _scores(healed: Score, unpruned: Score | None) -> str:
    reference = "" if unpruned is None else f" (unpruned: {unpruned.number()})"
    return f"{healed.in_words()} on {healed.condition.on_what()}{reference}"


def _drawn(result: Scored) -> Scores:
    """Return the scores of a result that are drawn on a curve."""
    if isinstance(result, SweepResult):
        return stored_scores.of_sweep(result, None)
    return (
        stored_scores.of_evaluate(result)
        if isinstance(result, EvaluateResult)
        else stored_scores.of_heal(result, "healed")
    )
