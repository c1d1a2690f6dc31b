"""Recipes: named settings of healing runs, and the request that one makes for a model and a cut.

One of your own is one file that registers it when it is imported (`analysis.core.extensions`):

    from analysis.experiments.heal.recipes import Recipe, register

    register(Recipe("gentle", "LoRA of low rank", "Rank 2, for models that forget easily.", {"r": 2, "steps": 200}))
"""

from analysis.experiments.heal.recipes.recipe import NAMES, SETTINGS, Recipe, forget, get, register  # isort: skip

# Those of the program, in the order in which they are listed: each registers itself.
from analysis.experiments.heal.recipes.timed import QUICK  # isort: skip
from analysis.experiments.heal.recipes.distill_all import DISTILL_ALL  # isort: skip
from analysis.experiments.heal.recipes.clp import CLP  # isort: skip
from analysis.experiments.heal.recipes.progressive import PROGRESSIVE  # isort: skip
from analysis.experiments.heal.recipes.on_policy import ON_POLICY  # isort: skip
from analysis.experiments.heal.recipes.instant import INSTANT  # isort: skip
from analysis.experiments.heal.recipes.prune_comp import PRUNE_COMP  # isort: skip
from analysis.experiments.heal.recipes.linear_patch import LINEAR_PATCH  # isort: skip
from analysis.experiments.heal.recipes.ghosted import GHOSTED  # isort: skip
from analysis.experiments.heal.recipes.first import FIRST, is_first, refined  # isort: skip
from analysis.experiments.heal.recipes.paper import PAPER  # isort: skip

from analysis.experiments.heal.recipes.request import DEFAULT, asked, for_model, heal_spec, like, said, sees_gpu
from analysis.experiments.heal.recipes.sizing import CHECKS, LEAST_STEPS, checks_in, planned, spread, steps_that_fit

__all__ = [
    "CHECKS", "CLP", "DEFAULT", "DISTILL_ALL", "FIRST", "GHOSTED", "INSTANT", "LEAST_STEPS", "LINEAR_PATCH", "NAMES",
    "ON_POLICY", "PAPER", "PROGRESSIVE", "PRUNE_COMP", "QUICK", "SETTINGS", "Recipe", "asked", "checks_in", "for_model",
    "forget", "get", "heal_spec", "is_first", "like", "planned", "refined", "register", "said", "sees_gpu", "spread",
    "steps_that_fit",
]  # fmt: skip
