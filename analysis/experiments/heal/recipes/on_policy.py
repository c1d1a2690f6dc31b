"""Short on-policy distillation (after ShortOPD, arXiv:2607.13124): the cut model writes, the unpruned one grades."""

from dataclasses import replace

from analysis.experiments.heal.recipes.recipe import register
from analysis.experiments.heal.recipes.timed import DISTILL

_ROWS = DISTILL.corpus
ON_POLICY = register(
    replace(
        DISTILL,
        name="on-policy",
        title="the cut model writes, the unpruned one grades",
        why="The cut model goes on with beginnings from Wikipedia, as it is at each step, and is drawn to the unpruned model's "
        "distribution on what was read and what it wrote (after ShortOPD, arXiv:2607.13124); the instant heal first, and as "
        "many steps as fit into the time you name. What a cut model writes suffers first, and no given text shows it.",
        values=DISTILL.values | {"distill": 1.0, "written": 64, "batch_size": 4, "corpus": replace(_ROWS, seq_len=128)},
        on_gpu={"batch_size": 16, "written": 128, "learning_rate": 1e-3, "corpus": replace(_ROWS, seq_len=256)},
    )
)
