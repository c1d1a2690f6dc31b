"""What is measured: questions and texts, read and tokenized for one model."""

from dataclasses import dataclass, field, replace
from functools import cached_property

from analysis import benchmarks, corpora, prefix_trees, scoring
from analysis.models import LoadedModel
from analysis.prefix_trees import EncodedQuestion
from analysis.results import Lines
from analysis.specs import BenchmarkSpec, CorpusSpec
from analysis.tasks import Question


@dataclass(frozen=True)
class Material:
    """Questions and texts, tokenized for one model."""

    questions: list[Question]
    encoded: list[EncodedQuestion]
    texts: list[list[int]]
    text_bytes: list[int]
    """UTF-8 bytes of what is predicted of each text: all of it but its first token."""
    vocab_size: int
    packed: bool
    """Whether this model's family runs packed rows."""
    skipped_rows: list[str] = field(default_factory=list)
    """Rows of the user's own file that cannot be asked, each with its number and the reason."""

    @property
    def lines(self) -> Lines | None:
        """Chance and majority accuracy of these questions; None without questions."""
        if not self.questions:
            return None
        return Lines(benchmarks.chance(self.questions), benchmarks.majority(self.questions))

    @cached_property
    def question_by_id(self) -> dict[str, Question]:
        """The questions by their identifier in the source."""
        return {question.id: question for question in self.questions}

    @property
    def n_truncated(self) -> int:
        """Questions whose prompt did not fit the model's window."""
        return sum(question.truncated for question in self.encoded)

    @property
    def n_tokens(self) -> int:
        """Tokens that run through the layers of one cut, shared prefixes counted once."""
        return sum(scoring.row_lengths(self.encoded, packed=self.packed)) + sum(len(ids) for ids in self.texts)


def prepare(loaded: LoadedModel, benchmark: BenchmarkSpec | None, loss_corpus: CorpusSpec | None) -> Material:
    """Read and tokenize what is to be measured.

    Raises:
        CorpusError, BenchmarkError: when the texts or questions cannot be used.
    """
    questions = benchmarks.load(benchmark) if benchmark is not None else []
    window = loaded.facts.max_positions
    texts: list[list[int]] = []
    if loss_corpus is not None:
        fitting = replace(loss_corpus, seq_len=min(loss_corpus.seq_len, window or loss_corpus.seq_len))
        texts = corpora.tokenize(fitting, loaded.tokenizer).token_ids
    return Material(
        questions=questions,
        encoded=[prefix_trees.encode(question, loaded.tokenizer, window) for question in questions],
        texts=texts,
        text_bytes=[_predicted_bytes(loaded, ids) for ids in texts],
        vocab_size=loaded.facts.vocab_size,
        packed=scoring.can_pack(loaded.decoder),
        skipped_rows=benchmarks.skipped_rows(benchmark) if benchmark is not None else [],
    )


def _predicted_bytes(loaded: LoadedModel, ids: list[int]) -> int:
    def length(tokens: list[int]) -> int:
        return len(loaded.tokenizer.decode(tokens, skip_special_tokens=True).encode())

    return length(ids) - length(ids[:1])
