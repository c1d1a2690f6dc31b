"""Scores of pruned models on tokenized questions and texts, from stored results, and their summary
as a point.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property

from analysis.core.blocks import Removal
from analysis.data import corpora
from analysis.data import questions as benchmarks
from analysis.data.spec import BenchmarkSpec, CorpusSpec, GenerationSpec
from analysis.data.tasks import Question
from analysis.experiments.accuracy import points
from analysis.experiments.accuracy.points import GenerationCheck, Lines, Point, QuestionScore
from analysis.experiments.accuracy.sweep_spec import (
    EvaluateResult,
    EvaluateSpec,
    SweepResult,
    SweepSpec,
)
from analysis.experiments.scoring import likelihood, trees
from analysis.experiments.scoring.trees import EncodedQuestion
from analysis.models.loading.load import LoadedModel
from analysis.models.source.model_spec import ModelSpec


@dataclass(frozen=True)
class Material:
    """Questions and texts, tokenized for one model."""

    questions: list[Question]
    encoded: list[EncodedQuestion]
    texts: list[list[int]]
    text_bytes: list[int]
    """UTF-8 bytes of each text without its first token."""
    vocab_size: int
    packed: bool
    """Whether questions share rows."""
    packing: str = ""
    """Reason why questions do not share rows although the model's family seemed to allow it; ""
    otherwise."""
    question_tokens: int = 0
    """Number of tokens of the questions' rows; shared prefixes count once per row."""
    skipped_rows: list[str] = field(default_factory=list)
    """Rows of the user's own file that cannot be asked, each with its number and the reason."""

    @property
    def lines(self) -> Lines | None:
        """Reference levels of these questions; None without questions."""
        if not self.questions:
            return None
        return Lines(benchmarks.chance(self.questions), benchmarks.majority(self.questions))

    @cached_property
    def question_by_id(self) -> dict[str, Question]:
        """Questions by their identifier in the source."""
        return {question.id: question for question in self.questions}

    @property
    def n_truncated(self) -> int:
        """Number of questions whose prompt did not fit the model's window."""
        return sum(question.truncated for question in self.encoded)

    @property
    def text_tokens(self) -> list[int]:
        """Predicted tokens of each text, by which its loss counts."""
        return [len(ids) - 1 for ids in self.texts]

    @property
    def n_tokens(self) -> int:
        """Number of tokens that run through the layers of one cut."""
        return self.question_tokens + sum(len(ids) for ids in self.texts)


def prepare(
    loaded: LoadedModel,
    benchmark: BenchmarkSpec | None,
    loss_corpus: CorpusSpec | None,
    *,
    skip_texts: int = 0,
) -> Material:
    """Read and tokenize questions and texts.

    Args:
        loaded: the model, for its tokenizer and its window.
        benchmark, loss_corpus: questions and texts; None to skip either.
        skip_texts: Number of texts to skip at the front of the draw.

    Raises:
        CorpusError, BenchmarkError: If the texts or questions cannot be used.
    """
    questions = benchmarks.load(benchmark) if benchmark is not None else []
    window = loaded.facts.max_positions
    texts: list[list[int]] = []
    if loss_corpus is not None:
        texts = corpora.tokenize(
            loss_corpus.fitting(window), loaded.tokenizer, skip=skip_texts
        ).token_ids
    encoded = [trees.encode(question, loaded.tokenizer, window) for question in questions]
    packing = likelihood.packing(loaded.decoder, encoded)
    return Material(
        questions=questions,
        encoded=encoded,
        texts=texts,
        text_bytes=[_predicted_bytes(loaded, ids) for ids in texts],
        vocab_size=loaded.facts.vocab_size,
        packed=packing.packed,
        question_tokens=sum(map(len, likelihood.rows_of(encoded, packed=packing.packed))),
        packing=packing.sentence,
        skipped_rows=benchmarks.skipped_rows(benchmark) if benchmark is not None else [],
    )


def _predicted_bytes(loaded: LoadedModel, ids: list[int]) -> int:
    def length(tokens: list[int]) -> int:
        return len(loaded.tokenizer.decode(tokens, skip_special_tokens=True).encode())

    return length(ids) - length(ids[:1])


def answer(question: Question, loglikelihoods: list[float]) -> QuestionScore:
    """Return the score of a question; of equally likely options the first is the prediction."""
    prediction = max(range(len(loglikelihoods)), key=lambda index: loglikelihoods[index])
    return QuestionScore(question.id, loglikelihoods, prediction, question.gold)


