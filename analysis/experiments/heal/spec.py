"""Requests for healing runs, and their results."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Annotated, Any, ClassVar

from analysis.core import stats
from analysis.core.blocks import PartSet, Removal
from analysis.core.bounds import MOST_LAYERS, SEED, Bound, one_of
from analysis.core.errors import RecipeError
from analysis.core.options import Option, Part
from analysis.core.record import Result, Spec, require
from analysis.core.registry import Experiment, register
from analysis.core.table import Column, Table, of_rows
from analysis.data import corpora
from analysis.data.decontamination import Overlap
from analysis.data.spec import BenchmarkSpec, CorpusSpec, GenerationSpec, held_out_text, other_text
from analysis.experiments.accuracy import points as cuts
from analysis.experiments.accuracy.points import Answer, GenerationCheck, Lines, Point
from analysis.experiments.accuracy.spec import lacking
from analysis.models.spec import ModelFacts, ModelSpec

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
    asked_by: ClassVar[str] = "analysis.experiments.heal.recipes:asked"
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
    during training. Text of the healing text's own kind would measure how well that kind was learnt."""
    benchmark: Annotated[BenchmarkSpec | None, Part(only=())] = field(default_factory=BenchmarkSpec)
    """Questions asked of the unpruned, pruned and healed model; None to skip them."""
    generation: Annotated[GenerationSpec | None, Option("--generate")] = None
    """Also measure generated text of the unpruned, pruned and healed model (default: as the recipe says)."""
    recipe: Annotated[
        str,
        Option(metavar="NAME", known="analysis.experiments.heal.recipes:NAMES", write="analysis.experiments.heal.recipes:said"),
    ] = "custom"
    """Recipe, built-in or saved by you: sets all other settings of the run."""
    seed: Annotated[int, Option(), SEED] = 0
    """Seed of the order of the sequences and of the training."""
    steps: Annotated[int, Option(), Bound(0, MOST_STEPS)] = 50
    """Optimizer steps (0: closed form, or `--minutes` decides)."""
    minutes: Annotated[float | None, Option(), Bound(0, 525_600, above=True)] = None
    """Time for everything, scoring included. The steps that fit follow from the measured speed (default: `--steps` decides)."""
    method: str = "lora"
    """`lora` on the feed-forward weights of every layer, including shared and all other experts. Or every weight matrix of the
    last layers and the head (`partial`), or of the two layers next to each gap (`beside`). Norms, biases and routers of experts
    stay unchanged."""
    lora_on: str = "feed_forward"
    """Weights of every layer that `lora` adapts: the `feed_forward` weights, as in the paper, the `attention`, or `both`."""
    last_layers: Annotated[int, Bound(1, MOST_LAYERS)] = 3
    """Layers whose weight matrices `partial` trains."""
    instant: bool = False
    """Whether to begin with the instant heal: the layer before the cut replaces the block's change of the stream
    (`junction`)."""
    compensation: str = "projection"
    """Change that the instant heal fits behind every gap: of the `projection` before it, or of the stream. The stream gets one
    factor for its `magnitude` (Prune&Comp), a `patch` (LinearPatch), or a `ghost` of the removed layers (Ghosted Layers)."""
    bridge: Annotated[bool, Option()] = False
    """Use the recipe instant even where its change fits into no weight (Gemma 2 and 3, OLMo 2). The change stays an extra layer
    next to the adapter, which plain PEFT and exports leave out."""
    distill: Annotated[float, Bound(0, 1)] = 0.0
    """Weight, in [0, 1], of the unpruned model in the training loss; the text has the rest."""
    distill_from: str = "logits"
    """Output of the unpruned model that is learnt: its next-token distribution (`logits`) or its last states (`states`). With
    `distill=1` states need no vocabulary head and take half the time."""
    top_k: Annotated[int, Bound(0, MOST_KEPT)] = 0
    """Tokens of the unpruned model's distribution that are learnt one by one, the most likely; all others as one remainder. A
    row that comes again keeps 6 bytes for each of them, for a model of any size; 0 for the whole distribution."""
    written: Annotated[int, Bound(0, MOST_WRITTEN)] = 0
    """Tokens at the end of each training row that the model generates itself, in its state at that step, instead of reading
    them. The unpruned model then grades its distribution there too, so `distill` has to be 1; 0 for none."""
    stages: Annotated[int, Bound(1, MOST_LAYERS)] = 1
    """Number of stages in which the layers are removed, those that change the stream least first, each with as many of the
    steps. For a cut of fewer layers one is removed in each. The instant heal is fitted to a cut as a whole, so it needs 1."""
    junction: Annotated[float, Bound(0, 1_000_000)] = 0.0
    """Weight of the loss that draws the stream behind the cut to the unpruned model's (paper, section 5); 0 for none."""
    control: Annotated[bool, Option()] = False
    """Train the unpruned model in the same way instead, as a control."""
    separate_documents: bool = True
    """Whether documents that share a training row are read each by itself."""
    batch_size: Annotated[int, Bound(1, MOST_ROWS)] = 4
    """Rows per forward pass."""
    gradient_accumulation: Annotated[int, Bound(1, MOST_ROWS)] = 1
    """Forward passes per optimizer step."""
    learning_rate: Annotated[float, Bound(0, 10, above=True)] = 3e-4
    """Peak learning rate, reached after the warm-up, then a cosine to 0."""
    warmup_steps: Annotated[int, Bound(0, MOST_STEPS)] = 5
    r: Annotated[int, Bound(1, MOST_RANK)] = 16
    """LoRA rank; lora_alpha = r."""
    lora_dropout: Annotated[float, Bound(0, 1, below=True)] = 0.05
    """Share of a LoRA's input that is dropped in training; 0 in models with experts, where PEFT cannot drop it."""
    eval_every: Annotated[int, Bound(1, MOST_STEPS)] = 10
    """Steps between validation losses and checkpoints."""
    check_questions: Annotated[int, Bound(0, 1_000_000)] = 0
    """Number of questions asked at each of these, to see accuracy grow; 0 for none."""
    judging_texts: Annotated[int, Bound(0, MOST_ROWS)] = 0
    """Texts that a refined judgement reads. The texts that choose, and the healing text, share nothing with any of them. So a
    healing run judged by the first few can be judged by more. 0: those of `validation`."""
    keep_best: bool = False
    """Whether to end with the checkpoint of the lowest loss on the way, step 0 included, instead of the last step."""

    def __post_init__(self) -> None:
        least = 0 if self.instant or self.minutes is not None else 1
        require(self.steps >= least, f"steps must be at least {least}, not {self.steps}.")
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
    def training(self) -> "HealSpec":
        """Return the request without its judgement: equal for runs that make the same adapter."""
        few = replace(self.validation, n_texts=1)
        return replace(self, benchmark=None, generation=None, check_questions=0, validation=few)

    @property
    def n_kept_clear(self) -> int:
        """Texts of the judging draw that nothing else reads."""
        return max(self.validation.n_texts, self.judging_texts)

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
        found: set[int] = set()
        gone = 0
        for gap in self.block.blocks:
            found |= {gap.start - 1, gap.stop} if self.control else {gap.start - gone - 1, gap.start - gone}
            gone += gap.size
        return sorted(layer for layer in found if 0 <= layer < n_layers)

    def why_not_shared(self, n: int) -> str | None:
        """Return the reason why so many processes cannot train it together."""
        rows = self.batch_size * self.gradient_accumulation
        if not self.trains:
            return (
                f"The recipe {self.recipe} trains nothing, so one process runs it. Leave out --workers, or choose a recipe "
                f"that trains, such as distill."
            )
        if self.written:
            return (
                f"The recipe {self.recipe} trains on text that the model generates, which one process does. Leave out "
                f"--workers, or choose a recipe that trains on given text, such as distill."
            )
        if self.stages > 1:
            return (
                f"The recipe {self.recipe} removes the layers in stages, which one process does. Leave out --workers, or "
                f"choose a recipe without stages, such as distill."
            )
        if self.model.device == "cuda:all":
            return "The device cuda:all uses every GPU in one process. Leave out --workers, or choose the device cuda."
        if n > rows:
            return (
                f"{n} processes cannot share a training step of {rows} sequence{'s' * (rows != 1)}. Use at most {rows}, or "
                f"raise batch_size or gradient_accumulation."
            )
        return None

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
            self, control=True, instant=False, compensation=COMPENSATIONS[0], distill=0.0, top_k=0, written=0, junction=0.0,
            stages=1,
        )  # fmt: skip


