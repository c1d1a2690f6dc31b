"""Requests for texts, questions and generated texts, which most other requests contain."""

from dataclasses import replace
from pkgutil import resolve_name
from typing import Annotated, ClassVar

from analysis.core.bounds import SEED, Bound, FieldError, one_of, shown
from analysis.core.errors import did_you_mean
from analysis.core.options import Option
from analysis.core.record import Spec, spec_dataclass
from analysis.data.tasks import TASKS

QUESTION_FILES = (".jsonl", ".json", ".ndjson", ".csv", ".tsv", ".parquet")
"""Endings of question files."""
PROTOCOLS = ("harness", "paper")
"""Prompt formats: that of lm-evaluation-harness, or that of the paper (MMLU and BoolQ)."""
STREAMED = "c4-train"
"""Training split of C4, on which the paper heals. It is too large for memory and streamed from the
Hub."""
SPLITS = ("all", "train", "validation")

MIN_DOCUMENT_TOKENS = 16
"""Minimum tokens of a document; shorter ones are skipped and counted."""
MOST_TOKENS = 1_048_576
"""Maximum sequence length, above the context window of all current models."""
_LENGTH = Bound(MIN_DOCUMENT_TOKENS, MOST_TOKENS)
_COUNT = Bound(1, 1_000_000)


@spec_dataclass
class CorpusSpec(Spec):
    """Corpus specification."""

    kind: ClassVar[str] = "corpus"
    later: ClassVar[tuple[str, ...]] = ("min_tokens",)

    source: Annotated[str, Option("--texts", "c4|wiki|FILE", resets=("split",))] = "c4"
    """Texts: `c4` or `wiki` from the starter pack, `c4-train` from the Hub for healing, or a UTF-8
    file in TXT or JSONL."""
    n_texts: Annotated[int, Option("--samples"), _COUNT] = 32
    """Number of texts."""
    seq_len: Annotated[int, Option(), _LENGTH] = 256
    """Sequence length: each text is cut to this many tokens."""
    split: str = "all"
    """`all`, `train` or `validation`. One document in ten, with its near-copies, is validation and
    never used for healing (`near_copies`)."""
    seed: Annotated[int, Option(), SEED] = 0
    """Seed of the text selection."""
    identity: str = ""
    """Identity of the content and the split, set by `corpora.resolve`."""
    min_tokens: Annotated[int, _LENGTH] = MIN_DOCUMENT_TOKENS
    """Minimum tokens of preferred documents, at most `seq_len`.

    Shorter documents, down to 16 tokens, are used only if there are not enough preferred ones.
    """

    def __post_init__(self) -> None:
        one_of("split", self.split, SPLITS)

    def check_readable(self) -> None:
        """Check that the text can be read."""
        resolve_name("analysis.data.corpora:check")(self)

    @property
    def subject(self) -> str:
        """Source without its split: a healing run is not judged by another split of its own
        source.
        """
        return {STREAMED: "c4"}.get(self.source, self.source)

    def fitting(self, window: int | None) -> "CorpusSpec":
        """Return the request for a model with a context window; None for no limit."""
        return self if window is None else replace(self, seq_len=min(self.seq_len, window))

    @property
    def long_enough(self) -> int:
        """Minimum tokens of a preferred document."""
        return min(self.min_tokens, self.seq_len)


@spec_dataclass
class BenchmarkSpec(Spec):
    """Question set specification: a seeded subset that is the same for all compared models."""

    kind: ClassVar[str] = "benchmark"

    task: Annotated[
        str,
        Option(metavar="NAME|FILE", known=TASKS, parse=lambda text: BenchmarkSpec(task=text).task),
    ] = "arc_easy"
    """Dataset of questions: a name, or a file in JSONL, CSV or Parquet."""
    limit: Annotated[int | None, Option(none="0"), _COUNT] = 200
    """Number of questions (default: 200, 0 = all)."""
    shots: Annotated[
        int | None, Option(usual="analysis.data.questions:usual_shots"), Bound(0, 5)
    ] = None
    """Number of worked examples before each question (default: 5 for MMLU, 0 for the others)."""
    seed: Annotated[int, Option(), SEED] = 0
    """Seed of the selection and order of the questions."""
    identity: str = ""
    """Identity of the release, or of the content of the file, set by `questions.resolve`."""
    subset: Annotated[tuple[str, ...], Option(metavar="NAMES")] = ()
    """MMLU subjects and categories: stem, humanities, social_sciences, other (default: all)."""
    protocol: Annotated[str, Option(choices=PROTOCOLS)] = "harness"
    """Prompts: `harness` as lm-evaluation-harness, `paper` as the paper on MMLU and BoolQ."""

    def __post_init__(self) -> None:
        if not (self.task in TASKS or self.is_file):
            message = (
                f"must be one of {', '.join(TASKS)}, or a file that ends in"
                f" {', '.join(QUESTION_FILES)}, not {shown(self.task)}."
                f" {did_you_mean(self.task, TASKS)}"
            )
            raise FieldError("task", message.rstrip(" ."))
        one_of("protocol", self.protocol, PROTOCOLS)

    def check_readable(self) -> None:
        """Check that the questions can be read."""
        resolve_name("analysis.data.questions:check")(self)

    @property
    def is_file(self) -> bool:
        """Whether the questions are in a file of the user."""
        return self.task not in TASKS and self.task.lower().endswith(QUESTION_FILES)


def default_loss_corpus() -> CorpusSpec:
    """Return the default text for loss: C4, which is used neither for healing nor for searching."""
    return CorpusSpec(source="c4", n_texts=32, seq_len=256, min_tokens=128)


def held_out_text(source: str) -> CorpusSpec:
    """Return the validation split of a source that is used for healing or searching, like the
    default loss text.

    Args:
        source: source as in `CorpusSpec`. For the streamed C4 it is the validation split of `c4`.
    """
    corpus = replace(default_loss_corpus(), source=source, split="validation")
    return replace(corpus, source=corpus.subject)


def other_text(source: str) -> CorpusSpec:
    """Return the text that judges a healing run on a source: C4, or Wikipedia if the source is
    C4.
    """
    default = default_loss_corpus()
    return (
        held_out_text("wiki")
        if replace(default, source=source).subject == default.subject
        else default
    )


@spec_dataclass
class GenerationSpec(Spec):
    """Specification of generated texts."""

    kind: ClassVar[str] = "generation"

    n_prompts: Annotated[int, Bound(1, 1_000)] = 8
    """Number of held-out Wikipedia articles whose beginnings are continued greedily."""
    max_new_tokens: Annotated[int, Bound(1, 4_096)] = 64
    """Maximum tokens of a continuation."""
    n_sums: Annotated[int, Bound(1, 1_000)] = 24
    """Number of arithmetic problems."""
    seed: Annotated[int, Option(), SEED] = 0
    """Seed of the selection of articles and problems."""

    def check_readable(self) -> None:
        """Check that the articles can be read."""
        CorpusSpec("wiki", split="validation").check_readable()
