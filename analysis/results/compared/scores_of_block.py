"""Scores of the selected block under the selected condition, for every panel.

Scores of the block under other conditions are in `QuantityScores.elsewhere`, each with its own
condition.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from analysis.core.blocks import Removal
from analysis.results.compared import quality_costs
from analysis.results.compared.quality_costs import Cost
from analysis.results.score import changes, stored_scores
from analysis.results.score.changes import Change
from analysis.results.score.condition import Condition
from analysis.results.score.score import ACCURACY, LOSS, Score
from analysis.results.score.stored_scores import conditions_of


@dataclass(frozen=True)
class QuantityScores:
    """One quantity of the selected block and of the unpruned model under the selected condition."""

    quantity: str
    """ACCURACY or LOSS."""
    condition: Condition | None
    """The selected condition; None if none is selected."""
    unpruned: Score | None
    score: Score | None
    """Score of the selected block; None if it is not measured under this condition."""
    elsewhere: tuple[Cost, ...]
    """Changes of the same block under other conditions, strongest evidence first."""

    @property
    def change(self) -> Change | None:
        """Return the selected block minus the unpruned model; None if either is not measured."""
        return changes.change(self.unpruned, self.score) if self.unpruned and self.score else None


@dataclass(frozen=True)
class Selected:
    """All scores of the selected block."""

    removed: Removal | None
    """The removed layers; None for the unpruned model."""
    accuracy: QuantityScores
    loss: QuantityScores

    def measured(self, quantity: str) -> QuantityScores:
        """Return the scores of one quantity.

        Args:
            quantity: ACCURACY or LOSS.
        """
        return self.accuracy if quantity == ACCURACY else self.loss


def select(removed: Removal | None, results: Sequence[Any], *, shown: Any = None) -> Selected:
    """Find the scores of a block under the selected condition.

    Args:
        removed: the removed layers; None for the unpruned model.
        results: curves, evaluations and heals of one model, strongest evidence first; scores of
            healed models are ignored.
        shown: the result whose dataset, texts and precision are selected. Without it the first
            result that scores the block, else the first one that scores anything. Scores of a file
            are of its own block, so they are never selected.
    """
    if shown is None:
        scored = [
            result
            for result in results
            if conditions_of(result) and not getattr(result.spec, "as_file", False)
        ]
        shown = next(
            (result for result in scored if _scores(result, removed)), scored[0] if scored else None
        )
    conditions = {} if shown is None else conditions_of(shown)
    return Selected(
        removed,
        *(_measured(name, removed, conditions.get(name), results) for name in (ACCURACY, LOSS)),
    )


def _scores(result: Any, removed: Removal | None) -> bool:
    return any(
        measured.cut == removed and not measured.repair
        for scores in stored_scores.of_all(result)
        for measured in scores.values()
    )


def by_block(
    results: Sequence[Any], quantity: str, condition: Condition
) -> dict[Removal | None, Score]:
    """Return the score of every block under a condition, with None for the unpruned model; healed
    models are ignored.

    A score with its answers or losses is preferred, so that changes are paired if possible. Tables
    of methods count last.

    Args:
        results: curves, evaluations and heals of one model, strongest evidence first.
        quantity: ACCURACY or LOSS.
        condition: condition of all scores.
    """
    scores_by_block: dict[Removal | None, Score] = {}
    for result in sorted(results, key=lambda result: result.spec.kind == "methods"):
        is_table = result.spec.kind == "methods"
        for scores in stored_scores.of_all(result):
            measured = scores.get(quantity)
            if measured is not None and not measured.repair and measured.condition == condition:
                previous = scores_by_block.get(measured.cut)
                if previous is None or (
                    not is_table and measured.is_pairable > previous.is_pairable
                ):
                    scores_by_block[measured.cut] = measured
    return scores_by_block


def _measured(
    quantity: str, removed: Removal | None, condition: Condition | None, results: Sequence[Any]
) -> QuantityScores:
    scores = {} if condition is None else by_block(results, quantity, condition)
    costs = [] if removed is None else quality_costs.of_cuts(results, quantity, removed)
    elsewhere = tuple(cost for cost in costs if cost.cut == removed and cost.condition != condition)
    return QuantityScores(quantity, condition, scores.get(None), scores.get(removed), elsewhere)
