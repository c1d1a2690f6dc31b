"""The front holds only values of the same questions or texts, and finds the models that no other beats."""

from dataclasses import replace

from analysis.experiments.accuracy.points import QuestionScore
from analysis.experiments.accuracy.sweep_spec import SweepResult
from analysis.results import verdict
from analysis.results.compared import front
from analysis.results.compared.front import SIZE
from analysis.results.stored.reading import ACCURACY, LOSS
from tests.support import fakes


def of(*results, quantity=ACCURACY, speeds=()):
    return front.compare(results, (), speeds).front(quantity)


def kept_answers(*right: int, n: int = 200, strategy: str = "similarity") -> SweepResult:
    """A sweep with answers kept: removal k answers the first right[k] questions."""
    curve = fakes.sweep(len(right) - 1, limit=n, strategy=strategy)
    given = [[QuestionScore(f"q{q}", [0.0, 0.0], int(q >= count), 0) for q in range(n)] for count in right]
    points = [replace(point, acc=count / n) for point, count in zip(curve.points, right, strict=True)]
    return replace(curve, points=points, questions=given)


def test_better_needs_a_paired_interval_above_zero():
    for right, better in ((70, True), (97, False)):
        found = of(kept_answers(100, right, 99, 40))
        candidates = {candidate.cut.size if candidate.cut else 0: candidate for candidate in found.candidates}
        assert verdict.is_better(candidates[2], candidates[1], ACCURACY) == better
        assert not verdict.is_better(candidates[1], candidates[2], ACCURACY)


def test_a_heal_stands_next_to_the_prunings_of_its_condition():
    heal = fakes.heal()
    found = of(heal, quantity=LOSS)
    assert {(candidate.cut, candidate.repair) for candidate in found.candidates} == {
        (None, ""),
        (heal.spec.block, ""),
        (heal.spec.block, heal.spec.recipe),
    }
    healed = next(candidate for candidate in found.candidates if candidate.repair)
    bare = next(candidate for candidate in found.candidates if candidate.cut and not candidate.repair)
    assert healed.memory == bare.memory
    assert healed in verdict.best(found, SIZE)
    assert bare not in verdict.best(found, SIZE)


def test_of_the_same_removal_the_first_result_counts():
    curve = replace(fakes.sweep(), questions=[])
    weaker = replace(curve, points=[replace(point, acc=0.0) for point in curve.points])
    found = of(curve, weaker)
    assert len(found.candidates) == len({point.block for point in curve.points})
    assert all(candidate.readings[ACCURACY].value for candidate in found.candidates)
