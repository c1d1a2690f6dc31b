"""Which layers the chosen strategy removes at the slider's n, and what was measured of that cut."""

from dataclasses import dataclass

from analysis.core.blocks import Block, Removal
from analysis.experiments import strategies
from analysis.experiments.accuracy.points import Point
from analysis.experiments.accuracy.spec import SweepResult
from analysis.experiments.maps.spec import Best, DamageResult, DistanceResult

RULES = ("similarity", "deepest", "reverse")
"""Strategies whose cut follows from the map or from n alone, before anything else is measured."""


@dataclass(frozen=True)
class Cut:
    """A cut and what is known of it."""

    n: int
    removed: Removal | None
    """None for n = 0, and where it is not known yet."""
    point: Point | None
    """What the shown curve says at n."""
    missing: str = ""
    """Why the layers are not known yet and what to click; empty where they are."""
    by_hand: bool = False
    """Whether this block was picked instead of the strategy's choice."""


def own(block: Block, sweep: SweepResult | None) -> Cut:
    """The cut of a block that was picked by hand, with its scores where the shown curve happens to have them."""
    point = next((point for point in of_size(sweep, block.size) if point.block == block), None)
    return Cut(block.size, block, point, by_hand=True)


@dataclass(frozen=True)
class Strategy:
    """How blocks are chosen, and from what."""

    name: str
    """One of `specs.STRATEGIES`."""
    distances: DistanceResult
    """The map on screen, which `similarity` chooses from."""
    sweep: SweepResult | None
    """The curve on screen, which the others' cuts are read from."""
    damage: DamageResult | None
    """The measured damage, where there is no curve for `loss-greedy`."""

    def cut(self, n: int, which: int = 0) -> Cut:
        """The cut of n layers; of several manual ones of that size, which."""
        return at(n, self.name, self.distances, self.sweep, self.damage, which)

    def block(self, n: int) -> Block | None:
        """The cut of n layers, where it is known and one block."""
        removed = self.cut(n).removed
        return removed if isinstance(removed, Block) else None

    def path(self) -> list[Best]:
        """The chosen block of each size."""
        return path(self.name, self.distances, self.sweep, self.damage)


def at(
    n: int, strategy: str, distances: DistanceResult, sweep: SweepResult | None, damage: DamageResult | None, which: int = 0
) -> Cut:
    """The cut of a strategy.

    Args:
        n: layers to remove.
        strategy: one of `specs.STRATEGIES`.
        distances: the map on screen, which `similarity` chooses from.
        sweep: the curve on screen, which the others' cuts are read from.
        damage: the measured damage, where there is no curve for `loss-greedy`.
        which: of several manual cuts of one size.
    """
    measured = of_size(sweep, n)
    point = measured[min(which, len(measured) - 1)] if measured else None
    if n == 0:
        return Cut(0, None, point)
    if strategy in RULES:
        return Cut(n, strategies.choose(strategy, n, n_layers=distances.n_layers, best=distances.best), point)
    if point is not None:
        return Cut(n, point.block, point)
    least = next((best.block for best in damage.best if best.n == n), None) if damage and strategy == "loss-greedy" else None
    return Cut(n, least, None, "" if least else _missing(strategy, n, sweep))


def of_size(sweep: SweepResult | None, n: int) -> list[Point]:
    """The measured cuts of n layers; more than one only where they were given by hand."""
    return [point for point in sweep.points if point.n == n] if sweep else []


def path(strategy: str, distances: DistanceResult, sweep: SweepResult | None, damage: DamageResult | None) -> list[Best]:
    """The chosen block of each size, with its distance on the map; sizes whose cut is unknown or no block are left out.

    Only blocks that follow a rule make a path: not those at random or by hand, nor layers one by one.
    """
    if strategy in ("random", "manual", "block-influence"):
        return []
    chosen = [at(n, strategy, distances, sweep, damage).removed for n in range(1, distances.n_layers)]
    return [
        Best(block.size, block.start, distances.mean[block.size - 1][block.start])
        for block in chosen
        if isinstance(block, Block)
    ]


def _missing(strategy: str, n: int, sweep: SweepResult | None) -> str:
    measured = sorted({point.n for point in sweep.points if point.n}) if sweep else []
    if measured:
        reach = f"between n = {measured[0]} and n = {measured[-1]}" if len(measured) > 1 else f"at n = {measured[0]}"
        return f"No cut of {n} layers is known for {strategy}: its curve has cuts {reach}. Move the slider, or run a sweep."
    how = {
        "loss-greedy": "measure the damage map below, or click **Run a sweep**",
        "manual": "click **Run a sweep** and write your cuts down",
    }
    return f"Which layers {strategy} removes is not known yet: {how.get(strategy, 'click **Run a sweep**')}."
