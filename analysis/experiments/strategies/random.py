"""A block drawn uniformly among those of its size, independently for every n: the baseline of every other rule."""

from random import Random

from analysis.core.blocks import Block
from analysis.experiments.strategies import DRAW, Given, Strategy, register


def _choose(n: int, given: Given) -> Block:
    return Block(Random(f"{given.draw}/{n}").randrange(given.n_layers - n + 1), n)


register(
    Strategy(
        "random",
        title="Random",
        help="a block at a random depth. Three draws are measured and shown as a band.",
        choose=_choose,
        needs=(DRAW,),
    )
)
