"""The experiment behind a grid: model by model and curve by curve, each stored as any other curve."""

import gc
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from analysis.core import failures
from analysis.core.errors import LayerscopeError, StorageError
from analysis.core.progress import Cancelled, OnProgress, Progress, doing, ignore
from analysis.data import corpora, questions
from analysis.experiments.accuracy import scores, sweep
from analysis.experiments.accuracy.sweep_spec import SweepResult, SweepSpec
from analysis.experiments.grid import cells
from analysis.experiments.grid.cells import Cell
from analysis.experiments.grid.spec import GridResult, GridSpec
from analysis.models import load as models
from analysis.models import machine
from analysis.models.load import LoadedModel, Loader
from analysis.models.spec import ModelSpec

PHASE = "measuring the curves of the grid"


def resolve(spec: GridSpec, on_progress: OnProgress = ignore) -> GridSpec:
    """Return the spec with concrete dtypes, devices and identities, without duplicates.

    A model that does not exist stays in the spec, and its cells report the error.

    Raises:
        BenchmarkError, CorpusError: when questions or texts cannot be used, for they are those of all models.
    """
    # First: a file that cannot be read is refused before a model is looked for.
    benchmarks = tuple(dict.fromkeys(questions.resolve(one) for one in spec.benchmarks))
    loss_corpora, map_corpora = (
        tuple(dict.fromkeys(map(corpora.resolve, several))) for several in (spec.loss_corpora, spec.map_corpora)
    )
    found = []
    for place, model in enumerate(spec.models):
        on_progress(Progress("looking for the models", place, len(spec.models)))
        found.append(_resolved(model))
    return replace(
        spec,
        models=tuple(dict.fromkeys(found)),
        benchmarks=benchmarks,
        loss_corpora=loss_corpora,
        map_corpora=map_corpora,
    )


def _resolved(model: ModelSpec) -> ModelSpec:
    try:
        return models.resolve(model)
    except StorageError:
        raise
    except LayerscopeError:
        return model


def run(spec: GridSpec, on_progress: OnProgress = ignore, *, load: Loader = models.FRESH) -> GridResult:
    """Measure every curve of the grid, or return the stored result; an interrupted grid resumes.

    Each model is loaded once, when its first curve needs it, and released before the next. Every curve is stored like a single
    curve, and reuses scores of other curves, evaluations and maps. A curve that cannot be measured is recorded with the reason,
    and tried again when the grid is requested again.

    Raises:
        LayerscopeError: one sentence on a problem that the user can fix. It concerns questions and texts, the disk, or, where
            no curve can be measured, the first curve.
    """
    resolved = resolve(spec, on_progress)
    stored = GridResult.load(resolved, on_progress)
    if stored is not None and stored.complete and not stored.failures:
        return stored
    asked = resolved.cells()
    # Stored curves come first, so that the remaining time is estimated from the others only.
    found = _stored(asked, on_progress)
    told, held = _Told(on_progress, len(asked), resolved.fingerprint()), Held(load)
    for place, cell in enumerate(asked):
        if place in found:
            continue
        told.begin(len(found), place, cells.without_numbers(cell).name)
        found[place] = _measured(cell, told, held)
        _result(resolved, found, complete=False).save()
    told.begin(len(found), len(found), "")
    first = found[0][0]
    if all(cell.error for cell, _ in found.values()):
        raise LayerscopeError(f"None of the {len(found)} curves of this grid could be measured. {first.name}: {first.error}")
    finished = _result(resolved, found, complete=True)
    finished.save()
    return finished


_Found = tuple[Cell, int]
"""A cell, or why it could not be measured, and the tokens that went through its model."""


def _stored(asked: Sequence[SweepSpec], on_progress: OnProgress) -> dict[int, _Found]:
    """The cells whose curves are stored already, by place."""
    found = {}
    for place, cell in enumerate(asked):
        on_progress(Progress("looking for stored curves", place, len(asked)))
        if not cell.model.identity:
            continue
        curve = SweepResult.load(sweep.resolve(cell), on_progress)
        if curve is not None and curve.complete:
            found[place] = cells.measured(curve), curve.n_tokens
    return found


