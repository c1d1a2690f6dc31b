"""What experiments return: frozen dataclasses that are saved as JSON and safetensors and read back without torch."""

import dataclasses
import typing
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, Self

import numpy as np

from analysis import storage
from analysis.errors import CorruptResultError, SpecError
from analysis.progress import OnProgress, Progress
from analysis.specs import Block, DistanceSpec, EvaluateSpec, HealSpec, InspectSpec, Spec, SweepSpec


@dataclass(frozen=True)
class ModelFacts:
    """The size of a model, from its configuration."""

    name: str
    """Name to show: the hub id, the folder's name, or the starter model's name."""
    family: str
    """`model_type` of the configuration: llama, qwen3, gpt2 …"""
    n_layers: int
    hidden_size: int
    vocab_size: int
    layer_parameters: list[int]
    """Parameters of each decoder layer."""
    other_parameters: int
    """Embeddings, final norm and head; tied weights counted once."""
    bytes_per_parameter: float
    """Bytes per decoder-layer weight in the dtype or quantization used."""
    max_positions: int | None
    """The model's window in tokens, if it states one."""

    @property
    def n_parameters(self) -> int:
        """All parameters, tied weights counted once."""
        return sum(self.layer_parameters) + self.other_parameters


@dataclass(frozen=True)
class Result:
    """Base of all results: the spec that was answered, and where and how it was computed."""

    kind: ClassVar[str] = "result"
    spec_type: ClassVar[type[Spec]] = Spec

    spec: Any
    """The resolved spec: concrete dtype, device and identities."""
    versions: dict[str, str]
    """Python packages, layerscope included, and the processor or accelerator."""
    wall_s: float
    """Seconds of computing, without loading the model."""
    n_tokens: int
    """Tokens that went through the model's layers (each counted once, however many cuts were measured)."""
    complete: bool
    """False while running or after a cancel: usable, and a new run goes on from here."""

    def to_json(self) -> dict[str, Any]:
        """Plain JSON types, without arrays."""
        data = {f.name: getattr(self, f.name) for f in dataclasses.fields(self) if f.name not in self.array_names()}
        return typing.cast(dict[str, Any], _plain(data))

    @classmethod
    def array_names(cls) -> tuple[str, ...]:
        """Names of the fields that are stored as arrays."""
        return ()

    def save(self) -> None:
        """Store under the spec's fingerprint, atomically.

        Raises:
            StorageError: when the disk is full or the cache cannot be written.
        """
        arrays = {name: getattr(self, name) for name in self.array_names() if getattr(self, name) is not None}
        storage.save_result(self.kind, self.spec.fingerprint(), self.to_json(), [arrays] if arrays else [])

    @classmethod
    def load(cls, spec: Spec, on_progress: OnProgress | None = None) -> Self | None:
        """The stored result of a resolved spec, or None.

        A corrupt one is moved aside, `on_progress` is told, and None is returned so that it is computed again.
        """
        try:
            stored = storage.load_result(cls.kind, spec.fingerprint())
            return None if stored is None else cls.read(stored)
        except CorruptResultError as error:
            storage.discard_result(cls.kind, spec.fingerprint())
            if on_progress is not None:
                on_progress(Progress("reading the cache", message=f"{error} It was moved aside and is computed again."))
            return None

    @classmethod
    def read(cls, stored: storage.Stored) -> Self:
        """Turn a stored result into this dataclass.

        Raises:
            CorruptResultError: when a field is missing or unknown.
        """
        try:
            values = dict(stored.data)
            values["spec"] = cls.spec_type.from_json(values["spec"])
            hints = typing.get_type_hints(cls)
            for name, hint in hints.items():
                if name in values and name != "spec":
                    values[name] = _revive(hint, values[name])
            if cls.array_names():
                arrays = stored.arrays()
                values.update({name: arrays.get(name) for name in cls.array_names()})
            return cls(**values)
        except (KeyError, TypeError, ValueError, SpecError) as error:
            raise CorruptResultError(f"The stored result in {stored.path} does not fit {cls.__name__}: {error!r}.") from error


def _plain(value: Any) -> Any:
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {f.name: _plain(getattr(value, f.name)) for f in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return {key: _plain(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(entry) for entry in value]
    if isinstance(value, np.generic):
        return value.item()
    return value


def _revive(hint: Any, value: Any) -> Any:
    """Rebuild nested dataclasses from JSON: plain ones, lists of them, and optional ones."""
    arguments = typing.get_args(hint)
    if value is None:
        return None
    if isinstance(hint, type) and dataclasses.is_dataclass(hint):
        hints = typing.get_type_hints(hint)
        return hint(**{name: _revive(hints[name], entry) for name, entry in value.items()})
    if typing.get_origin(hint) is list and arguments:
        return [_revive(arguments[0], entry) for entry in value]
    if typing.get_origin(hint) is dict and len(arguments) == 2:
        return {key: _revive(arguments[1], entry) for key, entry in value.items()}
    for option in arguments:
        if isinstance(option, type) and dataclasses.is_dataclass(option):
            return _revive(option, value)
    return value


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

    @classmethod
    def array_names(cls) -> tuple[str, ...]:
        """The kept states."""
        return ("states",)


@dataclass(frozen=True)
class Point:
    """What one cut of the model scored."""

    n: int
    """Removed layers; 0 is the unpruned model."""
    start: int | None
    """First removed layer; None for n = 0."""
    acc: float | None = None
    """Share of questions whose highest log-likelihood option is right."""
    acc_stderr: float | None = None
    acc_norm: float | None = None
    """The same with log-likelihoods divided by the option's length in characters, its leading space not counted."""
    acc_norm_stderr: float | None = None
    n_samples: int = 0
    """Questions scored."""
    loss: float | None = None
    """Mean next-token cross-entropy, nats per token."""
    loss_stderr: float | None = None
    """Standard error over texts."""
    n_texts: int = 0
    """Texts the loss was measured on."""
    acc_macro: float | None = None
    """Mean over subjects of each subject's accuracy; None where questions have no subjects."""

    @property
    def block(self) -> Block | None:
        """The removed block, or None for the unpruned model."""
        return None if self.start is None or self.n == 0 else Block(self.start, self.n)


@dataclass(frozen=True)
class Answer:
    """How one question was scored, by one cut."""

    id: str
    """Identifier in the source."""
    loglikelihoods: list[float]
    """Summed natural-log probability of each option, nats."""
    prediction: int
    """Index of the highest."""
    gold: int


@dataclass(frozen=True)
class Lines:
    """The horizontals every accuracy is read against."""

    chance: float
    """Expected accuracy of guessing."""
    majority: float
    """Accuracy of always giving the most frequent right answer of these questions."""


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
    """Peak memory so far: of the accelerator if there is one, else of the process."""


@dataclass(frozen=True)
class Validation:
    """A validation loss on the way."""

    step: int
    """Steps done; 0 is the pruned, unhealed model."""
    loss: float
    loss_stderr: float


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


RESULTS: dict[str, type[Result]] = {
    cls.kind: cls for cls in (DistanceResult, SweepResult, EvaluateResult, HealResult, InspectResult)
}
"""Result dataclasses by kind."""
