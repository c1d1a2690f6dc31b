"""CLP (arXiv:2510.23652): only the two layers beside the gap are trained."""

from dataclasses import replace

from analysis.experiments.heal.recipes.recipe import register
from analysis.experiments.heal.recipes.timed import DISTILL

_BESIDE = {"method": "beside", "learning_rate": 1e-4}
CLP = register(
    replace(
        DISTILL,
        name="clp",
        title="the two layers beside each gap",
        why="Every weight matrix of the layer in front of each gap and of the one behind it, but no norm and no bias (after "
        "CLP, arXiv:2510.23652); the instant heal first, half of the loss asks for the unpruned model's distribution, and as "
        "many steps as fit into the time you name. Nothing is learnt below the gap, so steps are quick.",
        values=DISTILL.values | _BESIDE,
        on_gpu=DISTILL.on_gpu | _BESIDE,
    )
)
