"""Strategies for choosing the layers to remove: one registered rule in one file adds a strategy.

The file is in this folder or in a package of yours.

    def middle(n: int, inputs: StrategyInputs) -> Block:
        return Block((inputs.n_layers - n) // 2, n)

    register(Strategy("middle", title="Middle", help="layers in the middle.", choose=middle))
"""

import re
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

from analysis.core.blocks import Removal, check_count, removal
from analysis.core.errors import BlockRangeError, SpecError
from analysis.core.record import require
from analysis.core.registry import Registry, first, modules_in
from analysis.experiments.maps.damage_spec import LeastDamage
from analysis.experiments.maps.distance_spec import Best

MAP = "map"
"""Reads the most similar block of each size, `StrategyInputs.best`."""
INFLUENCE = "influence"
"""Reads the influence of each layer, `StrategyInputs.influence`."""
DAMAGE = "damage"
"""Reads the block of each size with the least measured loss increase, `StrategyInputs.least`."""
DRAW = "draw"
"""Draws at random with the seed `StrategyInputs.draw`; charts show several draws as a band."""
SEARCHED = "searched"
"""Reads the layers of each size that its own search found, `StrategyInputs.searched`."""
BLOCKS = "blocks"
"""Receives its blocks from the user and does not choose."""
NEEDS = (MAP, INFLUENCE, DAMAGE, DRAW, SEARCHED, BLOCKS)
"""Inputs that a strategy may read besides the number of layers."""

USUAL = "similarity"
"""The default strategy, that of the paper."""
INFLUENCE_METRIC = "cosine-tokens"
"""Block Influence is one minus the cosine between a layer's input and output, over all tokens
(arXiv:2403.03853)."""
Layers = tuple[int, ...]
"""Removed layers, ascending."""
_NAME = re.compile(r"[a-z0-9]+(-[a-z0-9]+)*")


@dataclass(frozen=True)
class StrategyInputs:
    """Inputs of a strategy; those that it does not need may be missing."""

    n_layers: int
    """L."""
    best: Sequence[Best] = ()
    """The most similar block of each size."""
    influence: Sequence[float] = ()
    """Influence of each layer."""
    least: Sequence[LeastDamage] = ()
    """The block of each size with the least measured loss increase."""
    draw: int = 0
    """Seed of random draws."""
    searched: Sequence[Layers] = ()
    """The layers that a search found, n = 1 first."""


Choose = Callable[[int, StrategyInputs], Removal]
"""Function that returns n = 1..L-1 layers to remove; raises a `BlockRangeError` if the inputs have
no entry of that size."""


class Explored(Protocol):
    """The interface of a model to a search, which measures the distance of sets of removed layers
    in nats per token.
    """

    @property
    def n_layers(self) -> int:
        """L."""

    @property
    def free(self) -> Sequence[int]:
        """The layers that may be removed, ascending."""

    @property
    def max_n(self) -> int:
        """Largest number of removed layers."""

    @property
    def budget(self) -> int:
        """Largest number of sets to measure."""

    @property
    def seed(self) -> int:
        """Seed of the random draws."""

    def first(self, sets: Sequence[Layers]) -> list[float]:
        """Return the objective without each set, on the first texts of the search."""

    def half(self, sets: Sequence[Layers]) -> list[float]:
        """Return the objective without each set, on half of the texts of the search."""

    def whole(self, sets: Sequence[Layers]) -> list[float]:
        """Return the objective without each set, on all texts of the search."""


@dataclass(frozen=True)
class Search:
    """The search of a strategy. It must be a deterministic function of its measurements, so that a
    stopped one can resume.
    """

    walk: Callable[[Explored], Iterator[Sequence[Layers]]]
    """Function that yields the final sets for n = 1, 2, …, best first; the validation text decides
    between several."""
    sets: Callable[[int, int, int], int]
    """Function that returns the largest number of measured sets for free layers, removed layers and
    a budget."""
    usual: float = 1.0
    """Share of these sets that is usually measured, in (0, 1]."""
    most_ends: int = 1
    """Maximum number of final sets of a size; if it is one, no validation text is read."""


