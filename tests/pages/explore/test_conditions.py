"""Numbers of two conditions never appear as one: other precisions, texts and removed layers are named next to them."""

from dataclasses import replace

import pytest

from analysis.core.blocks import Block
from tests.support import fakes
from tests.support.seen import charts, metric, names, read, texts, trace

LOSS = "loss, nats per token"


@pytest.fixture
def curve(ui_cache):
    fakes.distances().save()
    made = fakes.sweep(answers=True)
    made.save()
    return made


def test_heal_in_the_curves_condition_is_on_it(app, curve):
    fakes.alike_heal().save()
    at = app(block="11:5")
    assert "healed" in names(at, "accuracy")
    assert "healed" in names(at, LOSS)
    assert "measured differently" not in texts(at)


def test_the_curve_shows_heals_of_its_own_blocks_alone(app, curve):
    heal = fakes.alike_heal()
    heal.save()
    at = app(n="5")
    assert not heal.is_of(curve.points[5].block)
    assert "healed" not in names(at, "accuracy")
    own = replace(heal, spec=replace(heal.spec, block=curve.points[5].block))
    points = {name: replace(point, start=own.spec.block.start) for name, point in own.models.items() if point.n}
    replace(own, **points).save()
    diamonds = trace(charts(app(n="5"))["accuracy"], "healed")
    assert len(diamonds["x"]) == 1
    assert curve.points[5].block.describe() in diamonds["text"][0]


def test_heals_of_another_block_than_the_selected_are_named(app, curve):
    heal, block = fakes.alike_heal(), curve.points[5].block
    points = {name: replace(point, start=block.start) for name, point in heal.models.items() if point.n}
    replace(heal, spec=replace(heal.spec, block=block), **points).save()
    said = f"Diamonds at n = 5 are healing runs of other layers: {block.brief()}."
    assert said in read(texts(app(block="3:5")))
    assert "Diamonds" not in texts(app(n="5"))


def test_nf4_heal_is_off_the_curve_and_named_with_precision(app, curve):
    fakes.heal().save()
    at = app(block="11:5")
    assert "healed" not in names(at, "accuracy")
    assert "healed" not in names(at, LOSS)
    assert "NF4, bfloat16" in texts(at)
    assert "unpruned: 48.0 %" in read(texts(at))


def test_heal_on_other_questions_keeps_its_loss_on_curve(app, curve):
    heal = fakes.alike_heal()
    few = {name: replace(point, n_samples=7) for name, point in heal.models.items()}
    replace(heal, spec=replace(heal.spec, benchmark=replace(heal.spec.benchmark, limit=7)), **few).save()
    at = app(block="11:5")
    assert "healed" not in names(at, "accuracy")
    assert "healed" in names(at, LOSS)


def test_the_numbers_name_their_questions_texts_and_precision(app, curve):
    at = app(n="5", tab="cost")
    assert r":gray-badge[ARC-Easy · n = 100 · C4 · n = 8 texts] :gray-badge[bfloat16 · Q4\_1 weights]" in texts(at)
    assert r"100 ARC-Easy questions, bfloat16 from Q4\_1 weights" in metric(at, "Accuracy").help
    assert r"8 texts of C4, bfloat16 from Q4\_1 weights" in metric(at, "Loss").help


def test_loss_is_explained_as_surprisal_and_by_comparable_curve_points(app, curve):
    said = "Compared with the unpruned model, on average each token is"
    own = metric(app(n="5", tab="cost"), "Loss").help
    assert said in own
    assert "like removing" not in own, "its own cut would be like itself"
    fakes.evaluate(Block(3, 5), curve=curve).save()
    by_hand = metric(app(block="3:5", tab="cost"), "Loss").help
    assert f"{said} 2.5 times as surprising, like removing 5 layers by similarity (+0.97 nats/token)." in read(by_hand)
    assert said not in metric(app(n="0", tab="cost"), "Loss").help


def test_scores_of_another_block_are_not_those_of_this_one(app, curve):
    """The curve stands on the choice of another map: its point at n = 5 is of other layers than the strip shows."""
    other, at_hand = Block(3, 5), curve.points[5].block
    points = [replace(point, start=other.start) if point.n == 5 else point for point in curve.points]
    replace(curve, points=points).save()
    at = app(n="5", tab="cost")
    assert metric(at, "Accuracy").value == "–"
    assert metric(at, "Loss").value == "–"
    assert f"**Not measured**: {at_hand.brief()}" in read(texts(at))


def test_score_of_another_condition_is_not_shown_for_the_block(app, curve):
    """A block that was scored alone on other questions has its loss in this condition, and no accuracy."""
    at = app(n="5", tab="cost")
    assert metric(at, "Accuracy").delta.split(",")[0].endswith("points")
    alone = fakes.evaluate(Block(3, 5), curve=curve)
    replace(alone, point=replace(alone.point, n_samples=24)).save()
    at = app(block="3:5", tab="cost")
    assert metric(at, "Accuracy").value == "–"
    assert not metric(at, "Accuracy").delta
    assert metric(at, "Loss").delta.endswith("nats")
    assert "Accuracy is not measured on 100 ARC-Easy questions." in texts(at)
