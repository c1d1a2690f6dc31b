"""Short on-policy distillation (after ShortOPD, arXiv:2607.13124): the pruned model generates, the unpruned model grades."""

from dataclasses import replace

from analysis.experiments.heal.recipes.recipe import register
from analysis.experiments.heal.recipes.timed import DISTILL

_ROWS = DISTILL.corpus
ON_POLICY = register(
    replace(
        DISTILL,
        name="on-policy",
        title="the pruned model generates, the unpruned grades",
        why="At each step, the pruned model continues beginnings from Wikipedia. It learns the unpruned model's distribution "
        "on the given and the generated tokens (after ShortOPD, arXiv:2607.13124). Starts with the instant heal, and takes as "
        "many steps as fit into the chosen time. Pruning harms generated text first, which no given text shows.",
        values=DISTILL.values | {"distill": 1.0, "written": 64, "batch_size": 4, "corpus": replace(_ROWS, seq_len=128)},
        on_gpu={"batch_size": 16, "written": 128, "learning_rate": 1e-3, "corpus": replace(_ROWS, seq_len=256)},
    )
)
