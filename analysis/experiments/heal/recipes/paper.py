"""The paper's healing table as recipes: Gromov et al., arXiv:2403.17887, appendix A."""

from dataclasses import dataclass
from typing import Any

from analysis.data.spec import CorpusSpec
from analysis.experiments.heal.recipes.recipe import Recipe, register
from analysis.experiments.heal.recipes.timed import WRITES


@dataclass(frozen=True)
class PaperRow:
    """One model of the paper's healing table (`paper.md` 3.2)."""

    model: str
    """Hub id."""
    n_layers: int
    seq_len: int
    learning_rate: float
    r: int
    swept: bool = False
    """Whether the paper chose the learning rate by a sweep."""

    @property
    def short(self) -> str:
        """Return the model's name without its owner: llama-2-7b."""
        return self._whole.removesuffix("-hf").removesuffix("-v0.1")

    @property
    def _whole(self) -> str:
        return self.model.partition("/")[2].lower()

    def is_of(self, model: str) -> bool:
        """Return whether a Hub id or folder names this very model, regardless of owner and case."""
        return model.rstrip("/").rpartition("/")[2].lower() in (self._whole, self.short)


ROWS = (
    PaperRow("meta-llama/Llama-2-7b-hf", 32, 2048, 3e-4, 2),
    PaperRow("meta-llama/Llama-2-13b-hf", 40, 4096, 3e-4, 64),
    PaperRow("meta-llama/Llama-2-70b-hf", 80, 4096, 3e-5, 8, swept=True),
    PaperRow("Qwen/Qwen-7B", 32, 2048, 3e-4, 64),
    PaperRow("Qwen/Qwen-14B", 40, 4096, 3e-4, 64),
    PaperRow("mistralai/Mistral-7B-v0.1", 32, 2048, 3e-6, 4, swept=True),
    PaperRow("microsoft/phi-2", 32, 2048, 2e-4, 64),
)
"""Every row 5000 steps of batch 16, 100 warm-up steps, alpha = r."""


def _values(row: PaperRow) -> dict[str, Any]:
    """Batch 16 as 1 row x 16 passes, which fits one 24-80 GB GPU; C4's training split, because the paper heals on it."""
    return {
        "steps": 5000,
        "batch_size": 1,
        "gradient_accumulation": 16,
        "learning_rate": row.learning_rate,
        "warmup_steps": 100,
        "r": row.r,
        "eval_every": 100,
        "generation": WRITES,
        "corpus": CorpusSpec("c4-train", n_texts=1_000_000, seq_len=row.seq_len, split="train"),
    }


def _recipe(row: PaperRow) -> Recipe:
    return Recipe(
        name=f"paper-{row.short}",
        title="",
        why=f"The paper's numbers for {row.model}: rank {row.r}, peak learning rate {row.learning_rate:g}"
        f"{' (from a sweep)' if row.swept else ''}, {row.seq_len} tokens per sequence.",
        values=_values(row),
    )


def has_row(model: str, n_layers: int) -> bool:
    """Return whether the table has a row for this model; its depth distinguishes sizes of a family that share a name."""
    return any(row.is_of(model) and row.n_layers == n_layers for row in ROWS)


PAPER = register(
    Recipe(
        name="paper",
        title="the settings of the paper for this model",
        why="The paper's rule for models outside its table: rank 64 and a peak learning rate of 3e-4, usual in pretraining. If "
        "the healed model answers worse than the unhealed one, lower the rank first.",
        values=_values(PaperRow("", 0, 2048, 3e-4, 64)),
        of_model=lambda model: next((_recipe(row) for row in ROWS if row.is_of(model)), None),
    )
)
for _row in ROWS:
    register(_recipe(_row))
