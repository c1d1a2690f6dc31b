"""CLP (arXiv:2510.23652): only the two layers next to the gap are trained."""

from dataclasses import replace

from analysis.experiments.heal.recipes.recipe import register
from analysis.experiments.heal.recipes.timed import DISTILL

_BESIDE = {"method": "beside", "learning_rate": 1e-4}
CLP = register(
    replace(
        DISTILL,
        name="clp",
        title="the two layers next to each gap",
        why="Trains the weight matrices of the layers before and after each gap, but no norm and no bias (after CLP, "
        "arXiv:2510.23652). Starts with the instant heal. Half of the loss compares with the unpruned model's distribution. "
        "Takes as many steps as fit into the chosen time. Earlier layers are not trained, so steps are quick.",
        values=DISTILL.values | _BESIDE,
        on_gpu=DISTILL.on_gpu | _BESIDE,
    )
)
