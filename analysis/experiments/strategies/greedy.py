"""One layer after another: each time the one whose removal, after those before, changes the predictions least."""

from collections.abc import Iterator, Sequence

from analysis.experiments.strategies import SEARCHED, Explored, Layers, Search, Strategy, as_searched, register

KEPT = 4
"""Candidates of a quick look that are measured on all texts."""


def best(model: Explored, sets: Sequence[Layers], most: int = KEPT) -> list[Layers]:
    """Return the best few of some sets of one size, best first: the quick look picks the sets measured on all texts.

    Args:
        model: the model that is searched.
        sets: candidates; the same one may come several times.
        most: how many to keep. Where there are no more than these, no quick look is taken.
    """
    distinct = sorted(set(sets))
    if len(distinct) > most:
        quick = dict(zip(distinct, model.first(distinct), strict=True))
        distinct = sorted(distinct, key=lambda layers: (quick[layers], layers))[:most]
    objectives = dict(zip(distinct, model.whole(distinct), strict=True))
    return sorted(distinct, key=lambda layers: (objectives[layers], layers))


def with_one_more(model: Explored, removed: Layers) -> list[Layers]:
    """Every set of one free layer more."""
    return [tuple(sorted((*removed, layer))) for layer in model.free if layer not in removed]


def n_grown(n_free: int, max_n: int) -> int:
    """How many sets a path of single layers looks at."""
    return sum(n_free - n + 1 for n in range(1, max_n + 1))


def _walk(model: Explored) -> Iterator[Sequence[Layers]]:
    removed: Layers = ()
    for _ in range(model.max_n):
        removed = best(model, with_one_more(model, removed))[0]
        yield [removed]


register(
    Strategy(
        "greedy",
        title="Greedy",
        help="removes one layer at a time, each time the layer whose removal changes the predictions least.",
        choose=as_searched,
        needs=(SEARCHED,),
        search=Search(_walk, lambda n_free, max_n, budget: min(budget, n_grown(n_free, max_n))),
    )
)
