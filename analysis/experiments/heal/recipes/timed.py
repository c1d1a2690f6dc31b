"""Recipes that take as many steps as fit into a time, at the speed measured here."""

from dataclasses import replace

from analysis.data.spec import GenerationSpec
from analysis.experiments.heal.recipes.recipe import Recipe, register
from analysis.experiments.heal.spec import default_heal_corpus

WRITES = GenerationSpec(n_prompts=6, max_new_tokens=32, n_sums=12)
"""Generation by default: little, which takes seconds."""
_CORPUS = replace(default_heal_corpus(), n_texts=2400)

QUICK = Recipe(
    name="quick",
    title="LoRA in the chosen time, on the text alone",
    why="Takes as many steps as fit into the chosen time. Starts with the instant heal, then trains LoRA on Wikipedia. Best on "
    "text like the healing text. The recipe distill recovers more on other text. Models under a billion parameters stay "
    "unquantized.",
    quantize_small=False,
    values={
        "minutes": 10.0,
        "instant": True,
        "steps": 0,
        "batch_size": 2,
        "learning_rate": 3e-3,
        "warmup_steps": 0,
        "check_questions": 50,
        "generation": WRITES,
        "corpus": _CORPUS,
    },
    # Larger batches at a third of the peak rate.
    on_gpu={"batch_size": 8, "learning_rate": 1e-3, "corpus": replace(_CORPUS, seq_len=512)},
)

DISTILL = register(
    replace(
        QUICK,
        name="distill",
        title="LoRA in the chosen time, taught by the unpruned model",
        why="Takes as many steps as fit into the chosen time. Starts with the instant heal, then trains LoRA on Wikipedia. "
        "Half of the loss compares with the unpruned model's next-token distribution. On the starter model, it recovered more "
        "loss on text of another kind (C4) than plain training in the same ten minutes.",
        values=QUICK.values | {"distill": 0.5},
    )
)
"""Of the timed ones the best on the starter model, see README."""

register(QUICK)

_PARTIAL = {"method": "partial", "learning_rate": 1e-4}
PARTIAL = register(
    replace(
        QUICK,
        name="partial",
        title="the last layers and the head",
        why="Trains the weight matrices of the last three layers and of the head, but no norm and no bias (after "
        "arXiv:2411.15558). Uses no LoRA. Starts with the instant heal, and takes as many steps as fit into the chosen "
        "time.",
        values=QUICK.values | _PARTIAL,
        on_gpu=QUICK.on_gpu | _PARTIAL,
    )
)
