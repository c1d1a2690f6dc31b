"""The request for a healing run: the removed layers, the training and its judgement."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Annotated, ClassVar

from analysis.core.blocks import PartSet, Removal
from analysis.core.bounds import MOST_LAYERS, SEED, Bound, one_of
from analysis.core.errors import RecipeError
from analysis.core.options import Option, Part
from analysis.core.record import Spec, require
from analysis.data.spec import BenchmarkSpec, CorpusSpec, GenerationSpec, held_out_text, other_text
from analysis.models.source.model_spec import ModelSpec

HEAL_METHODS = ("lora", "partial", "beside")
"""Names for the weights that a healing run trains."""
LORA_ON = ("feed_forward", "attention", "both")
"""Weights of every layer that a LoRA adapts."""
COMPENSATIONS = ("projection", "magnitude", "patch", "ghost")
"""Names for the changes that an instant heal fits; `compensation` has them."""
DISTILL_FROM = ("logits", "states")
"""Outputs of the unpruned model that a healing run can learn."""


MOST_STEPS = 1_000_000
MOST_ROWS = 4_096
"""Training rows of one forward pass, and passes of one step."""
MOST_RANK = 4_096
MOST_KEPT = 65_536
"""Tokens of a distribution that are learnt one by one, at most."""
MOST_WRITTEN = 1_048_575
"""A row has one token more at least, to write from."""
CALIBRATION_TEXTS = 96
"""Texts that the instant heal is fitted on."""
CHOICE_TEXTS = 8
"""Texts that choose the instant heal's strength and the best step. They are of the kind of the judging texts, but none of
those."""


def judged_by(corpus: CorpusSpec, wanted: CorpusSpec | None = None) -> CorpusSpec:
    """Return the text that judges a run trained on `corpus`: never of the same kind.

    Args:
        corpus: the healing text.
        wanted: taken where it is of another kind, such as the text of a curve that the run is compared with.
    """
    return wanted if wanted is not None and wanted.subject != corpus.subject else other_text(corpus.source)


def default_heal_corpus() -> CorpusSpec:
    """Return the Wikipedia documents that healing trains on by default."""
    return CorpusSpec(source="wiki", n_texts=2000, seq_len=256, split="train")


@dataclass(frozen=True)
class HealSpec(Spec):
    """A heal of the model without `block`: in closed form, by training, or both. Names follow PEFT and transformers."""

    kind: ClassVar[str] = "heal"
    version: ClassVar[int] = 4
    """4: judged by text of another kind than the healing text, weighed by tokens."""
    later: ClassVar[tuple[str, ...]] = ("compensation", "written", "top_k", "stages", "lora_on", "judging_texts", "bridge")
    asked_by: ClassVar[str] = "analysis.experiments.heal.recipes:from_options"
    asked_defaults: ClassVar[Mapping[str, str]] = {
        "quantization": "by the model's size, none with --dtype",
        "recipe": "distill",
        **dict.fromkeys(("seed", "steps", "texts", "seq-len"), "set by --recipe"),
    }

    block: Annotated[Removal, Option()]
    """Removed layers or sublayers."""
    model: Annotated[ModelSpec, Part(always=("quantization",))] = field(default_factory=lambda: ModelSpec(quantization="4bit"))
    corpus: Annotated[CorpusSpec, Part(only=("source", "seq_len"))] = field(default_factory=default_heal_corpus)
    """Documents that are packed into training rows of `corpus.seq_len` tokens."""
    validation: Annotated[CorpusSpec, Part(only=())] = field(default_factory=lambda: other_text(default_heal_corpus().source))
    """Text of another kind than `corpus`, for the loss before and after. The documents that follow in the same draw choose
    during training. Text of the healing text's own kind would measure how well that kind was learnt. These are the
    judging texts; `HealResult.validations` are the checks on the choosing texts."""
    benchmark: Annotated[BenchmarkSpec | None, Part(only=())] = field(default_factory=BenchmarkSpec)
    """Questions asked of the unpruned, pruned and healed model; None to skip them."""
    generation: Annotated[GenerationSpec | None, Option("--generate")] = None
    """Also measure generated text of the unpruned, pruned and healed model (default: as the recipe says)."""
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
    """Time for everything, scoring included. The steps that fit follow from the measured speed (default: `--steps` decides)."""
    method: str = "lora"
    """Trained weights: LoRA adapters (`lora`), all weight matrices of the last layers and the head (`partial`), or those of the
    two layers next to each gap (`beside`). Norms, biases and routers of experts are not trained."""
    lora_on: str = "feed_forward"
    """Modules that LoRA adapts: `feed_forward` as in the paper, `attention`, or `both`. Experts are feed-forward modules."""
    last_layers: Annotated[int, Bound(1, MOST_LAYERS)] = 3
    """Number of layers that the method `partial` trains."""
    instant: bool = False
    """Start with the instant heal: a fit on text changes the model at each gap before any training."""
    compensation: str = "projection"
    """Change that the instant heal fits at each gap: of the matrix before it (`projection`), or of the residual stream. That
    gets one factor (`magnitude`, Prune&Comp), a `patch` (LinearPatch) or a `ghost` of the removed layers (Ghosted Layers)."""
    bridge: Annotated[bool, Option()] = False
    """Use the recipe instant even where its change fits into no weight (Gemma 2 and 3, OLMo 2). The change stays an extra layer
    next to the adapter, which plain PEFT and exports leave out."""
    distill: Annotated[float, Bound(0, 1)] = 0.0
    """Weight, in [0, 1], of the divergence from the unpruned model in the training loss. The text has the rest."""
    distill_from: str = "logits"
    """Output of the unpruned model that is the target: `logits`, or its last hidden `states`. With `distill=1`, states need no
    vocabulary head and take half the time."""
    top_k: Annotated[int, Bound(0, MOST_KEPT)] = 0
    """Number of most likely tokens of the unpruned model in the loss, with all others as one remainder (0: every token). A
    sequence that repeats stores 6 bytes for each of them."""
    written: Annotated[int, Bound(0, MOST_WRITTEN)] = 0
    """Tokens at the end of each sequence that the pruned model generates itself (0: none). The unpruned model grades them, so
    `distill` must be 1."""
    stages: Annotated[int, Bound(1, MOST_LAYERS)] = 1
    """Number of stages in which the layers are removed, those that change the residual stream least first. More than one stage
    needs `instant=false`."""
    junction: Annotated[float, Bound(0, 1_000_000)] = 0.0
    """Weight of a loss that pulls the residual stream after the gap toward the unpruned model's (paper, section 5). 0: none."""
    control: Annotated[bool, Option()] = False
    """Train the unpruned model in the same way instead, as a control."""
    separate_documents: bool = True
    """Documents of one sequence do not attend to each other."""
    batch_size: Annotated[int, Bound(1, MOST_ROWS)] = 4
    """Sequences per forward pass."""
    gradient_accumulation: Annotated[int, Bound(1, MOST_ROWS)] = 1
    """Forward passes per optimizer step."""
    learning_rate: Annotated[float | None, Bound(0, 10, above=True)] = 3e-4
    """Peak learning rate, reached after the warm-up. A cosine to 0 follows. None: by the model's size (`recipes.rate_for`)."""
    warmup_steps: Annotated[int, Bound(0, MOST_STEPS)] = 5
    """Optimizer steps in which the learning rate rises to its peak."""
    r: Annotated[int, Bound(1, MOST_RANK)] = 16
    """LoRA rank. `lora_alpha` has the same value."""
    lora_dropout: Annotated[float, Bound(0, 1, below=True)] = 0.05
    """Share of the input of LoRA that is dropped in training. It is 0 in models with experts, where PEFT cannot drop it."""
    eval_every: Annotated[int, Bound(1, MOST_STEPS)] = 10
    """Optimizer steps between two losses on held-out text. Each check saves a checkpoint."""
    check_questions: Annotated[int, Bound(0, 1_000_000)] = 0
    """Number of questions at each of these checks (0: none)."""
    judging_texts: Annotated[int, Bound(0, MOST_ROWS)] = 0
    """Number of texts that a refined verdict may read (0: those of `validation`). No training and no choice reads them, so a
    run that a few of them judged can be judged by all."""
    keep_best: bool = False
    """Keep the checkpoint with the lowest held-out loss instead of the last one. Step 0 counts."""

    def __post_init__(self) -> None:
        min_steps = 0 if self.instant or self.minutes is not None else 1
        require(self.steps >= min_steps, f"steps must be at least {min_steps}, not {self.steps}.")
        one_of("method", self.method, HEAL_METHODS)
        one_of("lora_on", self.lora_on, LORA_ON)
        require(
            self.method == "lora" or self.lora_on == LORA_ON[0],
            f"The method {self.method} trains whole weights, so there is no LoRA to put on {self.lora_on}. Set method to lora, "
            f"or lora_on to feed_forward.",
        )
        one_of("compensation", self.compensation, COMPENSATIONS)
        require(
            self.instant or self.compensation == COMPENSATIONS[0],
            f"The compensation {self.compensation} needs the instant heal, which fits it. Set instant=true.",
        )
        one_of("distill_from", self.distill_from, DISTILL_FROM)
        require(
            not self.top_k or (self.distill > 0 and self.distill_from == "logits"),
            f"top_k={self.top_k} needs the distribution of the unpruned model. Set distill above 0 and distill_from to logits, "
            f"or top_k to 0.",
        )
        require(
            self.written < self.corpus.seq_len,
            f"written={self.written} leaves no given token in sequences of {self.corpus.seq_len}. Choose at most "
            f"{self.corpus.seq_len - 1}.",
        )
        require(
            not self.written or self.distill == 1,
            f"written={self.written} needs distill=1, not {self.distill:g}: the unpruned model alone grades generated tokens.",
        )
        require(
            not (self.method == "beside" and isinstance(self.block, PartSet)),
            f"The method {self.method} needs whole removed layers, not sublayers ({self.block.brief()}). Choose the method "
            f"lora or partial, as in the recipes quick, distill, distill-all, on-policy and partial.",
        )
        require(
            self.stages == 1 or not (self.instant or isinstance(self.block, PartSet)),
            f"Pruning in {self.stages} stages needs whole layers and no instant heal. Set stages to 1, "
            f"{'or remove whole layers' if isinstance(self.block, PartSet) else 'or instant to false'}.",
        )
        require(
            not (self.control and (self.instant or self.distill or self.junction)),
            "A control trains the unpruned model on the text alone, so it takes no instant heal, distill or junction. Leave "
            "them out.",
        )

    @property
    def trains(self) -> bool:
        """Return whether any step is taken; without steps only the instant heal is applied."""
        return self.steps > 0 or self.minutes is not None

    @property
    def peak_rate(self) -> float:
        """Return the learning rate of a resolved request, which always has one."""
        assert self.learning_rate is not None, "the request is not resolved"
        return self.learning_rate

    @property
    def training(self) -> "HealSpec":
        """Return the request without its judgement: equal for runs that make the same adapter."""
        one_text = replace(self.validation, n_texts=1)
        return replace(self, benchmark=None, generation=None, check_questions=0, validation=one_text)

    @property
    def n_kept_clear(self) -> int:
        """Texts of the judging draw that nothing else reads."""
        return max(self.validation.n_texts, self.judging_texts)

    @property
    def removed(self) -> Removal | None:
        """Return the layers that the trained model lacks; None in a control."""
        return None if self.control else self.block

    @property
    def gone_by_stage(self) -> list[int]:
        """Return the number of removed layers in each stage: 3, 6 and 8 for eight layers in three stages."""
        n = len(self.block.layers)
        n_stages = max(1, min(self.stages, n))
        return [-(-n * stage // n_stages) for stage in range(1, n_stages + 1)]

    @property
    def same_kind(self) -> CorpusSpec:
        """The held-out text of the kind that is trained on, as much as judges: it tells how well that kind was learnt."""
        judging = self.validation
        return replace(held_out_text(self.corpus.source), n_texts=judging.n_texts, seq_len=judging.seq_len)

    def layers_beside(self, n_layers: int) -> list[int]:
        """The layers in front of every gap and behind it, numbered as in the model that is trained.

        Args:
            n_layers: layers of that model: those left, or in a control all.
        """
        beside: set[int] = set()
        n_removed = 0
        for gap in self.block.blocks:
            beside |= {gap.start - 1, gap.stop} if self.control else {gap.start - n_removed - 1, gap.start - n_removed}
            n_removed += gap.size
        return sorted(layer for layer in beside if 0 <= layer < n_layers)

    def as_control(self) -> "HealSpec":
        """Return the training of the unpruned model that measures the effect of the healing text by itself.

        Raises:
            RecipeError: when this request trains nothing.
        """
        if not self.trains:
            raise RecipeError(
                f"The recipe {self.recipe} trains nothing, so it has no control. Choose a recipe that trains, such as distill, "
                f"or leave out the control."
            )
        return replace(
            self,
            control=True,
            instant=False,
            compensation=COMPENSATIONS[0],
            distill=0.0,
            top_k=0,
            written=0,
            junction=0.0,
            stages=1,
        )