@dataclass(frozen=True)
class Stage:
    """A stage of a heal in which the layers go little by little."""

    removed: Removal
    """Layers removed in it, including those of the earlier ones."""
    begins: int
    """Optimizer steps done before it."""


@dataclass(frozen=True)
class HealStep:
    """One reported optimizer step."""

    step: int
    """1-based."""
    loss: float
    """Training loss of this step, nats per token."""
    learning_rate: float
    tokens_per_s: float
    memory_bytes: int
    """Peak memory of this run of the heal so far: of the accelerator if there is one, else of the process (`machine`)."""


@dataclass(frozen=True)
class Validation:
    """A loss during training, on the texts that choose: `CHOICE_TEXTS` others of the kind that the run is judged by."""

    step: int
    """Steps done; 0 is the pruned, unhealed model, and once more 0 the same after the instant heal, if there is one."""
    loss: float
    loss_stderr: float
    acc: float | None = None
    """Accuracy on the first few of the questions, where they were asked."""
    acc_stderr: float | None = None
    n_questions: int = 0

    @property
    def interval(self) -> tuple[float, float] | None:
        """The 95 % interval of the accuracy (Wilson); None where no question was asked."""
        if self.acc is None or not self.n_questions:
            return None
        return stats.share_interval(self.acc, self.n_questions)


