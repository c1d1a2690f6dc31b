"""How far down several models can be cut before they only guess, on one scale: accuracy above chance by the share of depth."""

from collections.abc import Sequence
from dataclasses import dataclass

from analysis.data.spec import BenchmarkSpec
from analysis.data.tasks import TASKS
from analysis.experiments.accuracy.spec import SweepResult
from analysis.reading import verdicts


@dataclass(frozen=True)
class Step:
    """One cut of a model."""

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
    """Model, questions and strategy, as far as they tell it from the others."""
    model: str
    """Where the model came from."""
    n_layers: int
    n_questions: int
    precision: str
    steps: tuple[Step, ...]
    """n = 0 first."""
    cliff: int | None
    """The n from which on answers are lost for good (`verdicts.knee`); None where none is beyond doubt."""

    @property
    def stands_to(self) -> float:
        """The largest share of layers at which it was measured and had not fallen."""
        return max(step.share for step in self.steps if self.cliff is None or step.n < self.cliff)


def plateaus(curves: Sequence[tuple[str, SweepResult]]) -> list[Plateau]:
    """The curves that can be read: those of models that are above chance before anything is cut.

    Args:
        curves: each with the name of its model.
    """
    readable = [
        (name, sweep)
        for name, sweep in curves
        if sweep.lines is not None and sweep.points and verdicts.is_above(sweep.points[0], sweep.lines.chance)
    ]
    return [Plateau(said, *_read(sweep)) for said, (_, sweep) in zip(_names(readable), readable, strict=True)]


def _read(sweep: SweepResult) -> tuple[str, int, int, str, tuple[Step, ...], int | None]:
    assert sweep.lines is not None
    chance, steps = sweep.lines.chance, []
    for point in sweep.points:
        if point.acc is not None and point.interval is not None:
            low, high = point.interval
            steps.append(Step(point.n, point.n / sweep.n_layers, point.acc - chance, low - chance, high - chance))
    fall = verdicts.knee(sweep.points, sweep.lines, sweep.questions)
    asked = sweep.spec.model
    return asked.source, sweep.n_layers, sweep.points[0].n_samples, asked.precision, tuple(steps), fall


def differ(curves: Sequence[Plateau]) -> bool:
    """Whether a model falls at a share of depth at which another one was measured and still stood.

    Args:
        curves: on one scale.
    """
    falls = [(curve.model, curve.cliff / curve.n_layers) for curve in curves if curve.cliff is not None]
    return any(fall <= other.stands_to for model, fall in falls for other in curves if other.model != model)


def title(asked: BenchmarkSpec) -> str:
    """What the questions are called."""
    return asked.task.rsplit("/", 1)[-1] if asked.is_file else TASKS[asked.task].title


def _names(curves: Sequence[tuple[str, SweepResult]]) -> list[str]:
    """What each is called; what all have in common is left out."""
    asked = [(name, title(sweep.spec.benchmark), sweep.spec.strategy) for name, sweep in curves]
    differing = [place for place, said in enumerate(zip(*asked, strict=True)) if place == 0 or len(set(said)) > 1]
    return [" · ".join(said[place] for place in differing) for said in asked]
