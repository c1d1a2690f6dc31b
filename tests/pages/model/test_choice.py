"""Models you have looked at: found by their weights, one click away, and never mixed up when
weights are exchanged.
"""

from dataclasses import replace

import pytest

from analysis.models.source import identity as identities
from analysis.models.source.model_spec import ModelSpec
from pages.components.shared import stored_results
from tests.support import fakes
from tests.support.seen import texts

pytestmark = pytest.mark.usefixtures("inspected")


@pytest.fixture
def folder(tmp_path):
    """A folder that looks like a model; nothing reads more than its bytes."""
    made = tmp_path / "mine"
    made.mkdir()
    (made / "config.json").write_text("{}")
    (made / "model.safetensors").write_bytes(b"first weights")
    return made


def result_of(folder, result=None):
    made = result or fakes.distances()
    model = replace(fakes.MODEL, source=str(folder), identity=identities.of_local(str(folder)))
    return replace(
        made,
        spec=replace(made.spec, model=model),
        model=replace(fakes.FACTS, name="mine", n_layers=12),
    )


def test_a_reload_keeps_the_typed_source(app):
    at = app("pages/model.py")
    at.segmented_control(key="source-kind").set_value("Hub id").run()
    at.text_input(key="source-Hub id").set_value("Qwen/Qwen2.5-0.5B").run()
    assert at.query_params["source"] == "Qwen/Qwen2.5-0.5B"
    assert (
        app("pages/model.py", source="Qwen/Qwen2.5-0.5B").text_input(key="source-Hub id").value
        == "Qwen/Qwen2.5-0.5B"
    )


@pytest.mark.parametrize(
    ("kind", "source", "says"),
    [
        (
            "GGUF file",
            "starter.txt",
            "The file 'starter.txt' does not exist, and its name does not end in .gguf",
        ),
        (
            "GGUF file",
            "nobody/nothing",
            "The file 'nobody/nothing' does not exist, and its name does not end in .gguf",
        ),
        ("GGUF file", "{there}/config.json", "is not a GGUF file: its name does not end in .gguf."),
        ("GGUF file", "{there}", "is a folder, not a GGUF file. Choose Folder,"),
        (
            "Folder",
            "models/mine",
            (
                "There is no folder 'models/mine' on this machine. Enter its full path, or choose"
                " Hub id."
            ),
        ),
        ("Hub id", "notes.txt", "The file 'notes.txt' does not exist"),
    ],
)
def test_a_wrong_path_is_refused_without_asking_the_hub(app, folder, kind, source, says):
    at = app("pages/model.py")
    at.segmented_control(key="source-kind").set_value(kind).run()
    at.text_input(key=f"source-{kind}").set_value(source.replace("{there}", str(folder))).run()
    assert says in " ".join(one.value for one in at.error).replace("\\", "")
    assert "Check this model" not in [one.label for one in at.button]


@pytest.mark.parametrize(
    ("kind", "source"),
    [
        ("GGUF file", "Qwen/Qwen2.5-GGUF/qwen2.5-q4_k_m.gguf"),
        ("Folder", "/nowhere"),
    ],
)
def test_a_path_that_may_be_right_can_be_checked(app, kind, source):
    at = app("pages/model.py")
    at.segmented_control(key="source-kind").set_value(kind).run()
    at.text_input(key=f"source-{kind}").set_value(source).run()
    assert not at.error
    assert "Check this model" in [one.label for one in at.button]


def test_a_model_is_one_click_away(app, folder):
    fakes.sweep().save()
    result_of(folder).save()
    at = app("pages/model.py")
    said = texts(at)
    assert "**mine** · 12 layers" in said
    assert "1 map, last" in said
    assert [b.label for b in at.button if b.key.startswith("use-seen")].count("In use") == 1
    next(b for b in at.button if b.key.startswith("use-seen") and b.label == "Use").click().run()
    assert not at.exception
    assert at.session_state["model"] == ModelSpec(str(folder))
    assert at.query_params["model"] == str(folder)
    assert at.text_input(key="source-Folder").value == str(folder)
    assert next(b for b in at.button if b.label == "Use").key.startswith("use-seen")


def test_exchanged_weights_leave_their_results_behind(app, folder, ui_cache):
    old = result_of(folder)
    old.save()
    model = ModelSpec(str(folder))
    assert [entry.result for entry in stored_results.find("distances", model)] == [old]
    (folder / "model.safetensors").write_bytes(b"other weights!")
    assert stored_results.find("distances", model) == []
    assert stored_results.n_of_other_weights(model) == 1
    at = app("pages/model.py", model=str(folder))
    assert "1 stored result of this name is hidden" in texts(at)
    assert "changed after these results" in texts(at)
    assert all(b.disabled for b in at.button if b.key.startswith("use-seen"))
    new = result_of(folder)
    new.save()
    assert [entry.result.spec for entry in stored_results.find("distances", model)] == [new.spec]
