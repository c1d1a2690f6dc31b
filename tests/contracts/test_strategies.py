"""Contract of every strategy: n layers of the model for each n, always the same, and neither none
nor all of them.
"""

import pytest

from analysis.core.errors import BlockRangeError
from analysis.experiments.maps.damage_spec import LeastDamage
from analysis.experiments.maps.distance_spec import Best
from analysis.experiments.strategies import BLOCKS, STRATEGIES, StrategyInputs, chosen, needs

N_LAYERS = 6
GIVEN = StrategyInputs(
    N_LAYERS,
    best=[Best(n, 1, 0.1 * n) for n in range(1, N_LAYERS)],
    influence=[0.5, 0.1, 0.4, 0.2, 0.3, 0.6],
    least=[LeastDamage(n, 0, 0.1 * n) for n in range(1, N_LAYERS)],
    draw=3,
    searched=[tuple(range(n)) for n in range(1, N_LAYERS)],
)


@pytest.mark.parametrize("name", STRATEGIES)
def test_strategy(name):
    strategy = STRATEGIES[name]
    assert strategy.title
    assert strategy.help.endswith(".")
    if needs(name, BLOCKS):
        return
    for n in range(1, N_LAYERS):
        removed = chosen(name, n, GIVEN)
        assert len(removed.parts) == 2 * n
        assert {layer for layer, _ in removed.parts} <= set(range(N_LAYERS))
        assert chosen(name, n, GIVEN) == removed
    assert chosen(name, 0, GIVEN) is None
    with pytest.raises(BlockRangeError):
        chosen(name, N_LAYERS, GIVEN)
