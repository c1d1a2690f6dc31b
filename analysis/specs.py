"""The requests: frozen dataclasses that say what is asked for, each with the values it may take."""

from dataclasses import dataclass, field
from typing import ClassVar

from analysis.blocks import Block, LayerSet
from analysis.errors import BlockRangeError
from analysis.export_specs import ExportSpec
from analysis.model_spec import ModelSpec
from analysis.prompt_specs import CompareSpec, MicroscopeSpec
from analysis.spec import Spec, require

STRATEGIES = ("similarity", "deepest", "reverse", "block-influence", "loss-greedy", "random", "manual")
"""Ways of choosing the layers to remove; `selection` says what each does."""
METRICS = ("angular", "angular-tokens", "cosine-tokens", "relative-l2")
"""Distances between depths; `distances` says what each is."""
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
HEAL_METHODS = ("lora", "partial")
"""What a heal trains."""
DISTILL_FROM = ("logits", "states")
"""What a heal learns from the unpruned model."""
SPLITS = ("all", "train", "validation")

MIN_DOCUMENT_TOKENS = 16
"""Documents shorter than this are skipped and counted: their last token has seen too little to stand for a text."""


@dataclass(frozen=True)
class CorpusSpec(Spec):
    """Which texts, how many, and how long."""

    kind: ClassVar[str] = "corpus"

    source: str = "c4"
    """`c4` or `wiki` from the starter pack, `c4-train` streamed from the hub to heal on, or a UTF-8 TXT or JSONL file."""
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
        require(self.n_texts >= 1, f"The number of texts must be at least 1, not {self.n_texts}.")
        require(
            self.seq_len >= MIN_DOCUMENT_TOKENS,
            f"seq-len must be at least {MIN_DOCUMENT_TOKENS} tokens, not {self.seq_len}.",
        )
        require(self.split in SPLITS, f"split must be one of {', '.join(SPLITS)}, not {self.split!r}.")


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
        require(
            self.task in TASKS or self.is_file,
            f"task must be one of {', '.join(TASKS)}, or a file that ends in {', '.join(QUESTION_FILES)}, not {self.task!r}.",
        )
        require(self.protocol in PROTOCOLS, f"protocol must be one of {', '.join(PROTOCOLS)}, not {self.protocol!r}.")
        require(self.limit is None or self.limit >= 1, f"The number of questions must be at least 1, not {self.limit}.")
        require(self.shots is None or 0 <= self.shots <= 5, f"shots must be 0..5, not {self.shots}.")

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
        require(self.metric in METRICS, f"metric must be one of {', '.join(METRICS)}, not {self.metric!r}.")


def default_loss_corpus() -> CorpusSpec:
    """The held-out Wikipedia text on which loss is measured unless another is asked for."""
    return CorpusSpec(source="wiki", n_texts=8, seq_len=256, split="validation")


def default_damage_corpus() -> CorpusSpec:
    """The held-out Wikipedia text on which the loss without every block is measured unless another is asked for."""
    return CorpusSpec(source="wiki", n_texts=8, seq_len=128, split="validation")


@dataclass(frozen=True)
class DamageSpec(Spec):
    """The measured increase of the loss without every block up to a size."""

    kind: ClassVar[str] = "damage"

    model: ModelSpec = field(default_factory=ModelSpec)
    corpus: CorpusSpec = field(default_factory=default_damage_corpus)
    distances: DistanceSpec = field(default_factory=DistanceSpec)
    """The map that the damage is compared with."""
    max_size: int | None = None
    """Largest block; None for half of the model's layers."""

    def __post_init__(self) -> None:
        if self.max_size is not None and self.max_size < 1:
            raise BlockRangeError(f"max-size must be at least 1, not {self.max_size}.")


