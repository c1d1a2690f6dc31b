"""Recipes: named settings of healing runs, and the requests that follow from them for a model and
removed layers.

A custom recipe is a file that registers it when it is imported (`analysis.core.extensions`):

    from analysis.experiments.heal.recipes import Recipe, register

    register(Recipe("gentle", "LoRA of low rank", "Rank 2, for models that forget easily.", {"r": 2,
    "steps": 200}))
"""

from analysis.experiments.heal.recipes.recipe import NAMES, Recipe, get, register
from analysis.experiments.heal.recipes.request import (
    builtin_recipe,
    for_model,
    from_options,
    heal_spec,
    is_first,
    refined,
    sees_gpu,
    with_settings_of,
)
from analysis.experiments.heal.recipes.table import DEFAULT, FIRST, INSTANT, NO_WEIGHT, QUICK

__all__ = [
    "DEFAULT",
    "FIRST",
    "INSTANT",
    "NAMES",
    "NO_WEIGHT",
    "QUICK",
    "Recipe",
    "from_options",
    "for_model",
    "get",
    "heal_spec",
    "is_first",
    "with_settings_of",
    "refined",
    "register",
    "builtin_recipe",
    "sees_gpu",
]
