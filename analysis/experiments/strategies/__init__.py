"""Which layers to drop for a given number of them: one registered rule in one file of this folder, or of anybody's, is one
more strategy.

    def middle(n: int, given: Given) -> Block:
        return Block((given.n_layers - n) // 2, n)

    register(Strategy("middle", title="Middle", help="layers in the middle.", choose=middle))
"""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from analysis.core.blocks import Removal
from analysis.core.catalogue import Catalogue
from analysis.core.errors import BlockRangeError, SpecError
from analysis.core.record import require
from analysis.experiments.maps.spec import Best, LeastDamage

MAP = "map"
"""Reads the most similar block of each size, `Given.best`."""
INFLUENCE = "influence"
"""Reads the influence of each layer, `Given.influence`."""
DAMAGE = "damage"
"""Reads the block of each size that was measured to cost least, `Given.least`."""
DRAW = "draw"
"""Draws at random from the seed `Given.draw`; pages ask for several draws and charts make a band of them."""
BLOCKS = "blocks"
"""Is told its blocks, all of them at once, and so is never asked to choose."""
NEEDS = (MAP, INFLUENCE, DAMAGE, DRAW, BLOCKS)
"""What a strategy may read beside the number of layers."""

USUAL = "similarity"
"""The strategy where none is asked for: the paper's own."""
INFLUENCE_METRIC = "cosine-tokens"
"""Block Influence is one minus the cosine between a layer's input and output, over all tokens (arXiv:2403.03853)."""
_NAME = re.compile(r"[a-z0-9]+(-[a-z0-9]+)*")


@dataclass(frozen=True)
class Given:
    """What a strategy chooses from: what it does not need may be missing."""

    n_layers: int
    """L."""
    best: Sequence[Best] = ()
    """The most similar block of each size."""
    influence: Sequence[float] = ()
    """Of each layer."""
    least: Sequence[LeastDamage] = ()
    """The block of each size whose removal was measured to cost least."""
    draw: int = 0
    """A seed."""


Choose = Callable[[int, Given], Removal]
"""The layers to remove, n = 1..L-1 of them; raises a `BlockRangeError` where what it is given says nothing of that size."""


@dataclass(frozen=True)
class Strategy:
    """A way of choosing the layers to remove."""

    name: str
    """How it is called on the command line and in results."""
    title: str
    """How people call it, in one or two words."""
    help: str
    """Which layers it takes, in half a sentence that ends with a full stop."""
    choose: Choose | None
    """None for one that is told its blocks."""
    needs: tuple[str, ...] = ()
    """What it reads beside the number of layers: of `NEEDS`."""

    def __post_init__(self) -> None:
        require(
            _NAME.fullmatch(self.name) is not None,
            f"A strategy's name is small letters and digits, joined by hyphens, not {self.name!r}.",
        )
        unknown = [need for need in self.needs if need not in NEEDS]
        require(not unknown, f"A strategy can need {', '.join(NEEDS)}, not {', '.join(unknown)}.")
        require(
            (self.choose is None) == (BLOCKS in self.needs),
            f"The strategy {self.name} must either choose, or need {BLOCKS} and be told them.",
        )


STRATEGIES: Catalogue[Strategy] = Catalogue(
    __name__, ("similarity", "deepest", "reverse", "block-influence", "loss-greedy", "random", "manual")
)
"""Every strategy by name."""
HELP: Mapping[str, str] = STRATEGIES.each(lambda strategy: strategy.help)
"""Which layers each takes, in half a sentence."""


def register(strategy: Strategy) -> Strategy:
    """Make a strategy known to command line, sweeps, pages, charts and reports."""
    STRATEGIES.add(strategy.name, strategy)
    return strategy


def needs(name: str, *what: str) -> bool:
    """Whether a strategy reads any of these; an unknown one reads nothing."""
    return name in STRATEGIES and any(need in what for need in STRATEGIES[name].needs)


def chosen(strategy: str, n: int, given: Given) -> Removal | None:
    """The layers that a strategy removes.

    Args:
        strategy: one of `STRATEGIES` that chooses.
        n: number of layers to remove, 0..L-1.
        given: at least what it needs.

    Returns:
        The removed layers, or None for n = 0.

    Raises:
        BlockRangeError: when n is outside 0..L-1, or what is given says nothing of that size.
        SpecError: for an unknown strategy; `manual` names its blocks itself.
    """
    if not 0 <= n < given.n_layers:
        raise BlockRangeError(
            f"{n} layers cannot be removed: this model has {given.n_layers} and must keep at least 1, so n must be "
            f"0..{given.n_layers - 1}."
        )
    if n == 0:
        return None
    known = STRATEGIES.get(strategy)
    if known is None or known.choose is None:
        choosing = [name for name in STRATEGIES if not needs(name, BLOCKS)]
        raise SpecError(f"strategy must be one of {', '.join(choosing)}, not {strategy!r}.")
    return known.choose(n, given)


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
    """The layers that a strategy removes; as `chosen`, with what is given one by one."""
    return chosen(strategy, n, Given(n_layers, best, influence, least, draw))
