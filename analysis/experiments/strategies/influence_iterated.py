"""The layer of least influence, again and again, scored anew on the remaining layers each time (ShortGPT, arXiv:2403.03853).

A layer's influence is one minus the cosine of its input and output; once a neighbour is gone, its input is another.
"""

from collections.abc import Iterator, Sequence

from analysis.experiments.strategies import SEARCHED, Explored, Layers, Search, Strategy, as_searched, register


def _walk(model: Explored) -> Iterator[Sequence[Layers]]:
    removed: Layers = ()
    for _ in range(model.max_n):
        influence = model.influence(removed)
        remaining = [layer for layer in model.free if layer not in removed]
        # Ties go to the deeper layer, as those of maps do.
        removed = tuple(sorted((*removed, min(remaining, key=lambda layer: (influence[layer], -layer)))))
        yield [removed]


register(
    Strategy(
        "influence-iterated",
        title="Influence, iterated",
        help="the layer that changes the residual stream least, with new scores after each removal.",
        choose=as_searched,
        needs=(SEARCHED,),
        search=Search(_walk, lambda n_free, max_n, budget: 0),
    )
)
