"""Scores of a pruned model: answers, losses, generated text."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from analysis.core import stats
from analysis.core.blocks import Block, LayerSet, PartSet, Removal, parse_removal, written
from analysis.core.bounds import Count, Figure, Loss, NonNegative, Perplexity, Share, Whole
from analysis.core.table import REMOVED, Column, Table
from analysis.data import questions as benchmarks
from analysis.data.spec import GenerationSpec
from analysis.data.tasks import Question


@dataclass(frozen=True)
class Point:
    """Scores of the model without one set of layers."""

    n: Count
    """Number of removed layers, including those that lose a part; 0 for the unpruned model."""
    start: Count | None
    """First removed layer; None for n = 0."""
    acc: Share | None = None
    """Share of questions whose highest log-likelihood option is right."""
    acc_stderr: NonNegative | None = None
    acc_norm: Share | None = None
    """Accuracy with log-likelihoods divided by the option's length in characters, without its
    leading space."""
    acc_norm_stderr: NonNegative | None = None
    n_samples: Count = 0
    """Number of scored questions."""
    loss: Loss | None = None
    """Next-token cross-entropy in nats per token; all tokens of all texts have equal weight."""
    loss_stderr: NonNegative | None = None
    """Standard error of the loss over texts."""
    n_texts: Count = 0
    """Number of texts of the loss."""
    acc_macro: Share | None = None
    """Mean of the accuracies by subject; None if questions have no subjects."""
    layers: list[Count] | None = None
    """The removed layers if they are not one block."""
    loss_per_ln_v: Loss | None = None
    """Loss divided by the logarithm of the vocabulary size: uniform guessing scores 1."""
    perplexity: Perplexity | None = None
    """exp(loss)."""
    bits_per_byte: Loss | None = None
    """Bits per byte of text, which unlike the loss are comparable between vocabularies."""
    repetition_rate: Share | None = None
    """Mean share of runs of four tokens that repeat within a greedy continuation, in [0, 1]."""
    distinct_rate: Share | None = None
    """Mean distinct tokens per token of the continuations, in [0, 1]."""
    generated_tokens: NonNegative | None = None
    """Mean length of the continuations."""
    sum_acc: Share | None = None
    """Share of arithmetic problems whose generated answer is right."""
    sum_acc_stderr: NonNegative | None = None
    parts: str | None = None
    """The removal as text, "a12+m15", if sublayers are removed."""
    n_sums: Count = 0
    """Number of arithmetic problems; 0 in results that did not store it."""

    @property
    def block(self) -> Removal | None:
        """The removed layers, or None for the unpruned model."""
        if self.parts is not None:
            return parse_removal(self.parts)
        if self.layers is not None:
            return LayerSet(tuple(self.layers))
        return None if self.start is None or self.n == 0 else Block(self.start, self.n)

    @property
    def interval(self) -> tuple[float, float] | None:
        """The 95 % interval of the accuracy of this model alone (Wilson); None if no question was
        asked.

        The interval of a change is paired (`results.compared.changes.change`).
        """
        if self.acc is None or not self.n_samples:
            return None
        return stats.share_interval(self.acc, self.n_samples)

    @property
    def loss_interval(self) -> tuple[float, float] | None:
        """The 95 % interval of the loss (Student's t over texts); None for fewer than four
        texts.
        """
        if self.loss is None or self.n_texts < stats.MIN_TEXTS:
            return None
        return stats.mean_interval(self.loss, self.loss_stderr, self.n_texts)

    @property
    def sum_interval(self) -> tuple[float, float] | None:
        """The 95 % interval of the share of sums that are right (Wilson).

        In results without the number of problems, it is derived from the standard error, or for a
        share of 0 or 1 from the default number.
        """
        if self.sum_acc is None:
            return None
        n = self.n_sums
        if not n and self.sum_acc_stderr and 0 < self.sum_acc < 1:
            n = round(self.sum_acc * (1 - self.sum_acc) / self.sum_acc_stderr**2) + 1
        return stats.share_interval(self.sum_acc, n or GenerationSpec().n_sums)


def place(cut: Removal | None) -> dict[str, Any]:
    """Return the fields of a point that identify its removed layers; None stands for the unpruned
    model.
    """
    if cut is None:
        return {"n": 0, "start": None, "layers": None, "parts": None}
    return {
        "n": cut.size,
        "start": cut.start,
        "layers": list(cut.layers) if isinstance(cut, LayerSet) else None,
        "parts": written(cut) if isinstance(cut, PartSet) else None,
    }


def _with_interval(
    name: str, title: str = "", unit: str = "", format: str = ".3f"
) -> tuple[Column, ...]:
    """Return the columns of a score: the number with its 95 % interval, and the standard error for
    programs.
    """
    ends = (f"{name}_low", f"{name}_high")
    number = Column(name, title, unit, format, low=ends[0], high=ends[1], parts=(f"{name}_stderr",))
    return (number, Column(f"{name}_stderr"), *map(Column, ends))


_COLUMNS = (
    Column("n"),
    *REMOVED,
    *_with_interval("acc", "accuracy"),
    *_with_interval("acc_norm"),
    Column("n_samples", "questions"),
    *_with_interval("loss", unit="nats/token"),
    Column("n_texts", "texts"),
)
_WHERE_MEASURED = (
    Column("acc_macro", "mean over subjects", format=".3f"),
    Column("perplexity", format=".1f"),
    Column("bits_per_byte", "bits per byte", format=".3f"),
    Column("loss_per_ln_v", "loss / ln V", format=".3f"),
    Column("repetition_rate", "repeated", format=".1%"),
    Column("distinct_rate", "distinct", format=".1%"),
    Column("generated_tokens", "tokens", format=".1f"),
    *_with_interval("sum_acc", "arithmetic right", format=".1%"),
)


def intervals(point: Point) -> dict[str, float]:
    """Return the ends of the 95 % intervals of a point's scores by column name, without scores that
    have none.
    """
    ends = {"acc": point.interval, "loss": point.loss_interval, "sum_acc": point.sum_interval}
    if point.acc_norm is not None and point.n_samples:
        ends["acc_norm"] = stats.share_interval(point.acc_norm, point.n_samples)
    return {
        f"{name}_{end}": value
        for name, interval in ends.items()
        for end, value in zip(("low", "high"), interval or (), strict=False)
    }


def _number(column: Column) -> str:
    """Return the name of the score that a column belongs to."""
    return column.name.removesuffix("_low").removesuffix("_high")


def table(
    points: Sequence[Point],
    title: str = "Accuracy and loss",
    caption: str = "",
    **first: Sequence[Any],
) -> Table:
    """Return the scores of pruned models, one row each, without empty columns.

    Args:
        points: the scores.
        title, caption: of the table.
        first: columns before those of the scores, each with one value for every point:
            `model=["pruned", "healed"]`.
    """
    numbers = {
        column: [getattr(point, _number(column), None) for point in points]
        for column in _WHERE_MEASURED
    }
    measured = [
        column for column, values in numbers.items() if any(value is not None for value in values)
    ]
    columns = (*map(Column, first), *_COLUMNS, *measured)
    rows = [
        {column.name: getattr(point, column.name, None) for column in columns}
        | {name: values[index] for name, values in first.items()}
        | {"removed": point.block.describe() if point.block else "nothing", "size": point.n}
        | intervals(point)
        for index, point in enumerate(points)
    ]
    return Table(title, columns, rows, caption)


@dataclass(frozen=True)
class QuestionScore:
    """Score of a question for a cut."""

    id: str
    """Identifier of the question in its source."""
    loglikelihoods: list[Figure]
    """Log-likelihood of each option in nats."""
    prediction: Count
    """Index of the highest log-likelihood."""
    gold: Count


@dataclass(frozen=True)
class Lines:
    """Reference levels of an accuracy."""

    chance: Share
    """Expected accuracy of guessing."""
    majority: Share
    """Accuracy of the most frequent right answer."""


@dataclass(frozen=True)
class Continuation:
    """Generated continuation of a prompt."""

    prompt: str
    text: str
    n_tokens: Count
    """Number of tokens without the end-of-text token."""
    repetition_rate: Share
    """Share of its runs of four tokens that repeat earlier ones, in [0, 1]."""
    distinct_rate: Share
    """Distinct tokens per token, in [0, 1]."""
    ended: bool
    """Whether the model ended the text itself."""


@dataclass(frozen=True)
class SumAnswer:
    """An arithmetic problem and the model's answer."""

    question: str
    answer: Whole
    text: str
    is_right: bool


@dataclass(frozen=True)
class GenerationCheck:
    """Text generated by one model, pruned or not."""

    continuations: list[Continuation]
    sums: list[SumAnswer]
    repetition_rate: Share
    """Mean repetition rate of the continuations."""
    distinct_rate: Share
    n_tokens: NonNegative
    acc: Share
    """Share of right sums."""
    acc_stderr: NonNegative

    @property
    def interval(self) -> tuple[float, float] | None:
        """The 95 % interval of the share of right sums (Wilson); None without sums."""
        return stats.share_interval(self.acc, len(self.sums)) if self.sums else None

    @property
    def repetition_interval(self) -> tuple[float, float] | None:
        """The 95 % interval of the mean share of repeated runs (Student's t over continuations);
        None for fewer than two.
        """
        return _within(continuation.repetition_rate for continuation in self.continuations)

    @property
    def distinct_interval(self) -> tuple[float, float] | None:
        """Return the 95 % interval of the mean share of distinct tokens."""
        return _within(continuation.distinct_rate for continuation in self.continuations)


def _within(shares: Iterable[float]) -> tuple[float, float] | None:
    """Return the interval of a mean of shares, limited to [0, 1]."""
    values = list(shares)
    ends = stats.mean_interval(*stats.mean_and_stderr(values), len(values)) if values else None
    return None if ends is None else (max(0.0, ends[0]), min(1.0, ends[1]))


def is_right_normalised(question: Question, answered: QuestionScore) -> bool:
    """Return whether the option with the highest log-likelihood per character is the right one
    (`acc_norm`).
    """
    # Characters of the option without the space that separates it from the context, as in
    # lm-evaluation-harness.
    lengths = [max(1, len(option) - 1) for option in question.options]
    scores = [
        value / length for value, length in zip(answered.loglikelihoods, lengths, strict=True)
    ]
    return scores.index(max(scores)) == question.gold


ACCURACY_FIELDS = ("acc", "acc_stderr", "acc_norm", "acc_norm_stderr", "acc_macro", "n_samples")
"""Fields of a point that answers determine."""
LOSS_FIELDS = ("loss", "loss_stderr", "loss_per_ln_v", "perplexity", "bits_per_byte", "n_texts")
"""Fields of a point that losses determine."""


def accuracy_values(
    questions: Mapping[str, Question], answers: Sequence[QuestionScore]
) -> dict[str, Any]:
    """Return the fields of a point that answers determine; empty without answers.

    Args:
        questions: the answered questions by their identifier.
        answers: the scores of some of them.
    """
    if not answers:
        return {}
    asked = [questions[answer.id] for answer in answers]
    right = [float(answer.prediction == answer.gold) for answer in answers]
    normalised = [
        float(is_right_normalised(question, answer))
        for question, answer in zip(asked, answers, strict=True)
    ]
    acc, acc_stderr = stats.mean_and_stderr(right)
    acc_norm, acc_norm_stderr = stats.mean_and_stderr(normalised)
    return {
        "acc": acc,
        "acc_stderr": acc_stderr,
        "acc_norm": acc_norm,
        "acc_norm_stderr": acc_norm_stderr,
        "acc_macro": benchmarks.macro_average(asked, right),
        "n_samples": len(answers),
    }


def loss_values(
    losses: Sequence[float], tokens: Sequence[int], vocab_size: int, n_bytes: int | None
) -> dict[str, Any]:
    """Return the fields of a point that losses determine; empty without losses.

    Args:
        losses: mean cross-entropy of each text, nats per token.
        tokens: predicted tokens of each text.
        vocab_size: size of the vocabulary.
        n_bytes: bytes of all texts; None or 0 if they are not known.
    """
    if not losses:
        return {}
    loss, stderr = stats.weighted_mean_and_stderr(losses, tokens)
    return {
        "loss": loss,
        "loss_stderr": stderr,
        "loss_per_ln_v": loss / math.log(vocab_size),
        # A larger loss would give infinity, which JSON does not allow.
        "perplexity": math.exp(min(loss, 700.0)),
        "bits_per_byte": loss * sum(tokens) / math.log(2) / n_bytes if n_bytes else None,
        "n_texts": len(losses),
    }


def writing_values(writing: GenerationCheck | None) -> dict[str, Any]:
    """Return the fields of a point that generated text determines; empty without any."""
    if writing is None:
        return {}
    return {
        "repetition_rate": writing.repetition_rate,
        "distinct_rate": writing.distinct_rate,
        "generated_tokens": writing.n_tokens,
        "sum_acc": writing.acc,
        "sum_acc_stderr": writing.acc_stderr,
        "n_sums": len(writing.sums),
    }
