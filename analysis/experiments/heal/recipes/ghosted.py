"""Ghosted Layers (arXiv:2605.15491): the linear map of the stream that adds what the removed layers added."""

from dataclasses import replace

from analysis.experiments.heal.recipes.instant import INSTANT
from analysis.experiments.heal.recipes.recipe import register

GHOSTED = register(
    replace(
        INSTANT,
        name="ghosted",
        title="no training, a linear map of the stream",
        why="No training: in each gap a linear map of the stream, by least squares on up to 24,576 tokens, adds what the "
        "removed layers added (Ghosted Layers, arXiv:2605.15491). It is a matrix of its own in each gap, which no plain "
        "checkpoint has a place for, so it cannot be exported; instant is the kindred heal that can.",
        values=INSTANT.values | {"compensation": "ghost"},
    )
)
