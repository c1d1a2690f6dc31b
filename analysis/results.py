"""What experiments return, for each kind of request."""

from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np

from analysis.blocks import Block, Removal
from analysis.export_specs import ExportSpec
from analysis.model_facts import ModelFacts
from analysis.points import Answer, GenerationCheck, Lines, Point
from analysis.prompt_results import CompareResult, MicroscopeResult
from analysis.result import Result
from analysis.spec import Spec
from analysis.specs import DamageSpec, DistanceSpec, EvaluateSpec, HealSpec, InspectSpec, SpeedSpec, SweepSpec
from analysis.timings import SpeedLine, SpeedPoint


@dataclass(frozen=True)
class Best:
    """The chosen block of one size."""

    n: int
    """Block size, in layers."""
    start: int
    """First removed layer."""
    distance: float
    """Its mean distance."""

    @property
    def block(self) -> Block:
        """The block itself."""
        return Block(self.start, self.n)


@dataclass(frozen=True)
class DistanceResult(Result):
    """The distance map of a model on some texts."""

    kind: ClassVar[str] = "distances"
    spec_type: ClassVar[type[Spec]] = DistanceSpec

    model: ModelFacts
    n_layers: int
    """L."""
    mean: list[list[float]]
    """Row n-1 holds n = 1..L; entry l of it is the mean over texts of d(x[l], x[l+n]), l = 0..L-n; in [0, 1]."""
    stderr: list[list[float]]
    """Standard errors of `mean` over texts, same shape; 0 with a single text."""
    best: list[Best]
    """argmin over l for each n = 1..L-1, ties to the deeper start (paper section 2)."""
    n_texts: int
    """Texts really used."""
    n_skipped: int
    """Documents passed over because they were under 16 tokens."""
    text_lengths: list[int]
    """Tokens of each text used."""
    states: np.ndarray | None = None
    """Last-token residual stream x[0..L], pre-norm, (n_texts, L+1, hidden_size), float32; None in precomputed results."""
    wins: list[list[float]] = field(default_factory=list)
    """Same shape as `mean`: share of bootstrap resamples of the texts in which this block is the best of its size."""
    others: dict[str, list[list[float]]] = field(default_factory=dict)
    """By the name of a metric, the mean map of that metric on the same texts, shaped like `mean`."""
    text_distances: np.ndarray | None = None
    """Every metric between every pair of depths per text, (n_texts, len(METRICS), L+1, L+1), float64, metrics in the order of
    `METRICS`: another metric's map follows from it without the model. None in precomputed results."""

    @classmethod
    def array_names(cls) -> tuple[str, ...]:
        """What is kept of each text."""
        return ("states", "text_distances")


@dataclass(frozen=True)
class LeastDamage:
    """The block of one size whose removal was measured to cost least."""

    n: int
    start: int
    increase: float
    """Mean increase of the loss, nats per token."""

    @property
    def block(self) -> Block:
        """The block itself."""
        return Block(self.start, self.n)


@dataclass(frozen=True)
class DamageResult(Result):
    """What the removal of every block costs, measured, next to what the distance map foretells."""

    kind: ClassVar[str] = "damage"
    spec_type: ClassVar[type[Spec]] = DamageSpec

    model: ModelFacts
    n_layers: int
    unpruned_loss: float
    """Mean next-token cross-entropy of the unpruned model, nats per token; 0 until a text is measured."""
    increase: list[list[float | None]]
    """Row n-1 holds n = 1..max_size; entry l is the mean over texts of the loss without [l, l+n) minus the unpruned loss; None
    until a text is measured, and where the loss of the cut model is no finite number."""
    stderr: list[list[float | None]]
    """Standard errors of `increase` over texts, paired with the unpruned loss of the same text; None until two are measured."""
    n_measured: list[list[int]]
    """Texts measured so far for each block."""
    best: list[LeastDamage]
    """argmin over l for each n, ties to the deeper start; only sizes whose blocks are all measured."""
    n_texts: int
    """Texts there are."""
    rank_correlation: float | None
    """Spearman's rho between distance and increase over all measured blocks; None with fewer than three."""
    rank_correlation_by_size: list[float | None]
    """The same among the blocks of each size n = 1..max_size."""
    text_losses: np.ndarray | None = None
    """Loss per block and text, (1 + n_blocks, n_texts), float32, NaN where not measured yet; row 0 is the unpruned model, then
    all blocks by size and start. None in precomputed results."""

    @classmethod
    def array_names(cls) -> tuple[str, ...]:
        """The losses per text."""
        return ("text_losses",)


