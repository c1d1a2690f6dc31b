"""Which layers to drop for a given number of them: the paper's two rules and what they are compared with."""

import random
from collections.abc import Sequence

from analysis.core.blocks import Block, Removal, removal
from analysis.core.errors import BlockRangeError, SpecError
from analysis.experiments.maps.spec import Best, LeastDamage

STRATEGIES = ("similarity", "deepest", "reverse", "block-influence", "loss-greedy", "random", "manual")
"""Ways of choosing the layers to remove; `selection` says what each does."""

NEEDS_MAP = ("similarity", "block-influence")
"""Strategies that read a distance map."""
NEEDS_DAMAGE = ("loss-greedy",)
"""Strategies that read a damage map."""


def choose(
    strategy: str,
    n: int,
    *,
    n_layers: int,
    best: Sequence[Best] = (),
    influence: Sequence[float] = (),
    least: Sequence[LeastDamage] = (),
    draw: int = 0,
) -> Removal | None:
    """The layers that a strategy removes.

    Args:
        strategy: one of
            `similarity`: argmin of the distance map (arXiv:2403.17887, section 3.2);
            `deepest`: layers L-1-n .. L-2, the last one stays (the same paper's simple heuristic);
            `reverse`: the very last n layers, L-n .. L-1 (arXiv:2411.15558);
            `block-influence`: the n layers of least influence, wherever they are (ShortGPT, arXiv:2403.03853);
            `loss-greedy`: the block whose removal was measured to raise the loss least;
            `random`: a block drawn uniformly among those of its size, independently for every n.
        n: number of layers to remove, 0..L-1.
        n_layers: L.
        best: for `similarity`, the most similar block of each size.
        influence: for `block-influence`, that of each layer.
        least: for `loss-greedy`, the block of each size whose removal was measured to cost least.
        draw: for `random`, the seed.

    Returns:
        The removed layers, or None for n = 0.

    Raises:
        BlockRangeError: when n is outside 0..L-1, or `loss-greedy` has no measured block of that size.
        SpecError: for an unknown strategy; `manual` names its blocks itself.
    """
    if not 0 <= n < n_layers:
        raise BlockRangeError(
            f"{n} layers cannot be removed: this model has {n_layers} and must keep at least 1, so n must be 0..{n_layers - 1}."
        )
    if n == 0:
        return None
    if strategy == "deepest":
        return Block(n_layers - 1 - n, n)
    if strategy == "reverse":
        return Block(n_layers - n, n)
    if strategy == "similarity":
        return next(entry.block for entry in best if entry.n == n)
    if strategy == "block-influence":
        ranked = sorted(range(n_layers), key=lambda layer: (influence[layer], -layer))
        return removal(ranked[:n])
    if strategy == "random":
        return Block(random.Random(f"{draw}/{n}").randrange(n_layers - n + 1), n)
    if strategy == "loss-greedy":
        return _least_damage(n, least)
    raise SpecError(f"strategy must be one of {', '.join(STRATEGIES[:-1])}, not {strategy!r}.")


def _least_damage(n: int, least: Sequence[LeastDamage]) -> Block:
    for entry in least:
        if entry.n == n:
            return entry.block
    sizes = [entry.n for entry in least]
    raise BlockRangeError(
        f"The damage of blocks of {n} layers has not been measured, only of sizes {min(sizes, default=0)} to "
        f"{max(sizes, default=0)}; measure a damage map that reaches size {n}."
    )
