"""The tab of the budget: the best way of each kind within a size and a speed, and a button that
selects it.
"""

from dataclasses import replace
from unittest import mock

import pytest

from analysis import jobs
from analysis.core import blocks
from analysis.core.blocks import Block
from analysis.results import verdict
from analysis.results.compared import front
from analysis.results.score.score import ACCURACY
from analysis.results.verdict import BYTES, Goal
from analysis.results.words import goals
from tests.support import fakes
from tests.support.seen import marked, names, read


def test_trade_off_without_a_measured_block_names_the_next_step(app, precomputed):
    precomputed(fakes.distances())
    at = app(tab="trade-off")
    assert any("No results yet" in one.value for one in at.info)


def measured(answers: bool = True):
    """A curve on which one removed layer loses 1 of 200 questions and ten lose many."""
    return fakes.sweep(limit=200, answers=answers)


def test_a_card_selects_the_best_block_within_the_budget(app, precomputed):
    curve = measured()
    for result in (fakes.distances(), curve):
        precomputed(result)
    at = app(tab="trade-off", n="3")
    size = at.slider("budget-size").max - 20
    at.slider("budget-size").set_value(size).run()
    chosen = verdict.routes(front.compare([curve]), [Goal(BYTES, round(1e6 * size))])["Prune"]
    said = [read(one.value) for one in at.markdown]
    assert f"**{goals.effect(chosen, ACCURACY)}**" in said
    assert sum(read(one.value) == "No measured model fits." for one in at.caption) == 2
    at.button(f"take-{blocks.written(chosen.cut)}").click().run()
    assert at.session_state["address"]["n"] == chosen.cut.size
    assert not at.exception


@pytest.mark.parametrize("n_weights", [1, 3_000_000])
def test_budget_of_a_small_model_has_a_valid_default(app, precomputed, n_weights):
    distances = fakes.distances()
    facts = replace(
        distances.model, layer_parameters=[n_weights // 30] * 30, other_parameters=n_weights % 30
    )
    for result in (replace(distances, model=facts), measured()):
        precomputed(result)
    at = app(tab="trade-off", n="3")
    assert not at.exception
    slider = at.slider("budget-size")
    assert slider.min <= slider.value <= slider.max


def test_the_selected_block_is_marked_at_its_own_scores(app, precomputed):
    curve = fakes.sweep()
    own = Block(14, 5)
    for result in (fakes.distances(), curve, fakes.evaluate(own, curve=curve)):
        precomputed(result)
    at = app(tab="trade-off", block="14:5")
    ((_, accuracy),) = marked(at, "front")
    assert "selected" not in names(at, "accuracy"), "one marker, and not at the unpruned model"
    assert accuracy == 0.37
    assert accuracy != curve.points[5].acc
    assert marked(app(tab="trade-off", block="15:5"), "front") == []


def in_two_precisions():
    """A curve in bfloat16, and the same in NF4 with fewer bytes."""
    whole = replace(measured(), model=replace(fakes.FACTS, layers=fakes.LAYERS))
    quantized = replace(whole.spec.model, quantization="4bit")
    return whole, replace(whole, spec=replace(whole.spec, model=quantized))


def test_precisions_are_series_of_one_chart_and_rivals_in_words(app, precomputed):
    for result in (fakes.distances(), *in_two_precisions()):
        precomputed(result)
    at = app(tab="trade-off", n="3")
    assert {"pruned", "pruned and quantized"} <= set(names(at, "accuracy"))
    assert len(marked(at, "front")) == 1, (
        "the selected block is marked in the selected precision alone"
    )
    at.slider("budget-size").set_value(120).run()
    said = " ".join(read(one.value) for one in at.markdown)
    assert "NF4 weights in bfloat16, no pruning, 113 MB" in said


def test_missing_precisions_begin_with_one_unpruned_model_if_nothing_was_timed_here(
    app, precomputed
):
    whole, _ = in_two_precisions()
    for result in (fakes.distances(), whole):
        precomputed(result)
    at = app(tab="trade-off", n="3")
    assert any("Not measured: " in read(one.value) for one in at.caption)
    button = at.button("front-missing")
    assert "Measure missing points (duration unknown)" in button.label
    button.click().run()
    (made,) = jobs.active()
    assert ([model.quantization for model in made.spec.models], made.spec.max_n) == (["8bit"], 0)
    assert made.spec.benchmarks[0].limit == 200


def test_second_look_builds_no_front_again(app, precomputed):
    for result in (fakes.distances(), measured()):
        precomputed(result)
    at = app(tab="trade-off", n="3")
    with mock.patch.object(front, "compare", side_effect=front.compare) as built:
        at.run()
    assert not built.called
    assert not at.exception


def test_answer_is_on_the_questions_on_screen(app, precomputed):
    """More forms are measured on 50 questions, but the curve on screen is on 200."""
    few = fakes.sweep(9, limit=50, answers=True)
    quantized = replace(
        few, spec=replace(few.spec, model=replace(few.spec.model, quantization="4bit"))
    )
    for result in (fakes.distances(), measured(), few, quantized):
        precomputed(result)
    at = app(tab="trade-off", n="3")
    assert any(
        read(one.value).startswith("200 ARC-Easy questions and 8 texts") for one in at.caption
    )
    assert not at.exception


def test_other_model_outside_of_the_gallery_is_on_the_front_when_chosen(app, precomputed):
    curve = measured()
    facts = replace(fakes.FACTS, name="random", layer_parameters=[1_000_000] * fakes.L)
    other = replace(
        curve,
        model=facts,
        spec=replace(curve.spec, model=replace(curve.spec.model, source="random", identity="x")),
    )
    for result in (fakes.distances(), curve, other):
        precomputed(result)
    at = app(tab="trade-off", n="3")
    assert "random" not in names(at, "accuracy")
    at.multiselect("front-others").set_value(["random"]).run()
    assert "random" in names(at, "accuracy")
    assert not at.exception