@dataclass(frozen=True)
class GenerationSpec(Spec):
    """What the model is asked to write by itself."""

    kind: ClassVar[str] = "generation"

    n_prompts: int = 8
    """Beginnings of held-out Wikipedia articles to continue greedily."""
    max_new_tokens: int = 64
    """Longest continuation."""
    n_sums: int = 24
    """Small sums to do."""
    seed: int = 0
    """Picks the articles and the sums."""

    def __post_init__(self) -> None:
        for name in ("n_prompts", "max_new_tokens", "n_sums"):
            require(getattr(self, name) >= 1, f"{name} must be at least 1, not {getattr(self, name)}.")


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
    draw: int = 0
    """Seed of the blocks that `random` picks."""
    blocks: tuple[Block | LayerSet, ...] = ()
    """What `manual` removes, one point of the curve for each."""
    damage: DamageSpec | None = None
    """The measured damage that `loss-greedy` selects from; filled in for it, None for the others."""
    generation: GenerationSpec | None = None
    """What every cut is asked to write; None to skip it."""

    def __post_init__(self) -> None:
        require(
            (self.strategy == "manual") == bool(self.blocks),
            "The strategy manual needs the blocks to remove, and no other strategy takes any.",
        )
        require(self.strategy in STRATEGIES, f"strategy must be one of {', '.join(STRATEGIES)}, not {self.strategy!r}.")
        if self.max_n is not None and self.max_n < 0:
            raise BlockRangeError(f"max-n must be at least 0, not {self.max_n}.")


@dataclass(frozen=True)
class EvaluateSpec(Spec):
    """One model, cut or not, healed or not, on one set of questions and one set of texts."""

    kind: ClassVar[str] = "evaluate"

    model: ModelSpec = field(default_factory=ModelSpec)
    block: Block | LayerSet | None = None
    """The removed layers; None for the unpruned model."""
    adapter: str | None = None
    """Folder of a PEFT adapter, applied after the cut."""
    benchmark: BenchmarkSpec | None = field(default_factory=BenchmarkSpec)
    loss_corpus: CorpusSpec | None = field(default_factory=default_loss_corpus)
    generation: GenerationSpec | None = None
    """What the model is asked to write; None to skip it."""


def default_heal_corpus() -> CorpusSpec:
    """The Wikipedia documents that healing trains on unless others are asked for."""
    return CorpusSpec(source="wiki", n_texts=2000, seq_len=256, split="train")


