"""The experiment behind a table of methods: curves and healing runs, each stored like a separate request."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from analysis.core import failures
from analysis.core.blocks import Removal, removal
from analysis.core.errors import BlockRangeError, LayerscopeError, SpecError, StorageError
from analysis.core.progress import Cancelled, OnProgress, Progress, doing, ignore
from analysis.data import corpora, questions
from analysis.data.spec import CorpusSpec
from analysis.experiments.accuracy import sweep
from analysis.experiments.accuracy.points import QuestionScore
from analysis.experiments.accuracy.sweep_spec import SweepResult, SweepSpec, sparing
from analysis.experiments.heal import healing, recipes
from analysis.experiments.heal.heal_spec import HealSpec
from analysis.experiments.heal.junction import Readings
from analysis.experiments.maps.distance_spec import DistanceSpec
from analysis.experiments.methods.spec import MethodCell, MethodsResult, MethodsSpec, method_name
from analysis.experiments.search.search_spec import check_protected
from analysis.models import load as models
from analysis.models.load import Loader
from analysis.models.spec import ModelFacts

PHASE = "measuring methods"


def resolve(spec: MethodsSpec) -> MethodsSpec:
    """The spec with concrete dtype, device and identities.

    Raises:
        SpecError: also where a healing run would train on the text that judges all.
    """
    benchmark, corpus = questions.resolve(spec.benchmark), corpora.resolve(spec.loss_corpus)
    for recipe in spec.recipes:
        learnt: CorpusSpec = recipes.get(recipe).corpus
        if learnt.subject == corpus.subject:
            raise SpecError(
                f"The recipe {recipe} trains on {corpora.title(learnt)}, the kind of text that judges all methods. Choose "
                f"another text for the loss, or leave the recipe out."
            )
    return replace(spec, model=models.resolve(spec.model), benchmark=benchmark, loss_corpus=corpus)


def run(spec: MethodsSpec, on_progress: OnProgress = ignore, *, load: Loader = models.FRESH) -> MethodsResult:
    """Measure every cell, or return the stored result; an interrupted table resumes.

    Curves and healing runs that are stored, alone or by another table, are reused. A cell that cannot be measured is recorded
    with the reason, and tried again when the table is requested again.

    Raises:
        LayerscopeError: one sentence on a problem with the model, questions, texts or disk that the user can fix.
    """
    resolved = resolve(spec)
    stored = MethodsResult.load(resolved, on_progress)
    if stored is not None and stored.complete and not any(cell.error for cell in stored.cells):
        return stored
    found = _Found(resolved, on_progress)
    for strategy in resolved.strategies:
        curve = _curve(resolved, strategy, found, load)
        for n in resolved.ns:
            readings = Readings()  # of one cut, which all of its heals are fitted to
            for recipe in ("", *resolved.recipes):
                found.add(_measured(resolved, strategy, recipe, n, curve, found, load, readings))
                if found.facts is not None:
                    found.result(complete=False).save()
    if found.facts is None:
        raise LayerscopeError(f"No method of this table could be measured. {found.cells[0].method}: {found.cells[0].error}")
    finished = found.result(complete=True)
    finished.save()
    return finished


@dataclass
class _Scores:
    """Scores by which cells are compared."""

    cell: MethodCell
    losses: list[float] = field(default_factory=list)
    right: list[bool] = field(default_factory=list)


def _curve(spec: MethodsSpec, strategy: str, found: "_Found", load: Loader) -> SweepResult | str:
    """The curve of a strategy up to the largest size, or why there is none, in a sentence."""
    asked = SweepSpec(
        model=spec.model, benchmark=spec.benchmark, loss_corpus=spec.loss_corpus, distances=DistanceSpec(spec.model),
        strategy=strategy, max_n=max(spec.ns),
    )  # fmt: skip
    found.name = strategy
    try:
        curve = sweep.run(sparing(asked, spec.protect), found.told, load=load)
    except (Cancelled, StorageError):
        raise
    except BlockRangeError:
        # More layers than the model has are nobody's to measure.
        raise
    except Exception as error:  # any error: other strategies may still succeed
        return failures.in_a_sentence(error, doing=f"measuring the curve of {strategy}")
    check_protected(spec.protect, curve.model.n_layers)
    found.of_unpruned(curve)
    return curve


def _measured(
    spec: MethodsSpec,
    strategy: str,
    recipe: str,
    n: int,
    curve: SweepResult | str,
    found: "_Found",
    load: Loader,
    readings: Readings,
) -> _Scores:
    if isinstance(curve, str):
        return _Scores(MethodCell(strategy, recipe, n, "", 0.0, curve))
    place = next((place for place, point in enumerate(curve.points) if point.n == n), None)
    if place is None:
        return _Scores(MethodCell(strategy, recipe, n, "", 0.0, f"{strategy} names no {n} layers to remove."))
    cut = curve.points[place].block
    assert cut is not None, "a size of a table is at least 1"
    if kept := sorted(set(spec.protect).intersection(cut.touched)):
        why = (
            f"{strategy} removes {removal(kept).brief()}, which is protected. Unprotect it, or choose a strategy that searches."
        )
        return _Scores(MethodCell(strategy, recipe, n, cut.describe(), 0.0, why))
    if not recipe:
        cell = MethodCell(strategy, "", n, cut.describe(), 0.0)
        return _Scores(cell, curve.text_losses[place], _right(curve.questions[place], found.order))
    found.name = f"{method_name(strategy, recipe)}, n = {n}"
    try:
        healed = healing.run(_heal(spec, recipe, cut), found.told, load=load, readings=readings, is_compared=True)
    except (Cancelled, StorageError):
        raise
    except Exception as error:
        why = failures.in_a_sentence(error, doing=f"healing {cut.brief()} by {recipe}")
        return _Scores(MethodCell(strategy, recipe, n, cut.describe(), 0.0, why))
    if not healed.complete or "healed" not in healed.text_losses:
        why = "The healing run was stopped before its scores were measured. Measure the table again."
        return _Scores(MethodCell(strategy, recipe, n, cut.describe(), healed.wall_s, why))
    cell = MethodCell(strategy, recipe, n, cut.describe(), healed.wall_s)
    return _Scores(cell, healed.text_losses["healed"], _right(healed.questions["healed"], found.order))


def _heal(spec: MethodsSpec, recipe: str, cut: Removal) -> HealSpec:
    """Return the healing run for pruned layers, in the precision of the curves and judged on the same questions and texts."""
    own: dict[str, Any] = {"minutes": spec.minutes} if recipes.get(recipe).spec().trains else {}
    return recipes.heal_spec(
        recipe, model=spec.model, block=cut, quantization=spec.model.quantization, validation=spec.loss_corpus,
        benchmark=spec.benchmark, generation=None, **own,
    )  # fmt: skip


def _right(answers: Sequence[QuestionScore], order: Sequence[str]) -> list[bool]:
    by_id = {answer.id: answer.prediction == answer.gold for answer in answers}
    return [by_id[one] for one in order]


class _Found:
    """The cells until now, and how far that is."""

    def __init__(self, spec: MethodsSpec, on_progress: OnProgress) -> None:
        self._spec, self._on_progress = spec, on_progress
        self._scores: list[_Scores] = []
        self._curve: SweepResult | None = None
        self.name = ""
        """Name of the current measurement."""

    @property
    def cells(self) -> list[MethodCell]:
        """Those that are done."""
        return [one.cell for one in self._scores]

    @property
    def facts(self) -> ModelFacts | None:
        """Of the model; None before a curve is there."""
        return None if self._curve is None else self._curve.model

    @property
    def order(self) -> list[str]:
        """Questions by id, in the order in which all are compared."""
        return [] if self._curve is None else [answer.id for answer in self._curve.questions[0]]

    def of_unpruned(self, curve: SweepResult) -> None:
        """Take the unpruned model's scores from a curve: they are the same in all."""
        self._curve = self._curve or curve

    def add(self, scores: _Scores) -> None:
        """One cell more is done."""
        self._scores.append(scores)
        cell = scores.cell
        self.told(Progress("", message=f"{cell.method}, n = {cell.n}: {cell.error}" if cell.error else ""))

    def told(self, inner: Progress) -> None:
        """Report the progress of a curve or a healing run as progress of the table."""
        values = {"result_key": self._spec.fingerprint(), "doing": doing(self.name, inner)}
        n_cells = len(self._spec.methods) * len(self._spec.ns)
        self._on_progress(Progress(PHASE, len(self._scores), n_cells, inner.message, values))

    def result(self, *, complete: bool) -> MethodsResult:
        """The table until now."""
        curve = self._curve
        assert curve is not None, "nothing was measured"
        rows = self._spec.methods
        scores = sorted(self._scores, key=lambda one: rows.index((one.cell.strategy, one.cell.recipe)))
        cells = [one.cell for one in scores]
        return MethodsResult(
            spec=self._spec,
            versions=curve.versions,
            wall_s=curve.wall_s + sum(cell.wall_s for cell in cells),
            n_tokens=curve.n_tokens,
            complete=complete,
            model=curve.model,
            cells=cells,
            text_tokens=curve.text_tokens,
            losses=[curve.text_losses[0], *(one.losses for one in scores)],
            right=[_right(curve.questions[0], self.order), *(one.right for one in scores)],
        )
