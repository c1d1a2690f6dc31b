"""Distillation alone: nothing of the text but what the unpruned model would say at every place of it."""

from dataclasses import replace

from analysis.experiments.heal.recipes.recipe import register
from analysis.experiments.heal.recipes.timed import DISTILL

DISTILL_ALL = register(
    replace(
        DISTILL,
        name="distill-all",
        title="the unpruned model alone, at every place",
        why="The divergence from the unpruned model's distribution is all of the loss, at every place of the text: from its 64 "
        "likeliest tokens and the remainder, which are kept where a row comes again; the instant heal first, then LoRA on "
        "Wikipedia, as many steps as fit into the time you name.",
        values=DISTILL.values | {"distill": 1.0, "top_k": 64},
    )
)
