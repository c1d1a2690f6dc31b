"""The block of each size whose removal was measured to raise the loss least."""

from analysis.core.blocks import Block
from analysis.core.errors import BlockRangeError
from analysis.experiments.strategies import DAMAGE, Given, Strategy, register


def _choose(n: int, given: Given) -> Block:
    for entry in given.least:
        if entry.n == n:
            return entry.block
    sizes = [entry.n for entry in given.least]
    raise BlockRangeError(
        f"The loss increase of blocks of {n} layers is not measured, only of sizes {min(sizes, default=0)} to "
        f"{max(sizes, default=0)}. Measure a loss-increase map up to size {n}."
    )


register(
    Strategy(
        "loss-greedy",
        title="Loss-greedy",
        help="the block with the smallest measured loss increase.",
        choose=_choose,
        needs=(DAMAGE,),
    )
)
