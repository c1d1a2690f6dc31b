"""Evolution over sets of removed layers (EvoPress, arXiv:2410.14649): one parent, 32 children a generation, two selections.

A child exchanges min(a, b) removed layers for kept ones, a and b drawn from 1..3. All children are measured on the first texts,
two of them and their parent on all texts, and the best is the next parent. A size takes about n (L - n) / 1.5 generations,
or as many as its share of the budget pays. The paper begins with a random parent. Here the first parent is the best of 32 sets.
Each has one layer more than the last size's winner, for a result on fewer layers holds for more of them.
"""

from collections.abc import Iterator, Sequence
from random import Random

from analysis.experiments.strategies import SEARCHED, Explored, Layers, Search, Strategy, as_searched, register
from analysis.experiments.strategies.greedy import best, with_one_more

CHILDREN, SURVIVORS = 32, 2
_MOST_CHANGED = 3


def generations(n_free: int, max_n: int, budget: int) -> list[int]:
    """Return the generations of each size n = 1, 2, …: the full schedule, or all sizes shortened equally to fit the budget."""
    full = [n * (n_free - n) / 1.5 for n in range(1, max_n + 1)]
    budget_left = max(0, budget - sum(min(CHILDREN, n_free - n + 1) for n in range(1, max_n + 1)))
    part = min(1.0, budget_left / max(1.0, CHILDREN * sum(full)))
    return [round(part * many) if part == 1 else int(part * many) for many in full]


def mutated(parent: Layers, free: Sequence[int], random: Random) -> Layers:
    """The parent with up to three of its layers exchanged for free ones that it keeps."""
    present = [layer for layer in free if layer not in parent]
    many = min(random.randint(1, _MOST_CHANGED), random.randint(1, _MOST_CHANGED), len(present), len(parent))
    out, added = random.sample(parent, many), random.sample(present, many)
    return tuple(sorted([*(layer for layer in parent if layer not in out), *added]))


def _walk(model: Explored) -> Iterator[Sequence[Layers]]:
    parent: Layers = ()
    for n, many in enumerate(generations(len(model.free), model.max_n, model.budget), start=1):
        random = Random(f"{model.seed}/{n}")
        grown = with_one_more(model, parent)
        parent = best(model, random.sample(grown, min(CHILDREN, len(grown))), SURVIVORS)[0]
        rival: Layers | None = None
        for _ in range(many):
            children = [mutated(parent, model.free, random) for _ in range(CHILDREN)]
            chosen = best(model, [*best(model, children, SURVIVORS), parent], SURVIVORS + 1)
            parent, rival = chosen[0], chosen[1] if len(chosen) > 1 else rival
        yield [parent, *([rival] if rival else [])]


def _sets(n_free: int, max_n: int, budget: int) -> int:
    n_started = sum(min(CHILDREN, n_free - n + 1) for n in range(1, max_n + 1))
    return min(budget, n_started + CHILDREN * sum(generations(n_free, max_n, budget)))


register(
    Strategy(
        "evopress",
        title="Evolution",
        help="evolves sets of layers: the best of 32 children per generation is the next parent (EvoPress).",
        choose=as_searched,
        needs=(SEARCHED,),
        search=Search(_walk, _sets, usual=0.8, most_ends=2),
    )
)
