"""The built-in recipes, in the order in which they are listed.

They register when they are imported. A custom recipe is one more entry here, or a file that calls
`register` (`analysis.core.extensions`).
"""

from dataclasses import dataclass, replace
from typing import Any

from analysis.data.spec import BenchmarkSpec, CorpusSpec, GenerationSpec, default_loss_corpus
from analysis.experiments.heal.heal_spec import default_heal_corpus
from analysis.experiments.heal.recipes.recipe import Recipe, get, register
from analysis.models.source.model_spec import ModelSpec

DEFAULT = "distill"
"""Default recipe, the timed recipe with the best results on the starter model."""

NO_WEIGHT = (
    "No weight of this {family} model can hold the change of the instant heal, since a norm or a"
    " scale follows each projection."
)
"""Reason why some models cannot be healed instantly."""

_WIKI = replace(default_heal_corpus(), n_texts=2400)
_GENERATION = GenerationSpec(n_prompts=6, max_new_tokens=32, n_sums=12)
"""Short generation, which takes seconds."""

_QUICK: dict[str, Any] = {
    "minutes": 10.0,
    "instant": True,
    "steps": 0,
    "batch_size": 2,
    "learning_rate": None,
    "warmup_steps": 0,
    "check_questions": 50,
    "generation": _GENERATION,
    "corpus": _WIKI,
}
"""Settings of timed recipes: as many steps as fit into the time at the measured speed."""
_QUICK_ON_GPU: dict[str, Any] = {"batch_size": 8, "corpus": replace(_WIKI, seq_len=512)}
_INSTANT: dict[str, Any] = _QUICK | {
    # The training settings apply if steps are requested. Generation with three models would take
    # longer than the healing.
    "minutes": None,
    "learning_rate": 3e-3,
    "generation": None,
    "check_questions": 0,
    "model": ModelSpec(quantization="none"),
}


@dataclass(frozen=True)
class PaperRow:
    """A model of the paper's table of healing settings."""

    model: str
    """Hub id."""
    n_layers: int
    seq_len: int
    learning_rate: float
    r: int
    swept: bool = False
    """Whether the paper selected the learning rate by a sweep."""

    @property
    def short(self) -> str:
        """Return the short name of the model, such as llama-2-7b."""
        return self._whole.removesuffix("-hf").removesuffix("-v0.1")

    @property
    def _whole(self) -> str:
        return self.model.partition("/")[2].lower()

    def is_of(self, model: str) -> bool:
        """Return whether a Hub id or folder names this model, regardless of owner and case."""
        return model.rstrip("/").rpartition("/")[2].lower() in (self._whole, self.short)

    @property
    def values(self) -> dict[str, Any]:
        """Return the settings. The batch of 16 is 16 passes of one sequence, which fits a GPU of
        24-80 GB.
        """
        return {
            "steps": 5000,
            "batch_size": 1,
            "gradient_accumulation": 16,
            "learning_rate": self.learning_rate,
            "warmup_steps": 100,
            "r": self.r,
            "eval_every": 100,
            "generation": _GENERATION,
            "corpus": CorpusSpec(
                "c4-train", n_texts=1_000_000, seq_len=self.seq_len, split="train"
            ),
        }

    @property
    def recipe(self) -> Recipe:
        """Return the recipe with the paper's settings for this model."""
        return Recipe(
            name=f"paper-{self.short}",
            title="",
            why=(
                f"The paper's numbers for {self.model}: rank {self.r}, peak learning rate"
                f" {self.learning_rate:g}{' (from a sweep)' if self.swept else ''}, {self.seq_len}"
                " tokens per sequence."
            ),
            values=self.values,
        )


