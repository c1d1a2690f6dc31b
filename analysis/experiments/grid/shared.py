"""Several processes that share a grid: each takes one curve after another, and stores it as any other."""

from collections.abc import Sequence

from analysis.core.errors import LayerscopeError, StorageError
from analysis.core.progress import OnProgress
from analysis.core.record import Spec
from analysis.core.shards import Shard
from analysis.experiments.accuracy import sweep
from analysis.experiments.accuracy.sweep_spec import SweepResult, SweepSpec
from analysis.experiments.grid import grid
from analysis.experiments.grid.spec import GridSpec
from analysis.models.load import Loader


class Work:
    """A grid as shards, one per curve (`shards.Work`); a shard's content only records that its curve is stored."""

    resolve = staticmethod(grid.resolve)
    reads_disk = False

    def __init__(self, spec: GridSpec, on_progress: OnProgress, *, load: Loader) -> None:
        """Nothing is loaded before the first curve needs its model."""
        self._spec, self._held = spec, grid.Held(load)

    @staticmethod
    def before(spec: GridSpec) -> list[Spec]:
        """Nothing: a model that fails must cost its own curves alone, and so measures its own maps."""
        return []

    def missing(self) -> list[Shard]:
        """The curves that nobody has measured, without those of models that are not there."""
        there = [cell for cell in self._spec.cells() if cell.model.identity]
        return [_shard(cell) for cell in there if not _is_stored(cell)]

    def measure(self, shards: Sequence[Shard], on_progress: OnProgress) -> None:
        """Measure some curves; one that cannot be is left for the run of the grid to say why."""
        for shard in shards:
            cell = SweepSpec.from_json(shard.content["curve"])
            try:
                self._held.curve(cell, on_progress)
            except StorageError:
                raise
            except LayerscopeError:
                continue
            shard.keep({})


def _shard(cell: SweepSpec) -> Shard:
    resolved = sweep.resolve(cell)
    return Shard("curve", {"curve": resolved.to_json(), "version": resolved.version})


def _is_stored(cell: SweepSpec) -> bool:
    curve = SweepResult.load(sweep.resolve(cell))
    return curve is not None and curve.complete
