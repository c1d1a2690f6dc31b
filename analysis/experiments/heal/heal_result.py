"""The result of a healing run: learning curve, adapter, and scores of the unpruned, pruned and
healed model.
"""

from dataclasses import asdict, dataclass, field
from typing import Any, ClassVar

import pydantic

from analysis.core import stats
from analysis.core.blocks import Removal
from analysis.core.bounds import Count, Figure, Loss, NonNegative, Seconds, Share
from analysis.core.experiment import Experiment, register
from analysis.core.record import Result, Spec
from analysis.core.table import Column, Table, interval_columns, of_values
from analysis.data import corpora
from analysis.data.decontamination import Overlap
from analysis.data.spec import CorpusSpec
from analysis.experiments.accuracy import points as cuts
from analysis.experiments.accuracy.points import GenerationCheck, Lines, Point, QuestionScore
from analysis.experiments.accuracy.sweep_spec import lacking
from analysis.experiments.heal.heal_spec import HealSpec
from analysis.models.source.sizes import ModelFacts


@dataclass(frozen=True)
class HealStep:
    """An optimizer step of the learning curve."""

    step: Count
    """1-based."""
    loss: Loss
    """Training loss on the sequences of this step before the update, in nats per token. With
    distillation, it is the weighted sum of both losses."""
    learning_rate: NonNegative
    tokens_per_s: NonNegative
    memory_bytes: Count
    """Peak memory since this process started or resumed the run: of the accelerator, or of the
    process if there is none."""


@dataclass(frozen=True)
class Validation:
    """Scores during training on the selection texts (`CHOICE_TEXTS`), which are not used in the
    final evaluation.
    """

    step: Count
    """Number of steps taken. 0 is the pruned model, and a second entry of 0 the model after the
    instant heal."""
    loss: Loss
    loss_stderr: NonNegative
    acc: Share | None = None
    """Accuracy on the first `HealSpec.check_questions` questions, if any."""
    acc_stderr: NonNegative | None = None
    n_questions: Count = 0

    @property
    def interval(self) -> tuple[float, float] | None:
        """The 95 % interval of the accuracy (Wilson); None if no question was asked."""
        if self.acc is None or not self.n_questions:
            return None
        return stats.share_interval(self.acc, self.n_questions)


SAMPLE_PROMPT = "Once upon a time there was a little girl who"
SAMPLE_TOKENS = 24


@dataclass(frozen=True)
class Sample:
    """Greedy continuation of `SAMPLE_PROMPT` during the run, for display only."""

    model: str
    """`unpruned`, `pruned` or `healed`."""
    step: Count
    """Number of steps taken."""
    text: str


@dataclass(frozen=True)
class GapReport:
    """Report of the instant heal at one gap."""

    __pydantic_config__: ClassVar[pydantic.ConfigDict] = {"extra": "ignore"}
    """Results of earlier versions have further fields of withdrawn methods."""

    gap: Removal
    """Removed layers or sublayers."""
    module: str
    """Name in the pruned model of the changed module before the gap: a projection or a mixture of
    experts."""
    strength: Figure
    """Applied share of the fitted change."""


@dataclass(frozen=True)
class JunctionReport:
    """Report of the instant heal."""

    module: str
    """Names of the changed modules, joined by commas."""
    strength: Figure
    """Applied share of the fitted change, chosen on the selection texts; 0 if no change lowered
    their loss. The mean over several gaps."""
    loss_before: Loss
    """Loss of the pruned model on the selection texts, in nats per token."""
    loss_after: Loss
    """Loss after the change, at most `loss_before`."""
    n_tokens: Count
    """Number of tokens of the fit."""
    wall_s: Seconds
    gaps: list[GapReport] = field(default_factory=list)
    """Reports by gap, first gap first; empty in results of earlier versions, which had a single
    gap."""


