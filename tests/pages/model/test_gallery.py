"""The gallery on the pages: a model without weights here opens with one click, and actions that
need them say so.
"""

from dataclasses import replace

import pytest

from analysis.data.gallery import EXHIBITS
from tests.support import fakes
from tests.support.seen import metric, read, texts

OTHER = EXHIBITS[1]
IDENTITY = "gguf:0123456789abcdef01234567"


def of_other(result):
    spec = replace(result.spec, model=replace(fakes.MODEL, source=OTHER.source, identity=IDENTITY))
    return replace(result, spec=spec, model=replace(fakes.FACTS, name=OTHER.title, family="qwen2"))


@pytest.fixture
def filled(precomputed, inspected):
    for result in (
        fakes.distances(),
        of_other(fakes.inspect()),
        of_other(fakes.distances()),
        of_other(fakes.sweep()),
    ):
        precomputed(result)


def test_it_lists_shipped_results_and_opens_them_on_explore(app, filled, monkeypatch):
    at = app("pages/model.py")
    said = read(texts(at))
    assert f"**{OTHER.title}** · qwen2, 30 layers" in said
    assert ":gray-badge[precomputed]" in said
    assert (
        "1 map, 1 curve. Weights: the publisher's Q4_K_M GGUF file, with untied embeddings" in said
    )
    assert "Models you have looked at" not in [item.value for item in at.header]
    at.button(key="gallery-1").click().run()
    assert not at.exception
    assert at.session_state["model"].source == OTHER.source
    assert at.query_params["model"] == OTHER.source


@pytest.mark.parametrize("page", ["explore", "compare", "export", "learn", "heal"])
def test_every_page_stands_on_a_model_that_is_not_here(app, filled, page):
    at = app(f"pages/{page}.py", model=OTHER.source)
    assert not at.error
    if page == "explore":
        assert "precomputed" in texts(at)
        assert at.button(key="instant").disabled


def test_stored_facts_are_shown_before_the_model_is_here_or_read(app, filled, inspected):
    inspected(lambda model: None)
    for source in ("starter", OTHER.source):
        at = app("pages/model.py", model=source)
        assert metric(at, "Layers").value == "30"
    at.button(key="check").click().run()
    assert not at.exception
    assert metric(at, "Layers").value == "30"
