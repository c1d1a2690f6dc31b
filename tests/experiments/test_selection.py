"""Which block is dropped: argmin per size without the off-by-one, and the paper's simple
heuristic.
"""

import pytest
import torch

from analysis.core.blocks import Block, LayerSet
from analysis.core.errors import BlockRangeError, SpecError
from analysis.experiments.maps.damage_spec import LeastDamage
from analysis.experiments.maps.depths import Depths
from analysis.experiments.maps.distance_spec import Best, best_blocks
from analysis.experiments.maps.distances import rows_by_size
from analysis.experiments.strategies import StrategyInputs, chosen


def toy_stack(turns):
    """States in the plane in which layer l turns the stream by turns[l] degrees: every distance is
    known.
    """
    angle = (
        torch.cat([torch.zeros(1), torch.tensor(turns, dtype=torch.float64).cumsum(0)])
        * torch.pi
        / 180
    )
    return torch.stack([angle.cos(), angle.sin()], dim=-1)[None]


def test_a_toy_stack_with_known_distances():
    """A block of n layers is scored with row n, not n+1: each layer turns by a known angle, so the
    answer is arithmetic.
    """
    turns = [40.0, 9.0, 5.0, 20.0, 1.0, 12.0]
    mean = rows_by_size(Depths(toy_stack(turns)).angles[0])
    for entry in best_blocks(mean):
        sums = [sum(turns[start : start + entry.n]) for start in range(len(turns) - entry.n + 1)]
        assert entry.start == sums.index(min(sums))
        assert entry.distance == pytest.approx(min(sums) / 180, abs=1e-9)


def test_ties_go_to_the_deeper_start():
    assert best_blocks([[0.2, 0.1, 0.1], [0.3, 0.3], [0.4]]) == [Best(1, 2, 0.1), Best(2, 1, 0.3)]


def test_start_zero_and_the_last_layer_can_win():
    assert best_blocks([[0.1, 0.2, 0.3], [0.1, 0.2], [0.5]])[0].start == 0
    assert best_blocks([[0.3, 0.2, 0.1], [0.2, 0.1], [0.5]])[0].start == 2


def test_deepest_keeps_the_last_layer():
    for n in range(1, 10):
        block = chosen("deepest", n, StrategyInputs(10))
        assert list(block.layers) == list(range(9 - n, 9))
        assert 9 not in block.layers


def test_similarity_reads_the_entry_of_its_own_size():
    best = [Best(1, 4, 0.1), Best(2, 3, 0.2), Best(3, 1, 0.3)]
    assert chosen("similarity", 2, StrategyInputs(6, best=best)) == Block(3, 2)
    assert chosen("similarity", 0, StrategyInputs(6, best=best)) is None


def test_reverse_drops_the_very_last_layers():
    assert chosen("reverse", 3, StrategyInputs(10)) == Block(7, 3)


def test_block_influence_drops_the_least_influential_layers_wherever_they_are():
    influence = [0.9, 0.1, 0.5, 0.1, 0.2, 0.7]
    assert chosen("block-influence", 1, StrategyInputs(6, influence=influence)) == Block(3, 1)
    assert chosen("block-influence", 2, StrategyInputs(6, influence=influence)) == LayerSet((1, 3))
    assert chosen("block-influence", 3, StrategyInputs(6, influence=influence)) == LayerSet(
        (1, 3, 4)
    )
    assert chosen("block-influence", 4, StrategyInputs(6, influence=influence)) == Block(1, 4)


def test_random_blocks_are_seeded_and_cover_every_start():
    assert chosen("random", 3, StrategyInputs(10, draw=5)) == chosen(
        "random", 3, StrategyInputs(10, draw=5)
    )
    starts = [chosen("random", 3, StrategyInputs(10, draw=draw)).start for draw in range(400)]
    assert set(starts) == set(range(8))
    assert max(starts.count(start) for start in range(8)) < 2 * 400 / 8


def test_loss_greedy_takes_the_measured_block_or_says_none_exists():
    least = [LeastDamage(1, 4, 0.01), LeastDamage(2, 1, 0.2)]
    assert chosen("loss-greedy", 2, StrategyInputs(6, least=least)) == Block(1, 2)
    with pytest.raises(BlockRangeError, match="only of sizes 1 to 2"):
        chosen("loss-greedy", 3, StrategyInputs(6, least=least))


@pytest.mark.parametrize("n", [-1, 6, 99])
def test_out_of_range_names_the_range(n):
    with pytest.raises(BlockRangeError, match=r"Choose n in 0\.\.5"):
        chosen("deepest", n, StrategyInputs(6))


def test_an_unknown_strategy_is_refused():
    with pytest.raises(SpecError, match="similarity, deepest"):
        chosen("best", 1, StrategyInputs(6))
