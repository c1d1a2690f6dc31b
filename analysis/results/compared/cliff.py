"""Locate the accuracy cliff of one sweep, with its 95 % interval, and describe it in one sentence
for every page and report.

The cliff is the smallest n from which on accuracy stays below the midpoint of the unpruned accuracy
and chance. It belongs to one model, one strategy and one question set.

Source: Gromov et al., arXiv:2403.17887, section 4: a plateau, then a sharp fall.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from analysis.core import stats
from analysis.core.blocks import Block, PartSet
from analysis.experiments.accuracy.points import Point, QuestionScore
from analysis.experiments.accuracy.sweep_spec import SweepResult
from analysis.experiments.strategies import BLOCKS, DRAW, needs
from analysis.results.score import stored_scores
from analysis.results.score.condition import Condition
from analysis.results.score.score import ACCURACY

_CELLS = (0.5, -0.5, 1.0, 0.0)
"""Value of a question in (pruned - unpruned / 2): right in both, only in the unpruned, only in the
pruned model, in neither."""


@dataclass(frozen=True)
class Cliff:
    """The range of n in which the cliff of one sweep lies."""

    condition: Condition
    """Model, precision and questions."""
    strategy: str
    """Removed layers by strategy, in words: "similarity blocks"."""
    unpruned: float
    """Accuracy of the unpruned model."""
    midpoint: float
    """Mean of the unpruned accuracy and chance."""
    n: int | None
    """Smallest n from which on every measured accuracy is below the midpoint; None if there is
    none."""
    last: int
    """Largest measured n."""
    earliest: int
    """Lower end of the 95 % interval: one more than the largest n whose accuracy is significantly
    above the midpoint."""
    latest: int | None
    """Upper end: from here on every accuracy is significantly below the midpoint. None if the cliff
    cannot be located."""
    paired: bool
    """True if the intervals compare the same questions, answer by answer."""

    @property
    def is_located(self) -> bool:
        """Return whether the sweep shows a cliff and its interval has two ends."""
        return self.latest is not None

    def allows(self, guess: int | None) -> bool:
        """Return whether the measurement does not rule out a guess; None is the guess that there is
        no cliff.
        """
        if guess is None:
            return not self.is_located
        return self.earliest <= guess <= (self.last if self.latest is None else self.latest)

    def interval(self) -> str:
        """Return the 95 % interval in words: "6 to 8", or "7 only"."""
        if self.latest is None:
            return ""
        return (
            f"{self.latest} only"
            if self.earliest == self.latest
            else f"{self.earliest} to {self.latest}"
        )

    def sentence(self) -> str:
        """Return a sentence on the place of the cliff, with strategy, questions and interval; or
        that it cannot be located.
        """
        on = self.condition.material_in_words()
        if self.latest is None:
            if self.earliest > self.last:
                return f"Accuracy does not collapse up to n = {self.last} ({self.strategy}, {on})."
            return (
                f"Accuracy may collapse from n = {self.earliest} on: more questions would show it"
                f" ({self.strategy}, {on})."
            )
        return (
            f"Accuracy of the {self.strategy} on {on} collapses at n = {self.n} (95 %:"
            f" {self.interval()})."
        )

    def label(self) -> str:
        """Return a few words for a chart; "" if the cliff cannot be located."""
        return (
            f"cliff of {self.strategy}, n = {self.n} ({self.interval()})" if self.is_located else ""
        )


def locate(sweep: SweepResult) -> Cliff | None:
    """Locate the cliff of a sweep.

    Args:
        sweep: with its answers, if they are kept, so that every n is compared with the unpruned
            model question by question.

    Returns:
        The cliff, whose `latest` is None if it cannot be located. None without questions, without a
        second n, without an unpruned accuracy significantly above chance and the most frequent
        answer, and with several removed blocks of one size.
    """
    scored = [point for point in sweep.points if point.acc is not None]
    read = stored_scores.of_sweep(sweep, None).get(ACCURACY)
    if sweep.lines is None or read is None or len(scored) < 2 or scored[0].n:
        return None
    ns = [point.n for point in scored]
    baseline = max(sweep.lines.chance, sweep.lines.majority)
    if read.low is None or read.low <= baseline or len(set(ns)) < len(ns):
        return None
    midpoint = (read.value + sweep.lines.chance) / 2
    answers_by_n = {
        point.n: answers for point, answers in zip(sweep.points, sweep.questions, strict=False)
    }
    sides = {
        point.n: _above_midpoint(scored[0], point, answers_by_n, sweep.lines.chance)
        for point in scored
    }
    above = [n for n, (low, _) in sides.items() if low > 0]
    undecided = [n for n, (_, high) in sides.items() if high >= 0]
    latest = min((n for n in ns if n > max(undecided, default=0)), default=None)
    last_above = max((point.n for point in scored if (point.acc or 0.0) >= midpoint), default=0)
    first = min((n for n in ns if n > last_above), default=None)
    paired = all(answers_by_n.get(n) for n in ns)
    return Cliff(
        read.condition,
        removed_in_words(sweep),
        read.value,
        midpoint,
        first,
        max(ns),
        max(above, default=0) + 1,
        latest,
        paired,
    )


def sentence(sweep: SweepResult) -> str:
    """Return the sentence on the cliff of a sweep; "" if there is nothing to locate."""
    cliff = locate(sweep)
    return cliff.sentence() if cliff is not None else ""


def removed_in_words(sweep: SweepResult) -> str:
    """Return the removed layers of a sweep by its strategy: "similarity blocks", "greedy layer
    sets".
    """
    spec = sweep.spec
    cuts = [point.block for point in sweep.points if point.block is not None]
    name = "chosen" if needs(spec.strategy, BLOCKS) else spec.strategy
    draw = f" (draw {spec.draw})" if needs(spec.strategy, DRAW) else ""
    if any(isinstance(cut, PartSet) for cut in cuts):
        return f"{name} sublayer sets{draw}"
    return (
        f"{name} {'blocks' if all(isinstance(cut, Block) for cut in cuts) else 'layer sets'}{draw}"
    )


def _above_midpoint(
    unpruned: Point,
    point: Point,
    answers_by_n: Mapping[int, Sequence[QuestionScore]],
    chance: float,
) -> tuple[float, float]:
    """Return the 95 % interval of an accuracy less the midpoint of the unpruned accuracy and
    chance.
    """
    before = {
        answer.id: answer.prediction == answer.gold for answer in answers_by_n.get(unpruned.n, ())
    }
    pairs = [
        (before[answer.id], answer.prediction == answer.gold)
        for answer in answers_by_n.get(point.n, ())
        if answer.id in before
    ]
    low, high = _paired(pairs) if pairs else _unpaired(unpruned, point)
    return low - chance / 2, high - chance / 2


def _paired(pairs: Sequence[tuple[bool, bool]]) -> tuple[float, float]:
    """Return the interval of the mean of (pruned - unpruned / 2) over the same questions.

    Half a question is added to each of the four cells, so that the interval is wide enough if few
    answers differ.

    Source: Agresti and Min, Stat. Med. 24 (2005) 729.
    """
    cells = ((True, True), (True, False), (False, True), (False, False))
    counts = [sum(pair == cell for pair in pairs) + 0.5 for cell in cells]
    total = sum(counts)
    mean = sum(count * value for count, value in zip(counts, _CELLS, strict=True)) / total
    spread = (
        sum(count * (value - mean) ** 2 for count, value in zip(counts, _CELLS, strict=True))
        / total
    )
    half = stats.Z * math.sqrt(spread / total)
    return mean - half, mean + half


def _unpaired(unpruned: Point, point: Point) -> tuple[float, float]:
    """Return the interval from the two Wilson intervals as if the questions differed.

    Source: Newcombe, Stat. Med. 17 (1998) 873, method 10, for p - q / 2.
    """
    p = point.acc or 0.0
    q = unpruned.acc or 0.0
    (p_low, p_high), (q_low, q_high) = (
        measured.interval or (0.0, 1.0) for measured in (point, unpruned)
    )
    mean = p - q / 2
    return mean - math.hypot(p - p_low, (q_high - q) / 2), mean + math.hypot(
        p_high - p, (q - q_low) / 2
    )
