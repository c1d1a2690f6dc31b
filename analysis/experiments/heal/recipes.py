"""Recipes: a heal's numbers under a name, the paper's table among them, and how many steps fit into a time."""

import os
from dataclasses import dataclass, fields, replace
from typing import Any

from analysis.core.blocks import Block
from analysis.core.errors import RecipeError
from analysis.data.spec import CorpusSpec
from analysis.experiments.heal.spec import HealSpec
from analysis.models.spec import ModelSpec

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
    """Optimizer steps; 0 where `minutes` decides, or where none is taken."""
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
    minutes: float | None = None
    """How long all of it may take; None where the number of steps is fixed."""
    method: str = "lora"
    last_layers: int = 3
    """Layers whose weight matrices `partial` trains."""
    distill: float = 0.0
    """Weight of the unpruned model's distribution in the training loss."""
    distill_from: str = "logits"
    """What of the unpruned model is learnt."""
    junction: float = 0.0
    """Weight of the loss at the junction."""
    check_questions: int = 0
    """Questions asked at each validation."""
    keep_best: bool = False
    """Whether the checkpoint of the lowest held-out loss is kept instead of the last."""

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
    """Batch 16 as 1 row x 16 passes, which fits one 24-80 GB card; C4's training split, because the paper heals on it."""
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
        corpus="c4-train",
        n_texts=1_000_000,
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
    why="As many steps as fit into the time you name, at the speed measured here: the instant heal first, then LoRA on "
    "Wikipedia. Best on text like the healing text; distill keeps more of the rest. Models under a billion parameters stay "
    "unquantized.",
    minutes=10.0,
    instant=True,
    quantize_small=False,
    steps=0,
    batch_size=2,
    gradient_accumulation=1,
    seq_len=256,
    learning_rate=3e-3,
    warmup_steps=0,
    r=16,
    lora_dropout=0.05,
    eval_every=10,
    check_questions=50,
    corpus="wiki",
    n_texts=2400,
)

QUICK_GPU = replace(QUICK, batch_size=8, seq_len=512, learning_rate=1e-3)
"""The same with larger batches at a third of the peak rate, for accelerators."""

INSTANT = replace(
    QUICK,
    name="instant",
    why="Seconds and no training: the layer before the cut is changed, by linear regression on up to 24,576 tokens, to add "
    "what the removed block added. The change is kept only as far as it lowers the loss on text it was not fitted on.",
    minutes=None,
    check_questions=0,
    quantization="none",
)

_VARIANTS: dict[str, dict[str, Any]] = {
    "distill": {
        "why": "As many steps as fit into the time you name, at the speed measured here: the instant heal first, then LoRA on "
        "Wikipedia, with half of the loss asking for the unpruned model's own distribution over the next token. On the starter "
        "model this repaired text of another kind (C4) better than plain training in the same ten minutes.",
        "distill": 0.5,
    },
    "partial": {
        "why": "Every weight matrix of the last three layers and of the head, but no norm and no bias, instead of LoRA on all "
        "layers (after arXiv:2411.15558); the instant heal first, and as many steps as fit into the time you name.",
        "method": "partial",
        "learning_rate": 1e-4,
    },
}
"""What the other timed recipes change about `quick`."""

DEFAULT = "distill"
"""Of the timed ones the best on the starter model, see README."""
NAMES = (DEFAULT, "quick", "partial", "instant", "paper", *PAPER)
"""Every recipe. The timed ones depend on the machine, `paper` on the model; the others are the same everywhere."""


