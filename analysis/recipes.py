"""Presets of a heal: the paper's table, and a quick one sized for the machine."""

import os
from dataclasses import dataclass, replace
from typing import Any

from analysis.blocks import Block
from analysis.errors import RecipeError
from analysis.specs import CorpusSpec, HealSpec, ModelSpec

SMALL = 1_000_000_000
"""Parameters below which memory is not short on any machine, while NF4 costs a model dear: the starter model 0.4 nats."""


@dataclass(frozen=True)
class Recipe:
    """The numbers of a heal, without the model and the block."""

    name: str
    """What it is called on the command line."""
    why: str
    """A sentence on where the numbers come from."""
    steps: int
    """Optimizer steps."""
    batch_size: int
    """Rows per forward pass."""
    gradient_accumulation: int
    """Forward passes per optimizer step."""
    seq_len: int
    """Tokens per row."""
    learning_rate: float
    """Peak learning rate."""
    warmup_steps: int
    r: int
    """LoRA rank; lora_alpha = r."""
    lora_dropout: float
    eval_every: int
    """Steps between validation losses and checkpoints."""
    corpus: str
    """Source of the healing text: `wiki` or `c4`."""
    n_texts: int
    """Documents drawn at most."""
    quantization: str = "4bit"
    quantize_small: bool = True
    """Whether models under `SMALL` parameters are quantized too."""
    instant: bool = False
    """Whether it begins with the instant heal."""
    distill: float = 0.0
    """Weight of the unpruned model's distribution in the training loss."""

    @property
    def tokens(self) -> int:
        """Tokens trained on in all."""
        return self.steps * self.batch_size * self.gradient_accumulation * self.seq_len


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


PAPER_ROWS = (
    PaperRow("meta-llama/Llama-2-7b-hf", 32, 2048, 3e-4, 2),
    PaperRow("meta-llama/Llama-2-13b-hf", 40, 4096, 3e-4, 64),
    PaperRow("meta-llama/Llama-2-70b-hf", 80, 4096, 3e-5, 8, swept=True),
    PaperRow("Qwen/Qwen-7B", 32, 2048, 3e-4, 64),
    PaperRow("Qwen/Qwen-14B", 40, 4096, 3e-4, 64),
    PaperRow("mistralai/Mistral-7B-v0.1", 32, 2048, 3e-6, 4, swept=True),
    PaperRow("microsoft/phi-2", 32, 2048, 2e-4, 64),
)
"""Gromov et al., arXiv:2403.17887, appendix A; every row 5000 steps of batch 16, 100 warm-up steps, alpha = r."""


def _paper(name: str, row: PaperRow, why: str) -> Recipe:
    """Batch 16 as 1 row x 16 passes, which fits one 24-80 GB card; C4, because the paper heals on it."""
    return Recipe(
        name=name,
        why=why,
        steps=5000,
        batch_size=1,
        gradient_accumulation=16,
        seq_len=row.seq_len,
        learning_rate=row.learning_rate,
        warmup_steps=100,
        r=row.r,
        lora_dropout=0.05,
        eval_every=100,
        corpus="c4",
        n_texts=100_000,
    )


def _short(row: PaperRow) -> str:
    return f"paper-{row.model.partition('/')[2].lower().removesuffix('-hf').removesuffix('-v0.1')}"


PAPER = {
    _short(row): _paper(
        _short(row),
        row,
        f"The paper's numbers for {row.model}: rank {row.r}, peak learning rate {row.learning_rate:g}"
        f"{' (chosen there by a sweep)' if row.swept else ''}, {row.seq_len} tokens per row.",
    )
    for row in PAPER_ROWS
}
"""The table as recipes, by name."""

PAPER_GENERIC = _paper(
    "paper",
    PaperRow("", 0, 2048, 3e-4, 64),
    "The paper's rule for models it has no row for: rank 64 and 3e-4, a usual pretraining peak; if the healed model answers "
    "worse than the unhealed one, lower the rank first.",
)

QUICK = Recipe(
    name="quick",
    why="About four minutes on two cores: the instant heal, then LoRA on 51,200 tokens of Wikipedia; models under a billion "
    "parameters stay unquantized. On the starter model without layers 11-15 this brought the loss on held-out text below the "
    "unpruned model's, and that on C4, which it never saw, 1.9 nats down.",
    instant=True,
    quantize_small=False,
    steps=50,
    batch_size=4,
    gradient_accumulation=1,
    seq_len=256,
    learning_rate=3e-3,
    warmup_steps=5,
    r=16,
    lora_dropout=0.05,
    eval_every=10,
    corpus="wiki",
    n_texts=2000,
)

QUICK_GPU = replace(
    QUICK,
    why="About a million tokens of Wikipedia, meant for minutes on one GPU; five times the steps of the CPU recipe at a third "
    "of its peak rate; it begins with the instant heal too.",
    steps=250,
    batch_size=8,
    seq_len=512,
    learning_rate=1e-3,
    warmup_steps=20,
    eval_every=25,
)

INSTANT = replace(
    QUICK,
    name="instant",
    why="Seconds and no training: the layer before the cut is changed, by linear regression on up to 24,576 tokens, to add "
    "what the removed block added. The change is kept only as far as it lowers the loss on text it was not fitted on.",
    steps=0,
    warmup_steps=0,
    quantization="none",
    instant=True,
)

NAMES = ("quick", "instant", "distill", "paper", *PAPER)
"""Every recipe. `quick` and `distill` depend on the machine, `paper` on the model; the others are the same everywhere."""


