"""Frozen dataclasses that say what is asked for: a spec's fingerprint is the cache key of its result."""

import dataclasses
import hashlib
import json
import types
import typing
from dataclasses import dataclass, field
from typing import Any, ClassVar, Self

from analysis.errors import BlockRangeError, SpecError

CODE_VERSION = 2
"""Part of every fingerprint: raise it when the same spec would now give another result."""

DTYPES = ("auto", "float32", "bfloat16", "float16")
QUANTIZATIONS = ("none", "4bit", "8bit")
STRATEGIES = ("similarity", "deepest")
METRICS = ("angular",)
TASKS = (
    "arc_easy", "arc_challenge", "mmlu", "boolq", "hellaswag", "openbookqa", "piqa", "sciq", "social_iqa", "commonsense_qa",
    "winogrande", "copa",
)  # fmt: skip
"""Built-in question sets; `tasks.TASKS` says what they are."""
QUESTION_FILES = (".jsonl", ".json", ".ndjson", ".csv", ".tsv", ".parquet")
"""What a question file of one's own may end in."""
MMLU_CATEGORIES = ("stem", "humanities", "social_sciences", "other")
PROTOCOLS = ("harness", "paper")
"""How questions are asked: as lm-evaluation-harness does, or as the paper does (MMLU and BoolQ)."""
SPLITS = ("all", "train", "validation")

MIN_DOCUMENT_TOKENS = 16
"""Documents shorter than this are skipped and counted: their last token has seen too little to stand for a text."""


def _require(condition: bool, message: str) -> None:
    if not condition:
        raise SpecError(message)


