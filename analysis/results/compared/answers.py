"""Per-question results of removed layers: the answers of the unpruned and of the pruned model, and
their margins.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from analysis.core.blocks import Removal
from analysis.core.table import Column, Table
from analysis.data.tasks import Question
from analysis.experiments.accuracy.points import QuestionScore
from analysis.results.score import stored_scores
from analysis.results.score.condition import Condition
from analysis.results.score.score import ACCURACY

LOST = "lost"
GAINED = "gained"
RIGHT = "right before and after"
WRONG = "wrong before and after"
OUTCOMES = (LOST, GAINED, RIGHT, WRONG)
"""Possible outcomes of a question; each question has one of them."""
_BY_HITS = {(True, False): LOST, (False, True): GAINED, (True, True): RIGHT, (False, False): WRONG}
_COLUMNS = (
    Column("outcome"),
    Column("question"),
    Column("right option"),
    Column("unpruned answer"),
    Column("pruned answer"),
    Column("unpruned margin", unit="nats", format="+.2f"),
    Column("pruned margin", unit="nats", format="+.2f"),
    Column("id"),
)


@dataclass(frozen=True)
class QuestionOutcome:
    """The answers of the unpruned and of the pruned model to one question."""

    before: QuestionScore
    after: QuestionScore

    @property
    def outcome(self) -> str:
        """Return its outcome, one of `OUTCOMES`."""
        return _BY_HITS[
            self.before.prediction == self.before.gold, self.after.prediction == self.after.gold
        ]

    @property
    def margins(self) -> tuple[float, float]:
        """Return the lead of the right option over the most likely wrong one before and after,
        nats; below 0 if wrong.
        """
        return _margin(self.before), _margin(self.after)


def outcomes(
    before: Sequence[QuestionScore], after: Sequence[QuestionScore]
) -> list[QuestionOutcome]:
    """Return the outcome of every question that both models answered, sorted by the change of the
    margin.

    Args:
        before: answers of the unpruned model.
        after: answers of the pruned model.
    """
    pruned = {score.id: score for score in after}
    cases = [QuestionOutcome(score, pruned[score.id]) for score in before if score.id in pruned]
    return sorted(cases, key=lambda case: abs(case.margins[1] - case.margins[0]), reverse=True)


def table(cases: Sequence[QuestionOutcome], questions: Mapping[str, Question]) -> Table:
    """Return cases as rows, with the words of the questions that are known.

    Args:
        cases: the rows.
        questions: by identifier.
    """
    rows = []
    for case in cases:
        question = questions.get(case.before.id)
        picks = (case.before.gold, case.before.prediction, case.after.prediction)
        options = (_option(question, index) for index in picks)
        text = (
            "" if question is None else question.context.rpartition("\n\n")[2].strip()
        )  # without worked examples
        values = (case.outcome, text, *options, *case.margins, case.before.id)
        rows.append(dict(zip((column.name for column in _COLUMNS), values, strict=True)))
    return Table("Per-question results", _COLUMNS, rows)


def stored_answers(
    results: Sequence[Any], removed: Removal | None, condition: Condition
) -> Sequence[QuestionScore]:
    """Return the stored answers of a block under a condition, from the first result that kept them;
    else empty.

    Args:
        results: curves, evaluations and heals of one model, strongest evidence first; healed models
            are ignored.
        removed: the removed layers; None for the unpruned model.
        condition: the dataset, the number of questions and the precision.
    """
    for result in results:
        for scores in stored_scores.of_all(result):
            score = scores.get(ACCURACY)
            if (
                score is None
                or score.repair
                or (score.cut, score.condition) != (removed, condition)
            ):
                continue
            if score.answers and score.answers[0].id:
                return score.answers
    return ()


def _margin(score: QuestionScore) -> float:
    rival = max(value for index, value in enumerate(score.loglikelihoods) if index != score.gold)
    return score.loglikelihoods[score.gold] - rival


def _option(question: Question | None, index: int) -> str:
    return f"option {index + 1}" if question is None else question.options[index].strip()
