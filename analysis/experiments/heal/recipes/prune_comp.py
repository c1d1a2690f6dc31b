"""Prune&Comp (AAAI 2026): the stream behind the cut is multiplied by how much larger the removed layers made it."""

from dataclasses import replace

from analysis.experiments.heal.recipes.instant import INSTANT
from analysis.experiments.heal.recipes.recipe import register

PRUNE_COMP = register(
    replace(
        INSTANT,
        name="prune-comp",
        title="no training, one factor",
        why="No training: behind each gap the stream is multiplied by one factor, how much larger the removed layers made it "
        "on up to 24,576 tokens (Prune&Comp, AAAI 2026). It is applied as published, whether it helps or not, and an "
        "export folds it into the weights.",
        values=INSTANT.values | {"compensation": "magnitude"},
    )
)