_WRITING = (
    Column("model"),
    *interval_columns("repetition_rate", "repeated", format=".1%"),
    *interval_columns("distinct_rate", "distinct", format=".1%"),
    Column("n_texts", "continuations"),
    *interval_columns("sum_acc", "arithmetic right", format=".1%"),
    Column("n_sums", "problems"),
)


@dataclass(frozen=True)
class HealResult(Result):
    """Result of a healing run. All models are measured in the precision of the training."""

    kind: ClassVar[str] = "heal"
    spec_type: ClassVar[type[Spec]] = HealSpec
    withdrawn: ClassVar[tuple[str, ...]] = ("stages",)

    model: ModelFacts
    steps: list[HealStep]
    validations: list[Validation]
    """Validations during training, on the selection texts (`texts.choice`) and not on
    `HealSpec.validation`."""
    unpruned: Point | None
    """Scores on `spec.benchmark` and `spec.validation`, like `pruned` and `healed`."""
    pruned: Point | None
    healed: Point | None
    lines: Lines | None
    adapter: str | None
    """Folder of the PEFT adapter, relative to the cache folder; None until it is saved."""
    trainable_parameters: Count
    packed_rows: Count
    """Number of training sequences of seq_len tokens."""
    n_skipped: Count
    """Number of healing documents skipped because they were too short."""
    precision: str
    """Precision of the base model in words, such as "NF4, bfloat16 compute"."""
    junction: JunctionReport | None = None
    """Report of the instant heal; None without one."""
    is_instant_left_out: bool = False
    """Whether the instant heal of the recipe was skipped because no weight of the model can hold
    its change."""
    text_losses: dict[str, list[Loss]] = field(default_factory=dict)
    """Loss per judging text by model (`unpruned`, `pruned`, `healed`), for paired differences."""
    text_tokens: list[Count] = field(default_factory=list)
    """Number of predicted tokens of each judging text, the weights of the losses."""
    same_kind: dict[str, Point] = field(default_factory=dict)
    """Loss by model on held-out text of the kind of the healing text; empty if the healing text is
    too small for any."""
    same_kind_text: CorpusSpec | None = None
    """Resolved request for that held-out text."""
    same_kind_losses: dict[str, list[Loss]] = field(default_factory=dict)
    """Loss per held-out text by model."""
    same_kind_tokens: list[Count] = field(default_factory=list)
    """Number of predicted tokens of each held-out text."""
    unpruned_check: Validation | None = None
    """Scores of the unpruned model on the selection texts, the reference level of `validations`;
    None until measured."""
    n_choice_texts: Count = 0
    """Number of selection texts; 0 if the draw was too small, so that the judging texts were used
    for selection too."""
    n_held_out: Count = 0
    """Number of healing documents excluded because they share too many word sequences with a
    measured text."""
    quoted: Share | None = None
    """Largest share of the eight-word sequences of a measured text that occur in the healing text;
    None until it is packed."""
    questions: dict[str, list[QuestionScore]] = field(default_factory=dict)
    """Score of each question by model."""
    writings: dict[str, GenerationCheck] = field(default_factory=dict)
    """Generated texts by model, if requested."""
    samples: list[Sample] = field(default_factory=list)
    """Sample continuations: before the training, at each validation, and at steps 1, 2, 4, 8, … if
    they take little time."""
    planned_steps: Count | None = None
    """Number of optimizer steps that fit into `HealSpec.minutes`; None until estimated."""
    kept_step: Count | None = None
    """Number of steps of the saved adapter; None until it is saved."""
    processes: list[Count] = field(default_factory=list)
    """Numbers of training processes in results of an earlier version, in order; empty for a single
    process."""
    documents_apart: bool = False
    """Whether documents packed into one sequence did not attend to each other."""
    overlap: Overlap | None = None
    """Questions that occur in the healing text; None without questions."""

    @property
    def ended_early(self) -> bool:
        """Return whether the training was cancelled: the adapter is saved, but not scored."""
        return self.healed is None and self.adapter is not None and bool(self.kept_step)

    @property
    def is_trained(self) -> bool:
        """Return whether any optimizer step was taken; the requested time may be too short for
        one.
        """
        return self.spec.trains and bool(self.steps)

    @property
    def fit_s(self) -> float:
        """Return the seconds of the instant heal; 0 without one."""
        return 0.0 if self.junction is None else self.junction.wall_s

    @property
    def training_s(self) -> float:
        """Return the seconds of the optimizer steps."""
        tokens = self.spec.batch_size * self.spec.gradient_accumulation * self.spec.corpus.seq_len
        return sum(tokens / step.tokens_per_s for step in self.steps if step.tokens_per_s > 0)

    @property
    def scoring_s(self) -> float:
        """Return the seconds of everything else: scoring, validations and text processing."""
        return max(0.0, self.wall_s - self.fit_s - self.training_s)

    def is_of(self, cut: Removal | None) -> bool:
        """Return whether this removal was healed, and the run is not a control."""
        return self.spec.block == cut and not self.spec.control

    @property
    def models(self) -> dict[str, Point]:
        """Return the measured scores by model."""
        points = {"unpruned": self.unpruned, "pruned": self.pruned, "healed": self.healed}
        return {name: point for name, point in points.items() if point is not None}

    def tables(self) -> dict[str, Table]:
        """Return tables of the scores by model, the optimizer steps and the validations."""
        models = self.models
        caption = self.measured_on()
        return {
            "models": cuts.table(
                list(models.values()), "Unpruned, pruned and healed", caption, model=list(models)
            ),
            **self._same_kind_table(),
            **self._writing_table(),
            "steps": of_values("Training by step", list(map(asdict, self.steps)), caption),
            "checks": of_values(
                "Loss and accuracy by step, on the texts that choose the step",
                list(map(asdict, self.validations)),
                caption,
            ),
        }

    def _same_kind_table(self) -> dict[str, Table]:
        if self.same_kind_text is None or not self.same_kind:
            return {}
        caption = (
            f"Loss on {self._texts(self.same_kind_text, self.same_kind_tokens)}, the kind of the"
            " healing text."
        )
        title = "Unpruned, pruned and healed, on the kind of the healing text"
        table = cuts.table(
            list(self.same_kind.values()), title, caption, model=list(self.same_kind)
        )
        return {
            "same_kind": table.only(
                "model",
                "n",
                "removed",
                "loss",
                "loss_stderr",
                "n_texts",
                "perplexity",
                "bits_per_byte",
            )
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
            row: dict[str, Any] = {
                "model": name,
                "n_texts": len(wrote.continuations),
                "n_sums": len(wrote.sums),
            }
            for rate, (value, ends) in rates.items():
                low, high = ends or (None, None)
                row |= {rate: value, f"{rate}_low": low, f"{rate}_high": high}
            rows.append(row)
        return {
            "writing": Table(
                "Generated text",
                _WRITING,
                rows,
                "Greedy continuations and arithmetic problems, with 95 % intervals.",
            )
        }

    def measured_on(self) -> str:
        """Return the precision, the device and the judging texts in words."""
        together = (
            f", trained by {' then '.join(map(str, self.processes))} processes"
            if self.processes
            else ""
        )
        ran_as = f"{self.precision_in_words} on {self.ran_on}{together}"
        if not self.text_tokens:
            return f"{ran_as}."
        short = lacking(self.spec.validation, self.model, self.text_tokens)
        caption = f"{ran_as}. Loss on {self._texts(self.spec.validation, self.text_tokens)}."
        return f"{caption} {short}" if short else caption

    def _texts(self, corpus: CorpusSpec, text_tokens: list[int]) -> str:
        return f"{len(text_tokens)} texts of {corpora.title(corpus)}, {sum(text_tokens):,} tokens"

    @property
    def total_steps(self) -> int:
        """Return the total number of optimizer steps, 0 if it is not known yet."""
        return self.spec.steps if self.planned_steps is None else self.planned_steps


register(
    Experiment(
        HealSpec, HealResult, run="analysis.experiments.heal.healing:run", title="Heal", place=5
    )
)
