"""Greedy removal, then changes of the set until none helps, begun from the best contiguous block as well.

Single swaps alone miss a contiguous optimum, so whole runs are shifted and pairs of layers exchanged too. Of the many swaps
only promising ones are measured. The cost of a swap is predicted from its halves, as if they were independent. These
are the set without the layer that returns, and the set with the layer that leaves.
"""

from collections.abc import Iterator, Sequence
from itertools import combinations

from analysis.core.blocks import removal
from analysis.experiments.strategies import SEARCHED, Explored, Layers, Search, Strategy, as_searched, register
from analysis.experiments.strategies.greedy import best, n_grown, with_one_more

_SWAPS, _PAIRS = 8, 4
"""Single swaps and exchanges of two layers that are measured at each step."""
_STEPS = 3
"""Steps of one climb in the predicted cost; a climb ends when none helps."""
_ENDS = 3
"""Sets of a size that are judged on the validation text."""
_LEAST_GAIN = 1e-4
"""Nats per token by which a change must help: less is rounding."""


def _shifted(model: Explored, layers: Layers) -> list[Layers]:
    """The set with one of its unbroken runs moved by a layer or two."""
    found = []
    for run in removal(layers).blocks:
        others = [layer for layer in layers if layer not in run.layers]
        for by in (-2, -1, 1, 2):
            moved = {layer + by for layer in run.layers}
            if moved <= set(model.free) and moved.isdisjoint(others):
                found.append(tuple(sorted([*others, *moved])))
    return found


def _promising(model: Explored, layers: Layers) -> list[Layers]:
    """Return the swaps of one layer and of two that should help most, predicted from their halves."""
    back = [tuple(other for other in layers if other != layer) for layer in layers]
    gone = with_one_more(model, layers)
    if not gone:
        return []
    less = dict(zip(layers, model.first(back), strict=True))
    more = dict(zip((layer for layer in model.free if layer not in layers), model.first(gone), strict=True))

    def changed(out: Sequence[int], into: Sequence[int]) -> Layers:
        return tuple(sorted([*(layer for layer in layers if layer not in out), *into]))

    ranked_out, ranked_in = (sorted(known, key=lambda layer: (known[layer], layer)) for known in (less, more))
    single = {changed([out], [into]): less[out] + more[into] for out in ranked_out for into in ranked_in}
    pairs = {
        changed(out, into): sum(less[one] for one in out) + sum(more[one] for one in into)
        for out in combinations(ranked_out[:4], 2)
        for into in combinations(ranked_in[:4], 2)
    }
    return [
        swapped
        for known, most in ((single, _SWAPS), (pairs, _PAIRS))
        for swapped in sorted(known, key=lambda one: (known[one], one))[:most]
    ]


def _climbed(model: Explored, start: Layers) -> Layers:
    """The set that is reached from `start` by changes that help, until none does."""
    now, cost = start, model.whole([start])[0]
    while changes := [*_shifted(model, now), *_promising(model, now)]:
        found = best(model, changes)[0]
        then = model.whole([found])[0]
        if then > cost - _LEAST_GAIN:
            break
        now, cost = found, then
    return now


def _blocks(model: Explored, n: int) -> list[Layers]:
    blocks = [tuple(range(start, start + n)) for start in range(model.n_layers - n + 1)]
    return [block for block in blocks if set(block) <= set(model.free)]


def _walk(model: Explored) -> Iterator[Sequence[Layers]]:
    before: Layers = ()
    for n in range(1, model.max_n + 1):
        grown = best(model, with_one_more(model, before))
        starts = [grown[0], *(best(model, blocks)[:1] if (blocks := _blocks(model, n)) else [])]
        ends = best(model, [_climbed(model, start) for start in dict.fromkeys(starts)])
        before = ends[0]
        yield list(dict.fromkeys([*ends, *starts]))[:_ENDS]


def _sets(n_free: int, max_n: int, budget: int) -> int:
    blocks = sum(max(0, n_free - n + 1) for n in range(1, max_n + 1))
    step = [n + _SWAPS + _PAIRS + 4 + (n_free - n) for n in range(1, max_n + 1)]
    return min(budget, n_grown(n_free, max_n) + blocks + _STEPS * sum(step))


register(
    Strategy(
        "swaps",
        title="Greedy and swaps",
        help="greedy, then swaps layers and runs of layers until no swap helps. Also starts from the best block.",
        choose=as_searched,
        needs=(SEARCHED,),
        search=Search(_walk, _sets, usual=0.5),
    )
)
