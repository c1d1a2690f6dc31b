"""How far off a guess is: of the block that changes the stream least, and of the cliff of an accuracy curve."""

from collections.abc import Sequence
from dataclasses import dataclass

from analysis import selection, uncertainty
from analysis.blocks import Block
from analysis.results import SweepResult


@dataclass(frozen=True)
class JudgedBlock:
    """A guessed block beside the most similar one of its size."""

    guess: Block
    best: Block
    guess_distance: float
    """Mean distance across the guessed block, in [0, 1]."""
    best_distance: float
    rank: int
    """1 for the most similar; blocks that are equally similar share the better rank."""
    n_blocks: int
    """Blocks of this size."""

    @property
    def layers_off(self) -> int:
        """Layers between the two starts."""
        return abs(self.guess.start - self.best.start)


def judge_block(mean: Sequence[Sequence[float]], guess: Block) -> JudgedBlock:
    """Compare a guess with what was measured.

    Args:
        mean: rows of a distance map, as in `DistanceResult.mean`.
        guess: a block inside the model.
    """
    row = mean[guess.size - 1]
    # The rule of the map itself, so that the lesson and the other pages name the same block also where two are equal.
    best = selection.best_blocks([row, []])[0]
    distance = row[guess.start]
    rank = 1 + sum(value < distance for value in row)
    return JudgedBlock(guess, Block(best.start, guess.size), distance, best.distance, rank, len(row))


def question_size(n_layers: int) -> int:
    """The block size that the lesson asks about: 5 layers, fewer in a model so small that this is more than half."""
    return max(1, min(5, n_layers // 2))


@dataclass(frozen=True)
class Cliff:
    """What there is to guess about a curve."""

    unpruned: float
    """Accuracy of the unpruned model."""
    midpoint: float
    """Halfway between unpruned and chance: the cliff is where accuracy falls below it for good."""
    n: int | None
    """The first n of the cliff; None when the curve has none."""
    last: int
    """Largest n that was measured."""


def cliff(sweep: SweepResult) -> Cliff | None:
    """The cliff of a curve, or None where nothing can be asked: no questions, one point, or a model that only guesses."""
    scored = [point for point in sweep.points if point.acc is not None]
    if sweep.lines is None or len(scored) < 2 or scored[0].n or not uncertainty.is_above(scored[0], sweep.lines.chance):
        return None
    unpruned = scored[0].acc or 0.0
    return Cliff(unpruned, (unpruned + sweep.lines.chance) / 2, uncertainty.knee(scored, sweep.lines), max(p.n for p in scored))


def layers_off(guess: int | None, cliff: int | None) -> int | None:
    """Layers between a guessed cliff and the measured one; None when one of them says that there is none."""
    if guess == cliff:
        return 0
    return None if guess is None or cliff is None else abs(guess - cliff)
