"""Which block to drop for a given number of layers: the paper's similarity rule and its simple heuristic."""

from collections.abc import Sequence

from analysis.blocks import Block
from analysis.errors import BlockRangeError, SpecError
from analysis.results import Best
from analysis.specs import STRATEGIES


def best_blocks(mean: Sequence[Sequence[float]]) -> list[Best]:
    """The most similar block of every size: argmin over start l of the mean distance d(x[l], x[l+n]).

    Args:
        mean: row n-1, entry l, as in `DistanceResult.mean`.

    Returns:
        One entry for each n = 1..L-1, sizes independent of each other; ties go to the deeper start.

    Source: Gromov et al., arXiv:2403.17887, section 3.2.
    """
    best = []
    for n, row in enumerate(mean[:-1], start=1):
        start = min(range(len(row)), key=lambda index: (row[index], -index))
        best.append(Best(n=n, start=start, distance=row[start]))
    return best


def choose(strategy: str, n: int, *, n_layers: int, best: Sequence[Best] = ()) -> Block | None:
    """The block that a strategy removes.

    Args:
        strategy: `similarity` (argmin of the distance map) or `deepest` (layers L-1-n .. L-2: the last layer stays).
        n: number of layers to remove, 0..L-1.
        n_layers: L.
        best: `best_blocks` of the distance map; needed by `similarity`.

    Returns:
        The block, or None for n = 0.

    Raises:
        BlockRangeError: when n is outside 0..L-1.
        SpecError: for an unknown strategy.
    """
    if not 0 <= n < n_layers:
        raise BlockRangeError(
            f"{n} layers cannot be removed: this model has {n_layers} and must keep at least 1, so n must be 0..{n_layers - 1}."
        )
    if n == 0:
        return None
    if strategy == "deepest":
        return Block(n_layers - 1 - n, n)
    if strategy == "similarity":
        return next(entry.block for entry in best if entry.n == n)
    raise SpecError(f"strategy must be one of {', '.join(STRATEGIES)}, not {strategy!r}.")
