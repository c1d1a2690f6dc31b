"""Scoring the removed layers alone: the button, its progress, the result in numbers, curves and
marks, and failures.
"""

from dataclasses import replace

from analysis import jobs
from analysis.core.blocks import Block
from analysis.experiments.accuracy.sweep_spec import EvaluateSpec
from analysis.models.source.model_spec import ModelSpec
from tests.support import fakes
from tests.support.seen import figures, marked, opened, score, texts, trace

OTHER = Block(14, 5)


def cut_at(n: int) -> Block:
    return next(best.block for best in fakes.distances().best if best.n == n)


def request(curve, block) -> EvaluateSpec:
    asked = curve.spec.request
    return EvaluateSpec(
        asked.model, block, benchmark=asked.benchmark, loss_corpus=asked.loss_corpus
    )


def has_button(at) -> bool:
    return any(button.key == "score-cut" for button in at.button)


def test_block_beyond_the_curve_is_scored_on_the_same_data(app, curve):
    at = app(n="18", tab="cost")
    assert score(at, "accuracy") is None
    button = at.button(key="score-cut")
    assert "the curve's 100 questions and text" in button.help
    button.click().run()
    (made,) = jobs.active()
    assert made.spec == request(curve, cut_at(18))
    assert (made.spec.model.identity, made.spec.model.dtype) == ("", "bfloat16")


def test_scores_of_the_block_appear_in_numbers_and_curves(app, curve):
    fakes.evaluate(cut_at(18), curve=curve).save()
    at = app(n="18", tab="cost")
    assert not has_button(at)
    assert (score(at, "accuracy"), score(at, "loss")) == (0.37, 3.3)
    assert (
        r":gray-badge[ARC-Easy · n = 100 · C4 · n = 8 texts] :gray-badge[bfloat16 · Q4\_1 weights]"
        in texts(at)
    )
    opened(at, "map")
    for key, value in (("accuracy", 0.37), ("loss", 3.3)):
        diamond = trace(figures(at)[key], "other layers")
        assert (diamond["x"], diamond["y"]) == ([18], [value])
        assert cut_at(18).brief() in diamond["text"][0]
        assert figures(at)[key]["layout"]["xaxis"]["range"][1] >= 18.5
    at.slider(key="n").set_value(3).run()
    assert figures(at)["accuracy"]["layout"]["xaxis"]["range"][1] >= 18.5, "it stays on the curve"
    assert not at.exception


def test_scores_of_a_healing_run_are_known_already(app, curve):
    heal, place = fakes.alike_heal(), {"n": 18, "start": cut_at(18).start}
    scores = {name: replace(getattr(heal, name), **place) for name in ("pruned", "healed")}
    replace(heal, spec=replace(heal.spec, block=cut_at(18)), **scores).save()
    at = app(n="18", tab="cost")
    assert not has_button(at)
    assert (score(at, "accuracy"), score(at, "loss")) == (heal.pruned.acc, heal.pruned.loss)


def test_without_any_curve_the_usual_questions_are_asked(app):
    fakes.distances().save()
    at = app(n="5")
    at.button(key="score-cut").click().run()
    (made,) = jobs.active()
    assert made.spec == EvaluateSpec(ModelSpec(dtype="bfloat16"), cut_at(5)), (
        "in the precision of the map"
    )
    fakes.evaluate(cut_at(5)).save()
    jobs.cancel(made.id)
    at = app(n="5", tab="cost")
    assert score(at, "accuracy") == 0.37


def test_no_button_while_a_running_sweep_scores_the_block(app, job):
    fakes.distances().save()
    growing = fakes.sweep(last=3, complete=False)
    growing.save()
    job(
        growing.spec.request,
        jobs.RUNNING,
        "Curve",
        done=1,
        total=3,
        result_key=growing.spec.fingerprint(),
    )
    assert not has_button(app(n="5"))


# The mark of the selected block stands at its own measured value, or nowhere


def test_the_marker_is_not_on_the_curve_of_another_block(app, curve):
    at = app(block="14:5")
    assert marked(at, "accuracy") == marked(at, "loss") == []
    assert "shapes" not in figures(at)["loss"]["layout"], "no line at n crosses the curve"
