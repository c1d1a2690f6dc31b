"""Scoring the removed layers alone: the button, its progress, the result in numbers and curves, and the reason of a failure."""

from dataclasses import replace

import pytest

from analysis import jobs
from analysis.core.blocks import Block, LayerSet
from analysis.data.spec import BenchmarkSpec
from analysis.experiments.accuracy.sweep_spec import EvaluateSpec
from analysis.models.source.model_spec import ModelSpec
from pages.components.shared import start
from tests.support import fakes
from tests.support.seen import figures, metric, names, opened, texts, trace


@pytest.fixture
def curve():
    fakes.distances().save()
    made = fakes.sweep(answers=True)
    made.save()
    return made


def cut_at(n: int) -> Block:
    return next(best.block for best in fakes.distances().best if best.n == n)


def request(curve, block) -> EvaluateSpec:
    asked = start.unresolved(curve.spec)
    return EvaluateSpec(asked.model, block, benchmark=asked.benchmark, loss_corpus=asked.loss_corpus)


def has_button(at) -> bool:
    return any(button.key == "score-cut" for button in at.button)


def test_a_cut_on_the_curve_needs_no_button(app, curve):
    assert not has_button(app(n="5"))
    assert not has_button(app(n="0"))


def test_block_beyond_the_curve_is_scored_on_the_same_data(app, curve):
    at = app(n="18", tab="cost")
    assert metric(at, "Accuracy").value == "–"
    button = at.button(key="score-cut")
    assert "the curve's 100 questions and text" in button.help
    button.click().run()
    (made,) = jobs.active()
    assert made.spec == request(curve, cut_at(18))
    assert (made.spec.model.identity, made.spec.model.dtype) == ("", "bfloat16")


def test_its_progress_stands_in_place(app, curve, job):
    job(request(curve, cut_at(18)), jobs.RUNNING, "Score", phase="scoring questions", done=3, total=8)
    at = app(n="18")
    assert not has_button(at)
    assert "scoring questions · 3/8" in [element.proto.text for element in at.get("progress")]
    at.slider(key="n").set_value(19).run()
    assert has_button(at), "another cut has a job of its own"


def test_scores_of_the_block_appear_in_numbers_and_curves(app, curve):
    fakes.evaluate(cut_at(18), curve=curve).save()
    at = app(n="18", tab="cost")
    assert not has_button(at)
    assert metric(at, "Accuracy").value == "37.0%"
    assert metric(at, "Loss").value == "3.30"
    assert r":gray-badge[ARC-Easy · n = 100 · C4 · n = 8 texts] :gray-badge[bfloat16 · Q4\_1 weights]" in texts(at)
    opened(at, "map")
    for key, value in (("accuracy", 0.37), ("loss", 3.3)):
        diamond = trace(figures(at)[key], "scored separately")
        assert (diamond["x"], diamond["y"]) == ([18], [value])
        assert cut_at(18).describe() in diamond["text"][0]
        assert figures(at)[key]["layout"]["xaxis"]["range"][1] >= 18.5
    at.slider(key="n").set_value(3).run()
    assert figures(at)["accuracy"]["layout"]["xaxis"]["range"][1] >= 18.5, "it stays on the curve"
    assert not at.exception


def test_scores_on_other_data_are_not_on_the_curve(app, curve):
    own = fakes.evaluate(cut_at(18), curve=curve)
    few = replace(own.point, n_samples=7)
    replace(own, spec=replace(own.spec, benchmark=BenchmarkSpec(identity="q", limit=7)), point=few).save()
    at = app(n="18")
    assert has_button(at)
    assert "scored separately" not in names(at, "accuracy")
    assert "scored separately" in names(at, "loss, nats per token"), "the text is the same"


def test_a_healed_model_is_no_score_of_the_cut(app, curve):
    own = fakes.evaluate(cut_at(18), curve=curve)
    replace(own, spec=replace(own.spec, adapter="somewhere")).save()
    at = app(n="18")
    assert has_button(at)
    assert "scored separately" not in names(at, "accuracy")


def test_scores_of_another_strategy_are_known_already(app):
    fakes.distances().save()
    fakes.sweep(strategy="reverse").save()
    at = app(strategy="similarity", n="5")
    assert has_button(at)
    other = fakes.sweep(strategy="loss-greedy")
    same = [replace(p, start=cut_at(5).start) if p.n == 5 else p for p in other.points]
    replace(other, points=same).save()
    at = app(strategy="similarity", n="5")
    assert not has_button(at)
    assert metric(opened(at, "cost"), "Accuracy").value != "–"


def test_without_any_curve_the_usual_questions_are_asked(app):
    fakes.distances().save()
    at = app(n="5")
    at.button(key="score-cut").click().run()
    (made,) = jobs.active()
    assert made.spec == EvaluateSpec(ModelSpec(dtype="bfloat16"), cut_at(5)), "in the precision of the map"
    fakes.evaluate(cut_at(5)).save()
    jobs.cancel(made.id)
    at = app(n="5", tab="cost")
    assert metric(at, "Accuracy").value == "37.0%"


def test_a_failure_is_one_sentence_and_the_button_stays(app, curve, job):
    job(request(curve, cut_at(18)), jobs.FAILED, "Score", error="The disk is full.")
    at = app(n="18")
    assert "The disk is full." in [item.value for item in at.error]
    assert has_button(at)


def test_no_button_while_a_running_sweep_scores_the_block(app, job):
    fakes.distances().save()
    growing = fakes.sweep(last=3, complete=False)
    growing.save()
    job(start.unresolved(growing.spec), jobs.RUNNING, "Curve", done=1, total=3, result_key=growing.spec.fingerprint())
    assert not has_button(app(n="5"))


def test_scattered_layers_that_were_scored_are_drawn_with_their_names(app, curve):
    layers = LayerSet((1, 4))
    fakes.evaluate(layers, curve=curve).save()
    assert layers.describe() in trace(figures(app())["accuracy"], "scored separately")["text"][0]
