"""Strategies that choose by depth or from a stored map."""

from random import Random

from analysis.core.blocks import Block, Removal, removal
from analysis.core.errors import BlockRangeError
from analysis.experiments.strategies import (
    BLOCKS,
    DAMAGE,
    DRAW,
    INFLUENCE,
    MAP,
    Strategy,
    StrategyInputs,
    register,
)


def _most_similar(n: int, inputs: StrategyInputs) -> Block:
    """Return the block with the least distance, chosen by `maps.distance_spec.best_blocks`."""
    return next(entry.block for entry in inputs.best if entry.n == n)


def _least_influence(n: int, inputs: StrategyInputs) -> Removal:
    ranked = sorted(range(inputs.n_layers), key=lambda layer: (inputs.influence[layer], -layer))
    return removal(ranked[:n])


def _least_loss_increase(n: int, inputs: StrategyInputs) -> Block:
    for entry in inputs.least:
        if entry.n == n:
            return entry.block
    sizes = [entry.n for entry in inputs.least]
    raise BlockRangeError(
        f"The loss increase of blocks of {n} layers is not measured, only of sizes"
        f" {min(sizes, default=0)} to {max(sizes, default=0)}. Measure a loss-increase map up to"
        f" size {n}."
    )


for _strategy in (
    Strategy(  # arXiv:2403.17887, section 3.2
        "similarity",
        title="Similar",
        help=(
            "the block with the smallest distance between its input and output (the paper's rule)."
        ),
        choose=_most_similar,
        needs=(MAP,),
    ),
    Strategy(  # layers L-1-n .. L-2, arXiv:2403.17887
        "deepest",
        title="Deepest",
        help="the deepest layers, but the last one stays (the paper's simple heuristic).",
        choose=lambda n, inputs: Block(inputs.n_layers - 1 - n, n),
    ),
    Strategy(  # layers L-n .. L-1, arXiv:2411.15558
        "reverse",
        title="Reverse",
        help="the last layers, including the very last.",
        choose=lambda n, inputs: Block(inputs.n_layers - n, n),
    ),
    Strategy(  # arXiv:2403.03853
        "block-influence",
        title="Block influence",
        help="the layers that change the residual stream least, at any depth (ShortGPT).",
        choose=_least_influence,
        needs=(INFLUENCE,),
    ),
    Strategy(
        "loss-greedy",
        title="Loss-greedy",
        help="the block with the smallest measured loss increase.",
        choose=_least_loss_increase,
        needs=(DAMAGE,),
    ),
    Strategy(  # uniform among the blocks of a size, independently for every n
        "random",
        title="Random",
        help="a block at a random depth. Three draws are measured and shown as a band.",
        choose=lambda n, inputs: Block(
            Random(f"{inputs.draw}/{n}").randrange(inputs.n_layers - n + 1), n
        ),
        needs=(DRAW,),
    ),
    Strategy("manual", title="Manual", help="blocks that you name.", choose=None, needs=(BLOCKS,)),
):
    register(_strategy)
