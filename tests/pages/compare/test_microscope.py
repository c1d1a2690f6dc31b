"""The microscope: a model looked into or each layer put back, requested with a click and bound to prompt and block."""

import json
from dataclasses import replace
from functools import partial

import pytest
from streamlit.testing.v1 import AppTest

from analysis import jobs
from analysis.core.blocks import Block
from analysis.experiments.prompt.comparison_spec import CompareResult, CompareSpec, Variant, Writing
from analysis.experiments.prompt.microscope_spec import MicroscopeResult, MicroscopeSpec
from analysis.experiments.prompt.restore_spec import RestoreResult, RestoreSpec
from tests.support import fakes
from tests.support.seen import figures, read, texts, trace

PAGE = "pages/compare.py"
BLOCK = Block(13, 5)
"""The block that the made-up map chooses at n = 5."""
PROMPT = "The capital of France is"
PIECES = ["The", " <b>capital", " of", "\n", " is"]


def restored(prompt=PROMPT, block=BLOCK) -> RestoreResult:
    spec = RestoreSpec(fakes.MODEL, prompt, block)
    unpruned, pruned = [1.0, 1.0, 1.0, 1.0], [2.0, 6.0, 1.2, 0.5]
    rows = [[2.0 - 0.1 * place, 5.0 - place, 1.0, 1.0] for place in range(5)]
    layers = list(block.layers)
    return RestoreResult(
        spec, fakes.VERSIONS, 0.4, 5, True, "SmolLM2-135M-Instruct", fakes.L, layers, PIECES, 2, unpruned, pruned, rows
    )


def microscope(prompt=PROMPT, pieces=("<b>The", " capital", "\n", " is"), left_out=0) -> MicroscopeResult:
    n, layers = len(pieces), fakes.L
    guesses = [[[10, 11, 12, 13, 14] if depth < 20 else [12, 10, 11, 13, 14] for _ in range(n)] for depth in range(layers + 1)]
    return MicroscopeResult(
        MicroscopeSpec(fakes.MODEL, prompt),
        fakes.VERSIONS,
        0.4,
        n,
        True,
        "SmolLM2-135M-Instruct",
        layers,
        list(range(layers)),
        list(pieces),
        left_out,
        [[0.01 * (layer + 1) + 0.002 * token for token in range(n)] for layer in range(layers)],
        guesses,
        [[[0.5, 0.2, 0.1, 0.05, 0.01]] * n] * (layers + 1),
        [[0.3] * n] * (layers + 1),
        [20] * n,
        {"10": " Paris", "11": "<i>x", "12": " Lyon", "13": "\n", "14": " $a$"},
    )


@pytest.fixture
def view(compare):
    """A function that opens the microscope on a model with a map."""
    fakes.distances().save()
    return partial(compare, "Microscope", n="5")


@pytest.fixture
def opened(view):
    """A function that opens the microscope where each layer is put back."""

    def open_view() -> AppTest:
        at = view()
        at.button_group(key="inside-False").set_value("each layer put back").run()
        assert not at.exception
        return at

    return open_view


def stored(at: AppTest):
    return next(box for box in at.selectbox if box.label == "Stored results")


def test_the_microscope_looks_into_the_whole_or_the_pruned_model(view):
    at = view()
    assert "Not measured yet for this prompt and the unpruned model. Click **Look inside**" in texts(at)
    at.button(key="microscope-go").click().run()
    assert (jobs.active()[0].spec.block, jobs.active()[0].spec.prompt) == (None, "The capital of France is")
    at.button_group(key="inside-False").set_value("the pruned model").run()
    at.button(key="microscope-go").click().run()
    assert jobs.active()[1].spec.block == BLOCK


def test_microscope_shows_map_predictions_of_a_token_and_settling_depth(view):
    microscope(left_out=7).save()
    at = view()
    drawn = figures(at)
    heat = trace(drawn["token-map"], "distance")
    assert heat["z"][29][0] == pytest.approx(0.3)
    assert trace(drawn["token-map"], "final guess settles")["y"] == [19.5] * 4
    cut, position = drawn["token-map"]["layout"]["shapes"]
    assert (cut["y0"], cut["y1"]) == (BLOCK.start - 0.5, BLOCK.stop - 0.5)
    assert (position["x0"], position["x1"]) == (2.5, 3.5)
    assert len(trace(drawn["lens"], "guesses")["z"]) == fakes.L + 1
    assert "Lyon 50%" in trace(drawn["lens"], "guesses")["text"][30][0]
    said = texts(at)
    assert "“Lyon”, 50.0% at the end, stays first from layer 19 on" in said
    assert "token 4 “is” rotates most" in said.replace("\\", "")
    assert "The 7 tokens after them were not read" in said
    at.selectbox(key=f"position-{microscope().spec.fingerprint()}").set_value(1).run()
    assert not at.exception