def get(name: str, *, model: str = "", on_gpu: bool = False) -> Recipe:
    """The recipe of this name.

    Args:
        name: one of `NAMES`.
        model: the model's source or name; `paper` takes its row if the table has one.
        on_gpu: whether it will run on a CUDA device; timed recipes take larger batches there.

    Raises:
        RecipeError: for an unknown name.
    """
    quick = QUICK_GPU if on_gpu else QUICK
    if name == "quick":
        return quick
    if name in _VARIANTS:
        return replace(quick, name=name, **_VARIANTS[name])
    if name == "instant":
        return INSTANT
    if name == "paper":
        return next((replace(PAPER[_short(row)], name=name) for row in PAPER_ROWS if _is(row, model)), PAPER_GENERIC)
    if name in PAPER:
        return PAPER[name]
    raise RecipeError(f"There is no recipe {name!r}; the recipes are {', '.join(NAMES)}.")


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
    return get(DEFAULT, on_gpu=on_gpu)


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
        **overrides: fields of `HealSpec` to use instead of the recipe's. `steps` takes the place of a time, `minutes` that of
            a number of steps; warm-up and the distance between validations go with the steps unless they are given too.

    Raises:
        RecipeError: for an unknown recipe or field.
        SpecError: for a value out of range.
    """
    recipe = get(name, model=model.source, on_gpu=sees_gpu(model.device) if on_gpu is None else on_gpu)
    values = _numbers(recipe) | {
        "corpus": CorpusSpec(source=recipe.corpus, n_texts=recipe.n_texts, seq_len=recipe.seq_len, split="train"),
        "validation": CorpusSpec(held_out(recipe.corpus), n_texts=8, seq_len=256, split="validation"),
    }
    allowed = {field.name for field in fields(HealSpec)} - {"model", "block"}
    unknown = sorted(set(overrides) - allowed)
    if unknown:
        raise RecipeError(
            f"A heal has no setting {', '.join(unknown)}; its settings are {', '.join(sorted(allowed))}, seq_len."
        )
    values |= _spread(recipe, overrides) | overrides
    if seq_len is not None:
        values["corpus"] = replace(values["corpus"], seq_len=seq_len)
    changed = seq_len not in (None, recipe.seq_len) or any(
        overrides.get(key, own) != own for key, own in _numbers(recipe).items()
    )
    values.setdefault("recipe", f"{recipe.name}, changed" if changed else recipe.name)
    return HealSpec(
        block=block, model=replace(model, quantization=_quantization(recipe, model, quantization, n_parameters)), **values
    )


def like(spec: HealSpec, *, model: ModelSpec, block: Block, **overrides: Any) -> HealSpec:
    """The same numbers for another cut or another model, as when an older run is copied.

    Args:
        spec: the heal to copy.
        model: the model; it is quantized as in the copied heal.
        block: the layers to remove.
        **overrides: fields of `HealSpec` to change.

    Raises:
        SpecError: for a value out of range.
    """
    fresh = {name: replace(getattr(spec, name), identity="") for name in ("corpus", "validation")}
    benchmark = None if spec.benchmark is None else replace(spec.benchmark, identity="")
    if "steps" in overrides:
        overrides = {"minutes": None, **overrides}
    quantized = replace(model, quantization=spec.model.quantization)
    return replace(spec, model=quantized, block=block, benchmark=benchmark, **{**fresh, **overrides})


def held_out(source: str) -> str:
    """Where the held-out text comes from when this is healed on: the streamed C4 has none of its own that could be drawn."""
    return {"c4-train": "c4"}.get(source, source)


def _numbers(recipe: Recipe) -> dict[str, Any]:
    names = {field.name for field in fields(HealSpec)} & {field.name for field in fields(Recipe)}
    return {name: getattr(recipe, name) for name in names - {"corpus"}}


def _spread(recipe: Recipe, overrides: dict[str, Any]) -> dict[str, Any]:
    """Warm-up and validations of a heal whose number of steps is not its recipe's."""
    if "minutes" in overrides and overrides["minutes"] is not None:
        return {"steps": 0}
    steps = overrides.get("steps", recipe.steps)
    if recipe.minutes is not None and "steps" in overrides:
        return {"minutes": None, **spread(steps)}
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


def sees_gpu(device: str) -> bool:
    """Whether a model of this device setting will run on CUDA, told without loading torch."""
    return device.startswith("cuda") or (device == "auto" and os.path.exists("/proc/driver/nvidia/gpus"))


def said(recipe: str) -> str | None:
    """The built-in recipe that a heal's numbers came from, changed or not; None where it is no built-in one."""
    name = recipe.removesuffix(", changed")
    return name if name in NAMES else None


CHECKS = 6
"""Validation losses on the way of a heal whose length is worked out."""
_WARM_UP = 0.07
"""Share of the steps in which the learning rate rises."""
LEAST_STEPS = 5
"""Fewer are not worth the name of a training."""


def steps_that_fit(*, seconds: float, step_s: float, check_s: float, end_s: float) -> int:
    """Steps that can be taken in some time, validations and the last measurement included.

    Args:
        seconds: what is left of the time.
        step_s: seconds per step.
        check_s: seconds per validation with its checkpoint.
        end_s: seconds to save the adapter and measure the healed model.

    Raises:
        RecipeError: when not even a few fit.
    """
    steps = int((seconds - CHECKS * check_s - end_s) / step_s)
    if steps < LEAST_STEPS:
        needed = CHECKS * check_s + end_s + LEAST_STEPS * step_s
        raise RecipeError(
            f"The time is too short: {max(0.0, seconds) / 60:.1f} minutes are left of it after the preparations, and "
            f"{LEAST_STEPS} steps with their measurements take {needed / 60:.1f} here; give more minutes, shorter rows, fewer "
            f"questions, or choose the instant recipe."
        )
    return steps


def planned(spec: HealSpec, steps: int) -> HealSpec:
    """The spec of a heal whose number of steps is known, with warm-up and validations spread over them."""
    return spec if spec.minutes is None else replace(spec, steps=steps, **spread(steps))


def spread(steps: int) -> dict[str, Any]:
    """`warmup_steps` and `eval_every` that suit a number of steps."""
    return {"warmup_steps": round(_WARM_UP * steps), "eval_every": max(1, -(-steps // CHECKS))}
