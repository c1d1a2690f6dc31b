"""Contract of every recipe: a valid heal on each machine and for each model, and the reason for its
numbers.
"""

import pytest

from analysis.core.blocks import Block
from analysis.experiments.heal import recipes
from analysis.experiments.heal.heal_spec import HealSpec
from analysis.models.source.model_spec import ModelSpec


@pytest.mark.parametrize("name", recipes.NAMES)
def test_recipe(name):
    recipe = recipes.get(name)
    assert recipe.label.startswith(name)
    assert recipe.why.endswith(".")
    for on_gpu in (False, True):
        recipes.get(name, model="meta-llama/Llama-2-7b-hf", on_gpu=on_gpu).spec()
    spec = recipes.heal_spec(name, model=ModelSpec(), block=Block(11, 5))
    assert isinstance(spec, HealSpec)
    assert spec.recipe == name
    assert spec.warmup_steps < spec.steps or spec.minutes or not spec.trains
    assert HealSpec.from_json(spec.to_json()) == spec