@dataclass(frozen=True)
class HealSpec(Spec):
    """A heal of the model without `block`: in closed form, by training, or both. Names follow PEFT and transformers."""

    kind: ClassVar[str] = "heal"

    block: Block
    model: ModelSpec = field(default_factory=lambda: ModelSpec(quantization="4bit"))
    corpus: CorpusSpec = field(default_factory=default_heal_corpus)
    """Documents that are packed into training rows of `corpus.seq_len` tokens."""
    validation: CorpusSpec = field(default_factory=default_loss_corpus)
    """Held-out text for the loss before, during and after."""
    benchmark: BenchmarkSpec | None = field(default_factory=BenchmarkSpec)
    """Questions asked of the unpruned, pruned and healed model; None to skip them."""
    generation: GenerationSpec | None = None
    """What the unpruned, pruned and healed model are asked to write; None to skip it."""
    recipe: str = "custom"
    """Name of the preset these numbers came from."""
    steps: int = 50
    """Optimizer steps; 0 where the instant heal is all, or where `minutes` decides."""
    minutes: float | None = None
    """How long all of it may take; the steps that fit are worked out from the speed measured here. None: `steps` it is."""
    method: str = "lora"
    """`lora` on the feed-forward modules of every layer, or `partial`: every weight matrix of the last layers and of the
    head, but no norm and no bias."""
    last_layers: int = 3
    """Layers whose weight matrices `partial` trains."""
    instant: bool = False
    """Whether to begin with the instant heal: the layer before the cut adds what the block added (`junction`)."""
    distill: float = 0.0
    """Weight, in [0, 1], of the unpruned model in the training loss; the text has the rest."""
    distill_from: str = "logits"
    """What of the unpruned model is learnt: its next-token distribution (`logits`), or its last states (`states`), which with
    `distill=1` needs no vocabulary head and so takes half the time."""
    junction: float = 0.0
    """Weight of the loss that draws the stream behind the cut to the unpruned model's (paper, section 5); 0 for none."""
    control: bool = False
    """Train the unpruned model the same way instead: what the healing text does by itself."""
    separate_documents: bool = True
    """Whether documents that share a training row are read each by itself."""
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
    check_questions: int = 0
    """How many of the questions are asked at each of these, to see accuracy grow; 0 for none."""
    keep_best: bool = False
    """Whether to end with the checkpoint of the lowest held-out loss, step 0 included, instead of the last step."""
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("batch_size", "gradient_accumulation", "r", "eval_every", "last_layers"):
            require(getattr(self, name) >= 1, f"{name} must be at least 1, not {getattr(self, name)}.")
        least = 0 if self.instant or self.minutes is not None else 1
        require(self.steps >= least, f"steps must be at least {least}, not {self.steps}.")
        require(self.minutes is None or self.minutes > 0, f"minutes must be above 0, not {self.minutes}.")
        require(self.method in HEAL_METHODS, f"method must be one of {', '.join(HEAL_METHODS)}, not {self.method!r}.")
        require(
            self.distill_from in DISTILL_FROM,
            f"distill_from must be one of {', '.join(DISTILL_FROM)}, not {self.distill_from!r}.",
        )
        require(0 <= self.distill <= 1, f"distill must be in [0, 1], not {self.distill}.")
        require(self.junction >= 0, f"junction must be at least 0, not {self.junction}.")
        require(self.check_questions >= 0, f"check_questions must be at least 0, not {self.check_questions}.")
        require(
            not (self.control and (self.instant or self.distill or self.junction)),
            "A control trains the unpruned model on the text alone; it takes no instant heal, distill or junction.",
        )
        require(self.warmup_steps >= 0, f"warmup_steps must be at least 0, not {self.warmup_steps}.")
        require(self.learning_rate > 0, f"learning_rate must be above 0, not {self.learning_rate}.")
        require(0 <= self.lora_dropout < 1, f"lora_dropout must be in [0, 1), not {self.lora_dropout}.")

    @property
    def trains(self) -> bool:
        """Whether any step is taken; without one the instant heal is all."""
        return self.steps > 0 or self.minutes is not None


@dataclass(frozen=True)
class InspectSpec(Spec):
    """What a model is and whether it fits, from its configuration alone; `load` also loads it once and keeps it warm."""

    kind: ClassVar[str] = "inspect"

    model: ModelSpec = field(default_factory=ModelSpec)
    load: bool = False


@dataclass(frozen=True)
class SpeedSpec(Spec):
    """How long reading a prompt and writing on takes without n layers, for several n."""

    kind: ClassVar[str] = "speed"

    model: ModelSpec = field(default_factory=ModelSpec)
    ns: tuple[int, ...] = ()
    """Numbers of removed layers; empty for 0, 2, 5, 10 and half of the model's layers, as far as there are so many."""
    prompt_tokens: int = 256
    """Length of the prompt that is read in one pass."""
    new_tokens: int = 32
    """Tokens written after it, one pass each."""
    batch_size: int = 1
    """Prompts at once."""
    repeats: int = 5
    """How often each n is measured; once more, before, without being counted."""
    seed: int = 0
    """Picks the tokens of the prompt."""

    def __post_init__(self) -> None:
        for name in ("prompt_tokens", "new_tokens", "batch_size", "repeats"):
            require(getattr(self, name) >= 1, f"{name} must be at least 1, not {getattr(self, name)}.")
        require(
            all(n >= 0 for n in self.ns) and len(set(self.ns)) == len(self.ns),
            f"The numbers of removed layers must be at least 0 and different from each other, not {list(self.ns)}.",
        )


SPECS: dict[str, type[Spec]] = {
    cls.kind: cls
    for cls in (
        DistanceSpec,
        DamageSpec,
        SweepSpec,
        EvaluateSpec,
        HealSpec,
        InspectSpec,
        SpeedSpec,
        CompareSpec,
        MicroscopeSpec,
        ExportSpec,
    )
}
"""The requests that `run` functions answer, by kind."""