@dataclass(frozen=True)
class GapReport:
    """Report of the instant heal at one gap of the cut."""

    gap: Removal
    """The removed layers, or parts of layers."""
    module: str
    """The projection, or mixture of experts, before it that was changed, named as in the pruned model; "" where the stream
    itself is mapped."""
    strength: float
    """Share of the fitted change that was applied."""
    factor: float | None = None
    """Factor of the stream, where the change is nothing else."""


@dataclass(frozen=True)
class JunctionReport:
    """Report of the instant heal."""

    module: str
    """The projection before the cut that was changed; of several gaps all of them, joined by commas."""
    strength: float
    """Share of the fitted change that repaired most on the texts that choose, 0 when none of it helped; of several gaps the
    mean. Always 1 where the published method applies all of it."""
    loss_before: float
    """Loss of the pruned model on those texts, nats per token."""
    loss_after: float
    """The same after the change; never above `loss_before` where the strength was chosen."""
    n_tokens: int
    """Tokens that were fitted on."""
    wall_s: float
    gaps: list[GapReport] = field(default_factory=list)
    """Gap by gap, in the model's order; empty in healing runs of former versions, which had one."""


def _rate(name: str, title: str) -> tuple[Column, ...]:
    return (
        Column(name, title, format=".1%", low=f"{name}_low", high=f"{name}_high"),
        Column(f"{name}_low"),
        Column(f"{name}_high"),
    )


_WRITING = (
    Column("model"),
    *_rate("repetition_rate", "repeated"),
    *_rate("distinct_rate", "distinct"),
    Column("n_texts", "continuations"),
    *_rate("sum_acc", "arithmetic right"),
    Column("n_sums", "problems"),
)


