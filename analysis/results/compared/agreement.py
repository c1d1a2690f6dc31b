"""Agreement of the distance with the measured loss increase among blocks of one size, and the cost
of choosing by distance.

Over all sizes the rank correlation is high because longer blocks have larger distances and larger
loss increases. A choice is made among blocks of one size.
"""

import math
from dataclasses import dataclass

import numpy as np

from analysis.core import index, stats, store
from analysis.core.blocks import Block, blocks_up_to
from analysis.core.errors import CorruptResultError
from analysis.core.units import number
from analysis.experiments.maps.damage_spec import DamageResult
from analysis.experiments.maps.distance_spec import DistanceResult
from analysis.results.score.changes import Change
from analysis.results.score.stored_scores import of_damage

_FEWEST = 4
"""Minimum number of independent blocks for an interval of a rank correlation."""
INTERVAL = (
    "The interval uses the effective number of independent blocks, because overlapping blocks"
    " resemble each other."
)
"""The method of the interval in words."""


@dataclass(frozen=True)
class Rank:
    """Spearman's rank correlation of distance and loss increase."""

    value: float
    low: float | None
    """Lower end of its 95 % interval; None with fewer than four independent blocks."""
    high: float | None
    n_blocks: int
    n_independent: float
    """Effective number of independent blocks, since blocks of one size overlap."""

    def in_words(self) -> str:
        """Return value, interval and numbers: "0.72 (95 % 0.09 to 0.94, 26 blocks, effectively 10
        independent)".
        """
        ends = (
            "interval unknown"
            if self.low is None or self.high is None
            else f"95 % {self.low:.2f} to {self.high:.2f}"
        )
        fewer = (
            f", effectively {self.n_independent:.0f} independent"
            if self.n_independent < self.n_blocks - 0.5
            else ""
        )
        return f"{self.value:.2f} ({ends}, {self.n_blocks} blocks{fewer})"


def correlation(damage: DamageResult, distances: DistanceResult, n: int) -> Rank | None:
    """Return the rank correlation of distance and loss increase among the blocks of one size; None
    if there is none.

    Args:
        damage: the loss-increase map.
        distances: the map that it is compared with.
        n: block size.
    """
    if not 1 <= n <= len(damage.increase):
        return None
    both = zip(distances.mean[n - 1], damage.increase[n - 1], strict=False)
    return rank([(distance, rise) for distance, rise in both if rise is not None], n)


def rank(pairs: list[tuple[float, float]], size: int) -> Rank | None:
    """Return Spearman's rank correlation among the blocks of one size, with its interval.

    Overlapping blocks are not independent. Fisher's interval is therefore that of the effective
    number of independent blocks, from the autocorrelation of both rankings along the start layer
    (`stats.independent_pairs`).

    Args:
        pairs: distance and loss increase of every block, by start layer.
        size: block size; a block shares layers with the `size` - 1 blocks before and after it.

    Returns:
        None with fewer than three blocks, or if one side does not vary.

    Source: Fisher's z with the variance of Bonett and Wright, Psychometrika 65 (2000) 23.
    """
    distances = [distance for distance, _ in pairs]
    rises = [rise for _, rise in pairs]
    value = stats.spearman(distances, rises)
    if value is None:
        return None
    n = stats.independent_pairs(distances, rises, size)
    if n < _FEWEST:
        return Rank(value, None, None, len(pairs), n)
    z = math.atanh(max(-1 + 1e-9, min(1 - 1e-9, value)))
    half = stats.Z * math.sqrt((1 + value * value / 2) / (n - 3))
    return Rank(value, math.tanh(z - half), math.tanh(z + half), len(pairs), n)


def price(
    damage: DamageResult, block: Block, reference: Block, losses: np.ndarray | None = None
) -> Change | None:
    """Return the difference of the loss increases of two blocks; None if either is not measured.

    Args:
        damage: the loss-increase map.
        block, reference: the two blocks.
        losses: `DamageResult.text_losses`, if they are kept, so that the price is paired text by
            text.
    """
    increase, reference_increase = (of_damage(damage, each) for each in (block, reference))
    if increase is None or reference_increase is None:
        return None
    per_text = [_per_text(damage, each, losses) for each in (block, reference)]
    n = increase.condition.n
    if per_text[0] is not None and per_text[1] is not None:
        return Change(
            *stats.compare_losses(per_text[1], per_text[0], damage.text_tokens), True, n, None
        )
    n_texts = min(n, reference_increase.condition.n)
    return Change(increase.value - reference_increase.value, None, None, False, n_texts, None)


def stored_losses(damage: DamageResult) -> np.ndarray | None:
    """Return `DamageResult.text_losses`, from disk if the result was read without arrays; None if
    they are not stored.
    """
    if damage.text_losses is not None:
        return damage.text_losses
    entry = index.entry(damage.kind, damage.spec.fingerprint())
    if entry is None:
        return None
    try:
        return damage.arrays_in(
            store.read(entry.folder, precomputed=entry.precomputed, arrays=True)
        ).get("text_losses")
    except CorruptResultError:
        return None


def sentences(
    damage: DamageResult, distances: DistanceResult, n: int, losses: np.ndarray | None = None
) -> list[str]:
    """Return the agreement within one block size, and the cost of choosing by distance once all its
    blocks are measured.
    """
    ranks = correlation(damage, distances, n)
    lines = []
    if ranks is not None:
        lines.append(
            f"Among blocks of {n} layers, Spearman's rank correlation of distance and loss is"
            f" {ranks.in_words()}. {INTERVAL}"
        )
    choice, best = (
        next((entry.block for entry in map.best if entry.n == n), None)
        for map in (distances, damage)
    )
    paid = price(damage, choice, best, losses) if choice is not None and best is not None else None
    if choice is None or best is None or paid is None:
        return lines
    rises = (number(damage.increase[n - 1][block.start] or 0.0, 2, "+") for block in (choice, best))
    chosen, lowest = (
        f"{block.brief()} ({rise} nats)" for block, rise in zip((choice, best), rises, strict=True)
    )
    if choice == best:
        return [
            *lines,
            (
                "The block with the smallest distance also has the lowest loss increase of this"
                f" size: {chosen}."
            ),
        ]
    basis = f"{'paired over' if paid.paired else 'unpaired,'} {paid.n} texts"
    interval = "no interval" if paid.low is None or paid.high is None else f"95 % {paid.ends(2)}"
    more = f"{number(paid.difference, 2, '+')} nats/token ({interval}, {basis})"
    return [
        *lines,
        f"Smallest distance: {chosen}. Lowest loss increase: {lowest}. The loss differs by {more}.",
    ]


def _per_text(damage: DamageResult, block: Block, losses: np.ndarray | None) -> list[float] | None:
    if losses is None:
        return None
    pruned = losses[1 + blocks_up_to(len(damage.increase), damage.n_layers).index(block)].astype(
        float
    )
    return [float(value) for value in pruned] if np.isfinite(pruned).all() else None