@dataclass(frozen=True)
class SweepResult(Result):
    """Accuracy and loss for n = 0 .. max_n on the same questions and texts."""

    kind: ClassVar[str] = "sweep"
    spec_type: ClassVar[type[Spec]] = SweepSpec

    model: ModelFacts
    n_layers: int
    points: list[Point]
    """n = 0 first."""
    lines: Lines | None
    """None until questions are scored."""
    n_questions: int
    """Questions asked for in all; `points[i].n_samples` of them are scored."""
    n_truncated: int
    """Prompts cut on the left because they were longer than the model's window."""
    questions: list[list[Answer]] = field(default_factory=list)
    """Per point, per question."""
    skipped_rows: list[str] = field(default_factory=list)
    """Rows of the user's own question file that could not be asked, each with its number and the reason."""
    text_losses: list[list[float]] = field(default_factory=list)
    """Per point, per text: mean next-token cross-entropy, nats."""
    text_tokens: list[int] = field(default_factory=list)
    """Predicted tokens of each text."""
    writings: list[GenerationCheck | None] = field(default_factory=list)
    """Per point, what it wrote, once it has been asked; empty where nothing is to be written."""


@dataclass(frozen=True)
class EvaluateResult(Result):
    """One model's accuracy and loss."""

    kind: ClassVar[str] = "evaluate"
    spec_type: ClassVar[type[Spec]] = EvaluateSpec

    model: ModelFacts
    n_layers: int
    point: Point
    lines: Lines | None
    n_truncated: int
    questions: list[Answer] = field(default_factory=list)
    skipped_rows: list[str] = field(default_factory=list)
    """Rows of the user's own question file that could not be asked, each with its number and the reason."""
    text_losses: list[float] = field(default_factory=list)
    writing: GenerationCheck | None = None
    """What it wrote, if it was asked to."""


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
    """A validation loss on the way."""

    step: int
    """Steps done; 0 is the pruned, unhealed model, and once more 0 the same after the instant heal, if there is one."""
    loss: float
    loss_stderr: float
    acc: float | None = None
    """Accuracy on the first few of the questions, where they were asked."""
    acc_stderr: float | None = None
    n_questions: int = 0


@dataclass(frozen=True)
class JunctionReport:
    """How the instant heal went."""

    module: str
    """The projection before the cut that was changed."""
    strength: float
    """Share of the fitted change that repaired most on text it was not fitted on; 0 when none of it helped."""
    loss_before: float
    """Loss of the cut model on that text, nats per token."""
    loss_after: float
    """The same after the change; never above `loss_before`."""
    n_tokens: int
    """Tokens that were fitted on."""
    wall_s: float


@dataclass(frozen=True)
class Overlap:
    """How many questions share a run of words with the healing text, and so may have been answered from memory."""

    n_words: int
    """Length of the run."""
    n_questions: int
    """Questions looked at."""
    ids: list[str]
    """Identifiers of those that share one."""


