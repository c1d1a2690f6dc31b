"""The request for a healing run: removed layers, training and evaluation."""

from collections.abc import Mapping
from dataclasses import field, replace
from typing import Annotated, Any, ClassVar

from analysis.core.blocks import Removal
from analysis.core.bounds import SEED, Bound, one_of
from analysis.core.errors import RecipeError
from analysis.core.options import Option, Part
from analysis.core.record import Spec, require, spec_dataclass
from analysis.data.spec import BenchmarkSpec, CorpusSpec, GenerationSpec, held_out_text, other_text
from analysis.experiments.heal import losses
from analysis.models.source.model_spec import ModelSpec

LORA_ON = ("feed_forward", "attention", "both")
"""Modules of every layer that LoRA can adapt."""

MOST_STEPS = 1_000_000
MOST_ROWS = 4_096
"""Maximum number of sequences per forward pass, of passes per step, and of judging texts."""
MOST_RANK = 4_096
MOST_KEPT = 65_536
"""Maximum number of top tokens of the unpruned model in the loss."""
CALIBRATION_TEXTS = 96
"""Number of texts that the instant heal is fitted on."""
CHOICE_TEXTS = 8
"""Number of texts that choose the strength of the instant heal and validate the training: the next
documents after the judging texts in the same draw."""


def judged_by(corpus: CorpusSpec, preferred: CorpusSpec | None = None) -> CorpusSpec:
    """Return the text that evaluates a run trained on `corpus`; it is always of another kind.

    Args:
        corpus: The healing text.
        preferred: Text to use if it is of another kind, for example the text of a curve that the
            run is compared with.
    """
    return (
        preferred
        if preferred is not None and preferred.subject != corpus.subject
        else other_text(corpus.source)
    )


def default_heal_corpus() -> CorpusSpec:
    """Return the Wikipedia documents that healing trains on by default."""
    return CorpusSpec(source="wiki", n_texts=2000, seq_len=256, split="train")


