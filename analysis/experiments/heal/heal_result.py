"""The result of a healing run: its curve, its adapter, and the unpruned, pruned and healed model side by side."""

from dataclasses import asdict, dataclass, field
from typing import Any, ClassVar

import pydantic

from analysis.core import stats
from analysis.core.blocks import Removal
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
    """One reported optimizer step."""

    step: int
    """1-based."""
    loss: float
    """Training loss, nats per token, on the sequences of this step before its update. With distillation, it is the mixture that
    training lowers. The loss after steps is in `validations`."""
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
    """Accuracy on the first few of the questions, if they were asked."""
    acc_stderr: float | None = None
    n_questions: int = 0

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
    """A greedy continuation of `SAMPLE_PROMPT` during the run, to watch; no score follows from it."""

    model: str
    """`unpruned`, `pruned` or `healed`."""
    step: int
    """Steps done."""
    text: str


@dataclass(frozen=True)
class GapReport:
    """Report of the instant heal at one gap of the cut."""

    __pydantic_config__: ClassVar[pydantic.ConfigDict] = {"extra": "ignore"}
    """Former versions stored a factor of withdrawn methods as well."""

    gap: Removal
    """The removed layers, or parts of layers."""
    module: str
    """The projection, or mixture of experts, before it that was changed, named as in the pruned model."""
    strength: float
    """Share of the fitted change that was applied."""


