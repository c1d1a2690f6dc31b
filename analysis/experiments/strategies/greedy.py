"""Greedy removal: one layer at a time, each time the one whose removal changes the predictions
least.

Few sets are measured at each step. A layer rarely costs much less once other layers are removed, so
the cost that it added to an earlier set, times `SLACK`, is a lower bound of its cost. Sets are
measured in the order of their bounds until the next bound exceeds the cost of the best few (lazy
greedy, Minoux, 1978, which needs no slack for submodular functions).
"""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence

from analysis.experiments.strategies import (
    SEARCHED,
    Explored,
    Layers,
    Search,
    Strategy,
    as_searched,
    register,
)

KEPT = 4
"""Number of candidates that are measured on more texts."""
EXCESS = 0.08
"""Share of the lowest cost on half of the texts by which others may exceed it there, and be
measured on all texts. The best set of a step exceeds it by at most 0.041 over 15 layers of
SmolLM2-135M, and by 0.05 over 10 of Qwen2.5-Coder-1.5B."""
SLACK = 0.6
"""Expected minimum of a cost, as a share of the cost at an earlier step. Greedy finds the same
paths as without bounds: 15 layers of SmolLM2-135M, also with 0.7, and 12 layers of
Qwen2.5-Coder-0.5B."""


def best(model: Explored, sets: Sequence[Layers], most: int = KEPT) -> list[Layers]:
    """Return the best few of some sets of one size, best first.

    Candidates are chosen on the first texts, then on half of the texts, then on all. The others
    come last.

    Args:
        model: Interface to the model.
        sets: Candidates, possibly with duplicates.
        most: Number of sets to keep. With no more candidates than that, the first stage is skipped.
    """
    distinct = sorted(set(sets))
    if len(distinct) > most:
        distinct = [layers for _, layers in _ordered(model.first, distinct)[:most]]
    halves = _ordered(model.half, distinct)
    close = [layers for cost, layers in halves if cost <= halves[0][0] + EXCESS * abs(halves[0][0])]
    return [
        *(layers for _, layers in _ordered(model.whole, close)),
        *(layers for _, layers in halves[len(close) :]),
    ]


def _ordered(
    look: Callable[[Sequence[Layers]], list[float]], sets: Sequence[Layers]
) -> list[tuple[float, Layers]]:
    """Return sets with their costs, in ascending order."""
    return sorted(zip(look(sets), sets, strict=True))


def with_one_more(model: Explored, removed: Layers) -> list[Layers]:
    """Return all sets with one more free layer."""
    return [tuple(sorted((*removed, layer))) for layer in model.free if layer not in removed]


def first_costs(model: Explored, bounds: Mapping[Layers, float], most: int) -> dict[Layers, float]:
    """Return the costs on the first texts of sets that can be among the best few.

    Args:
        model: Interface to the model.
        bounds: Lower bound of each set's cost; minus infinity if unknown.
        most: Number of best sets.
    """
    costs: dict[Layers, float] = {}
    waiting = sorted(bounds, key=lambda layers: (bounds[layers], layers))
    while waiting and (len(costs) < most or bounds[waiting[0]] <= sorted(costs.values())[most - 1]):
        unknown = sum(bounds[layers] == -math.inf for layers in waiting)
        batch = waiting[: unknown or 1]
        waiting = waiting[unknown or 1 :]
        costs |= zip(batch, model.first(batch), strict=True)
    return costs


class Growth:
    """Extends sets by one layer, without layers that cost too much."""

    def __init__(self, model: Explored) -> None:
        """Start without known costs.

        Args:
            model: Interface to the model.
        """
        self._model = model
        self._added: dict[int, float] = {}
        """Cost that each layer added when it was last measured."""

    def sets(self, removed: Layers, most: int = KEPT) -> list[Layers]:
        """Return sets with one more free layer, among them the best `most` as far as the bounds
        hold.
        """
        base = self._model.first([removed])[0]
        layer_of = {
            larger: next(iter({*larger} - {*removed}))
            for larger in with_one_more(self._model, removed)
        }
        bounds = {
            larger: base + SLACK * self._added.get(layer, -math.inf)
            for larger, layer in layer_of.items()
        }
        costs = first_costs(self._model, bounds, most)
        self._added |= {layer_of[larger]: cost - base for larger, cost in costs.items()}
        return list(costs)


def n_grown(n_free: int, max_n: int) -> int:
    """Return the largest number of sets that a path of single layers measures."""
    return sum(n_free - n + 1 for n in range(1, max_n + 1))


def _walk(model: Explored) -> Iterator[Sequence[Layers]]:
    removed = Layers()
    growth = Growth(model)
    for _ in range(model.max_n):
        removed = best(model, growth.sets(removed))[0]
        yield [removed]


register(
    Strategy(
        "greedy",
        title="Greedy",
        help=(
            "removes one layer at a time, each time the layer whose removal changes the predictions"
            " least."
        ),
        choose=as_searched,
        needs=(SEARCHED,),
        search=Search(
            _walk, lambda n_free, max_n, budget: min(budget, n_grown(n_free, max_n)), usual=0.46
        ),
    )
)
