"""Cut, heal, cut: a few of the layers go at a time, and the rest is trained before the next go."""

from dataclasses import replace

from analysis.experiments.heal.recipes.recipe import register
from analysis.experiments.heal.recipes.timed import DISTILL

PROGRESSIVE = register(
    replace(
        DISTILL,
        name="progressive",
        title="the layers go in three stages",
        why="The layers go in three stages of as many steps, those that change the stream least first; what is left is trained "
        "as distill does it, without the instant heal, which is fitted to a cut as a whole. As many steps as fit into the time "
        "you name.",
        values=DISTILL.values | {"instant": False, "stages": 3},
    )
)