def _measured(cell: SweepSpec, told: "_Told", held: "Held") -> _Found:
    try:
        curve = held.curve(cell, told)
        return cells.measured(curve), curve.n_tokens
    except (Cancelled, StorageError):
        raise
    except Exception as error:  # any error: other curves may still succeed
        why = failures.in_a_sentence(error, doing=f"measuring the curve {cells.without_numbers(cell).name}")
    failed = cells.without_numbers(cell, why)
    told.say(f"{failed.name} could not be measured: {why}")
    return failed, 0


def _result(spec: GridSpec, found: Mapping[int, _Found], *, complete: bool) -> GridResult:
    ordered = [found[place] for place in sorted(found)]
    return GridResult(
        spec=spec,
        versions=machine.versions(),
        wall_s=sum(cell.wall_s for cell, _ in ordered),
        n_tokens=sum(n_tokens for _, n_tokens in ordered),
        complete=complete,
        n_cells=len(spec.cells()),
        cells=[cell for cell, _ in ordered],
    )


class Held:
    """The one model of several curves: loaded for the first of them, and refused to all where it cannot be loaded."""

    def __init__(self, load: Loader) -> None:
        self._load = load
        self.read: dict[tuple[str, str, int], Any] = {}
        """Stored results of the model, as in `scores.reading_once`."""
        self._loaded: LoadedModel | None = None
        self._refusal = ""
        self._model: ModelSpec | None = None

    def of(self, model: ModelSpec) -> "Held":
        """Return this loader, ready for curves of a model; the model that it held before is released."""
        if model != self._model:
            self._let_go()
            self.read = {}
            self._model = model
        return self

    def curve(self, cell: SweepSpec, on_progress: OnProgress) -> SweepResult:
        """Measure a curve of its model, reusing stored scores of others; raises the errors of `sweep.run`."""
        load = self.of(cell.model)
        with scores.reading_once(self.read):
            return sweep.run(cell, on_progress, load=load)

    def __call__(self, spec: ModelSpec, on_progress: OnProgress, /, *, by_layer: bool = False) -> LoadedModel:
        """Return the model, loaded now or before.

        Raises:
            LayerscopeError: as in loading it; raised again where it was refused before.
        """
        if self._refusal:
            raise LayerscopeError(self._refusal)
        if self._loaded is None:
            try:
                self._loaded = self._load(spec, on_progress, by_layer=by_layer)
            except (Cancelled, StorageError):
                raise
            except Exception as error:
                # The sentence alone: a kept error would keep the partly loaded model in memory.
                self._refusal = failures.in_a_sentence(error, doing=f"loading {spec.source}")
                raise
        return self._loaded

    def _let_go(self) -> None:
        if self._loaded is not None:
            self._loaded = None
            gc.collect()
            self._load.clear()
        self._refusal = ""


class _Told:
    """Reporter that passes the progress of a curve on as progress of the grid."""

    def __init__(self, on_progress: OnProgress, total: int, key: str) -> None:
        self._on_progress = on_progress
        self._total = total
        self._values: dict[str, Any] = {"result_key": key}
        self._done = 0
        self._name = ""

    def begin(self, done: int, place: int, name: str) -> None:
        """Say that so many curves are done, and which one comes next."""
        self._done, self._name = done, name
        self.say(f"Curve {place + 1} of {self._total}: {name}." if name else "")

    def say(self, message: str) -> None:
        """Say a sentence for the log."""
        self(Progress("", message=message))

    def __call__(self, inner: Progress) -> None:
        values = {**self._values, "doing": doing(self._name, inner)}
        self._on_progress(Progress(PHASE, self._done, self._total, inner.message, values))
