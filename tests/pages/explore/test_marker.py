"""The marker of the selected block on accuracy and loss: at its own measured value, or nowhere."""

from dataclasses import replace

import pytest

from analysis import jobs
from analysis.core.blocks import Block
from tests.support import fakes
from tests.support.seen import figures, marked, texts

OTHER = Block(14, 5)


def test_the_marker_is_not_on_the_curve_of_another_block(app):
    fakes.distances().save()
    fakes.sweep().save()
    at = app(block="14:5")
    assert marked(at, "accuracy") == marked(at, "loss") == []
    assert "shapes" not in figures(at)["loss"]["layout"], "no line at n crosses the curve"


def test_a_block_scored_alone_is_marked_at_its_own_value(app):
    fakes.distances().save()
    curve = fakes.sweep()
    curve.save()
    fakes.evaluate(OTHER, curve=curve).save()
    at = app(block="14:5")
    assert (marked(at, "accuracy"), marked(at, "loss")) == ([(5, 0.37)], [(5, 3.3)])
    assert marked(app(n="5"), "accuracy") == [(5, curve.points[5].acc)]


def test_a_block_of_a_hidden_curve_is_marked_too(app):
    fakes.distances().save()
    fakes.sweep().save()
    other = fakes.sweep(strategy="deepest")
    other.save()
    own = next(point for point in other.points if point.n == 5)
    at = app(block=f"{own.start}:5")
    assert marked(at, "accuracy") == [(5, own.acc)]


def test_scores_under_another_condition_are_not_marked(app):
    fakes.distances().save()
    curve = fakes.sweep()
    curve.save()
    made = fakes.evaluate(OTHER, curve=curve)
    few = replace(made.spec, benchmark=replace(made.spec.benchmark, limit=7))
    replace(made, spec=few, point=replace(made.point, n_samples=7)).save()
    at = app(block="14:5")
    assert marked(at, "accuracy") == []
    assert marked(at, "loss") == [(5, 3.3)]


@pytest.mark.parametrize("tab", ["map", "cost", "trade-off"])
def test_score_tabs_name_the_unmeasured_block_and_measure_it(app, tab):
    fakes.distances().save()
    fakes.sweep().save()
    at = app(block="14:5", tab=tab)
    assert f"**Not measured**: {OTHER.brief()}" in texts(at)
    at.button(key="score-cut").click().run()
    assert not at.exception
    (made,) = jobs.active()
    assert (made.kind, made.spec.block) == ("evaluate", OTHER)


def test_block_with_accuracy_alone_names_the_missing_loss(app):
    fakes.distances().save()
    curve = fakes.sweep()
    curve.save()
    made = fakes.evaluate(OTHER, curve=curve)
    replace(made, spec=replace(made.spec, loss_corpus=None), point=replace(made.point, loss=None, n_texts=0)).save()
    at = app(block="14:5")
    assert f"**Not measured** (loss): {OTHER.brief()}" in texts(at)
    assert (marked(at, "accuracy"), marked(at, "loss")) == ([(5, 0.37)], [])


@pytest.mark.parametrize("tab", ["map", "cost", "trade-off", "data"])
def test_an_evaluation_that_only_generated_is_no_score(app, tab):
    fakes.distances().save()
    curve = fakes.sweep()
    curve.save()
    made = fakes.generating(OTHER, "text")
    point = replace(made.point, acc=None, acc_norm=None, loss=None, n_samples=0, n_texts=0)
    replace(made, spec=replace(made.spec, benchmark=None, loss_corpus=None), point=point).save()
    at = app(block="14:5", tab=tab)
    assert not at.exception
    assert ("**Not measured**" in texts(at)) == (tab != "data")
