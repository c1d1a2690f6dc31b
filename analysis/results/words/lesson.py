"""Numbers of the lesson: the error of a prediction, published values of large models, and two
vectors.
"""

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from analysis.core.blocks import Block
from analysis.experiments.accuracy.sweep_spec import SweepResult
from analysis.experiments.maps import distance_spec
from analysis.experiments.maps.distance_spec import DistanceResult
from analysis.results.compared import remarks


@dataclass(frozen=True)
class JudgedBlock:
    """A guessed block compared with the most similar one of its size."""

    guess: Block
    best: Block
    guess_distance: float
    """Mean distance across the guessed block, in [0, 1]."""
    best_distance: float
    rank: int
    """1 for the most similar; blocks that are equally similar share the better rank."""
    n_blocks: int
    """Blocks of this size."""

    tied: tuple[int, ...]
    """Starts of blocks that are statistically tied with the most similar one."""

    @property
    def is_tied(self) -> bool:
        """Return whether the guess is statistically tied with the most similar block."""
        return self.guess.start in self.tied


def judge_block(distances: DistanceResult, guess: Block) -> JudgedBlock:
    """Compare a guess with the measurement.

    Args:
        distances: the map.
        guess: a block inside the model.
    """
    row = distances.mean[guess.size - 1]
    # The rule of the map, so that all pages name the same block if two are equal.
    best = distance_spec.best_blocks([row, []])[0]
    distance = row[guess.start]
    rank = 1 + sum(value < distance for value in row)
    tied = remarks.of_map(distances, distances.spec.metric)[guess.size - 1]
    return JudgedBlock(
        guess, Block(best.start, guess.size), distance, best.distance, rank, len(row), tuple(tied)
    )


def question_size(n_layers: int) -> int:
    """Return the block size of the lesson: 5 layers, fewer in a model so small that this is more
    than half.
    """
    return max(1, min(5, n_layers // 2))


@dataclass(frozen=True)
class MeasuredPoint:
    """A measured number at one position of a drawing."""

    place: int
    value: float
    low: float
    """Lower end of the 95 % interval."""
    high: float


@dataclass(frozen=True)
class JudgedDrawing:
    """A drawing compared with the measurement."""

    mean_distance: float
    """Mean of |drawn - measured| over the positions that have both, in the unit of the
    measurement."""
    inside: tuple[int, ...]
    """Positions of the drawing inside the 95 % interval."""
    compared: tuple[int, ...]
    """Positions that have both."""
    farthest: int
    """Position of the largest distance."""


def judge_drawing(
    drawn: Sequence[float | None], measured: Sequence[MeasuredPoint]
) -> JudgedDrawing | None:
    """Compare a drawing with the measurement.

    Args:
        drawn: by position; None if nothing was drawn.
        measured: the measurement, at any of these positions.

    Returns:
        None without a common position.
    """
    pairs = [(drawn[point.place], point) for point in measured if 0 <= point.place < len(drawn)]
    both = [(value, point) for value, point in pairs if value is not None]
    if not both:
        return None
    off = {point.place: abs(value - point.value) for value, point in both}
    inside = tuple(point.place for value, point in both if point.low <= value <= point.high)
    return JudgedDrawing(
        sum(off.values()) / len(off), inside, tuple(off), max(off, key=off.__getitem__)
    )


def blocks_of(distances: DistanceResult, size: int = 1) -> list[MeasuredPoint]:
    """Return the distance across every block of one size by its start, with 95 % intervals over
    texts; fractions of pi.
    """
    points = []
    for start, value in enumerate(distances.mean[size - 1]):
        low, high = distances.interval(Block(start, size)) or (value, value)
        points.append(MeasuredPoint(start, value, low, high))
    return points


def accuracies(sweep: SweepResult) -> list[MeasuredPoint]:
    """Return accuracies of the pruned models by n with Wilson's 95 % intervals."""
    return [
        MeasuredPoint(point.n, point.acc, *point.interval)
        for point in sweep.points
        if point.n and point.acc is not None and point.interval is not None
    ]


def spans(places: Sequence[int]) -> str:
    """Return whole numbers in short form: 1, 2, 3, 7 is "1-3 and 7"; "" for none."""
    runs: list[list[int]] = []
    for n in sorted(places):
        if runs and n == runs[-1][1] + 1:
            runs[-1][1] = n
        else:
            runs.append([n, n])
    ranges = [str(first) if first == last else f"{first}-{last}" for first, last in runs]
    return " and ".join([", ".join(ranges[:-1]), ranges[-1]] if len(ranges) > 1 else ranges)


PAPER = "arXiv:2403.17887"
"""Gromov, Tirumala, Shapourian, Glorioso and Roberts, The Unreasonable Ineffectiveness of the
Deeper Layers."""


@dataclass(frozen=True)
class PublishedPath:
    """The most similar block of every size in one model.

    Source: tables in public code, apparently by the authors; the paper only plots these choices.
    """

    name: str
    n_layers: int
    starts: tuple[int, ...]
    """l*(n) for n = 1, 2, 3, …, 0-based."""

    def blocks(self) -> list[Block]:
        """Return the blocks, by size."""
        return [Block(start, n) for n, start in enumerate(self.starts, start=1)]


@dataclass(frozen=True)
class PublishedCliff:
    """The share of layers at which a family's answers to MMLU fall to chance.

    Source: the text of the paper. Of Llama-2 70B it says 40-50 % in one place and 45-55 % of its
    family in another.
    """

    name: str
    low: float
    """Fraction of layers removed, in (0, 1)."""
    high: float


_PUBLISHED = json.loads(Path(__file__).with_name("published.json").read_text(encoding="utf-8"))
PATHS = tuple(
    PublishedPath(path["name"], path["n_layers"], tuple(path["starts"]))
    for path in _PUBLISHED["paths"]
)
CLIFFS = tuple(PublishedCliff(**cliff) for cliff in _PUBLISHED["cliffs"])

Arrow = tuple[float, float]
"""State of a residual stream with two dimensions."""

EXAMPLE: tuple[Arrow, Arrow] = ((1.0, 0.0), (1.0, 1.0))
"""Example with an angle of 45 degrees, so a distance of 0.25, and unequal lengths."""


def arrow(degrees: float, length: float) -> Arrow:
    """Return the arrow of a length, rotated from the horizontal by `degrees` counter-clockwise."""
    return length * math.cos(math.radians(degrees)), length * math.sin(math.radians(degrees))


def cosine(a: Arrow, b: Arrow) -> float:
    """Return the cosine of the angle between two arrows, in [-1, 1].

    Raises:
        ValueError: when one of them has no length and so no direction.
    """
    lengths = math.hypot(*a) * math.hypot(*b)
    if lengths == 0:
        raise ValueError("An arrow of length 0 has no direction, so it has no angle.")
    return max(-1.0, min(1.0, (a[0] * b[0] + a[1] * b[1]) / lengths))


def angular_distance(a: Arrow, b: Arrow) -> float:
    """Return the angle between two arrows as a fraction of pi, in [0, 1].

    Raises:
        ValueError: when one of them has no length.

    Source: Gromov et al., arXiv:2403.17887.
    """
    return math.acos(cosine(a, b)) / math.pi
