"""Scores of every block under one condition, each block by itself: nothing is read off a curve at a number of layers."""

from collections.abc import Sequence
from typing import Any

from analysis.core.blocks import Removal
from analysis.reading import reading
from analysis.reading.reading import Condition, Reading


def condition_of(result: Any, quantity: str) -> Condition | None:
    """The condition of a curve's scores, which is that of its unpruned model; None where it has no such score."""
    for readings in reading.of_all(result):
        one = readings.get(quantity)
        if one is not None and one.cut is None and not one.repair:
            return one.condition
    return None


def by_block(results: Sequence[Any], quantity: str, condition: Condition) -> dict[Removal | None, Reading]:
    """The score of every block under a condition, None for the unpruned model; healed models are ignored.

    Args:
        results: curves, evaluations and heals of one model, strongest evidence first.
        quantity: `reading.ACCURACY` or `reading.LOSS`.
        condition: questions or texts, their number and the precision.
    """
    found: dict[Removal | None, Reading] = {}
    for result in results:
        for readings in reading.of_all(result):
            one = readings.get(quantity)
            if one is not None and not one.repair and one.condition == condition:
                found.setdefault(one.cut, one)
    return found
