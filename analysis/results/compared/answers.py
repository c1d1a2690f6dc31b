"""Per-question results of removed layers: each question's outcome, and its options' log-likelihoods over the whole curve."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from analysis.core.blocks import Removal
from analysis.core.table import Column, Table
from analysis.data.tasks import Question
from analysis.experiments.accuracy.points import QuestionScore
from analysis.experiments.accuracy.sweep_spec import SweepResult
from analysis.results.stored import reading
from analysis.results.stored.reading import ACCURACY, Condition

LOST, GAINED, ALWAYS_RIGHT, RIGHT, WRONG, ALWAYS_WRONG = (
    "lost",
    "gained",
    "right at every n",
    "right before and after",
    "wrong before and after",
    "wrong at every n",
)
OUTCOMES = (LOST, GAINED, RIGHT, WRONG, ALWAYS_RIGHT, ALWAYS_WRONG)
"""Possible outcomes of a question; each question has one of them."""


@dataclass(frozen=True)
class QuestionOutcome:
    """One question over a curve."""

    id: str
    """Identifier in the source."""
    outcome: str
    """One of `OUTCOMES`."""
    gold: int
    """Index of the right option."""
    before: int
    """Index of the option that the unpruned model gives."""
    after: int
    """Index of the option that the pruned model gives."""
    right: list[float]
    """Log-likelihood of the right option by n, nats, as long as `QuestionOutcomes.ns`."""
    rival: list[float]
    """Log-likelihood of the most likely wrong option, which may be another one at each n."""

    @property
    def margins(self) -> list[float]:
        """Return the lead of the right option by n, nats; below 0 the answer is wrong."""
        return [right - rival for right, rival in zip(self.right, self.rival, strict=True)]


@dataclass(frozen=True)
class QuestionOutcomes:
    """All questions of a curve at one n."""

    n: int
    ns: list[int]
    """The curve's numbers of removed layers, ascending."""
    cases: list[QuestionOutcome]
    """Cases in the order of the questions."""

    @property
    def counts(self) -> dict[str, int]:
        """Return the number of questions with each outcome, in the order of `OUTCOMES`."""
        counts = Counter(case.outcome for case in self.cases)
        return {outcome: counts[outcome] for outcome in OUTCOMES}

    def of(self, outcomes: Sequence[str]) -> list[QuestionOutcome]:
        """Return the cases with one of these outcomes, those that moved most first."""
        index = self.ns.index(self.n)

        def moved(case: QuestionOutcome) -> float:
            return abs(case.margins[index] - case.margins[0])

        return sorted((case for case in self.cases if case.outcome in outcomes), key=moved, reverse=True)

    def table(
        self, cases: Sequence[QuestionOutcome], questions: Mapping[str, Question], ns: Sequence[int] | None = None
    ) -> Table:
        """Return cases as rows, with the words of the questions where these are known.

        Args:
            cases: the rows to show.
            questions: by identifier.
            ns: the numbers of removed layers, of `ns`, that log-likelihoods are listed at; None for all.
        """
        columns = (
            Column("outcome"),
            Column("question"),
            Column("right option"),
            Column("unpruned answer"),
            Column(f"without {self.n} layers"),
            Column("margin at n = 0", unit="nats", format="+.2f"),
            Column(f"margin at n = {self.n}", unit="nats", format="+.2f"),
            Column("right"),
            Column("most likely wrong"),
            Column("id"),
        )
        own_index = self.ns.index(self.n)
        listed = [self.ns.index(n) for n in (self.ns if ns is None else ns)]
        rows = []
        for case in cases:
            question = questions.get(case.id)
            values = (
                case.outcome,
                _question_text(question),
                *(_option(question, index) for index in (case.gold, case.before, case.after)),
                case.margins[0],
                case.margins[own_index],
                *([likely[listed_index] for listed_index in listed] for likely in (case.right, case.rival)),
                case.id,
            )
            rows.append(dict(zip((column.name for column in columns), values, strict=True)))
        return Table(f"Per-question results at n = {self.n}", columns, rows)


def of_curve(sweep: SweepResult, n: int, removed: Removal | None = None) -> QuestionOutcomes | None:
    """Return the outcome of every question at n; None if the answers at 0 or n were not kept.

    Args:
        sweep: a curve. Of several blocks of one size, as chosen by hand, the first counts, unless another is requested.
        n: removed layers, above 0.
        removed: the n removed layers.
    """
    answers: dict[int, Sequence[QuestionScore]] = {}
    for point, scores in zip(sweep.points, sweep.questions, strict=False):
        if scores and (point.n not in answers or (point.n == n and point.block == removed)):
            answers[point.n] = scores
    return _outcomes(answers, n) if n > 0 and 0 in answers and n in answers else None


def of_two(before: Sequence[QuestionScore], after: Sequence[QuestionScore], n: int) -> QuestionOutcomes | None:
    """Return the outcome of every question of one pruned model beside the unpruned one; None if no question is shared.

    Args:
        before: answers of the unpruned model.
        after: answers of the pruned model.
        n: removed layers, above 0.
    """
    return _outcomes({0: before, n: after}, n)


def _outcomes(answers: Mapping[int, Sequence[QuestionScore]], n: int) -> QuestionOutcomes | None:
    ns, by_n = sorted(answers), {size: {score.id: score for score in scores} for size, scores in answers.items()}
    shared = [id for id in by_n[0] if all(id in by_n[size] for size in ns)]
    cases = [_case(id, [by_n[size][id] for size in ns], ns.index(n)) for id in shared]
    return QuestionOutcomes(n, ns, cases) if cases else None


def stored_answers(results: Sequence[Any], removed: Removal | None, condition: Condition) -> Sequence[QuestionScore]:
    """The stored answers of exactly one block under a condition, from the first result that kept them; else empty.

    Args:
        results: curves, evaluations and heals of one model, strongest evidence first; healed models are ignored.
        removed: the removed layers; None for the unpruned model.
        condition: the dataset, the number of questions and the precision.
    """
    scored = (readings[ACCURACY] for result in results for readings in reading.of_all(result) if ACCURACY in readings)
    matching = (
        candidate
        for candidate in scored
        if candidate.answers
        and candidate.answers[0].id
        and not candidate.repair
        and (candidate.cut, candidate.condition) == (removed, condition)
    )
    return next((candidate.answers for candidate in matching), ())


def _case(id: str, by_n: Sequence[QuestionScore], pruned_index: int) -> QuestionOutcome:
    """Return the outcome of a question; without a curve there are two models and no other n."""
    gold = by_n[0].gold
    hits = [score.prediction == gold for score in by_n]
    rivals = [max(value for index, value in enumerate(score.loglikelihoods) if index != gold) for score in by_n]
    rights = [score.loglikelihoods[gold] for score in by_n]
    if len(by_n) > 2 and len(set(hits)) == 1:
        outcome = ALWAYS_RIGHT if hits[0] else ALWAYS_WRONG
    else:
        outcome = {(True, False): LOST, (False, True): GAINED, (True, True): RIGHT, (False, False): WRONG}[
            hits[0], hits[pruned_index]
        ]
    return QuestionOutcome(id, outcome, gold, by_n[0].prediction, by_n[pruned_index].prediction, rights, rivals)


def _question_text(question: Question | None) -> str:
    """The question without the worked examples before it."""
    return "" if question is None else question.context.rpartition("\n\n")[2].strip()


def _option(question: Question | None, index: int) -> str:
    return f"option {index + 1}" if question is None else question.options[index].strip()
