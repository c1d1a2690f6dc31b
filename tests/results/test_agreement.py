"""Agreement of distance and loss within a block size, and the price of the distance's choice."""

from dataclasses import replace

import numpy as np
import pytest

from analysis.core.blocks import Block, blocks_up_to
from analysis.experiments.maps.damage_spec import LeastDamage
from analysis.results.compared import agreement
from tests.support import fakes

DISTANCES = fakes.distances()


def losses(damage, noise: float = 0.5) -> np.ndarray:
    """Losses per text whose means are the map's increases; all blocks share the difficulty of a
    text.
    """
    rng = np.random.default_rng(0)
    hard = rng.normal(0, noise, 8)
    hard -= hard.mean()
    rows = [np.full(8, damage.unpruned_loss)]
    for block in blocks_up_to(len(damage.increase), damage.n_layers):
        rows.append(damage.unpruned_loss + damage.increase[block.size - 1][block.start] + hard)
    return np.array(rows)


def fishers(value: float, n: float) -> tuple[float, float]:
    """Fisher's interval of a rank correlation with the variance of Bonett and Wright."""
    half = 1.959964 * ((1 + value**2 / 2) / (n - 3)) ** 0.5
    return np.tanh(np.arctanh(value) - half), np.tanh(np.arctanh(value) + half)


def test_rank_interval_of_independent_blocks_is_fishers():
    """Neighbours on one side differ as much as those on the other agree."""
    pairs = list(
        zip([1.0, 10, 2, 9, 3, 8, 4, 7, 5, 6], [1.0, 2, 9, 10, 3, 4, 7, 8, 5, 6], strict=True)
    )
    found = agreement.rank(pairs, 1)
    assert found.n_independent == 10
    assert (found.low, found.high) == pytest.approx(fishers(found.value, 10))
    assert found.in_words().endswith(", 10 blocks)")
    assert "interval unknown, 3 blocks" in agreement.rank(pairs[:3], 1).in_words()
    assert agreement.rank(pairs[:2], 1) is None


@pytest.mark.parametrize(("n", "n_layers"), [(3, 30), (5, 30), (10, 30), (6, 24)])
def test_rank_interval_of_overlapping_blocks_covers_the_truth(n, n_layers):
    """Values of blocks are sums over layers, and neighbours share all but one; the layers
    themselves correlate.
    """
    rng, hits, by_count = np.random.default_rng(5), 0, 0
    correlation, n_series = 0.5, 300
    truth = 6 / np.pi * np.arcsin(correlation / 2)
    for _ in range(n_series):
        own, other = rng.normal(size=(2, n_layers))
        layers = own, correlation * own + (1 - correlation**2) ** 0.5 * other
        distances, rises = (np.convolve(values, np.ones(n), "valid") for values in layers)
        found = agreement.rank(list(zip(distances, rises, strict=True)), n)
        hits += found.low is None or found.low <= truth <= found.high
        low, high = fishers(found.value, found.n_blocks)
        by_count += low <= truth <= high
    assert hits / n_series > 0.9
    assert by_count / n_series < 0.85, "Fisher's interval with all blocks"


def test_rank_says_how_many_blocks_are_independent():
    within = agreement.correlation(fakes.damage(), DISTANCES, 5)
    assert within.n_independent < within.n_blocks == 26
    assert f"26 blocks, effectively {within.n_independent:.0f} independent)" in within.in_words()
    assert agreement.INTERVAL in agreement.sentences(fakes.damage(), DISTANCES, 5)[0]


def test_price_is_the_pick_minus_the_best_block():
    damage = fakes.damage()
    pick, best = DISTANCES.best[4].block, damage.best[4].block
    price = agreement.price(damage, pick, best)
    expected = damage.increase[4][pick.start] - damage.increase[4][best.start]
    assert price.difference == pytest.approx(expected)
    assert not price.paired


def test_only_paired_texts_give_the_price_an_interval():
    damage, apart = fakes.damage(), (Block(3, 5), Block(11, 5))
    paired, unpaired = (agreement.price(damage, *apart, kept) for kept in (losses(damage), None))
    assert paired.difference == pytest.approx(unpaired.difference)
    assert paired.high - paired.low < 0.01
    assert (unpaired.low, unpaired.paired, unpaired.n) == (None, False, 8)


def test_growing_map_has_no_price_until_a_size_is_complete():
    assert not [
        line
        for line in agreement.sentences(fakes.damage(0.4), DISTANCES, 12)
        if "Smallest distance" in line
    ]
    assert agreement.sentences(fakes.damage(max_size=4), DISTANCES, 20) == []


def test_pick_that_is_the_best_block_costs_nothing():
    damage, pick = fakes.damage(), DISTANCES.best[4]
    best = [LeastDamage(5, pick.start, damage.increase[4][pick.start])]
    damage = replace(damage, best=best)
    assert "also has the lowest loss increase" in agreement.sentences(damage, DISTANCES, 5)[1]