@dataclass(frozen=True)
class HealResult(Result):
    """A heal: its curve, its adapter, and the three models side by side, all in the precision that was trained in."""

    kind: ClassVar[str] = "heal"
    spec_type: ClassVar[type[Spec]] = HealSpec

    model: ModelFacts
    steps: list[HealStep]
    validations: list[Validation]
    unpruned: Point | None
    """Judged by `spec.validation`, as the next two are."""
    pruned: Point | None
    healed: Point | None
    lines: Lines | None
    adapter: str | None
    """Folder of the PEFT adapter under the cache folder, relative to it; None until there is one."""
    trainable_parameters: int
    packed_rows: int
    """Training rows available; a row is seq_len tokens."""
    n_skipped: int
    """Healing documents passed over because they were too short."""
    precision: str
    """The words for how the base ran: "NF4, bfloat16 compute"."""
    junction: JunctionReport | None = None
    """The instant heal that the training began with; None without one."""
    text_losses: dict[str, list[float]] = field(default_factory=dict)
    """By model (`unpruned`, `pruned`, `healed`), loss per text, so that differences are paired."""
    text_tokens: list[int] = field(default_factory=list)
    """Predicted tokens of each of these texts, by which its loss counts."""
    same_kind: dict[str, Point] = field(default_factory=dict)
    """By model, the loss on held-out text of the kind that was trained on; empty where the healing text has no such part."""
    same_kind_text: CorpusSpec | None = None
    """That text, resolved."""
    same_kind_losses: dict[str, list[float]] = field(default_factory=dict)
    """By model, loss per text of it."""
    same_kind_tokens: list[int] = field(default_factory=list)
    """Predicted tokens of each of these."""
    unpruned_check: Validation | None = None
    """The unpruned model on the texts that choose, the level that `validations` are read against; None until measured."""
    n_choice_texts: int = 0
    """Texts that chose during training; 0 where the draw had only enough for judging, and these texts chose as well."""
    n_held_out: int = 0
    """Healing documents left out because, with the others, they contain too many word runs of a measured text."""
    quoted: float | None = None
    """Largest share, over the measured texts, of runs of eight words that occur somewhere in the healing text; None until it is
    packed."""
    questions: dict[str, list[Answer]] = field(default_factory=dict)
    """By model, every answer."""
    writings: dict[str, GenerationCheck] = field(default_factory=dict)
    """By model, its generated texts, where they were requested."""
    planned_steps: int | None = None
    """Optimizer steps in all, where the spec names a time; None until they are worked out."""
    kept_step: int | None = None
    """The step whose adapter was measured and kept; None until then."""
    processes: list[int] = field(default_factory=list)
    """Numbers of processes that trained it together, in the order in which they took over from each other; empty for one."""
    stages: list[Stage] = field(default_factory=list)
    """Removed layers by step, where they are removed in more than one stage; scores are always of the model without all of
    them."""
    documents_apart: bool = False
    """Whether documents that share a row were read each by itself."""
    overlap: Overlap | None = None
    """Questions that the healing text gives away; None where no question was asked."""

    @property
    def ended_early(self) -> bool:
        """Return whether it was cancelled in training and its adapter was kept, without scores."""
        return self.healed is None and self.adapter is not None and bool(self.kept_step)

    def is_of(self, cut: Removal | None) -> bool:
        """Return whether this cut was healed; a control trains the unpruned model."""
        return self.spec.block == cut and not self.spec.control

    def repaired_by(self, check: Validation) -> float | None:
        """Return the recovered share of the loss increase at a check, on the texts that choose; None where it did not rise."""
        if self.spec.control or self.unpruned_check is None or not self.validations:
            return None
        pruned, unpruned = self.validations[0].loss, self.unpruned_check.loss
        return (pruned - check.loss) / (pruned - unpruned) if pruned > unpruned else None

    @property
    def models(self) -> dict[str, Point]:
        """Return the scores of the models by name, as far as they were measured."""
        found = {"unpruned": self.unpruned, "pruned": self.pruned, "healed": self.healed}
        return {name: point for name, point in found.items() if point is not None}

    def tables(self) -> dict[str, Table]:
        """The models side by side, the training step by step, and the checks on the way."""
        found, said = self.models, self.measured_on()
        return {
            "models": cuts.table(list(found.values()), "Unpruned, pruned and healed", said, model=list(found)),
            **self._same_kind_table(),
            **self._writing_table(),
            "steps": of_rows("Training by step", self.steps, said),
            **self._stages_table(),
            "checks": of_rows("Loss and accuracy by step, on the texts that choose the step", self.validations, said),
        }

    def _same_kind_table(self) -> dict[str, Table]:
        if self.same_kind_text is None or not self.same_kind:
            return {}
        said = f"Loss on {self._texts(self.same_kind_text, self.same_kind_tokens)}, the kind of the healing text."
        title = "Unpruned, pruned and healed, on the kind of the healing text"
        table = cuts.table(list(self.same_kind.values()), title, said, model=list(self.same_kind))
        return {
            "same_kind": table.only("model", "n", "removed", "loss", "loss_stderr", "n_texts", "perplexity", "bits_per_byte")
        }

    def _writing_table(self) -> dict[str, Table]:
        """Return the ratings of each model's generated text; empty without generation."""
        if not self.writings:
            return {}
        rows = []
        for name, wrote in self.writings.items():
            rates = {
                "repetition_rate": (wrote.repetition_rate, wrote.repetition_interval),
                "distinct_rate": (wrote.distinct_rate, wrote.distinct_interval),
                "sum_acc": (wrote.acc, wrote.interval),
            }
            row: dict[str, Any] = {"model": name, "n_texts": len(wrote.continuations), "n_sums": len(wrote.sums)}
            for rate, (value, ends) in rates.items():
                low, high = ends or (None, None)
                row |= {rate: value, f"{rate}_low": low, f"{rate}_high": high}
            rows.append(row)
        return {
            "writing": Table(
                "Generated text", _WRITING, rows, "Greedy continuations and arithmetic problems, with 95 % intervals."
            )
        }

    def _stages_table(self) -> dict[str, Table]:
        if not self.stages:
            return {}
        columns = (Column("n"), Column("removed"), Column("begins", "steps before"))
        rows = [{"n": one.removed.size, "removed": one.removed.describe(), "begins": one.begins} for one in self.stages]
        return {"stages": Table("Removed layers by stage", columns, rows)}

    def measured_on(self) -> str:
        """By which text it is judged, in which precision, and how many processes trained it where it was not one."""
        together = f", trained by {' then '.join(map(str, self.processes))} processes" if self.processes else ""
        where = f"{self.precision_in_words} on {self.ran_on}{together}"
        if not self.text_tokens:
            return f"{where}."
        short = lacking(self.spec.validation, self.model, self.text_tokens)
        said = f"{where}. Loss on {self._texts(self.spec.validation, self.text_tokens)}."
        return f"{said} {short}" if short else said

    def _texts(self, corpus: CorpusSpec, text_tokens: list[int]) -> str:
        return f"{len(text_tokens)} texts of {corpora.title(corpus)}, {sum(text_tokens):,} tokens"

    @property
    def total_steps(self) -> int:
        """Optimizer steps that this heal takes in all, as far as it is known."""
        return self.spec.steps if self.planned_steps is None else self.planned_steps


register(
    Experiment(
        HealSpec,
        HealResult,
        run="analysis.experiments.heal.healing:run",
        working="analysis.experiments.heal.memory:working_bytes",
        title="Heal",
        together="analysis.experiments.heal.healing:share",
    )
)
