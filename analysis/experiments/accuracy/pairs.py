"""Comparison of two models, paired by question."""

from collections.abc import Sequence
from dataclasses import dataclass

from analysis.core.intervals import Interval
from analysis.core.stats import mcnemar_p, paired_interval
from analysis.experiments.accuracy.points import Point, QuestionScore


@dataclass(frozen=True)
class PairedComparison(Interval):
    """The difference of two models on the same questions."""

    difference: float
    """Accuracy of the second minus accuracy of the first."""
    low: float
    """Lower end of the paired interval of the difference."""
    high: float
    """Upper end of the interval."""
    gained: int
    """Number of questions that only the second model answered right."""
    lost: int
    """Number of questions that only the first model answered right."""
    p_value: float
    """P-value of the exact two-sided McNemar test."""
    n: int
    """Number of questions."""


def compare(first: Sequence[QuestionScore], second: Sequence[QuestionScore]) -> PairedComparison:
    """Compare two models question by question.

    Args:
        first: Answers of the reference, usually the unpruned model.
        second: Answers of the second model. Only questions that both answered count. Answers
            without an id are in the order of the questions, and both models answered all of them.

    Raises:
        ValueError: If they share no question.
    """
    if all(answer.id for answer in (*first[:1], *second[:1])):
        right = {answer.id: answer.prediction == answer.gold for answer in first}
        pairs = [
            (right[answer.id], answer.prediction == answer.gold)
            for answer in second
            if answer.id in right
        ]
    else:
        answered = zip(first, second, strict=True)
        pairs = [
            (before.prediction == before.gold, after.prediction == after.gold)
            for before, after in answered
        ]
    if not pairs:
        raise ValueError("The two results have no question in common.")
    gained = sum(not before and after for before, after in pairs)
    lost = sum(before and not after for before, after in pairs)
    low, high = paired_interval(gained, lost, len(pairs))
    return PairedComparison(
        (gained - lost) / len(pairs), low, high, gained, lost, mcnemar_p(gained, lost), len(pairs)
    )


def is_above(point: Point, level: float) -> bool:
    """Return whether an accuracy is significantly above a level, such as chance."""
    return point.interval is not None and point.interval[0] > level
