"""Answers that stored measurements of more contain: an evaluation inside a curve, fewer questions
inside more.

The scores are read from the stored result, so that the answer has its numbers. Questions and texts
are drawn in a seeded order, and a smaller set is part of a larger one.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from analysis.core.blocks import Removal
from analysis.core.record import Result, Spec
from analysis.data import questions as benchmarks
from analysis.data.spec import BenchmarkSpec, CorpusSpec
from analysis.data.tasks import Question
from analysis.experiments.accuracy import points
from analysis.experiments.accuracy.points import GenerationCheck, Lines, Point, QuestionScore
from analysis.experiments.accuracy.sweep_spec import (
    EvaluateResult,
    EvaluateSpec,
    SweepResult,
    SweepSpec,
)
from analysis.experiments.heal.heal_result import HealResult
from analysis.models.source.adapter_config import result_name
from analysis.results.score import stored_scores
from analysis.results.score.score import ACCURACY, LOSS, Scores


@dataclass(frozen=True)
class _Wanted:
    """The questions, texts and generated text that a request asks for."""

    benchmark: BenchmarkSpec | None
    questions: Sequence[Question]
    """The questions of `benchmark`."""
    corpus: CorpusSpec | None
    generates: bool

    @classmethod
    def by(cls, request: "EvaluateSpec | SweepSpec") -> "_Wanted":
        """Return what a resolved request asks for; its questions are read."""
        benchmark = request.benchmark
        questions = [] if benchmark is None else benchmarks.load(benchmark)
        return cls(benchmark, questions, request.loss_corpus, request.generation is not None)

    @property
    def lines(self) -> Lines | None:
        """Reference levels of the questions; None without questions."""
        if not self.questions:
            return None
        return Lines(benchmarks.chance(self.questions), benchmarks.majority(self.questions))


@dataclass(frozen=True)
class _StoredScores:
    """The stored scores of one model."""

    point: Point
    scores: Scores
    """The same scores with what is kept of single questions and texts."""
    writing: GenerationCheck | None

    def answers_to(self, questions: Sequence[Question]) -> list[QuestionScore]:
        """Return the kept answers to questions, in their order."""
        if ACCURACY not in self.scores:
            return []
        by_id = {answer.id: answer for answer in self.scores[ACCURACY].answers}
        return [by_id[question.id] for question in questions if question.id in by_id]

    def losses_on(self, n_texts: int) -> tuple[list[float], list[int]]:
        """Return the kept losses of the first texts, and their numbers of tokens."""
        if LOSS not in self.scores:
            return [], []
        loss = self.scores[LOSS]
        return list(loss.losses[:n_texts]), list(loss.tokens[:n_texts])


@dataclass(frozen=True)
class _Scores:
    """The wanted scores of one model."""

    point: Point
    answers: list[QuestionScore]
    losses: list[float]
    tokens: list[int]
    writing: GenerationCheck | None


def has_same_condition(request: "EvaluateSpec | SweepSpec", held: Result) -> bool:
    """Return whether a stored result has all questions and texts that a request asks for, in its
    precision.

    Args:
        request: resolved for the model of the result.
        held: a stored result.
    """
    spec = held.spec
    model = request.model
    same_model = (
        model.identity == spec.model.identity
        and model.device == spec.model.device
        and model.precision == spec.model.precision
    )
    has_questions = request.benchmark is None or _has_questions(spec.benchmark, request.benchmark)
    has_texts = request.loss_corpus is None or _has_texts(_texts_of(held), request.loss_corpus)
    writes = request.generation in (None, getattr(spec, "generation", None))
    return held.complete and same_model and has_questions and has_texts and writes


def _has_questions(held: BenchmarkSpec | None, wanted: BenchmarkSpec) -> bool:
    if held is None or replace(held, limit=None) != replace(wanted, limit=None):
        return False
    return held.limit is None or (wanted.limit is not None and wanted.limit <= held.limit)


def _has_texts(held: CorpusSpec | None, wanted: CorpusSpec) -> bool:
    if held is None or replace(held, n_texts=1) != replace(wanted, n_texts=1):
        return False
    return wanted.n_texts <= held.n_texts


def _texts_of(held: Result) -> CorpusSpec | None:
    corpus: CorpusSpec | None = getattr(held.spec, "loss_corpus", None)
    if isinstance(held, HealResult):
        corpus = held.spec.validation
    return corpus


def answer(request: Spec, held: Result) -> Result | None:
    """Return the answer to a request that a stored result contains; None if it contains none.

    Args:
        request: an evaluation or a curve, resolved for the model of the result.
        held: a stored result.
    """
    if not isinstance(request, EvaluateSpec | SweepSpec) or not has_same_condition(request, held):
        return None
    if isinstance(request, EvaluateSpec):
        return _evaluation(request, held)
    if isinstance(held, SweepResult) and _is_same_curve(request, held.spec):
        return _curve(request, held)
    return None


def _evaluation(request: EvaluateSpec, held: Any) -> EvaluateResult | None:
    wanted = _Wanted.by(request)
    for model in _models_in(held, request):
        scores = _scores(model, request.block, wanted, held)
        if scores is None:
            continue
        return EvaluateResult(
            spec=request,
            versions=held.versions,
            wall_s=0.0,
            n_tokens=0,
            complete=True,
            model=held.model,
            n_layers=held.model.n_layers,
            point=scores.point,
            lines=wanted.lines,
            n_truncated=_n_truncated(held, wanted),
            questions=scores.answers,
            skipped_rows=getattr(held, "skipped_rows", []),
            packing=getattr(held, "packing", ""),
            text_losses=scores.losses,
            text_tokens=scores.tokens,
            writing=scores.writing,
        )
    return None


def _models_in(held: Any, request: EvaluateSpec) -> list[_StoredScores]:
    """Return the scores of the models in a result that may be the requested one."""
    writings: list[GenerationCheck | None] = []
    repaired = False
    if isinstance(held, SweepResult):
        writings = held.writings
    elif isinstance(held, EvaluateResult):
        writings = [held.writing]
        repaired = held.spec.adapter == request.adapter and held.spec.as_file == request.as_file
    elif isinstance(held, HealResult):
        writings = [held.writings.get(name) for name in held.models]
        repaired = held.adapter is not None and result_name(held.adapter) == request.adapter
    models = []
    for model in _scores_in(held, writings):
        is_repaired = any(score.repair for score in model.scores.values())
        if is_repaired == (request.adapter is not None) and (repaired or not is_repaired):
            models.append(model)
    return models


def _scores_in(held: Any, writings: Sequence[GenerationCheck | None]) -> list[_StoredScores]:
    """Return the scores of all models in a result."""
    of_points = stored_scores.points_of(held)
    wrote = writings or [None] * len(of_points)
    parts = zip(of_points, stored_scores.of_all(held), wrote, strict=True)
    return [_StoredScores(*each) for each in parts]


def _is_same_curve(request: SweepSpec, held: SweepSpec) -> bool:
    """Return whether two curves remove the same layers at each n that both have."""
    conditions = {
        name: getattr(request, name)
        for name in ("model", "benchmark", "loss_corpus", "generation", "max_n")
    }
    return replace(held.request, **conditions) == replace(request.request, **conditions)


def _curve(request: SweepSpec, held: SweepResult) -> SweepResult | None:
    n_points = len(held.points)
    if not request.blocks:
        max_n = held.n_layers // 2 if request.max_n is None else request.max_n
        n_points = max_n + 1
    if n_points > len(held.points):
        return None
    wanted = _Wanted.by(request)
    of_points = []
    for model in _scores_in(held, held.writings)[:n_points]:
        scores = _scores(model, model.point.block, wanted, held)
        if scores is None:
            return None
        of_points.append(scores)
    return replace(
        held,
        spec=request,
        wall_s=0.0,
        n_tokens=0,
        points=[scores.point for scores in of_points],
        lines=wanted.lines,
        n_questions=len(wanted.questions),
        n_truncated=_n_truncated(held, wanted),
        questions=[scores.answers for scores in of_points],
        text_losses=[scores.losses for scores in of_points],
        text_tokens=of_points[0].tokens,
        writings=[scores.writing for scores in of_points] if wanted.generates else [],
    )


def _n_truncated(held: Result, wanted: _Wanted) -> int | None:
    """Return the number of truncated prompts among the wanted questions; None if it is unknown."""
    stored: int | None = getattr(held, "n_truncated", None)
    if not wanted.questions or stored == 0:
        return 0
    n_asked = max(point.n_samples for point in stored_scores.points_of(held))
    return stored if n_asked == len(wanted.questions) else None


def _scores(
    model: _StoredScores, removed: Removal | None, wanted: _Wanted, held: Any
) -> _Scores | None:
    """Return the wanted part of the scores of one model; None if it is not all there, or of other
    removed layers.
    """
    point = model.point
    if point.block != removed or (wanted.generates and model.writing is None):
        return None
    answers = model.answers_to(wanted.questions)
    if len(answers) == len(wanted.questions):
        accuracy = points.accuracy_values({each.id: each for each in wanted.questions}, answers)
    elif point.n_samples == len(wanted.questions):  # the answers are not kept
        answers = []
        accuracy = _values_of(point, points.ACCURACY_FIELDS)
    else:
        return None
    losses: list[float] = []
    tokens: list[int] = []
    loss: dict[str, Any] = {}
    if wanted.corpus is not None:
        losses, tokens = model.losses_on(wanted.corpus.n_texts)
        n_texts = min(wanted.corpus.n_texts, point.n_texts)
        if n_texts == point.n_texts and point.loss is not None:
            loss = _values_of(point, points.LOSS_FIELDS)
        elif losses:
            # The bytes of single texts are not stored, so there are no bits per byte.
            loss = points.loss_values(losses, tokens, held.model.vocab_size, None)
        else:
            return None
    writing = model.writing if wanted.generates else None
    written = points.writing_values(writing)
    answer = Point(**points.place(removed), **accuracy, **loss, **written)
    return _Scores(answer, answers, losses, tokens, writing)


def _values_of(point: Point, names: Sequence[str]) -> dict[str, Any]:
    return {name: getattr(point, name) for name in names}
