"""The experiment that measures a grid of curves, each stored like a single curve."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

from analysis.core.errors import LayerscopeError, StorageError
from analysis.core.progress import OnProgress, Progress, ignore
from analysis.core.shards import Shard, Work
from analysis.data import corpora, questions
from analysis.experiments.accuracy import sweep
from analysis.experiments.accuracy.sweep_spec import SweepResult, SweepSpec
from analysis.experiments.batch import grid_cells
from analysis.experiments.batch.grid_cells import GridCell
from analysis.experiments.batch.grid_spec import GridResult, GridSpec
from analysis.experiments.batch.run import Batch, SharedModel
from analysis.models.loading import load as models
from analysis.models.loading import machine
from analysis.models.loading.load import Loader
from analysis.models.source.model_spec import ModelSpec
from analysis.models.source.resolving import resolve_model

PHASE = "measuring the curves of the grid"


def resolve(spec: GridSpec, on_progress: OnProgress = ignore) -> GridSpec:
    """Return the request with concrete dtypes, devices and identities, without duplicates.

    A model that does not exist is kept, and its cells report the error.

    Raises:
        BenchmarkError, CorpusError: If questions or texts, which all models share, cannot be used.
    """
    # First, so that an unreadable file is refused before the models are resolved.
    benchmarks = tuple(dict.fromkeys(questions.resolve(benchmark) for benchmark in spec.benchmarks))
    loss_corpora, map_corpora = (
        tuple(dict.fromkeys(map(corpora.resolve, requested)))
        for requested in (spec.loss_corpora, spec.map_corpora)
    )
    resolved = []
    for index, model in enumerate(spec.models):
        on_progress(Progress("looking for the models", index, len(spec.models)))
        resolved.append(_resolved(model))
    return replace(
        spec,
        models=tuple(dict.fromkeys(resolved)),
        benchmarks=benchmarks,
        loss_corpora=loss_corpora,
        map_corpora=map_corpora,
    )


def _resolved(model: ModelSpec) -> ModelSpec:
    try:
        return resolve_model(model)
    except StorageError:
        raise
    except LayerscopeError:
        return model


def run(
    spec: GridSpec, on_progress: OnProgress = ignore, *, load: Loader = models.FRESH
) -> GridResult:
    """Measure every curve of the grid, or return the stored result; an interrupted grid resumes.

    Each model is loaded once, when its first curve is measured, and released before the next. Every
    curve is stored like a single curve and reuses stored scores. A curve that fails is recorded
    with the reason and retried when the grid is requested again.

    Raises:
        LayerscopeError: For problems with questions, texts or the disk, and if no curve can be
            measured, in one sentence.
    """
    resolved = resolve(spec, on_progress)
    stored = GridResult.load(resolved, on_progress)
    if stored is not None and stored.complete and not stored.failures:
        return stored
    batch = _Grid(resolved, resolved.cells(), load)
    curves = {}
    for index, cell in enumerate(batch.keys):
        on_progress(Progress("looking for stored curves", index, len(batch.keys)))
        curve = _stored(cell, on_progress) if cell.model.identity else None
        if curve is not None:
            curves[cell] = grid_cells.measured(curve), curve.n_tokens
    return batch.run(on_progress, curves)


_Row = tuple[GridCell, int]
"""A cell and its number of tokens."""


class _Grid(Batch[SweepSpec, _Row, GridResult]):
    """Curves of a grid by request."""

    phase = PHASE
    nouns = "curve", "grid"

    def name(self, key: SweepSpec) -> str:
        return grid_cells.without_numbers(key).name

    def measure(self, key: SweepSpec, on_progress: OnProgress) -> _Row:
        curve = self.model.curve(key, on_progress)
        return grid_cells.measured(curve), curve.n_tokens

    def failed(self, key: SweepSpec, reason: str) -> _Row:
        return grid_cells.without_numbers(key, reason), 0

    def result(self, rows: Mapping[SweepSpec, _Row], *, complete: bool) -> GridResult | None:
        ordered = [rows[key] for key in self.keys if key in rows]
        if complete and all(cell.error for cell, _ in ordered):
            return None
        return GridResult(
            spec=self.spec,
            versions=machine.versions(),
            wall_s=sum(cell.wall_s for cell, _ in ordered),
            n_tokens=sum(n_tokens for _, n_tokens in ordered),
            complete=complete,
            n_cells=len(self.keys),
            cells=[cell for cell, _ in ordered],
        )


def _stored(cell: SweepSpec, on_progress: OnProgress = ignore) -> SweepResult | None:
    """Return the stored complete curve of a cell; None if there is none."""
    curve = SweepResult.load(sweep.resolve(cell), on_progress)
    return curve if curve is not None and curve.complete else None


class GridShards(Work):
    """Shards of a grid, one per curve; a stored shard only records that its curve is stored.

    A grid measures nothing `before` its shards, since a model that fails must not fail the curves
    of others.
    """

    resolve = staticmethod(resolve)
    reads_disk = False

    def __init__(self, spec: GridSpec, on_progress: OnProgress, *, load: Loader) -> None:
        """Load no model before the first curve."""
        self._spec = spec
        self._model = SharedModel(load)

    def missing(self) -> list[Shard]:
        """Return the unmeasured curves, without those of missing models."""
        local_cells = [cell for cell in self._spec.cells() if cell.model.identity]
        unmeasured = [sweep.resolve(cell) for cell in local_cells if _stored(cell) is None]
        return [
            Shard("curve", {"curve": cell.to_json(), "version": cell.version})
            for cell in unmeasured
        ]

    def measure(self, shards: Sequence[Shard], on_progress: OnProgress) -> None:
        """Measure curves. One that fails is left to the run of the grid, which records the
        reason.
        """
        for shard in shards:
            cell = SweepSpec.from_json(shard.content["curve"])
            try:
                self._model.curve(cell, on_progress)
            except StorageError:
                raise
            except LayerscopeError:
                continue
            shard.keep({})
