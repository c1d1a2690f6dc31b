"""Costs of removed layers in loss and accuracy: measured changes from the unpruned model, and the
best block.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from analysis.core.blocks import Removal, blocks_up_to, shape
from analysis.experiments.maps.damage_spec import DamageResult
from analysis.results.score import changes, stored_scores
from analysis.results.score.changes import Change
from analysis.results.score.condition import Condition
from analysis.results.score.score import DAMAGE, LOSS, Score


@dataclass(frozen=True)
class Cost:
    """Change of a pruned model from the unpruned one, both measured under the same condition."""

    cut: Removal
    score: Score
    """Score of the pruned model; of a loss-increase map, the increase."""
    change: Change
    """Change against the unpruned model: nats per token, or a share of questions."""

    @property
    def condition(self) -> Condition:
        """Return the condition that it holds for."""
        return self.score.condition


def of_cuts(results: Sequence[Any], quantity: str, like: int | Removal) -> list[Cost]:
    """Return the costs of all removals of one size.

    Args:
        results: curves, evaluations, healing runs and loss-increase maps of one model, strongest
            first; others are ignored.
        quantity: ACCURACY or LOSS; loss-increase maps have LOSS only.
        like: number of removed layers, or a removal of the same shape (`blocks.shape`).

    Returns:
        The cost of each removal under each condition, from the first result that has it. Without an
        unpruned model under the same condition there is no cost.
    """
    scores = [measured for result in results for measured in _scores(result, quantity)]
    unpruned: dict[Condition, Score] = {}
    for measured in scores:
        if measured.cut is None:
            unpruned.setdefault(measured.condition, measured)
    costs: dict[tuple[Removal, Condition], Cost] = {}
    wanted_shape = (0, 0, like) if isinstance(like, int) else shape(like)
    candidates = [
        *scores,
        *(
            _damages(results, wanted_shape[2])
            if quantity == LOSS and wanted_shape[:2] == (0, 0)
            else []
        ),
    ]
    for measured in candidates:
        cut = measured.cut
        if cut is None or shape(cut) != wanted_shape or (cut, measured.condition) in costs:
            continue
        if measured.quantity == DAMAGE:
            change = Change(
                measured.value, measured.low, measured.high, True, measured.condition.n, None
            )
        elif measured.condition in unpruned:
            change = changes.change(unpruned[measured.condition], measured)
        else:
            continue
        costs[cut, measured.condition] = Cost(cut, measured, change)
    return list(costs.values())


def _scores(result: Any, quantity: str) -> Iterator[Score]:
    """Yield the scores of the unpruned and the pruned models of a result."""
    matching = [scores[quantity] for scores in stored_scores.of_all(result) if quantity in scores]
    yield from (measured for measured in matching if not measured.repair)


def _damages(results: Sequence[Any], n: int) -> Iterator[Score]:
    for result in results:
        if isinstance(result, DamageResult):
            for block in blocks_up_to(n, result.n_layers):
                increase = stored_scores.of_damage(result, block) if block.size == n else None
                if increase is not None:
                    yield increase


def best_cut(costs: Sequence[Cost]) -> Cost | None:
    """Return the lowest cost under the condition with the most removals; None if it has only one.

    As the lowest of several measurements, it is biased low.
    """
    groups: dict[Condition, list[Cost]] = {}
    for cost in costs:
        groups.setdefault(cost.condition, []).append(cost)
    largest = max(groups.values(), key=len, default=[])
    return min(largest, key=lambda cost: cost.change.difference) if len(largest) > 1 else None