@dataclass(frozen=True)
class Spec:
    """Base of all requests: conversion to and from JSON, and the fingerprint."""

    kind: ClassVar[str] = "spec"

    def to_json(self) -> dict[str, Any]:
        """The spec as plain JSON types, nested specs as objects."""
        return typing.cast(dict[str, Any], json.loads(json.dumps(dataclasses.asdict(self))))

    @classmethod
    def from_json(cls, data: typing.Mapping[str, Any]) -> Self:
        """The inverse of `to_json`.

        Raises:
            SpecError: on an unknown field, a missing one, or a value out of range.
        """
        hints = typing.get_type_hints(cls)
        names = {f.name for f in dataclasses.fields(cls)}
        unknown = sorted(set(data) - names)
        _require(not unknown, f"A {cls.__name__} has no field {', '.join(unknown)}; its fields are {', '.join(sorted(names))}.")
        try:
            return cls(**{name: _from_json(hints[name], value) for name, value in data.items()})
        except TypeError as error:
            raise SpecError(f"This is not a complete {cls.__name__}: {error}.") from error

    def fingerprint(self) -> str:
        """Twenty hexadecimal digits that change with anything that changes the result, code version included."""
        content = {"kind": self.kind, "code_version": CODE_VERSION, "spec": self.to_json()}
        canonical = json.dumps(content, sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(canonical.encode()).hexdigest()[:20]


def _from_json(hint: Any, value: Any) -> Any:
    """Turn one JSON value into what the type hint of a field asks for."""
    if isinstance(hint, types.UnionType):
        options = [option for option in typing.get_args(hint) if option is not type(None)]
        return None if value is None else _from_json(options[0], value)
    if isinstance(hint, type) and issubclass(hint, Spec):
        return hint.from_json(value)
    if typing.get_origin(hint) is tuple:
        item = typing.get_args(hint)[0]
        return tuple(_from_json(item, entry) for entry in value)
    if hint is float and isinstance(value, int):
        return float(value)
    return value


@dataclass(frozen=True)
class Block(Spec):
    """A contiguous run of decoder layers, half-open: layers start .. start+size-1, 0-based."""

    kind: ClassVar[str] = "block"

    start: int
    """First layer of the block, 0-based."""
    size: int
    """Number of layers n; at least 1."""

    def __post_init__(self) -> None:
        if self.start < 0 or self.size < 1:
            raise BlockRangeError(
                f"A block needs a start of at least 0 and a size of at least 1, not start {self.start} and size {self.size}."
            )

    @property
    def stop(self) -> int:
        """The first layer after the block: the one that now receives x[start]."""
        return self.start + self.size

    @property
    def layers(self) -> range:
        """The removed layers."""
        return range(self.start, self.stop)

    def check(self, n_layers: int) -> None:
        """Raise `BlockRangeError` unless the block lies inside a model of `n_layers` and leaves at least one layer."""
        if self.size >= n_layers:
            raise BlockRangeError(
                f"A block of {self.size} layers cannot be removed: this model has {n_layers} layers and must keep at least 1, "
                f"so the size must be 1..{n_layers - 1}."
            )
        if self.stop > n_layers:
            raise BlockRangeError(
                f"A block of {self.size} layers cannot start at layer {self.start}: this model has {n_layers} layers, "
                f"so the start must be 0..{n_layers - self.size}."
            )

    def describe(self) -> str:
        """Both index forms, as people are always shown them: "layers 11-15 (5 layers), block [11, 16)"."""
        if self.size == 1:
            return f"layer {self.start} (1 layer), block [{self.start}, {self.stop})"
        return f"layers {self.start}-{self.stop - 1} ({self.size} layers), block [{self.start}, {self.stop})"

    @classmethod
    def parse(cls, text: str) -> "Block":
        """Read the command line's START:SIZE form.

        Raises:
            BlockRangeError: when the text is not two whole numbers joined by a colon.
        """
        start, _, size = text.partition(":")
        try:
            return cls(int(start), int(size))
        except ValueError as error:
            raise BlockRangeError(f"A block is written START:SIZE, for example 11:5, not {text!r}.") from error


@dataclass(frozen=True)
class ModelSpec(Spec):
    """Which model, and in which precision and place it runs."""

    kind: ClassVar[str] = "model"

    source: str = "starter"
    """`starter`, a hub id, a local Hugging Face folder, or a GGUF file."""
    revision: str | None = None
    """Branch, tag or commit of a hub id; None for the default branch."""
    dtype: str = "auto"
    """float32, bfloat16, float16, or auto: what this machine is good at."""
    device: str = "auto"
    """cpu, cuda, cuda:1, mps, or auto."""
    quantization: str = "none"
    """none, 4bit (NF4) or 8bit."""
    identity: str = ""
    """What the weights are, whatever the path: filled in by `models.resolve`, empty before."""

    def __post_init__(self) -> None:
        _require(bool(self.source.strip()), "No model was named: give `starter`, a hub id, a folder or a GGUF file.")
        _require(self.dtype in DTYPES, f"dtype must be one of {', '.join(DTYPES)}, not {self.dtype!r}.")
        _require(
            self.quantization in QUANTIZATIONS,
            f"quantization must be one of {', '.join(QUANTIZATIONS)}, not {self.quantization!r}.",
        )


@dataclass(frozen=True)
class CorpusSpec(Spec):
    """Which texts, how many, and how long."""

    kind: ClassVar[str] = "corpus"

    source: str = "c4"
    """`c4` or `wiki` from the starter pack, or a UTF-8 TXT or JSONL file."""
    n_texts: int = 32
    """How many documents to draw."""
    seq_len: int = 256
    """Documents are cut to this many tokens."""
    split: str = "all"
    """all, train or validation: one document in ten, chosen by its content's hash, is validation and never healed on."""
    seed: int = 0
    """Seed of the draw."""
    identity: str = ""
    """What the text is, whatever the path: filled in by `corpora.resolve`."""

    def __post_init__(self) -> None:
        _require(self.n_texts >= 1, f"The number of texts must be at least 1, not {self.n_texts}.")
        _require(
            self.seq_len >= MIN_DOCUMENT_TOKENS,
            f"seq-len must be at least {MIN_DOCUMENT_TOKENS} tokens, not {self.seq_len}.",
        )
        _require(self.split in SPLITS, f"split must be one of {', '.join(SPLITS)}, not {self.split!r}.")


@dataclass(frozen=True)
class BenchmarkSpec(Spec):
    """Which questions: a seeded subset, the same for every cut that is compared."""

    kind: ClassVar[str] = "benchmark"

    task: str = "arc_easy"
    """The name of a built-in set, or a JSONL, CSV or Parquet file of questions."""
    limit: int | None = 100
    """How many questions; None for all of them."""
    shots: int | None = None
    """Worked examples before the question; None for the task's own default (MMLU 5, others 0)."""
    seed: int = 0
    """Seed of the subset and of its order."""
    identity: str = ""
    """Which release of the questions, or which content of the file: filled in by `benchmarks.resolve`."""
    subset: tuple[str, ...] = ()
    """MMLU subjects and categories (stem, humanities, social_sciences, other) to ask from; empty for all."""
    protocol: str = "harness"
    """`harness` for the prompts of lm-evaluation-harness, `paper` for the paper's own on MMLU and BoolQ."""

    def __post_init__(self) -> None:
        _require(
            self.task in TASKS or self.is_file,
            f"task must be one of {', '.join(TASKS)}, or a file that ends in {', '.join(QUESTION_FILES)}, not {self.task!r}.",
        )
        _require(self.protocol in PROTOCOLS, f"protocol must be one of {', '.join(PROTOCOLS)}, not {self.protocol!r}.")
        _require(self.limit is None or self.limit >= 1, f"The number of questions must be at least 1, not {self.limit}.")
        _require(self.shots is None or 0 <= self.shots <= 5, f"shots must be 0..5, not {self.shots}.")

    @property
    def is_file(self) -> bool:
        """Whether the questions are in a file of the user's own."""
        return self.task not in TASKS and self.task.lower().endswith(QUESTION_FILES)


@dataclass(frozen=True)
class DistanceSpec(Spec):
    """The distance of every pair of depths (l, l+n) on some texts."""

    kind: ClassVar[str] = "distances"

    model: ModelSpec = field(default_factory=ModelSpec)
    corpus: CorpusSpec = field(default_factory=CorpusSpec)
    metric: str = "angular"

    def __post_init__(self) -> None:
        _require(self.metric in METRICS, f"metric must be one of {', '.join(METRICS)}, not {self.metric!r}.")


def default_loss_corpus() -> CorpusSpec:
    """The held-out Wikipedia text on which loss is measured unless another is asked for."""
    return CorpusSpec(source="wiki", n_texts=8, seq_len=256, split="validation")


@dataclass(frozen=True)
class SweepSpec(Spec):
    """Accuracy and loss against the number of removed layers, n = 0 .. max_n."""

    kind: ClassVar[str] = "sweep"

    model: ModelSpec = field(default_factory=ModelSpec)
    benchmark: BenchmarkSpec = field(default_factory=BenchmarkSpec)
    loss_corpus: CorpusSpec | None = field(default_factory=default_loss_corpus)
    """Text for the mean next-token loss; None to skip it."""
    distances: DistanceSpec = field(default_factory=DistanceSpec)
    """The map that `similarity` selects from."""
    strategy: str = "similarity"
    max_n: int | None = None
    """Largest number of removed layers; None for half of the model's layers."""

    def __post_init__(self) -> None:
        _require(self.strategy in STRATEGIES, f"strategy must be one of {', '.join(STRATEGIES)}, not {self.strategy!r}.")
        if self.max_n is not None and self.max_n < 0:
            raise BlockRangeError(f"max-n must be at least 0, not {self.max_n}.")


@dataclass(frozen=True)
class EvaluateSpec(Spec):
    """One model, cut or not, healed or not, on one set of questions and one set of texts."""

    kind: ClassVar[str] = "evaluate"

    model: ModelSpec = field(default_factory=ModelSpec)
    block: Block | None = None
    """The removed block; None for the unpruned model."""
    adapter: str | None = None
    """Folder of a PEFT adapter, applied after the cut."""
    benchmark: BenchmarkSpec | None = field(default_factory=BenchmarkSpec)
    loss_corpus: CorpusSpec | None = field(default_factory=default_loss_corpus)


def default_heal_corpus() -> CorpusSpec:
    """The Wikipedia documents that healing trains on unless others are asked for."""
    return CorpusSpec(source="wiki", n_texts=2000, seq_len=256, split="train")


@dataclass(frozen=True)
class HealSpec(Spec):
    """A QLoRA heal of the model without `block`. Names follow PEFT and transformers."""

    kind: ClassVar[str] = "heal"

    block: Block
    model: ModelSpec = field(default_factory=lambda: ModelSpec(quantization="4bit"))
    corpus: CorpusSpec = field(default_factory=default_heal_corpus)
    """Documents that are packed into training rows of `corpus.seq_len` tokens."""
    validation: CorpusSpec = field(default_factory=default_loss_corpus)
    """Held-out text for the loss before, during and after."""
    benchmark: BenchmarkSpec | None = field(default_factory=BenchmarkSpec)
    """Questions asked of the unpruned, pruned and healed model; None to skip them."""
    recipe: str = "custom"
    """Name of the preset these numbers came from."""
    steps: int = 50
    """Optimizer steps."""
    batch_size: int = 4
    """Rows per forward pass."""
    gradient_accumulation: int = 1
    """Forward passes per optimizer step."""
    learning_rate: float = 3e-4
    """Peak learning rate, reached after the warm-up, then a cosine to 0."""
    warmup_steps: int = 5
    r: int = 16
    """LoRA rank; lora_alpha = r."""
    lora_dropout: float = 0.05
    eval_every: int = 10
    """Steps between validation losses and checkpoints."""
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("steps", "batch_size", "gradient_accumulation", "r", "eval_every"):
            _require(getattr(self, name) >= 1, f"{name} must be at least 1, not {getattr(self, name)}.")
        _require(self.warmup_steps >= 0, f"warmup_steps must be at least 0, not {self.warmup_steps}.")
        _require(self.learning_rate > 0, f"learning_rate must be above 0, not {self.learning_rate}.")
        _require(0 <= self.lora_dropout < 1, f"lora_dropout must be in [0, 1), not {self.lora_dropout}.")


@dataclass(frozen=True)
class InspectSpec(Spec):
    """What a model is and whether it fits, from its configuration alone; `load` also loads it once and keeps it warm."""

    kind: ClassVar[str] = "inspect"

    model: ModelSpec = field(default_factory=ModelSpec)
    load: bool = False


SPECS: dict[str, type[Spec]] = {cls.kind: cls for cls in (DistanceSpec, SweepSpec, EvaluateSpec, HealSpec, InspectSpec)}
"""The requests that `run` functions answer, by kind."""