def point(
    cut: Removal | None,
    material: Material,
    answers: Sequence[QuestionScore] = (),
    losses: Sequence[float] = (),
    writing: GenerationCheck | None = None,
) -> Point:
    """Summarize the scores of one pruned model.

    Args:
        cut: the removed layers; None for the unpruned model.
        material: the sources of the questions of `answers` and the texts of `losses`.
        answers: the answers so far.
        losses: mean cross-entropy of the first texts, nats per token.
        writing: its generated text.
    """
    tokens = material.text_tokens[: len(losses)]
    n_bytes = sum(material.text_bytes[: len(losses)])
    return Point(
        **points.place(cut),
        **points.accuracy_values(material.question_by_id, answers),
        **points.loss_values(losses, tokens, material.vocab_size, n_bytes),
        **points.writing_values(writing),
    )


@dataclass
class Scores:
    """Scores of each set of removed layers measured so far, and the seconds they took."""

    answers: dict[Removal | None, dict[str, QuestionScore]] = field(default_factory=dict)
    """Answers by cut and question identifier."""
    losses: dict[Removal | None, list[float]] = field(default_factory=dict)
    """Losses of the first texts by cut, nats per token."""
    writings: dict[Removal | None, GenerationCheck] = field(default_factory=dict)
    wall_s: float = 0.0

    def answers_of(self, cut: Removal | None, material: Material) -> list[QuestionScore]:
        """Return the answers without these layers, in the order of the questions."""
        by_id = self.answers.get(cut, {})
        return [by_id[question.id] for question in material.questions if question.id in by_id]

    def losses_of(self, cut: Removal | None, material: Material) -> list[float]:
        """Return the losses of a cut on the first texts."""
        return self.losses.get(cut, [])[: len(material.texts)]

    def point(self, cut: Removal | None, material: Material) -> Point:
        """Return the scores so far without these layers."""
        return point(
            cut,
            material,
            self.answers_of(cut, material),
            self.losses_of(cut, material),
            self.writings.get(cut),
        )

    def take(
        self, cut: Removal | None, answers: Sequence[QuestionScore], losses: Sequence[float]
    ) -> None:
        """Add answers and losses of this cut that were measured elsewhere."""
        self.answers.setdefault(cut, {}).update({answer.id: answer for answer in answers})
        if len(losses) > len(self.losses.get(cut, [])):
            self.losses[cut] = list(losses)


def stored_scores(
    model: ModelSpec,
    benchmark: BenchmarkSpec | None,
    loss_corpus: CorpusSpec | None,
    generation: GenerationSpec | None,
) -> Scores:
    """Return the scores in stored sweeps and evaluations of this model on these questions, texts
    and prompts.

    The numbers of questions and texts do not matter: both are drawn in a seeded order, so a smaller
    set is a prefix of a larger one.

    Args:
        model, benchmark, loss_corpus, generation: resolved.
    """
    scores = Scores()
    for spec, measured in _stored_cuts(model):
        asks_the_same = same_questions(spec.benchmark, benchmark)
        reads_the_same = same_texts(spec.loss_corpus, loss_corpus)
        for cut, answers, losses, writing in measured:
            scores.take(cut, answers if asks_the_same else (), losses if reads_the_same else ())
            if writing is not None and spec.generation == generation:
                scores.writings[cut] = writing
    return scores


_CutScores = tuple[Removal | None, list[QuestionScore], list[float], GenerationCheck | None]


def _stored_cuts(model: ModelSpec) -> Iterator[tuple[SweepSpec | EvaluateSpec, list[_CutScores]]]:
    """Yield the cuts of stored sweeps and evaluations of a model without adapters."""
    for swept in SweepResult.all_of(model):
        if swept.spec.model == model:
            # Answers, losses and writings are empty in results that did not keep them.
            n_points = len(swept.points)
            questions = swept.questions or [[]] * n_points
            text_losses = swept.text_losses or [[]] * n_points
            writings = swept.writings or [None] * n_points
            parts = zip(swept.points, questions, text_losses, writings, strict=True)
            yield (
                swept.spec,
                [(point.block, answers, losses, wrote) for point, answers, losses, wrote in parts],
            )
    for alone in EvaluateResult.all_of(model):
        if alone.spec.model == model and alone.spec.adapter is None:
            yield (
                alone.spec,
                [(alone.point.block, alone.questions, alone.text_losses, alone.writing)],
            )


def same_questions(a: BenchmarkSpec | None, b: BenchmarkSpec | None) -> bool:
    """Return whether both requests have questions, and the questions of one are the first questions
    of the other.
    """
    return a is not None and b is not None and replace(a, limit=None) == replace(b, limit=None)


def same_texts(a: CorpusSpec | None, b: CorpusSpec | None) -> bool:
    """Return whether both requests have texts, and the texts of one are the first texts of the
    other.
    """
    return a is not None and b is not None and replace(a, n_texts=1) == replace(b, n_texts=1)
