"""The front holds only values of the same questions or texts, and finds the models that no other
beats.
"""

from dataclasses import replace

from analysis.experiments.accuracy.points import QuestionScore
from analysis.experiments.accuracy.sweep_spec import SweepResult
from analysis.results import verdict
from analysis.results.compared import front
from analysis.results.score.score import ACCURACY
from tests.support import fakes


def of(*results, quantity=ACCURACY, speeds=()):
    return front.compare(results, (), speeds).front(quantity)


def kept_answers(*right: int, n: int = 200, strategy: str = "similarity") -> SweepResult:
    """A sweep with answers kept: removal k answers the first right[k] questions."""
    curve = fakes.sweep(len(right) - 1, limit=n, strategy=strategy)
    given = [
        [QuestionScore(f"q{q}", [0.0, 0.0], int(q >= count), 0) for q in range(n)]
        for count in right
    ]
    points = [
        replace(point, acc=count / n) for point, count in zip(curve.points, right, strict=True)
    ]
    return replace(curve, points=points, questions=given)


def test_better_needs_a_paired_interval_above_zero():
    for right, better in ((70, True), (97, False)):
        found = of(kept_answers(100, right, 99, 40))
        candidates = {
            candidate.cut.size if candidate.cut else 0: candidate for candidate in found.candidates
        }
        assert verdict.is_better(candidates[2], candidates[1], ACCURACY) == better
        assert not verdict.is_better(candidates[1], candidates[2], ACCURACY)
