"""The trade-off holds only what was measured alike, and finds what no other model beats."""

import itertools
from dataclasses import replace

import pytest

from analysis.experiments.accuracy.points import Point
from analysis.experiments.accuracy.spec import SweepResult
from analysis.models import spec
from analysis.reading import front
from analysis.reading.front import SIZE, SPEED
from analysis.reading.reading import ACCURACY, LOSS
from tests.support import fakes


def test_the_front_is_what_no_other_offer_beats():
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


def test_wishes_are_answered_as_by_looking_at_every_offer():
    (found,) = front.fronts(ACCURACY, [fakes.sweep()], speed=fakes.speed())
    for most in (offer.bytes for offer in found.offers):
        fits = [offer for offer in found.offers if offer.bytes <= most]
        assert found.within(most).reading.value == max(offer.reading.value for offer in fits)
    whole = next(offer for offer in found.offers if offer.cut is None)
    for lost in (0.0, 0.02, 0.1, 0.5):
        fits = [offer for offer in found.offers if offer.reading.value >= whole.reading.value - lost - 1e-12]
        assert found.smallest(lost).bytes == min(offer.bytes for offer in fits)
    assert found.within(1) is None
    assert found.faster(1000) is None
    quick = found.faster(1.1)
    assert quick.times >= 1.1
    assert all(offer.reading.value <= quick.reading.value for offer in found.offers if (offer.times or 0) >= 1.1)


def test_conditions_are_never_mixed():
    curve = fakes.sweep()
    quantized = replace(curve.spec.model, quantization="4bit", dtype="bfloat16")
    other = replace(curve, spec=replace(curve.spec, model=quantized))
    found = front.fronts(ACCURACY, [curve, other])
    assert len(found) == 2
    for one in found:
        assert {offer.reading.condition for offer in one.offers} == {one.condition}
    assert {one.condition.precision for one in found} == {"bfloat16", "NF4, bfloat16"}


def test_a_heal_stands_beside_the_cuts_of_its_condition():
    heal = fakes.heal()
    (found, *_) = front.fronts(LOSS, [heal])
    assert {(offer.cut, offer.reading.repair) for offer in found.offers} == {
        (None, ""), (heal.spec.block, ""), (heal.spec.block, heal.spec.recipe),
    }  # fmt: skip
    healed = next(offer for offer in found.offers if offer.reading.repair)
    bare = next(offer for offer in found.offers if offer.cut and not offer.reading.repair)
    assert healed.bytes == bare.bytes
    assert healed in found.best(SIZE)
    assert bare not in found.best(SIZE)


def rival(curve: SweepResult, *, vocab_size: int | None = None) -> SweepResult:
    """A model of another name, half as large and a little better, on the same questions."""
    model = replace(curve.spec.model, source="/models/small", identity="of another")
    facts = replace(
        curve.model, name="small", n_layers=15, layer_parameters=curve.model.layer_parameters[:15],
        layers=curve.model.layers[:15], vocab_size=vocab_size or curve.model.vocab_size,
    )  # fmt: skip
    points = [replace(point, acc=0.9, loss=1.0) for point in curve.points[:1]]
    assert all(isinstance(point, Point) for point in points)
    return replace(curve, spec=replace(curve.spec, model=model), model=facts, points=points, questions=[], text_losses=[])


def test_another_model_on_the_same_questions_stands_on_the_front_and_is_never_taken_for_a_cut():
    curve = fakes.sweep()
    small = rival(curve)
    (found,) = front.fronts(ACCURACY, [curve], [small])
    (theirs,) = [offer for offer in found.offers if offer.is_rival]
    assert theirs.facts.name == "small"
    assert theirs.bytes == spec.weight_bytes(small.model, None, "bfloat16")
    assert theirs in found.best(SIZE)
    assert found.within(10**12) != theirs
    assert theirs.times is None
    assert theirs not in found.best(SPEED)


@pytest.mark.parametrize(("vocab_size", "is_there"), [(None, True), (999, False)])
def test_a_loss_per_token_is_compared_only_between_equal_vocabularies(vocab_size, is_there):
    curve = fakes.sweep()
    (found,) = front.fronts(LOSS, [curve], [rival(curve, vocab_size=vocab_size)])
    assert any(offer.is_rival for offer in found.offers) == is_there


def test_of_the_same_cut_the_first_result_counts():
    curve = fakes.sweep()
    weaker = replace(curve, points=[replace(point, acc=0.0) for point in curve.points], questions=[])
    (found,) = front.fronts(ACCURACY, [curve, weaker])
    assert len(found.offers) == len({point.block for point in curve.points})
    assert all(a.reading.value != 0.0 for a, _ in itertools.pairwise(found.offers))
