"""The heal that trains nothing."""

from dataclasses import replace

from analysis.experiments.heal.recipes.recipe import register
from analysis.experiments.heal.recipes.timed import QUICK
from analysis.models.spec import ModelSpec

INSTANT = register(
    replace(
        QUICK,
        name="instant",
        title="no training",
        why="No training, and faster than its own evaluation. Linear regression on up to 24,576 tokens changes the layer "
        "before the removed block, which then stands for the block too. The change is kept only as far as it lowers the loss "
        "on text of another kind.",
        # The numbers of the quick training serve requests with steps. Generation of three models would take longer than the
        # healing, so it is rated only on request.
        values=QUICK.values
        | {"minutes": None, "generation": None, "check_questions": 0, "model": ModelSpec(quantization="none")},
        on_gpu={},
    )
)
