"""LinearPatch (NeurIPS 2025): a factor for each channel of the stream, turned by a Hadamard matrix."""

from dataclasses import replace

from analysis.experiments.heal.recipes.instant import INSTANT
from analysis.experiments.heal.recipes.recipe import register

LINEAR_PATCH = register(
    replace(
        INSTANT,
        name="linear-patch",
        title="no training, a factor per rotated channel",
        why="No training. After each gap, a Hadamard matrix rotates the residual stream. Each rotated channel is multiplied by "
        "its growth in the removed layers (LinearPatch, NeurIPS 2025). The patch is an extra matrix that a plain "
        "checkpoint cannot hold, so it cannot be exported. Hidden sizes without a Hadamard matrix are refused.",
        values=INSTANT.values | {"compensation": "patch"},
    )
)
