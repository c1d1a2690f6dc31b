"""The microscope: requested with a click and bound to prompt and block."""

import json
from functools import partial

import pytest
from streamlit.testing.v1 import AppTest

from analysis import jobs
from analysis.core.blocks import Block
from analysis.experiments.prompt.microscope_spec import MicroscopeResult, MicroscopeSpec
from tests.support import fakes
from tests.support.seen import figures, texts, trace

PAGE = "pages/compare.py"
BLOCK = Block(13, 5)
"""The block that the made-up map chooses at n = 5."""
PROMPT = "The capital of France is"


def microscope(
    prompt=PROMPT, pieces=("<b>The", " capital", "\n", " is"), left_out=0
) -> MicroscopeResult:
    n, layers = len(pieces), fakes.L
    guesses = [
        [[10, 11, 12, 13, 14] if depth < 20 else [12, 10, 11, 13, 14] for _ in range(n)]
        for depth in range(layers + 1)
    ]
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


def stored(at: AppTest):
    return next(box for box in at.selectbox if box.label == "Stored results")


def test_the_microscope_looks_into_the_whole_or_the_pruned_model(view):
    at = view()
    assert (
        "Not measured yet for this prompt and the unpruned model. Click **Look inside**"
        in texts(at)
    )
    at.button(key="microscope-go").click().run()
    assert (jobs.active()[0].spec.block, jobs.active()[0].spec.prompt) == (
        None,
        "The capital of France is",
    )
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
    assert "The 7 after them were not read" in said
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
