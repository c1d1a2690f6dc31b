"""The paper's rule: argmin of the distance map (arXiv:2403.17887, section 3.2)."""

from analysis.core.blocks import Block
from analysis.experiments.strategies import MAP, Given, Strategy, register


def _choose(n: int, given: Given) -> Block:
    return next(entry.block for entry in given.best if entry.n == n)


register(
    Strategy(
        "similarity",
        title="Similar",
        help="the block with the smallest distance between its input and output (the paper's rule).",
        choose=_choose,
        needs=(MAP,),
    )
)