@spec_dataclass
class HealSpec(Spec):
    """Healing of a pruned model: in closed form, by training, or both. Names follow PEFT and
    transformers.
    """

    kind: ClassVar[str] = "heal"
    version: ClassVar[int] = 4
    """4: evaluated on text of another kind than the healing text, weighted by tokens."""
    later: ClassVar[tuple[str, ...]] = (
        "compensation",
        "written",
        "top_k",
        "stages",
        "lora_on",
        "judging_texts",
        "bridge",
        "loss",
    )
    withdrawn: ClassVar[Mapping[str, Any]] = {
        "method": "lora",
        "last_layers": 3,
        "compensation": "projection",
        "bridge": False,
        "distill_from": "logits",
        "written": 0,
        "stages": 1,
        "junction": 0.0,
        "keep_best": False,
    }
    asked_by: ClassVar[str] = "analysis.experiments.heal.recipes:from_options"
    asked_defaults: ClassVar[Mapping[str, str]] = {
        "quantization": "by the model's size, none with --dtype",
        "recipe": "distill",
        **dict.fromkeys(("seed", "steps", "texts", "seq-len", "task", "limit"), "set by --recipe"),
    }

    block: Annotated[Removal, Option()]
    """Removed layers or sublayers."""
    model: Annotated[ModelSpec, Part(always=("quantization",))] = field(
        default_factory=lambda: ModelSpec(quantization="4bit")
    )
    corpus: Annotated[CorpusSpec, Part(only=("source", "seq_len"))] = field(
        default_factory=default_heal_corpus
    )
    """Documents that are packed into training sequences of `corpus.seq_len` tokens."""
    validation: Annotated[CorpusSpec, Part(only=())] = field(
        default_factory=lambda: other_text(default_heal_corpus().source)
    )
    """Judging texts: text of another kind than `corpus`, for the loss before and after healing. The
    next documents of the same draw choose the strength of the instant heal and validate the
    training (`HealResult.validations`). Text of the same kind would only measure how well that kind
    was learned."""
    benchmark: Annotated[BenchmarkSpec | None, Part(only=("task", "limit"))] = field(
        default_factory=BenchmarkSpec
    )
    """Questions asked of the unpruned, pruned and healed model; None to skip them."""
    generation: Annotated[GenerationSpec | None, Option("--generate")] = None
    """Also measure generated text of the unpruned, pruned and healed model (default: as the recipe
    says)."""
    recipe: Annotated[
        str,
        Option(
            metavar="NAME",
            known="analysis.experiments.heal.recipes:NAMES",
            write="analysis.experiments.heal.recipes:builtin_recipe",
        ),
    ] = "custom"
    """Recipe, built-in or saved by you: sets all other settings of the run."""
    seed: Annotated[int, Option(), SEED] = 0
    """Seed of the order of the sequences and of the training."""
    steps: Annotated[int, Option(), Bound(0, MOST_STEPS)] = 50
    """Optimizer steps (0: closed form, or `--minutes` decides)."""
    minutes: Annotated[float | None, Option(), Bound(0, 525_600, above=True)] = None
    """Maximum time of the run, scoring included. The steps that fit follow from the measured speed
    (default: no limit)."""
    lora_on: str = "feed_forward"
    """Modules that LoRA adapts: `feed_forward` as in the paper, `attention`, or `both`. Experts are
    feed-forward modules."""
    instant: bool = False
    """Start with the instant heal, a closed-form fit of the weights before each gap."""
    distill: Annotated[float, Bound(0, 1)] = 0.0
    """Weight of `loss` in the training loss, in [0, 1]. The cross-entropy with the text has the
    rest."""
    loss: str = "divergence"
    """Loss with the weight `distill`, a name in `losses.LOSSES` (default: divergence from the
    unpruned model)."""
    top_k: Annotated[int, Bound(0, MOST_KEPT)] = 0
    """Number of most likely tokens of the unpruned model in the loss, with all others as one
    remainder (0: every token)."""
    control: Annotated[bool, Option()] = False
    """Train the unpruned model in the same way instead, as a control."""
    separate_documents: bool = True
    """Documents of one sequence do not attend to each other."""
    batch_size: Annotated[int, Bound(1, MOST_ROWS)] = 4
    """Sequences per forward pass."""
    gradient_accumulation: Annotated[int, Bound(1, MOST_ROWS)] = 1
    """Forward passes per optimizer step."""
    learning_rate: Annotated[float | None, Bound(0, 10, above=True)] = 3e-4
    """Peak learning rate, reached after the warm-up. A cosine to 0 follows. None: by the model's
    size (`sizing.rate_for`)."""
    warmup_steps: Annotated[int, Bound(0, MOST_STEPS)] = 5
    """Optimizer steps in which the learning rate rises to its peak."""
    r: Annotated[int, Bound(1, MOST_RANK)] = 16
    """LoRA rank. `lora_alpha` has the same value."""
    lora_dropout: Annotated[float, Bound(0, 1, below=True)] = 0.05
    """Dropout probability of the LoRA layers. It is 0 for models with experts, for which PEFT does
    not support dropout."""
    eval_every: Annotated[int, Bound(1, MOST_STEPS)] = 10
    """Number of optimizer steps between validations. Each validation saves a checkpoint."""
    check_questions: Annotated[int, Bound(0, 1_000_000)] = 0
    """Number of questions per validation (0: none)."""
    judging_texts: Annotated[int, Bound(0, MOST_ROWS)] = 0
    """Number of texts reserved for a refined evaluation (0: those of `validation`). Training and
    selection never use them, so a run evaluated on a few of them can later be evaluated on all."""

    def __post_init__(self) -> None:
        min_steps = 0 if self.instant or self.minutes is not None else 1
        require(self.steps >= min_steps, f"steps must be at least {min_steps}, not {self.steps}.")
        one_of("lora_on", self.lora_on, LORA_ON)
        one_of("loss", self.loss, losses.LOSSES)
        require(
            not self.top_k or self.distill > 0,
            f"top_k={self.top_k} needs the distribution of the unpruned model. Set distill above 0,"
            " or top_k to 0.",
        )
        require(
            not (self.control and (self.instant or self.distill)),
            "A control trains the unpruned model on the text alone. Leave out instant and distill.",
        )

    @property
    def trains(self) -> bool:
        """Return whether the run takes optimizer steps; otherwise it only applies the instant
        heal.
        """
        return self.steps > 0 or self.minutes is not None

    @property
    def is_taught(self) -> bool:
        """Return whether the training loss needs the predictions of the unpruned model."""
        return self.distill > 0 and losses.LOSSES[self.loss].is_taught

    @property
    def peak_rate(self) -> float:
        """Return the peak learning rate of a resolved request."""
        assert self.learning_rate is not None, "the request is not resolved"
        return self.learning_rate

    @property
    def training(self) -> "HealSpec":
        """Return the request without its evaluation; equal for runs that train the same adapter."""
        one_text = replace(self.validation, n_texts=1)
        return replace(
            self, benchmark=None, generation=None, check_questions=0, validation=one_text
        )

    @property
    def n_kept_clear(self) -> int:
        """Number of texts at the front of the judging draw that are reserved for the evaluation."""
        return max(self.validation.n_texts, self.judging_texts)

    @property
    def removed(self) -> Removal | None:
        """Return the removed layers; None in a control."""
        return None if self.control else self.block

    @property
    def same_kind(self) -> CorpusSpec:
        """Return held-out text of the kind of the healing text, as many texts as judge.

        It measures how well that kind of text was learned.
        """
        judging = self.validation
        return replace(
            held_out_text(self.corpus.source), n_texts=judging.n_texts, seq_len=judging.seq_len
        )

    def as_control(self) -> "HealSpec":
        """Return the control: the same training of the unpruned model, which measures the effect of
        the healing text alone.

        Raises:
            RecipeError: If this request trains nothing.
        """
        if not self.trains:
            raise RecipeError(
                f"The recipe {self.recipe} trains nothing, so it has no control. Choose a recipe"
                " that trains, such as distill, or leave out the control."
            )
        return replace(self, control=True, instant=False, distill=0.0, top_k=0)
