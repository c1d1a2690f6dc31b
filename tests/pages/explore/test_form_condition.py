"""New requests start from the condition on screen: dtype, questions, texts and map."""

from dataclasses import replace

import pytest

from analysis import jobs
from analysis.data.spec import BenchmarkSpec, CorpusSpec
from analysis.experiments.maps.distance_spec import DistanceSpec
from analysis.models.source.model_spec import ModelSpec
from tests.support import fakes
from tests.support.seen import texts

FLOAT32 = replace(fakes.MODEL, dtype="float32")
QUESTIONS = BenchmarkSpec("boolq", limit=60, seed=3, identity="q")
TEXTS = CorpusSpec("wiki", n_texts=12, seq_len=64, seed=2, identity="t")


def in_float32(result, **changes):
    return replace(result, spec=replace(result.spec, model=FLOAT32, **changes))


@pytest.fixture
def on_screen(ui_cache):
    """A map and a curve in float32, while this machine would choose another dtype."""
    distances = in_float32(fakes.distances(), corpus=TEXTS)
    curve = in_float32(
        fakes.sweep(limit=60), benchmark=QUESTIONS, distances=distances.spec, loss_corpus=TEXTS
    )
    for one in (distances, curve):
        one.save()
    return distances, curve


def test_a_sweep_starts_from_the_condition_on_screen(app, on_screen):
    at = app()
    assert at.selectbox(key="sweep-dtype").value == "float32"
    assert (
        "Computes in float32 from Q4\\_1 weights, as on screen. Loss: 12 texts of Wikipedia."
        in texts(at)
    )
    at.button(key="sweep-go").click().run()
    (made,) = jobs.active()
    assert (made.spec.model.dtype, made.spec.model.source) == ("float32", "starter")
    assert made.spec.benchmark == replace(QUESTIONS, identity="")
    assert made.spec.loss_corpus == replace(TEXTS, identity="")
    assert made.spec.distances == DistanceSpec(made.spec.model, replace(TEXTS, identity=""))


def test_another_dtype_is_named_with_the_map_that_it_needs(app, on_screen):
    at = app()
    at.selectbox(key="sweep-dtype").set_value("bfloat16").run()
    said = texts(at)
    assert (
        "Computes in bfloat16 from Q4\\_1 weights. On screen: float32 from Q4\\_1 weights." in said
    )
    at.button(key="sweep-go").click().run()
    assert {made.spec.model.dtype for made in jobs.active()} == {"bfloat16"}


def test_both_map_forms_start_from_the_map_on_screen(app, on_screen):
    at = app()
    at.button(key="map-go").click().run()
    (made,) = jobs.active()
    assert made.spec == DistanceSpec(ModelSpec(dtype="float32"), replace(TEXTS, identity=""))
    at.button(key="damage-go").click().run()
    damage = next(job.spec for job in jobs.active() if job.kind == "damage")
    assert damage.model.dtype == damage.distances.model.dtype == "float32"


def test_buttons_ask_in_the_precision_on_screen(app, on_screen):
    at = app(n="5", tab="cost")
    at.button(key="measure-speed").click().run()
    at.button(key="instant").click().run()
    assert {made.kind: made.spec.model.dtype for made in jobs.active()} == {
        "speed": "float32",
        "heal": "float32",
    }


def test_compare_starts_from_the_condition_on_screen(app, on_screen):
    at = app("pages/compare.py")
    at.button_group(key="compare-view").set_value("Methods").run()
    assert "Computes in float32 from Q4\\_1 weights" in texts(at)
