"""Texts to read, questions to ask, and texts to generate: parts of nearly every request."""

from dataclasses import replace
from pkgutil import resolve_name
from typing import Annotated, ClassVar

from analysis.core.bounds import SEED, Bound, one_of, shown
from analysis.core.errors import did_you_mean
from analysis.core.options import Option
from analysis.core.record import Spec, require, spec_dataclass
from analysis.data.tasks import TASKS

QUESTION_FILES = (".jsonl", ".json", ".ndjson", ".csv", ".tsv", ".parquet")
"""Endings of a question file of one's own."""
PROTOCOLS = ("harness", "paper")
"""How questions are asked: as lm-evaluation-harness does, or as the paper does (MMLU and BoolQ)."""
STREAMED = "c4-train"
"""The training split of C4, which the paper heals on: far too much to hold, so it is streamed from the Hub as needed."""
SPLITS = ("all", "train", "validation")

MIN_DOCUMENT_TOKENS = 16
"""Documents shorter than this are skipped and counted: their last token has seen too little to stand for a text."""
MOST_TOKENS = 1_048_576
"""Of a text that is read at once: more than any window of today."""
_LENGTH = Bound(MIN_DOCUMENT_TOKENS, MOST_TOKENS)
_COUNT = Bound(1, 1_000_000)


@spec_dataclass
class CorpusSpec(Spec):
    """Which texts, how many, and how long."""

    kind: ClassVar[str] = "corpus"
    later: ClassVar[tuple[str, ...]] = ("min_tokens",)

    source: Annotated[str, Option("--texts", "c4|wiki|FILE", resets=("split",))] = "c4"
    """Texts: `c4` or `wiki` from the starter pack, `c4-train` from the Hub for healing, or a UTF-8 file in TXT or JSONL."""
    n_texts: Annotated[int, Option("--samples"), _COUNT] = 32
    """Number of texts."""
    seq_len: Annotated[int, Option(), _LENGTH] = 256
    """Sequence length: each text is cut to this many tokens."""
    split: str = "all"
    """all, train or validation: one document in ten, with its near-copies and decided by their content, is validation and never
    healed on (`near_copies`)."""
    seed: Annotated[int, Option(), SEED] = 0
    """Seed of the choice of texts."""
    identity: str = ""
    """Identity of the text, under any path, and of its split: filled in by `corpora.resolve`."""
    min_tokens: Annotated[int, _LENGTH] = MIN_DOCUMENT_TOKENS
    """Minimum tokens of the documents that come first, or `seq_len` if that is less.

    Shorter ones, down to 16, are used only if there are not enough of these.
    """

    def __post_init__(self) -> None:
        one_of("split", self.split, SPLITS)

    def check_readable(self) -> None:
        """Check that the text can be read."""
        resolve_name("analysis.data.corpora:check")(self)

    @property
    def subject(self) -> str:
        """Return the kind of text: two sources of one kind are written in one style, and so tell the same of a healing run."""
        return {STREAMED: "c4"}.get(self.source, self.source)

    def fitting(self, window: int | None) -> "CorpusSpec":
        """Return the spec for a model that reads at most `window` tokens; None for one without such a limit."""
        return self if window is None else replace(self, seq_len=min(self.seq_len, window))

    @property
    def long_enough(self) -> int:
        """Tokens of a document from which on it is among the first that are drawn."""
        return min(self.min_tokens, self.seq_len)


@spec_dataclass
class BenchmarkSpec(Spec):
    """Which questions: a seeded subset, the same for every cut that is compared."""

    kind: ClassVar[str] = "benchmark"

    task: Annotated[str, Option(metavar="NAME|FILE", known=TASKS, parse=lambda text: BenchmarkSpec(task=text).task)] = (
        "arc_easy"
    )
    """Dataset of questions: a name, or a file in JSONL, CSV or Parquet."""
    limit: Annotated[int | None, Option(none="0"), _COUNT] = 100
    """Number of questions (default: 100, 0 = all)."""
    shots: Annotated[int | None, Option(usual="analysis.data.questions:usual_shots"), Bound(0, 5)] = None
    """Number of worked examples before each question (default: 5 for MMLU, 0 for the others)."""
    seed: Annotated[int, Option(), SEED] = 0
    """Seed of the choice and order of the questions."""
    identity: str = ""
    """Which release of the questions, or which content of the file: filled in by `questions.resolve`."""
    subset: Annotated[tuple[str, ...], Option(metavar="NAMES")] = ()
    """MMLU subjects and categories: stem, humanities, social_sciences, other (default: all)."""
    protocol: Annotated[str, Option(choices=PROTOCOLS)] = "harness"
    """Prompts: `harness` as lm-evaluation-harness, `paper` as the paper on MMLU and BoolQ."""

    def __post_init__(self) -> None:
        require(
            self.task in TASKS or self.is_file,
            f"task must be one of {', '.join(TASKS)}, or a file that ends in {', '.join(QUESTION_FILES)}, not "
            f"{shown(self.task)}. {did_you_mean(self.task, TASKS)}".rstrip(),
        )
        one_of("protocol", self.protocol, PROTOCOLS)

    def check_readable(self) -> None:
        """Check that the questions can be read."""
        resolve_name("analysis.data.questions:check")(self)

    @property
    def is_file(self) -> bool:
        """Return whether the questions are in a file of the user's own."""
        return self.task not in TASKS and self.task.lower().endswith(QUESTION_FILES)


def default_loss_corpus() -> CorpusSpec:
    """The text on which loss is measured unless another is asked for: C4, on which neither heals train nor searches choose."""
    return CorpusSpec(source="c4", n_texts=32, seq_len=256, min_tokens=128)


def held_out_text(source: str) -> CorpusSpec:
    """The default loss text's like from the held-out part of a source that is healed on or chosen on.

    Args:
        source: as in `CorpusSpec`; of the streamed C4 the held-out part is that of `c4`.
    """
    corpus = replace(default_loss_corpus(), source=source, split="validation")
    return replace(corpus, source=corpus.subject)


def other_text(source: str) -> CorpusSpec:
    """Text of another kind than a source, by which a heal that trains on the source is judged: C4, and for C4 Wikipedia."""
    default = default_loss_corpus()
    return held_out_text("wiki") if replace(default, source=source).subject == default.subject else default


@spec_dataclass
class GenerationSpec(Spec):
    """Texts that the model generates by itself."""

    kind: ClassVar[str] = "generation"

    n_prompts: Annotated[int, Bound(1, 1_000)] = 8
    """Beginnings of held-out Wikipedia articles to continue greedily."""
    max_new_tokens: Annotated[int, Bound(1, 4_096)] = 64
    """Longest continuation."""
    n_sums: Annotated[int, Bound(1, 1_000)] = 24
    """Arithmetic problems to solve."""
    seed: Annotated[int, Option(), SEED] = 0
    """Picks the articles and the arithmetic problems."""

    def check_readable(self) -> None:
        """Check that the articles can be read."""
        CorpusSpec("wiki", split="validation").check_readable()
