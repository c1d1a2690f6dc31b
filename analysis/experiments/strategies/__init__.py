"""Strategies, each a rule for the layers to drop at a given number of them: one registered rule in one file adds a strategy.

The file lies in this folder or in a package of yours.

    def middle(n: int, given: StrategyInputs) -> Block:
        return Block((given.n_layers - n) // 2, n)

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
"""Reads the block of each size that was measured to cost least, `StrategyInputs.least`."""
DRAW = "draw"
"""Draws at random from the seed `StrategyInputs.draw`; pages ask for several draws and charts make a band of them."""
SEARCHED = "searched"
"""Reads the layers of each size that its own search found, `StrategyInputs.searched`."""
BLOCKS = "blocks"
"""Receives its blocks, all of them at once, and so never chooses."""
NEEDS = (MAP, INFLUENCE, DAMAGE, DRAW, SEARCHED, BLOCKS)
"""Inputs that a strategy may read besides the number of layers."""

USUAL = "similarity"
"""The default strategy: the paper's own."""
INFLUENCE_METRIC = "cosine-tokens"
"""Block Influence is one minus the cosine between a layer's input and output, over all tokens (arXiv:2403.03853)."""
Layers = tuple[int, ...]
"""Removed layers, ascending."""
_NAME = re.compile(r"[a-z0-9]+(-[a-z0-9]+)*")


@dataclass(frozen=True)
class StrategyInputs:
    """Inputs of a strategy's choice: those that it does not need may be missing."""

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
    searched: Sequence[Layers] = ()
    """The layers that a search found, n = 1 first."""


Choose = Callable[[int, StrategyInputs], Removal]
"""Return the layers to remove, n = 1..L-1 of them. Raises a `BlockRangeError` where the inputs have no entry of that size."""


class Explored(Protocol):
    """Questions of a search to the model: the distance of a cut from the unpruned model, nats per token, and its states."""

    @property
    def n_layers(self) -> int:
        """L."""

    @property
    def free(self) -> Sequence[int]:
        """The layers that may be removed, ascending."""

    @property
    def max_n(self) -> int:
        """How many to remove at most."""

    @property
    def budget(self) -> int:
        """Sets of layers that may be measured in all."""

    @property
    def seed(self) -> int:
        """Seed of the random draws."""

    def first(self, sets: Sequence[Layers]) -> list[float]:
        """The objective without each of these sets on the first of the search's texts: a quick look."""

    def half(self, sets: Sequence[Layers]) -> list[float]:
        """The objective without each of these sets on half of the search's texts, among them the first."""

    def whole(self, sets: Sequence[Layers]) -> list[float]:
        """The objective without each of these sets on all of the search's texts."""


@dataclass(frozen=True)
class Search:
    """A strategy's search: a deterministic function of its measurements, so that a stopped one is walked again from memory."""

    walk: Callable[[Explored], Iterator[Sequence[Layers]]]
    """For n = 1, 2, … the sets that it ends with, best first; of several the validation text decides."""
    sets: Callable[[int, int, int], int]
    """How many sets it measures at most of so many free layers, up to so many removed, within a budget; 0 for none."""
    usual: float = 1.0
    """Of these, the share that it usually measures, in (0, 1]."""
    most_ends: int = 1
    """How many sets of a size it ends with at most: with a single one the validation text has nothing to decide."""


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
    """None for one that receives its blocks."""
    needs: tuple[str, ...] = ()
    """Its inputs besides the number of layers: of `NEEDS`."""
    search: Search | None = None
    """How its layers are searched, for one that needs `SEARCHED`."""

    def __post_init__(self) -> None:
        require(
            _NAME.fullmatch(self.name) is not None,
            f"The name of a strategy must be lowercase letters and digits, joined by hyphens, not {self.name!r}.",
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
"""Make a strategy known to command line, sweeps, pages, charts and reports."""


class _SearchingNames(Collection[str]):
    """The names of the strategies that search, as live as `STRATEGIES`."""

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
    """Return the set of this size that the search found: every strategy that searches chooses so.

    Raises:
        BlockRangeError: If the search did not get that far.
    """
    if n <= len(inputs.searched):
        return removal(inputs.searched[n - 1])
    raise BlockRangeError(
        f"The search reached {len(inputs.searched)} removed layers, not {n}. Search up to n = {n}, with a larger budget "
        "or fewer protected layers if these stopped it."
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