@dataclass(frozen=True)
class JunctionReport:
    """Report of the instant heal."""

    module: str
    """The projection before the cut that was changed; of several gaps all of them, joined by commas."""
    strength: float
    """Share of the fitted change that repaired most on the texts that choose, 0 when none of it helped; of several gaps the
    mean."""
    loss_before: float
    """Loss of the pruned model on those texts, nats per token."""
    loss_after: float
    """The same after the change; never above `loss_before`."""
    n_tokens: int
    """Tokens that were fitted on."""
    wall_s: float
    gaps: list[GapReport] = field(default_factory=list)
    """Gap by gap, in the model's order; empty in healing runs of former versions, which had one."""


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
    """A heal: its curve, its adapter, and the three models side by side, all in the precision that was trained in."""

    kind: ClassVar[str] = "heal"
    spec_type: ClassVar[type[Spec]] = HealSpec
    withdrawn: ClassVar[tuple[str, ...]] = ("stages",)

    model: ModelFacts
    steps: list[HealStep]
    validations: list[Validation]
    """Checks during training, on the texts that choose the step (`texts.choice`). `HealSpec.validation` is something else: the
    judging texts, whose losses are `unpruned`, `pruned` and `healed`."""
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
    is_instant_left_out: bool = False
    """Whether training began without the instant heal of the recipe, because no weight of the model can hold its change."""
    text_losses: dict[str, list[float]] = field(default_factory=dict)
    """By model (`unpruned`, `pruned`, `healed`), loss per text, so that differences are paired."""
    text_tokens: list[int] = field(default_factory=list)
    """Predicted tokens of each of these texts, by which its loss counts."""
    same_kind: dict[str, Point] = field(default_factory=dict)
    """By model, the loss on held-out text of the kind that was trained on; empty if the healing text has no such part."""
    same_kind_text: CorpusSpec | None = None
    """That text, resolved."""
    same_kind_losses: dict[str, list[float]] = field(default_factory=dict)
    """By model, loss per text of it."""
    same_kind_tokens: list[int] = field(default_factory=list)
    """Predicted tokens of each of these."""
    unpruned_check: Validation | None = None
    """The unpruned model on the texts that choose, the level that `validations` are read against; None until measured."""
    n_choice_texts: int = 0
    """Texts that chose during training; 0 if the draw had only enough for judging, and these texts chose as well."""
    n_held_out: int = 0
    """Healing documents left out because, with the others, they contain too many word runs of a measured text."""
    quoted: float | None = None
    """Largest share, over the measured texts, of runs of eight words that occur somewhere in the healing text; None until it is
    packed."""
    questions: dict[str, list[QuestionScore]] = field(default_factory=dict)
    """By model, every answer."""
    writings: dict[str, GenerationCheck] = field(default_factory=dict)
    """Generated texts by model, if requested."""
    samples: list[Sample] = field(default_factory=list)
    """Continuations on the way: before the training, at each check, and at steps 1, 2, 4, 8 ... as far as they cost little."""
    planned_steps: int | None = None
    """Total optimizer steps if the spec names a time; None until they are estimated."""
    kept_step: int | None = None
    """The step whose adapter was measured and kept; None until then."""
    processes: list[int] = field(default_factory=list)
    """Numbers of processes that trained a result of a former version, in order; empty for one process."""
    documents_apart: bool = False
    """Whether documents that share a row were read each by itself."""
    overlap: Overlap | None = None
    """Questions that the healing text gives away; None if no question was asked."""

    @property
    def ended_early(self) -> bool:
        """Return whether it was cancelled in training and its adapter was kept, without scores."""
        return self.healed is None and self.adapter is not None and bool(self.kept_step)

    @property
    def is_trained(self) -> bool:
        """Return whether any optimizer step was taken; a requested time may be too short for one."""
        return self.spec.trains and bool(self.steps)

    @property
    def fit_s(self) -> float:
        """Seconds of the instant heal's fit; 0 without one."""
        return 0.0 if self.junction is None else self.junction.wall_s

    @property
    def training_s(self) -> float:
        """Seconds of the optimizer steps."""
        tokens = self.spec.batch_size * self.spec.gradient_accumulation * self.spec.corpus.seq_len
        return sum(tokens / step.tokens_per_s for step in self.steps if step.tokens_per_s > 0)

    @property
    def scoring_s(self) -> float:
        """Seconds of everything else: scoring, checks during training and the reading of the text."""
        return max(0.0, self.wall_s - self.fit_s - self.training_s)

    def is_of(self, cut: Removal | None) -> bool:
        """Return whether this cut was healed; a control trains the unpruned model."""
        return self.spec.block == cut and not self.spec.control

    @property
    def models(self) -> dict[str, Point]:
        """Return the scores of the models by name, as far as they were measured."""
        points = {"unpruned": self.unpruned, "pruned": self.pruned, "healed": self.healed}
        return {name: point for name, point in points.items() if point is not None}

    def tables(self) -> dict[str, Table]:
        """The models side by side, the training step by step, and the checks on the way."""
        models, caption = self.models, self.measured_on()
        return {
            "models": cuts.table(list(models.values()), "Unpruned, pruned and healed", caption, model=list(models)),
            **self._same_kind_table(),
            **self._writing_table(),
            "steps": of_values("Training by step", list(map(asdict, self.steps)), caption),
            "checks": of_values(
                "Loss and accuracy by step, on the texts that choose the step", list(map(asdict, self.validations)), caption
            ),
        }

    def _same_kind_table(self) -> dict[str, Table]:
        if self.same_kind_text is None or not self.same_kind:
            return {}
        caption = f"Loss on {self._texts(self.same_kind_text, self.same_kind_tokens)}, the kind of the healing text."
        title = "Unpruned, pruned and healed, on the kind of the healing text"
        table = cuts.table(list(self.same_kind.values()), title, caption, model=list(self.same_kind))
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

    def measured_on(self) -> str:
        """By which text it is judged, in which precision, and the number of processes that trained it if more than one."""
        together = f", trained by {' then '.join(map(str, self.processes))} processes" if self.processes else ""
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
        """Optimizer steps that this heal takes in all, as far as it is known."""
        return self.spec.steps if self.planned_steps is None else self.planned_steps


register(
    Experiment(
        HealSpec,
        HealResult,
        run="analysis.experiments.heal.healing:run",
        title="Heal",
        place=5,
    )
)
