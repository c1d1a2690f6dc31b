"""Distillation alone: the training target is the unpruned model's next-token distribution at every token, not the text."""

from dataclasses import replace

from analysis.experiments.heal.recipes.recipe import register
from analysis.experiments.heal.recipes.timed import DISTILL

DISTILL_ALL = register(
    replace(
        DISTILL,
        name="distill-all",
        title="the unpruned model alone, at every token",
        why="The whole loss is the divergence from the unpruned model's distribution at every token: its 64 most likely tokens "
        "and the remainder. They are stored for sequences that repeat. Starts with the instant heal, then trains LoRA on "
        "Wikipedia. Takes as many steps as fit into the chosen time.",
        values=DISTILL.values | {"distill": 1.0, "top_k": 64},
    )
)
