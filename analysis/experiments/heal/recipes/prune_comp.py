"""Prune&Comp (AAAI 2026): the stream behind the cut is multiplied by how much larger the removed layers made it."""

from dataclasses import replace

from analysis.experiments.heal.recipes.instant import INSTANT
from analysis.experiments.heal.recipes.recipe import register

PRUNE_COMP = register(
    replace(
        INSTANT,
        name="prune-comp",
        title="no training, one factor",
        why="No training. After each gap, the residual stream is multiplied by one factor: its growth in the removed layers on "
        "up to 24,576 tokens (Prune&Comp, AAAI 2026). It is applied as published, whether it helps or not. An export folds it "
        "into the weights.",
        values=INSTANT.values | {"compensation": "magnitude"},
    )
)
