"""A model with every measurement."""

from dataclasses import replace

import pytest

from analysis.experiments.heal.heal_result import JunctionReport
from tests.support import fakes


@pytest.fixture
def known(ui_cache):
    """A model with every measurement."""
    fakes.distances().save()
    fakes.sweep(writes=True, answers=True).save()
    fakes.damage().save()
    fakes.heal().save()
    healed = fakes.heal(0, steps=50)
    report = JunctionReport("model.layers.10.mlp.down_proj", 0.7, 5.3, 3.5, 24_576, 14.0)
    instant = replace(healed.spec, steps=0, instant=True, recipe="instant")
    better = replace(fakes.heal().healed, loss=3.4, acc=0.47)
    replace(healed, spec=instant, complete=True, healed=better, junction=report).save()
