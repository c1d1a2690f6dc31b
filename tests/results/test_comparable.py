"""Only numbers of one condition may stand beside each other; others are named with their own
condition.
"""

from dataclasses import replace

import pytest

from analysis.core.blocks import Block, PartSet
from analysis.results.compared import comparable
from analysis.results.score.score import ACCURACY, LOSS
from tests.support import fakes


def of(heal, *, which="healed", **changes):
    """The heal with other questions or texts, and with their number in its scores."""
    counts = {name: changes.pop(name) for name in ("n_samples", "n_texts") if name in changes}
    scored = {name: replace(point, **counts) for name, point in heal.models.items()}
    return replace(heal, spec=replace(heal.spec, **changes), **scored)


LIKE = fakes.alike_heal()


@pytest.mark.parametrize(
    ("heal", "accuracy", "loss"),
    [
        (LIKE, True, True),
        (fakes.heal(), False, False),
        (of(LIKE, benchmark=replace(LIKE.spec.benchmark, limit=5), n_samples=5), False, True),
        (of(LIKE, benchmark=replace(LIKE.spec.benchmark, task="boolq")), False, True),
        (of(LIKE, benchmark=None), False, True),
        (of(LIKE, validation=replace(LIKE.spec.validation, source="wiki")), True, False),
        (of(LIKE, validation=replace(LIKE.spec.validation, n_texts=4), n_texts=4), True, False),
        (of(LIKE, model=replace(fakes.MODEL, dtype="float32")), False, False),
        (of(LIKE, model=replace(fakes.MODEL, identity="sha256:other")), False, False),
        (of(LIKE, model=replace(fakes.MODEL, source="/a/copy", device="cuda")), True, True),
        (fakes.heal(30), False, False),
    ],
)
def test_a_healed_point_stands_on_the_curve_of_its_condition(heal, accuracy, loss):
    sweep = fakes.sweep()
    assert comparable.is_comparable(sweep, heal, ACCURACY) is accuracy
    assert comparable.is_comparable(sweep, heal, LOSS) is loss


def test_sublayer_heal_stands_only_on_a_curve_with_its_sublayers():
    curve, heal = fakes.sweep(), of(LIKE, block=PartSet(attention=(3, 4)))
    assert not comparable.is_comparable(curve, heal, LOSS)
    (said,) = comparable.incomparable(curve, [heal])
    assert said.startswith(
        "Not on the curve (sublayers are removed): attention of layers 3-4, healed by quick,"
        " accuracy"
    )
    by_hand = replace(curve, points=[*curve.points, replace(curve.points[2], parts="a3:2")])
    assert comparable.is_comparable(by_hand, heal, LOSS)
    assert comparable.incomparable(by_hand, [heal]) == []


def test_so_do_other_curves_and_cuts_scored_alone():
    sweep = fakes.sweep()
    assert comparable.is_comparable(sweep, fakes.sweep(strategy="deepest"), ACCURACY)
    assert not comparable.is_comparable(sweep, fakes.sweep(strategy="deepest", limit=200), ACCURACY)
    assert comparable.is_comparable(sweep, fakes.evaluate(Block(3, 18)), LOSS)


def test_heal_off_the_curve_names_its_condition_and_unpruned_model():
    assert comparable.incomparable(fakes.sweep(), [LIKE]) == []
    (said,) = comparable.incomparable(fakes.sweep(), [fakes.heal()])
    assert said.startswith(
        "Not on the curve (measured differently): layers 11-15, healed by quick, "
    )
    held = "NF4, bfloat16 from Q4_1 weights"
    assert (
        f"accuracy 46.0 % (95 %: 36.6 to 55.7) on 100 ARC-Easy questions, {held} (unpruned: 48.0 %)"
        in said
    )
    assert "NF4, bfloat16 from Q4_1 weights (unpruned: 2.41)" in said
    (other_text,) = comparable.incomparable(
        fakes.sweep(), [of(LIKE, validation=replace(LIKE.spec.validation, source="wiki"))]
    )
    assert "8 texts of Wikipedia" in other_text
    assert "accuracy" not in other_text


def test_another_vocabulary_or_tokenizer_has_other_tokens():
    curve = fakes.sweep()
    assert not comparable.same_tokens(
        curve, replace(curve, model=replace(curve.model, vocab_size=32_000))
    )
    first, second = (
        replace(
            curve,
            points=[replace(point, bits_per_byte=point.loss / rate) for point in curve.points],
        )
        for rate in (3, 2.5)
    )
    assert comparable.same_tokens(first, replace(first))
    assert not comparable.same_tokens(first, second)