@dataclass(frozen=True)
class HealResult(Result):
    """A heal: its curve, its adapter, and the three models side by side, all in the precision that was trained in."""

    kind: ClassVar[str] = "heal"
    spec_type: ClassVar[type[Spec]] = HealSpec

    model: ModelFacts
    steps: list[HealStep]
    validations: list[Validation]
    unpruned: Point | None
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
    questions: dict[str, list[Answer]] = field(default_factory=dict)
    """By model, every answer."""
    writings: dict[str, GenerationCheck] = field(default_factory=dict)
    """By model, what it wrote, where it was asked to."""
    planned_steps: int | None = None
    """Optimizer steps in all, where the spec names a time; None until they are worked out."""
    kept_step: int | None = None
    """The step whose adapter was measured and kept; None until then."""
    documents_apart: bool = False
    """Whether documents that share a row were read each by itself."""
    overlap: Overlap | None = None
    """Questions that the healing text gives away; None where no question was asked."""

    @property
    def ended_early(self) -> bool:
        """Whether it was stopped on its way and what had been trained was kept: an adapter whose scores were not measured."""
        return self.healed is None and self.adapter is not None and bool(self.kept_step)

    def is_of(self, cut: Removal | None) -> bool:
        """Whether the cut is what was healed; a control trains the unpruned model."""
        return self.spec.block == cut and not self.spec.control

    @property
    def total_steps(self) -> int:
        """Optimizer steps that this heal takes in all, as far as it is known."""
        return self.spec.steps if self.planned_steps is None else self.planned_steps


@dataclass(frozen=True)
class Choice:
    """A setting that was chosen, with its reason."""

    value: str
    reason: str


@dataclass(frozen=True)
class InspectResult(Result):
    """What a model is, what it needs, and what this machine has free."""

    kind: ClassVar[str] = "inspect"
    spec_type: ClassVar[type[Spec]] = InspectSpec

    model: ModelFacts
    dtype: Choice
    device: Choice
    weight_bytes: int
    """Estimated bytes of all weights as they would be loaded."""
    working_bytes: int
    """Estimated bytes on top while a map or sweep runs."""
    free_bytes: int
    """Free on the chosen device now."""
    fits: bool
    notes: list[str]
    """Sentences worth showing: quantization, a window shorter than asked, a family with caveats."""


@dataclass(frozen=True)
class SpeedResult(Result):
    """How fast a model reads a prompt and writes on, without n layers for several n."""

    kind: ClassVar[str] = "speed"
    spec_type: ClassVar[type[Spec]] = SpeedSpec

    model: ModelFacts
    n_layers: int
    points: list[SpeedPoint]
    """By n; only those measured at least once."""
    prefill: SpeedLine | None
    """The line through the medians of reading the prompt; None with fewer than two points."""
    decode: SpeedLine | None
    """The same of writing one token."""
    rounds: int
    """Rounds finished: in each, every n is measured once, one after the other."""
    peak_bytes: int
    """Peak memory: of the accelerator if there is one, else of the process. The layers left out stay in it."""

    def tokens_per_s(self, field: str, seconds: float) -> float:
        """Tokens read (`prefill`) or written (`decode`) per second, over all prompts of the batch."""
        return self.spec.batch_size * (self.spec.prompt_tokens if field == "prefill" else 1) / seconds


@dataclass(frozen=True)
class ReloadCheck:
    """How a saved folder, reloaded by plain transformers, compares with what it was made from, on a real text."""

    dtype: str
    """What both were computed in."""
    n_tokens: int
    """Tokens whose logits were compared."""
    max_difference: float
    """Largest absolute difference of a logit."""
    relative_difference: float
    """Root mean square of the difference over that of the logits, each less its token's mean."""
    tolerance: float
    """What `relative_difference` may be in this dtype."""
    same_first: float
    """Share of the tokens with the same most likely next token, in [0, 1]."""
    merged: bool
    """Whether an adapter was merged in: then the reference is the model with the adapter beside it."""


@dataclass(frozen=True)
class ExportResult(Result):
    """An exported model folder."""

    kind: ClassVar[str] = "export"
    spec_type: ClassVar[type[Spec]] = ExportSpec

    model: ModelFacts
    """The model before the cut."""
    n_layers: int
    """Layers left."""
    size_bytes: int
    """Bytes of the folder."""
    check: ReloadCheck


RESULTS: dict[str, type[Result]] = {
    cls.kind: cls
    for cls in (
        DistanceResult,
        DamageResult,
        SweepResult,
        EvaluateResult,
        HealResult,
        InspectResult,
        SpeedResult,
        CompareResult,
        MicroscopeResult,
        ExportResult,
    )
}
"""Result dataclasses by kind."""
