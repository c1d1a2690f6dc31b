"""The n layers of least influence, wherever they are (ShortGPT, arXiv:2403.03853)."""

from analysis.core.blocks import Removal, removal
from analysis.experiments.strategies import INFLUENCE, Given, Strategy, register


def _choose(n: int, given: Given) -> Removal:
    ranked = sorted(range(given.n_layers), key=lambda layer: (given.influence[layer], -layer))
    return removal(ranked[:n])


register(
    Strategy(
        "block-influence",
        title="Block influence",
        help="the layers that change the residual stream least, at any depth (ShortGPT).",
        choose=_choose,
        needs=(INFLUENCE,),
    )
)
