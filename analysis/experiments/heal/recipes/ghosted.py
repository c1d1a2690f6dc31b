"""Ghosted Layers (arXiv:2605.15491): the linear map of the stream that replaces the change by the removed layers."""

from dataclasses import replace

from analysis.experiments.heal.recipes.instant import INSTANT
from analysis.experiments.heal.recipes.recipe import register

GHOSTED = register(
    replace(
        INSTANT,
        name="ghosted",
        title="no training, a linear map of the stream",
        why="No training. In each gap, a linear map of the residual stream stands for the removed layers (Ghosted Layers, "
        "arXiv:2605.15491). It is a least-squares fit on up to 24,576 tokens. The map is an extra matrix that a plain "
        "checkpoint cannot hold, so it cannot be exported. The similar recipe instant can.",
        values=INSTANT.values | {"compensation": "ghost"},
    )
)
