"""LinearPatch (NeurIPS 2025): a factor for each channel of the stream, turned by a Hadamard matrix."""

from dataclasses import replace

from analysis.experiments.heal.recipes.instant import INSTANT
from analysis.experiments.heal.recipes.recipe import register

LINEAR_PATCH = register(
    replace(
        INSTANT,
        name="linear-patch",
        title="no training, a factor per rotated channel",
        why="No training: behind each gap every channel of the stream, turned by a Hadamard matrix, is multiplied by how much "
        "larger the removed layers made it (LinearPatch, NeurIPS 2025). It is a matrix of its own in each gap, which no plain "
        "checkpoint has a place for, so it cannot be exported; sizes without a Hadamard matrix are refused.",
        values=INSTANT.values | {"compensation": "patch"},
    )
)
