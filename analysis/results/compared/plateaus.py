"""Number of layers that several models can lose before they only guess: accuracy above chance by the share of depth."""

from collections.abc import Sequence
from dataclasses import dataclass

from analysis.data.spec import BenchmarkSpec
from analysis.data.tasks import TASKS
from analysis.experiments.accuracy import pairs
from analysis.experiments.accuracy.sweep_spec import SweepResult
from analysis.results.compared import cliff


@dataclass(frozen=True)
class PlateauPoint:
    """One pruning of a model."""

    n: int
    """Removed layers."""
    share: float
    """The same as a fraction of all layers, in [0, 1)."""
    above: float
    """Accuracy less that of guessing, in [-1, 1]."""
    low: float
    """Lower end of the 95 % interval of the same."""
    high: float


@dataclass(frozen=True)
class Plateau:
    """A curve of one model."""

    name: str
    """Model, questions and strategy, as far as they distinguish it from the others."""
    n_layers: int
    n_questions: int
    precision: str
    steps: tuple[PlateauPoint, ...]
    """n = 0 first."""
    sentence: str
    """`cliff.sentence` of the sweep."""


def plateaus(curves: Sequence[tuple[str, SweepResult]]) -> list[Plateau]:
    """Return the readable curves: those of models that are above chance before any layer is removed.

    Args:
        curves: each with the name of its model.
    """
    readable = [
        (name, sweep)
        for name, sweep in curves
        if sweep.lines is not None and sweep.points and pairs.is_above(sweep.points[0], sweep.lines.chance)
    ]
    return [_read(label, sweep) for label, (_, sweep) in zip(_names(readable), readable, strict=True)]


def _read(name: str, sweep: SweepResult) -> Plateau:
    assert sweep.lines is not None
    chance, steps = sweep.lines.chance, []
    for point in sweep.points:
        if point.acc is not None and point.interval is not None:
            low, high = point.interval
            steps.append(PlateauPoint(point.n, point.n / sweep.n_layers, point.acc - chance, low - chance, high - chance))
    return Plateau(
        name,
        sweep.n_layers,
        sweep.points[0].n_samples,
        sweep.precision_in_words,
        tuple(steps),
        cliff.sentence(sweep),
    )


def title(benchmark: BenchmarkSpec) -> str:
    """Return the name of the questions."""
    return benchmark.task.rsplit("/", 1)[-1] if benchmark.is_file else TASKS[benchmark.task].title


def _names(curves: Sequence[tuple[str, SweepResult]]) -> list[str]:
    """Return the name of each curve; parts that all have in common are left out."""
    described = [(name, title(sweep.spec.benchmark), sweep.spec.strategy) for name, sweep in curves]
    differing = [index for index, parts in enumerate(zip(*described, strict=True)) if index == 0 or len(set(parts)) > 1]
    return [" · ".join(parts[index] for index in differing) for parts in described]
