"""Cut, heal, cut: a few of the layers go at a time, and the rest is trained before the next go."""

from dataclasses import replace

from analysis.experiments.heal.recipes.recipe import register
from analysis.experiments.heal.recipes.timed import DISTILL

PROGRESSIVE = register(
    replace(
        DISTILL,
        name="progressive",
        title="pruning in three stages",
        why="Removes the layers in three stages of equal length, those that change the residual stream least first. The "
        "remaining layers are trained as in distill, without the instant heal, which fits all removed layers at once. Takes as "
        "many steps as fit into the chosen time.",
        values=DISTILL.values | {"instant": False, "stages": 3},
    )
)