def test_microscope_belongs_to_prompt_and_model_of_the_form(view):
    microscope(prompt="Another prompt").save()
    at = view()
    assert "token-map" not in figures(at), "it is of another prompt"
    stored(at).select_index(0).run()
    assert at.text_area(key="prompt-text").value == "Another prompt"
    assert "token-map" in figures(at)
    at.button_group(key="inside-False").set_value("the pruned model").run()
    assert "token-map" not in figures(at)
    assert f"the model without {BLOCK.brief()}" in texts(at)


def test_pieces_and_predictions_are_never_markup(view):
    microscope().save()
    at = view()
    assert "lens" in figures(at)
    drawn = json.dumps(list(figures(at).values()))
    assert "<b>The" not in drawn
    assert "<i>x" not in drawn
    assert "&lt;i&gt;x" in drawn


def test_one_click_asks_for_each_removed_layer(opened):
    at = opened()
    assert f"Not measured for this prompt and {BLOCK.brief()}. Click **Put layers back** (runs the prompt 7 times)" in texts(at)
    at.button(key="restore-go").click().run()
    (made,) = jobs.active()
    assert (made.spec.kind, made.spec.block, made.spec.prompt) == ("restore", BLOCK, PROMPT)
    assert "Next in the queue" in texts(at)


def test_most_harmed_token_is_first_and_a_click_selects_another(opened):
    restored().save()
    at = opened()
    chart = figures(at)["restored"]
    assert trace(chart, "one layer put back")["y"] == [5.0, 4.0, 3.0, 2.0, 1.0]
    assert trace(chart, "pruned, 6.00")["y"] == [6.0, 6.0]
    assert trace(chart, "unpruned, 1.00")["line"]["dash"] == "dash"
    assert "Layer 17, put back alone, lowers it most: to 1.00 nats (100 % of the increase recovered)" in read(texts(at))
    tokens = next(group for group in at.button_group if group.label == "Token")
    assert [read(name) for name in tokens.options] == ["<b>capital +1.0", "of +5.0", "↵", "is"]
    tokens.set_value(4).run()
    assert trace(figures(at)["restored"], "pruned, 0.50")["y"] == [0.5, 0.5]
    assert "nothing to recover" in texts(at)
    tokens.set_value(None).run()
    assert "On average over 4 tokens" in texts(at)
    assert "python -m analysis restore" in at.code[0].value


def test_a_result_of_another_prompt_or_block_is_not_shown(opened):
    restored(prompt="Another prompt").save()
    replace(restored(), spec=replace(restored().spec, block=Block(2, 5))).save()
    at = opened()
    assert "restored" not in figures(at)
    assert "Not measured for this prompt" in texts(at)
    menu = stored(at)
    menu.select_index(next(place for place, name in enumerate(menu.options) if "Another" in name)).run()
    assert at.text_area(key="prompt-text").value == "Another prompt"
    assert "restored" in figures(at)


def test_without_a_removed_block_there_is_nothing_to_put_back(opened):
    at = opened()
    at.slider(key="microscope-n").set_value(0).run()
    assert not at.exception
    assert at.button_group(key="inside-True").options == ["the unpruned model"]


def test_the_prompt_view_leads_to_the_layer_to_restore(app, ui_cache):
    fakes.distances().save()
    variants = (Variant(), Variant("pruned", BLOCK))
    written = [Writing([n], [text], [0.5], [0.5], 25, 0.1, 0.5, False, True) for n, text in enumerate((" Paris", " a a"))]
    spec = CompareSpec(fakes.MODEL, PROMPT, variants)
    CompareResult(spec, fakes.VERSIONS, 3.0, 40, True, "SmolLM2-135M-Instruct", fakes.L, 5, written).save()
    at = app(PAGE, n="5")
    at.button(key="compare-restore").click().run()
    assert not at.exception
    assert at.button_group(key="compare-view").value == "Microscope"
    assert at.text_area(key="prompt-text").value == "The capital of France is Paris"
    at.button(key="restore-go").click().run()
    (made,) = jobs.active()
    assert (made.spec.kind, made.spec.block, made.spec.prompt) == ("restore", BLOCK, "The capital of France is Paris")