PAPER_ROWS = (
    PaperRow("meta-llama/Llama-2-7b-hf", 32, 2048, 3e-4, 2),
    PaperRow("meta-llama/Llama-2-13b-hf", 40, 4096, 3e-4, 64),
    PaperRow("meta-llama/Llama-2-70b-hf", 80, 4096, 3e-5, 8, swept=True),
    PaperRow("Qwen/Qwen-7B", 32, 2048, 3e-4, 64),
    PaperRow("Qwen/Qwen-14B", 40, 4096, 3e-4, 64),
    PaperRow("mistralai/Mistral-7B-v0.1", 32, 2048, 3e-6, 4, swept=True),
    PaperRow("microsoft/phi-2", 32, 2048, 2e-4, 64),
)
"""Table of Gromov et al., arXiv:2403.17887, appendix A. All models: 5000 steps of batch 16, 100
warm-up steps, alpha = r."""


def has_row(model: str, n_layers: int) -> bool:
    """Return whether the table has this model. The depth distinguishes sizes of a family that share
    a name.
    """
    return any(row.is_of(model) and row.n_layers == n_layers for row in PAPER_ROWS)


TABLE: tuple[tuple[str, str, str, dict[str, Any], dict[str, Any]], ...] = (
    (
        "distill",
        "LoRA, taught by the unpruned model",
        (
            "Takes as many steps as fit into the chosen time. Starts with the instant heal, then"
            " trains LoRA on Wikipedia. Half of the loss compares with the unpruned model's"
            " next-token distribution. On the starter model, it recovered more loss on text of"
            " another kind (C4) than plain training in the same ten minutes."
        ),
        _QUICK | {"distill": 0.5},
        _QUICK_ON_GPU,
    ),
    (
        "quick",
        "LoRA on the text alone",
        (
            "Takes as many steps as fit into the chosen time. Starts with the instant heal, then"
            " trains LoRA on Wikipedia. Best on text like the healing text. The recipe distill"
            " recovers more on other text. Models under a billion parameters stay unquantized."
        ),
        _QUICK,
        _QUICK_ON_GPU,
    ),
    (
        "distill-all",
        "taught at every token",
        (
            "The whole loss is the divergence from the unpruned model's distribution at every"
            " token: its 64 most likely tokens and the remainder. Starts with the instant heal,"
            " then trains LoRA on Wikipedia. Takes as many steps as fit into the chosen time."
        ),
        _QUICK | {"distill": 1.0, "top_k": 64},
        _QUICK_ON_GPU,
    ),
    (
        "instant",
        "no training",
        (
            "No training, and faster than its own evaluation. Linear regression on up to 24,576"
            " tokens changes the layer before the removed block, which then stands for the block"
            " too. The change is kept only as far as it lowers the loss on text of another kind."
        ),
        _INSTANT,
        {},
    ),
    (
        "first",
        "a verdict in three minutes",
        (
            "The recipe distill in 2.5 minutes, loading and scoring included. 50 questions and 8"
            " texts judge it. Refine judges the same adapter by 200 questions and 32 texts, and"
            " scores only the new ones."
        ),
        _QUICK
        | {
            "distill": 0.5,
            "minutes": 2.5,
            "benchmark": BenchmarkSpec(limit=50),
            "validation": replace(default_loss_corpus(), n_texts=8),
            "judging_texts": default_loss_corpus().n_texts,
            "generation": None,
            "check_questions": 0,
        },
        _QUICK_ON_GPU,
    ),
)
"""Name, title, reason, settings, and settings with other values on a GPU. Small models stay
unquantized."""

for _name, _title, _why, _values, _on_gpu in TABLE:
    register(Recipe(_name, _title, _why, _values, _on_gpu, quantize_small=False))
register(
    Recipe(
        name="paper",
        title="the paper's settings for this model",
        why=(
            "The paper's rule for models outside its table: rank 64 and a peak learning rate of"
            " 3e-4, usual in pretraining. If the healed model answers worse than the unhealed one,"
            " lower the rank first."
        ),
        values=PaperRow("", 0, 2048, 3e-4, 64).values,
        of_model=lambda model: next((row.recipe for row in PAPER_ROWS if row.is_of(model)), None),
    )
)
for _row in PAPER_ROWS:
    register(_row.recipe)

FIRST = get("first")
INSTANT = get("instant")
QUICK = get("quick")