@dataclass(frozen=True)
class Strategy:
    """A way of choosing the layers to remove."""

    name: str
    """Name on the command line and in results."""
    title: str
    """Displayed name of one or two words."""
    help: str
    """Phrase for the chosen layers that ends with a full stop."""
    choose: Choose | None
    """Function that chooses layers; None for a strategy that receives its blocks."""
    needs: tuple[str, ...] = ()
    """Required inputs, from `NEEDS`."""
    search: Search | None = None
    """The search of a strategy that needs `SEARCHED`."""

    def __post_init__(self) -> None:
        require(
            _NAME.fullmatch(self.name) is not None,
            "The name of a strategy must be lowercase letters and digits, joined by hyphens, not"
            f" {self.name!r}.",
        )
        unknown = [need for need in self.needs if need not in NEEDS]
        require(not unknown, f"A strategy may need {', '.join(NEEDS)}, not {', '.join(unknown)}.")
        require(
            (self.choose is None) == (BLOCKS in self.needs),
            f"The strategy {self.name} must either choose layers itself or need {BLOCKS}.",
        )
        require(
            (self.search is not None) == (SEARCHED in self.needs),
            f"The strategy {self.name} must define a search exactly if it needs {SEARCHED}.",
        )


STRATEGIES: Registry[Strategy] = Registry(
    "strategy",
    modules=modules_in(__name__),
    order=first(
        *("similarity", "deepest", "reverse", "block-influence", "loss-greedy", "random", "manual"),
        *("greedy", "swaps"),
    ),
)
"""Every strategy by name."""
register = STRATEGIES.add
"""Register a strategy."""


class _SearchingNames(Collection[str]):
    """Live view of the names of strategies that search."""

    def __iter__(self) -> Iterator[str]:
        return (name for name, strategy in STRATEGIES.items() if strategy.search is not None)

    def __len__(self) -> int:
        return sum(1 for _ in self)

    def __contains__(self, name: object) -> bool:
        return name in list(self)


SEARCHING: Collection[str] = _SearchingNames()
"""The strategies that search."""


def needs(name: str, *inputs: str) -> bool:
    """Return whether a strategy reads any of these inputs; an unknown one reads nothing."""
    return name in STRATEGIES and any(need in inputs for need in STRATEGIES[name].needs)


def as_searched(n: int, inputs: StrategyInputs) -> Removal:
    """Return the set of this size that the search found; the choice of every strategy that
    searches.

    Raises:
        BlockRangeError: If the search ended at a smaller size.
    """
    if n <= len(inputs.searched):
        return removal(inputs.searched[n - 1])
    raise BlockRangeError(
        f"The search reached {len(inputs.searched)} removed layers, not {n}. Search up to n = {n},"
        " with a larger budget or fewer protected layers if these stopped it."
    )


def chosen(strategy: str, n: int, inputs: StrategyInputs) -> Removal | None:
    """Return the layers that a strategy removes.

    Args:
        strategy: one of `STRATEGIES` that chooses.
        n: number of layers to remove, 0..L-1.
        inputs: at least the inputs that it needs.

    Returns:
        The removed layers, or None for n = 0.

    Raises:
        BlockRangeError: If n is outside 0..L-1, or the inputs have no entry of that size.
        SpecError: for an unknown strategy; `manual` names its blocks itself.
    """
    check_count(n, inputs.n_layers, "n in 0")
    if n == 0:
        return None
    registered = STRATEGIES.get(strategy)
    if registered is None or registered.choose is None:
        choosing = [name for name in STRATEGIES if not needs(name, BLOCKS)]
        raise SpecError(f"strategy must be one of {', '.join(choosing)}, not {strategy!r}.")
    return registered.choose(n, inputs)
