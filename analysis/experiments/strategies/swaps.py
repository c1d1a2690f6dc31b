"""Greedy removal followed by local search, which also starts from the best contiguous block.

A step swaps one or two layers or shifts a contiguous run, because single swaps rarely reach a
contiguous optimum. Only promising swaps are measured: the predicted cost of a swap is the cost
without the restored layer plus that with the added one.
"""

import math
from collections.abc import Iterator, Sequence
from itertools import combinations

from analysis.core.blocks import removal
from analysis.experiments.strategies import (
    SEARCHED,
    Explored,
    Layers,
    Search,
    Strategy,
    as_searched,
    register,
)
from analysis.experiments.strategies.greedy import KEPT, SLACK, Growth, best, first_costs, n_grown

_SWAPS = 8
_PAIRS = 4
"""Numbers of swaps of one layer and of two layers that are measured at each step."""
_STEPS = 3
"""Maximum number of steps of a local search."""
_MAX_ENDS = 3
"""Maximum number of sets of a size that are measured on the validation text."""
_MIN_GAIN = 1e-4
"""Minimum improvement of a step in nats per token, above rounding errors."""


def _shifted(model: Explored, layers: Layers) -> list[Layers]:
    """Return the sets with one contiguous run moved by one or two layers."""
    shifts = []
    for run in removal(layers).blocks:
        rest = [layer for layer in layers if layer not in run.layers]
        for offset in (-2, -1, 1, 2):
            moved = {layer + offset for layer in run.layers}
            if moved <= set(model.free) and moved.isdisjoint(rest):
                shifts.append(tuple(sorted([*rest, *moved])))
    return shifts


def _promising(model: Explored, growth: Growth, layers: Layers) -> list[Layers]:
    """Return the swaps of one layer and of two layers with the lowest predicted costs."""
    smaller = [
        tuple(kept_layer for kept_layer in layers if kept_layer != layer) for layer in layers
    ]
    larger = growth.sets(layers, _SWAPS)
    if not larger:
        return []
    cost_without = dict(zip(layers, model.first(smaller), strict=True))
    cost_with = {
        next(iter({*grown} - {*layers})): cost
        for grown, cost in zip(larger, model.first(larger), strict=True)
    }

    def changed(out: Sequence[int], added: Sequence[int]) -> Layers:
        return tuple(sorted([*(layer for layer in layers if layer not in out), *added]))

    ranked_out, ranked_in = (
        sorted(costs, key=lambda layer: (costs[layer], layer))
        for costs in (cost_without, cost_with)
    )
    single = {
        changed([out], [added]): cost_without[out] + cost_with[added]
        for out in ranked_out
        for added in ranked_in
    }
    pairs = {
        changed(out, added): (
            sum(cost_without[layer] for layer in out) + sum(cost_with[layer] for layer in added)
        )
        for out in combinations(ranked_out[:4], 2)
        for added in combinations(ranked_in[:4], 2)
    }
    return [
        swapped
        for costs, most in ((single, _SWAPS), (pairs, _PAIRS))
        for swapped in sorted(costs, key=lambda swap: (costs[swap], swap))[:most]
    ]


def _climbed(model: Explored, growth: Growth, start: Layers) -> Layers:
    """Return the local optimum that is reached from `start`."""
    current = start
    cost = model.whole([start])[0]
    while changes := [*_shifted(model, current), *_promising(model, growth, current)]:
        candidate = best(model, changes)[0]
        candidate_cost = model.whole([candidate])[0]
        if candidate_cost > cost - _MIN_GAIN:
            break
        current = candidate
        cost = candidate_cost
    return current


def _blocks(model: Explored, n: int, costs: dict[Layers, float]) -> list[Layers]:
    """Return the measured blocks of a size. The best few are among them if a block costs at least
    `SLACK` times any part of it.

    Args:
        model: the model that is searched.
        n: Number of layers.
        costs: Costs of the blocks with one layer less, or lower bounds; replaced by those of this
            size.
    """
    blocks = [tuple(range(start, start + n)) for start in range(model.n_layers - n + 1)]
    free = [block for block in blocks if set(block) <= set(model.free)]
    parts = {
        block: max(costs.get(block[1:], -math.inf), costs.get(block[:-1], -math.inf))
        for block in free
    }
    measured = first_costs(model, {block: SLACK * part for block, part in parts.items()}, KEPT)
    costs.clear()
    costs |= parts | measured
    return list(measured)


def _walk(model: Explored) -> Iterator[Sequence[Layers]]:
    before = Layers()
    growth = Growth(model)
    costs = dict[Layers, float]()
    for n in range(1, model.max_n + 1):
        grown = best(model, growth.sets(before))
        starts = [
            grown[0],
            *(best(model, blocks)[:1] if (blocks := _blocks(model, n, costs)) else []),
        ]
        ends = best(model, [_climbed(model, growth, start) for start in dict.fromkeys(starts)])
        before = ends[0]
        yield list(dict.fromkeys([*ends, *starts]))[:_MAX_ENDS]


def _sets(n_free: int, max_n: int, budget: int) -> int:
    blocks = sum(max(0, n_free - n + 1) for n in range(1, max_n + 1))
    step = [n + _SWAPS + _PAIRS + 4 + (n_free - n) for n in range(1, max_n + 1)]
    return min(budget, n_grown(n_free, max_n) + blocks + _STEPS * sum(step))


register(
    Strategy(
        "swaps",
        title="Greedy and swaps",
        help=(
            "greedy, then swaps layers and runs of layers until no swap helps. Also starts from the"
            " best block."
        ),
        choose=as_searched,
        needs=(SEARCHED,),
        search=Search(_walk, _sets, usual=0.36, most_ends=_MAX_ENDS),
    )
)
