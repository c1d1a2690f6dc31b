"""The experiment that measures a table of methods: curves and healing runs, each stored like a
single request.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from analysis.core.blocks import Removal, removal
from analysis.core.errors import BlockRangeError, LayerscopeError, SpecError
from analysis.core.progress import OnProgress, ignore
from analysis.data import corpora, questions
from analysis.data.spec import CorpusSpec
from analysis.experiments.accuracy.points import Point, QuestionScore
from analysis.experiments.accuracy.sweep_spec import SweepResult, SweepSpec, sparing
from analysis.experiments.batch.methods_spec import (
    MethodCell,
    MethodKey,
    MethodsResult,
    MethodsSpec,
)
from analysis.experiments.batch.run import FATAL, Batch, Once
from analysis.experiments.heal import healing, recipes
from analysis.experiments.heal.heal_spec import HealSpec
from analysis.experiments.maps.distance_spec import DistanceSpec
from analysis.models.loading import load as models
from analysis.models.loading.load import Loader
from analysis.models.source.resolving import resolve_model

PHASE = "measuring methods"


def resolve(spec: MethodsSpec) -> MethodsSpec:
    """Return the request with concrete dtype, device and identities.

    Raises:
        SpecError: If a healing run would train on the kind of text that evaluates all methods.
    """
    benchmark = questions.resolve(spec.benchmark)
    corpus = corpora.resolve(spec.loss_corpus)
    for recipe in spec.recipes:
        trained: CorpusSpec = recipes.get(recipe).corpus
        if trained.subject == corpus.subject:
            raise SpecError(
                f"The recipe {recipe} trains on {corpora.title(trained)}, the kind of text that"
                " judges all methods. Choose another text for the loss, or leave the recipe out."
            )
    return replace(spec, model=resolve_model(spec.model), benchmark=benchmark, loss_corpus=corpus)


def run(
    spec: MethodsSpec, on_progress: OnProgress = ignore, *, load: Loader = models.FRESH
) -> MethodsResult:
    """Measure every cell, or return the stored result; an interrupted table resumes.

    Stored curves and healing runs are reused. A cell that fails is recorded with the reason and
    retried when the table is requested again.

    Raises:
        LayerscopeError: For problems with the model, questions, texts or the disk, in one sentence.
    """
    resolved = resolve(spec)
    stored = MethodsResult.load(resolved, on_progress)
    if stored is not None and stored.complete and not stored.failures:
        return stored
    recipe_names = ("", *resolved.recipes)
    keys = [
        (strategy, recipe, n)
        for strategy in resolved.strategies
        for n in resolved.ns
        for recipe in recipe_names
    ]
    return _Methods(resolved, keys, load).run(on_progress)


_Row = tuple[MethodCell, list[float], list[bool]]
"""A cell, its loss per text, and whether each answer is right."""


class _Methods(Batch[MethodKey, _Row, MethodsResult]):
    """Cells of a table: a curve per strategy, and healing runs of its blocks."""

    phase = PHASE
    nouns = "cell", "table"
    fatal = (*FATAL, BlockRangeError)
    """Errors that end the table. Too large a number of layers fails for every method."""

    def __init__(self, spec: MethodsSpec, keys: Sequence[MethodKey], load: Loader) -> None:
        super().__init__(spec, keys, load)
        self._curves = {strategy: Once[SweepResult]() for strategy in spec.strategies}

    def name(self, key: MethodKey) -> str:
        return MethodCell(*key, "", 0.0).name

    def measure(self, key: MethodKey, on_progress: OnProgress) -> _Row:
        strategy, recipe, n = key
        curve = self._curves[strategy].get(
            lambda: self._curve(strategy, on_progress), f"measuring the curve of {strategy}"
        )
        point = self._point(strategy, n)
        if point is None:
            raise LayerscopeError(f"{strategy} names no {n} layers to remove.")
        cut = point.block
        assert cut is not None, "a size of a table is at least 1"
        if protected := sorted(set(self.spec.protect).intersection(cut.touched)):
            raise LayerscopeError(
                f"{strategy} removes {removal(protected).brief()}, which is protected. Unprotect"
                " it, or choose a strategy that searches."
            )
        if not recipe:
            index = curve.points.index(point)
            return self._cell(key), curve.text_losses[index], self._right(curve.questions[index])
        healed = healing.run(_heal(self.spec, recipe, cut), on_progress, load=self.model)
        cell = replace(self._cell(key), wall_s=healed.wall_s)
        if not healed.complete or "healed" not in healed.text_losses:
            reason = (
                "The healing run was stopped before its scores were measured. Measure the table"
                " again."
            )
            return replace(cell, error=reason), [], []
        return cell, healed.text_losses["healed"], self._right(healed.questions["healed"])

    def failed(self, key: MethodKey, reason: str) -> _Row:
        return replace(self._cell(key), error=reason), [], []

    def result(self, rows: Mapping[MethodKey, _Row], *, complete: bool) -> MethodsResult | None:
        curve = self._unpruned()
        if curve is None:
            return None
        ordered = [rows[key] for key in self.spec.cells() if key in rows]
        return MethodsResult(
            spec=self.spec,
            versions=curve.versions,
            wall_s=curve.wall_s + sum(cell.wall_s for cell, _, _ in ordered),
            n_tokens=curve.n_tokens,
            complete=complete,
            model=curve.model,
            cells=[cell for cell, _, _ in ordered],
            text_tokens=curve.text_tokens,
            losses=[curve.text_losses[0], *(losses for _, losses, _ in ordered)],
            right=[self._right(curve.questions[0]), *(right for _, _, right in ordered)],
        )

    def _curve(self, strategy: str, on_progress: OnProgress) -> SweepResult:
        """Measure the curve of a strategy up to the largest size."""
        spec = self.spec
        sweep_spec = SweepSpec(
            model=spec.model,
            benchmark=spec.benchmark,
            loss_corpus=spec.loss_corpus,
            distances=DistanceSpec(spec.model),
            strategy=strategy,
            max_n=max(spec.ns),
        )
        curve = self.model.curve(sparing(sweep_spec, spec.protect), on_progress)
        spec.check_depth(curve.model.n_layers)
        return curve

    def _unpruned(self) -> SweepResult | None:
        """Return the first measured curve: the scores of the unpruned model are the same in all."""
        return next(
            (curve.value for curve in self._curves.values() if curve.value is not None), None
        )

    def _point(self, strategy: str, n: int) -> Point | None:
        """Return the point of a strategy's curve at a size; None if there is none."""
        curve = self._curves[strategy].value
        return (
            next((point for point in curve.points if point.n == n), None)
            if curve is not None
            else None
        )

    def _cell(self, key: MethodKey) -> MethodCell:
        strategy, recipe, n = key
        point = self._point(strategy, n)
        if point is None or point.block is None:
            return MethodCell(strategy, recipe, n, "", 0.0)
        return MethodCell(strategy, recipe, n, point.block.describe(), 0.0, start=point.block.start)

    def _right(self, answers: Sequence[QuestionScore]) -> list[bool]:
        """Return whether each answer is right, in the order of the unpruned model's answers."""
        curve = self._unpruned()
        assert curve is not None, "no answers without a curve"
        by_id = {answer.id: answer.prediction == answer.gold for answer in answers}
        return [by_id[answer.id] for answer in curve.questions[0]]


def _heal(spec: MethodsSpec, recipe: str, cut: Removal) -> HealSpec:
    """Return the request for a healing run with the precision, questions and texts of the
    curves.
    """
    overrides: dict[str, Any] = (
        {"minutes": spec.minutes} if recipes.get(recipe).spec().trains else {}
    )
    return recipes.heal_spec(
        recipe,
        model=spec.model,
        block=cut,
        quantization=spec.model.quantization,
        validation=spec.loss_corpus,
        benchmark=spec.benchmark,
        generation=None,
        **overrides,
    )