def get(name: str, *, model: str = "", on_gpu: bool = False) -> Recipe:
    """The recipe of this name.

    Args:
        name: one of `NAMES`.
        model: the model's source or name; `paper` takes its row if the table has one.
        on_gpu: whether it will run on a CUDA device; `quick` is larger there.

    Raises:
        RecipeError: for an unknown name.
    """
    if name == "quick":
        return QUICK_GPU if on_gpu else QUICK
    if name == "distill":
        return _distilling(QUICK_GPU if on_gpu else QUICK)
    if name == "instant":
        return INSTANT
    if name == "paper":
        return next((replace(PAPER[_short(row)], name=name) for row in PAPER_ROWS if _is(row, model)), PAPER_GENERIC)
    if name in PAPER:
        return PAPER[name]
    raise RecipeError(f"There is no recipe {name!r}; the recipes are {', '.join(NAMES)}.")


def _distilling(quick: Recipe) -> Recipe:
    why = "As quick, with half of the loss asking for the unpruned model's own distribution over the next token."
    return replace(quick, name="distill", why=why, distill=0.5)


def _is(row: PaperRow, model: str) -> bool:
    """Whether a hub id or folder names this very model, whatever its owner and case."""
    wanted = row.model.partition("/")[2].lower()
    return model.rstrip("/").rpartition("/")[2].lower() in (wanted, wanted.removesuffix("-hf").removesuffix("-v0.1"))


def for_model(model: str, n_layers: int, on_gpu: bool) -> Recipe:
    """The recipe to offer first, its `why` saying the reason.

    Args:
        model: hub id, folder or name.
        n_layers: L; tells the sizes of a family apart when only the family's name is known.
        on_gpu: whether a CUDA device is there.
    """
    row = next((row for row in PAPER_ROWS if _is(row, model) and row.n_layers == n_layers), None)
    if on_gpu and row is not None:
        return replace(PAPER[_short(row)], name="paper")
    return get("quick", on_gpu=on_gpu)


def heal_spec(
    name: str,
    *,
    model: ModelSpec,
    block: Block,
    on_gpu: bool | None = None,
    quantization: str | None = None,
    seq_len: int | None = None,
    n_parameters: int | None = None,
    **overrides: Any,
) -> HealSpec:
    """The request for a heal of `model` without `block` by a recipe.

    Args:
        name: one of `NAMES`.
        model: the model; where it is `quantization="none"`, the recipe's own quantization is used.
        block: the layers to remove.
        on_gpu: whether it will run on a CUDA device; None to go by the model's device and by what the machine shows.
        quantization: overrides the recipe's and the model's, `none` included.
        seq_len: overrides the recipe's tokens per row.
        n_parameters: size of the model, if it is known; some recipes quantize only what is large.
        **overrides: fields of `HealSpec` to use instead of the recipe's. With fewer `steps` than the recipe has, warm-up
            and the distance between validations shrink with them unless they are given too.

    Raises:
        RecipeError: for an unknown recipe or field.
        SpecError: for a value out of range.
    """
    recipe = get(name, model=model.source, on_gpu=_sees_gpu(model.device) if on_gpu is None else on_gpu)
    fields = _numbers(recipe) | {
        "corpus": CorpusSpec(source=recipe.corpus, n_texts=recipe.n_texts, seq_len=recipe.seq_len, split="train"),
        "validation": CorpusSpec(source=recipe.corpus, n_texts=8, seq_len=256, split="validation"),
    }
    allowed = set(HealSpec.__dataclass_fields__) - {"model", "block", "kind"}
    unknown = sorted(set(overrides) - allowed)
    if unknown:
        raise RecipeError(
            f"A heal has no setting {', '.join(unknown)}; its settings are {', '.join(sorted(allowed))}, seq_len."
        )
    fields |= _shrunk(recipe, overrides) | overrides
    if seq_len is not None:
        fields["corpus"] = replace(fields["corpus"], seq_len=seq_len)
    changed = seq_len not in (None, recipe.seq_len) or any(
        overrides.get(key, own) != own for key, own in _numbers(recipe).items()
    )
    fields.setdefault("recipe", f"{recipe.name}, changed" if changed else recipe.name)
    return HealSpec(
        block=block, model=replace(model, quantization=_quantization(recipe, model, quantization, n_parameters)), **fields
    )


def _numbers(recipe: Recipe) -> dict[str, Any]:
    names = (
        "instant",
        "distill",
        "steps",
        "batch_size",
        "gradient_accumulation",
        "learning_rate",
        "warmup_steps",
        "r",
        "lora_dropout",
        "eval_every",
    )
    return {name: getattr(recipe, name) for name in names}


def _shrunk(recipe: Recipe, overrides: dict[str, Any]) -> dict[str, Any]:
    """Warm-up and validations of a heal that is shorter than its recipe."""
    steps = overrides.get("steps", recipe.steps)
    if steps >= recipe.steps:
        return {}
    return {
        "warmup_steps": recipe.warmup_steps * steps // recipe.steps,
        "eval_every": max(1, recipe.eval_every * steps // recipe.steps),
    }


def _quantization(recipe: Recipe, model: ModelSpec, asked: str | None, n_parameters: int | None) -> str:
    if asked is not None:
        return asked
    if model.quantization != "none":
        return model.quantization
    if n_parameters is not None and n_parameters < SMALL and not recipe.quantize_small:
        return "none"
    # A GGUF file is already rounded to few bits and cannot be rounded again while it is loaded.
    return "none" if model.source.lower().endswith(".gguf") or model.device == "mps" else recipe.quantization


def _sees_gpu(device: str) -> bool:
    """Whether a model of this device setting will run on CUDA, told without loading torch."""
    return device.startswith("cuda") or (device == "auto" and os.path.exists("/proc/driver/nvidia/gpus"))
