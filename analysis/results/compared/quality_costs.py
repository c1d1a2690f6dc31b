"""Costs of removed layers in loss and accuracy: measured changes from the unpruned model, and the
best block.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from analysis.core.blocks import Removal, blocks_up_to, shape
from analysis.experiments.maps.damage_spec import DamageResult
from analysis.results.compared import changes
from analysis.results.compared.changes import Change
from analysis.results.stored import reading
from analysis.results.stored.reading import DAMAGE, LOSS, Condition, Reading


@dataclass(frozen=True)
class Cost:
    """Change of a pruned model from the unpruned one, both measured under the same condition."""

    cut: Removal
    reading: Reading
    """Reading of the pruned model; of a loss-increase map, the increase."""
    change: Change
    """Change against the unpruned model: nats per token, or a share of questions."""

    @property
    def condition(self) -> Condition:
        """Return the condition that it holds for."""
        return self.reading.condition


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
    readings = [measured for result in results for measured in _readings(result, quantity)]
    unpruned: dict[Condition, Reading] = {}
    for measured in readings:
        if measured.cut is None:
            unpruned.setdefault(measured.condition, measured)
    costs: dict[tuple[Removal, Condition], Cost] = {}
    wanted_shape = (0, 0, like) if isinstance(like, int) else shape(like)
    candidates = [
        *readings,
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


def _readings(result: Any, quantity: str) -> Iterator[Reading]:
    """Yield the readings of the unpruned and the pruned models of a result."""
    matching = [readings[quantity] for readings in reading.of_all(result) if quantity in readings]
    yield from (measured for measured in matching if not measured.repair)


def _damages(results: Sequence[Any], n: int) -> Iterator[Reading]:
    for result in results:
        if isinstance(result, DamageResult):
            for block in blocks_up_to(n, result.n_layers):
                increase = reading.of_damage(result, block) if block.size == n else None
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
