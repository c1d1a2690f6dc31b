"""The trade-off holds only values of the same condition, and finds the models that no other beats."""

import itertools
from dataclasses import replace

import pytest

from analysis.experiments.accuracy.points import QuestionScore
from analysis.experiments.accuracy.sweep_spec import SweepResult
from analysis.results.compared import front
from analysis.results.compared.front import SIZE
from analysis.results.stored.reading import ACCURACY, LOSS
from tests.support import fakes


def test_front_holds_offers_that_no_other_beats():
    (found,) = front.fronts(ACCURACY, [fakes.sweep()])
    best = found.best(SIZE)
    assert [offer.bytes for offer in best] == sorted(offer.bytes for offer in best)
    for offer in found.offers:
        beaten = any(
            other.bytes <= offer.bytes
            and other.reading.value >= offer.reading.value
            and (other.bytes, -other.reading.value) != (offer.bytes, -offer.reading.value)
            for other in found.offers
        )
        assert beaten != (offer in best)


def kept_answers(*right: int, n: int = 200, strategy: str = "similarity") -> SweepResult:
    """A sweep with answers kept: removal k answers the first right[k] questions."""
    curve = fakes.sweep(len(right) - 1, limit=n, strategy=strategy)
    given = [[QuestionScore(f"q{q}", [0.0, 0.0], int(q >= count), 0) for q in range(n)] for count in right]
    points = [replace(point, acc=count / n) for point, count in zip(curve.points, right, strict=True)]
    return replace(curve, points=points, questions=given)


def test_point_estimates_alone_dominate_nothing():
    """One removed layer answers 100 of 200, two answer 97: the old rule called the former beaten wherever a later one led."""
    (found,) = front.fronts(ACCURACY, [kept_answers(100, 97, 99, 40)])
    standing = {offer.cut.size if offer.cut else 0: own for offer, own in found.standing(SIZE)}
    assert standing == {0: front.BEST, 1: front.TIED, 2: front.BEST, 3: front.BEST}


def test_dominated_needs_a_paired_interval_above_zero():
    (found,) = front.fronts(ACCURACY, [kept_answers(100, 70, 99, 40)])
    standing = {offer.cut.size if offer.cut else 0: own for offer, own in found.standing(SIZE)}
    assert standing[1] == front.DOMINATED
    offers = {offer.cut.size if offer.cut else 0: offer for offer in found.offers}
    assert front.is_better(offers[2], offers[1])
    assert not front.is_better(offers[1], offers[2])


def test_front_of_fewer_offers_has_its_own_standing():
    (found,) = front.fronts(ACCURACY, [kept_answers(100, 70, 99, 40)])
    assert len(found.standing(SIZE)) == 4
    kept = [offer for offer in found.offers if offer.cut is None or offer.cut.size == 1]
    assert [own for _, own in replace(found, offers=kept).standing(SIZE)] == [front.BEST, front.BEST]


def test_offer_carries_its_loss_beside_its_accuracy():
    (found,) = front.fronts(ACCURACY, [fakes.sweep()])
    offer = next(offer for offer in found.offers if offer.cut)
    assert offer.beside.quantity == LOSS
    assert offer.beside_change.difference == pytest.approx(offer.beside.value - fakes.sweep().points[0].loss)


def test_conditions_are_never_mixed():
    curve = fakes.sweep()
    quantized = replace(curve.spec.model, quantization="4bit", dtype="bfloat16")
    other = replace(curve, spec=replace(curve.spec, model=quantized))
    found = front.fronts(ACCURACY, [curve, other])
    assert len(found) == 2
    for one in found:
        assert {offer.reading.condition for offer in one.offers} == {one.condition}
    assert {one.condition.precision for one in found} == {"bfloat16", "NF4, bfloat16"}


def test_offer_that_was_not_timed_has_no_speed():
    (found,) = front.fronts(ACCURACY, [fakes.sweep(5)], speed=fakes.speed())
    assert {offer.cut.size if offer.cut else 0 for offer in found.offers if offer.times is not None} == {0, 2, 5}


def test_a_heal_stands_beside_the_cuts_of_its_condition():
    heal = fakes.heal()
    (found, *_) = front.fronts(LOSS, [heal])
    assert {(offer.cut, offer.reading.repair) for offer in found.offers} == {
        (None, ""),
        (heal.spec.block, ""),
        (heal.spec.block, heal.spec.recipe),
    }
    healed = next(offer for offer in found.offers if offer.reading.repair)
    bare = next(offer for offer in found.offers if offer.cut and not offer.reading.repair)
    assert healed.bytes == bare.bytes
    assert healed in found.best(SIZE)
    assert bare not in found.best(SIZE)


def test_other_quantity_is_of_the_same_precision_and_run():
    """The loss next to an accuracy in NF4 was that of bfloat16, and that next to one heal was another heal's."""
    curve = fakes.sweep()
    quantized = replace(curve.spec.model, quantization="4bit", dtype="bfloat16")
    worse = [replace(point, loss=point.loss + 1) for point in curve.points]
    other = replace(curve, spec=replace(curve.spec, model=quantized), points=worse)
    for found in front.fronts(ACCURACY, [curve, other]):
        for offer in found.offers:
            assert offer.beside.condition.precision == found.condition.precision
    first = fakes.heal()
    without_loss = replace(first.healed, loss=None, loss_stderr=None, n_texts=0)
    second = replace(first, spec=replace(first.spec, steps=80), healed=replace(first.healed, loss=2.0))
    (found, *_) = front.fronts(ACCURACY, [replace(first, healed=without_loss), second])
    healed = next(offer for offer in found.offers if offer.reading.repair)
    assert (healed.beside, healed.beside_change) == (None, None)


def test_of_the_same_cut_the_first_result_counts():
    curve = fakes.sweep()
    weaker = replace(curve, points=[replace(point, acc=0.0) for point in curve.points], questions=[])
    (found,) = front.fronts(ACCURACY, [curve, weaker])
    assert len(found.offers) == len({point.block for point in curve.points})
    assert all(a.reading.value != 0.0 for a, _ in itertools.pairwise(found.offers))
