"""Export in every state: no results, an unhealed cut, a healed one, a full disk, a folder made, a
folder deleted.
"""

import shlex
from dataclasses import replace
from unittest.mock import Mock

import pytest

from analysis import jobs, service
from analysis.core.blocks import Block
from analysis.core.errors import ModelNotFoundError
from analysis.data import starter
from analysis.exports import folders
from analysis.exports.spec import ExportResult, ExportSpec
from pages.components.shared import chart
from tests.support import fakes
from tests.support.seen import read, texts

BEST = fakes.distances().best[4].block


@pytest.fixture
def healed(known, ui_cache):
    """A known model with a heal of Explore's cut, its adapter on the disk."""
    heal = fakes.heal()
    heal = replace(heal, spec=replace(heal.spec, block=BEST))
    heal.save()
    folder = ui_cache / "adapters" / "abc"
    folder.mkdir(parents=True)
    (folder / "adapter_config.json").write_text("{}")
    (folder / "adapter_model.safetensors").write_bytes(b"weights")
    return heal


def export_result(ui_cache, name="mine", block=BEST, made=True) -> ExportResult:
    if made:
        (ui_cache / "exports" / name).mkdir(parents=True)
        (ui_cache / "exports" / name / "layerscope.json").write_text("{}")
    result = fakes.exported(block, name, "adapters/abc")
    result.save()
    return result


def save_button(at):
    return at.button(key="export-save")


def saved(at) -> jobs.Job:
    """Click the main button, and return the one job."""
    save_button(at).click().run()
    assert not at.exception
    (made,) = jobs.active()
    return made


def test_weights_that_are_not_here_cannot_be_saved(app, known, monkeypatch):
    monkeypatch.setattr(
        starter, "gguf_file", Mock(side_effect=ModelNotFoundError(starter.NOT_INSTALLED))
    )
    monkeypatch.setattr(starter, "is_installed", lambda: False)
    at = app("pages/export.py")
    assert save_button(at).disabled
    assert "The starter model is not installed." in texts(at)
    assert not at.error


def name_input(at):
    return next(item for item in at.text_input if item.label == "Name")


def take_as(at, way: str):
    next(item for item in at.button_group if str(item.key).startswith("export-way")).set_value(
        way
    ).run()
    assert not at.exception
    return at


def downloads(at) -> list[str]:
    return [item.proto.label for item in at.get("download_button")]


def gains(at) -> dict[str, dict[str, str]]:
    """Return the rows of the table at the top of the page by quantity."""
    table = at.main.table[0].value
    rows = [
        {head: str(cell).replace("\\", "") for head, cell in row.items()}
        for row in table.to_dict("records")
    ]
    return {row.pop(""): row for row in rows}


def codes(at) -> str:
    return "\n".join(item.value for item in at.code)


def test_an_unknown_model_gets_the_first_step_to_take(app):
    at = app("pages/export.py")
    assert "Compute its distance map first" in texts(at)
    assert [button.key for button in at.button] == ["all-jobs"]


def test_the_cut_of_explore_is_the_one_to_take(app, known):
    at = app("pages/export.py", n="5", way="Model folder")
    assert BEST.brief() in texts(at)
    assert "This pruned model is not healed" in texts(at)
    assert name_input(at).value == f"SmolLM2-135M-Instruct-without-{BEST.start}-{BEST.stop - 1}"
    made = saved(at)
    assert made.spec == ExportSpec(BEST, name_input(at).value, replace(fakes.MODEL, identity=""))
    assert made.kind == "export"
    assert "Next in the queue" in texts(at)
    assert not at.exception


def test_a_healed_cut_goes_with_its_adapter(app, healed):
    at = app("pages/export.py", n="5", way="Model folder")
    assert name_input(at).value.endswith("-healed")
    made = saved(at)
    assert made.spec.adapter == "adapters/abc"
    assert made.spec.model.quantization == "none", "the base is never the quantized one"
    assert "adapters/abc" in codes(take_as(at, "Adapter"))


def test_a_heal_can_be_left_out(app, healed):
    at = app("pages/export.py", n="5")
    choice = next(item for item in at.selectbox if item.label == "Healing run")
    choice.set_value("").run()
    made = saved(at)
    assert made.spec.adapter is None
    assert not made.spec.name.endswith("-healed")


def test_a_heal_without_its_adapter_here_is_not_chosen(app, known, ui_cache):
    heal = fakes.heal()
    replace(heal, spec=replace(heal.spec, block=BEST), adapter=None).save()
    at = app("pages/export.py", n="5")
    choice = next(item for item in at.selectbox if item.label == "Healing run")
    assert choice.value == ""
    assert "adapter not on this machine" in choice.options[0]
    choice.set_value(replace(heal.spec, block=BEST).fingerprint()).run()
    assert "Start the same run on the Heal page" in texts(at)
    assert not [item for item in at.button if item.key == "export-save"]
    assert "| healed |" in codes(take_as(at, "Model card")), (
        "its scores are in the card all the same"
    )


def test_the_adapter_of_a_stopped_heal_can_be_exported(app, healed):
    stopped = replace(
        fakes.heal(20), spec=replace(healed.spec, seed=5), adapter="adapters/abc", kept_step=20
    )
    stopped.save()
    at = app("pages/export.py", n="5")
    choice = next(item for item in at.selectbox if item.label == "Healing run")
    assert any("stopped at step 20" in option for option in choice.options)
    choice.set_value(stopped.spec.fingerprint()).run()
    assert not at.exception
    made = saved(at)
    assert made.spec.adapter == "adapters/abc"
    assert "for 20 of 50 optimizer steps, then stopped" in codes(take_as(at, "Model card"))


@pytest.mark.parametrize(
    ("text", "said"), [("[x](http://y)", "START:SIZE"), ("3:5", "Layer 4 is protected")]
)
def test_a_cut_that_cannot_be_is_one_sentence(app, known, text, said):
    at = app("pages/export.py", keep="4:1")
    at.text_input(key="own-block").set_value(text).run()
    assert len(at.error) == 1
    assert said in texts(at).replace("\\", "")
    assert "[x](http" not in texts(at)
    assert not at.exception


def test_no_path_can_be_typed(app, known):
    at = app("pages/export.py")
    name_input(at).set_value("../models").run()
    assert "name of an export" in texts(at)
    assert not [item for item in at.button if item.key == "export-save"]
    assert not jobs.active()


def test_a_full_disk_is_reported_before_anything_is_done(app, known, monkeypatch):
    monkeypatch.setattr(service, "free_bytes", lambda path: 1000)
    at = app("pages/export.py")
    assert "The disk has only 1.0 kB free" in texts(at)
    assert save_button(at).disabled


def test_exports_are_listed_and_can_be_deleted(app, known, ui_cache):
    export_result(ui_cache)
    export_result(ui_cache, "gone", Block(1, 1), made=False)
    at = app("pages/export.py")
    assert "**mine**" in texts(at)
    assert "gone" not in texts(at), "its folder was removed by hand"
    assert "differ by at most 0.12" in texts(at)
    assert str(folders.folder("mine")) in codes(at)
    at.button(key="delete-now-mine").click().run()
    assert not folders.folder("mine").exists()
    assert "**mine**" not in texts(at)


def test_a_name_that_is_taken_cannot_be_saved_again(app, known, ui_cache):
    name = name_input(app("pages/export.py", n="5")).value
    export_result(ui_cache, name)
    at = app("pages/export.py", n="5")
    assert save_button(at).disabled
    assert "folder of this name already" in texts(at)


def test_a_file_for_llama_cpp_and_its_instructions(app, healed):
    at = take_as(app("pages/export.py", n="5"), "llama.cpp")
    name = name_input(at).value
    assert name.endswith("-healed-gguf")
    file = f"{name.removesuffix('-gguf')}.gguf"
    (commands,) = [
        item.value.splitlines() for item in at.code if item.value.startswith("llama-cli ")
    ]
    assert shlex.split(commands[0]) == ["llama-cli", "-m", f"{folders.folder(name)}/{file}"]
    assert shlex.split(commands[1])[-1] == f"{folders.folder(name)}/Modelfile"
    assert save_button(at).label == "Save the GGUF file"
    assert "--format gguf" in codes(at), "the command under the page is that of the form"
    made = saved(at)
    assert (made.spec.adapter, made.spec.format) == (
        "adapters/abc",
        "gguf",
    ), "the heal is merged in"


# To the hub


@pytest.fixture
def there(loopback, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", loopback.token)
    return loopback


def test_a_push_is_listed_first_and_starts_by_second_click(app, known, ui_cache, there):
    result = export_result(ui_cache)
    at = app("pages/export.py", n="5")
    assert at.button(key="push-look-mine").disabled, "no repository is named yet"
    at.text_input(key="push-id-mine").set_value("org/mine").run()
    assert there.asked == []
    at.button(key="push-look-mine").click().run()
    assert "To **org/mine**, a new private repository: 1 file, 2 B." in read(texts(at))
    assert "layerscope.json" in codes(at)
    assert not jobs.active()
    at.toggle(key="push-public-mine").set_value(True).run()
    assert not any(button.key == "push-now-mine" for button in at.button), (
        "the listed upload is another one"
    )
    at.button(key="push-look-mine").click().run()
    assert "a new public repository" in texts(at)
    at.button(key="push-now-mine").click().run()
    (made,) = jobs.active()
    assert made.spec == replace(result.spec, push="org/mine", is_private=False)
    assert all("create" not in one.path for one in there.asked), "the job uploads it, not the page"
    assert not at.exception


def test_an_impossible_push_is_a_sentence_and_guests_see_none(
    app, known, ui_cache, there, monkeypatch
):
    export_result(ui_cache)
    there.add("org/mine", {"config.json": b"{}"})
    at = app("pages/export.py", n="5")
    at.text_input(key="push-id-mine").set_value("org/mine").run()
    at.button(key="push-look-mine").click().run()
    assert "never replaces. Choose another name" in read(texts(at))
    monkeypatch.setattr("pages.components.shared.access.is_operator", lambda: False)
    assert not any(item.key == "push-id-mine" for item in at.run().text_input)


# Gains and losses


def test_size_speed_and_quality_stand_next_to_the_unpruned_model(app, ui_cache):
    fakes.distances().save()
    fakes.with_losses(fakes.sweep(answers=True)).save()
    fakes.speed().save()
    at = app("pages/export.py", n="5")
    got, said = gains(at), texts(at).replace("\\", "")
    assert "5 rounds, bfloat16 from Q4_1 weights, a test." in said
    assert "Accuracy: 100 ARC-Easy questions" in said
    kept = fakes.FACTS.n_parameters - 5 * fakes.FACTS.layer_parameters[0]
    assert got["Weights"]["unpruned"] == f"{2 * fakes.FACTS.n_parameters / 1e6:.0f} MB"
    assert got["Weights"]["pruned"] == f"{2 * kept / 1e6:.0f} MB"
    speed = got["Generation speed"]
    assert (speed["unpruned"], speed["pruned"]) == ("40.0 tokens/s", "44.5 tokens/s")
    assert speed["change"].startswith("about +11")
    point = next(point for point in fakes.sweep().points if point.block == BEST)
    assert got["Accuracy"]["pruned"] == f"{point.acc:.1%}"
    moved, interval = got["Accuracy"]["change"].split(" (95 % CI ")
    assert (moved, " to " in interval) == (
        f"{100 * (point.acc - fakes.sweep().points[0].acc):+.1f} points",
        True,
    )
    assert got["Loss, nats/token"]["pruned"] == f"{point.loss:.2f}"


def test_a_healed_cut_shows_the_numbers_of_its_own_heal(app, healed):
    at = app("pages/export.py", n="5")
    loss = gains(at)["Loss, nats/token"]
    assert (loss["unpruned"], loss["healed"]) == ("2.41", "3.10")
    assert "NF4, bfloat16" in texts(at), (
        "a heal is measured over quantized weights here, and says so"
    )
    next(item for item in at.selectbox if item.label == "Healing run").set_value("").run()
    assert "healed" not in gains(at)["Loss, nats/token"]


def sheet_of(at):
    """The recommendation on screen: its box and its text."""
    return next(
        (kind, item.value.replace("\\", ""))
        for kind in ("success", "warning", "error")
        for item in getattr(at.main, kind)
        if item.value.startswith("**")
    )


def test_the_file_is_the_first_way_for_a_gguf_model_and_the_decision_sheet_has_three_downloads(
    app, known
):
    fakes.with_losses(fakes.sweep()).save()
    at = app("pages/export.py", n="5")
    ways = next(item for item in at.button_group if str(item.key).startswith("export-way"))
    assert (ways.value, ways.options[:2]) == ("llama.cpp", ["llama.cpp", "Decision sheet"])
    take_as(at, "Decision sheet")
    kind, said = sheet_of(at)
    assert kind == "error"
    assert said.startswith("**Don't.** Loss change +")
    assert "100 ARC-Easy questions" in texts(at)
    assert {"HTML page", "PDF", "Markdown"} <= set(downloads(at))
    assert f"analysis sheet starter --block {BEST.start}:{BEST.size}" in codes(at)
    assert "Unknown" in texts(at)


def test_a_hostile_model_name_stays_text_on_the_decision_sheet(app, ui_cache):
    name = "<img src=x onerror=alert(1)> [a](http://evil.example) `b`"
    for result in (fakes.distances(), fakes.sweep()):
        replace(result, model=replace(result.model, name=name)).save()
    at = take_as(app("pages/export.py", n="5"), "Decision sheet")
    assert "(http://evil.example)" not in "".join(item.value for item in at.main.markdown).replace(
        "\\(", ""
    )


@pytest.fixture
def files(monkeypatch) -> dict:
    """Functions of the drawn downloads by key, each of which returns its file."""
    made = {}

    def download(label, make, file_name, mime, *, key, **options):
        made[key] = make

    monkeypatch.setattr(chart, "download", download)
    return made


def test_table_sheet_report_and_card_are_on_the_selected_model(app, healed, files):
    """Both selections are checked, since either could be the default of one of the files."""
    fakes.with_losses(fakes.sweep()).save()
    at = app("pages/export.py", n="5")
    for selected, judged in ((healed.spec.fingerprint(), "healed"), ("", "pruned")):
        next(item for item in at.selectbox if item.label == "Healing run").set_value(selected).run()
        loss = gains(at)["Loss, nats/token"]["change"].split(" (")[0]
        take_as(at, "Decision sheet")
        at.number_input(key="sheet-nats").set_value(1.5).run()
        sheet = files["sheet-markdown"]().decode()
        take_as(at, "Report")
        report = files["take-markdown"]().decode()
        question, _, answer = sheet.removeprefix("# Decision: ").partition("?")
        assert question.endswith("and heal it") == (judged == "healed")
        assert report.startswith("# Layerscope report: ")
        assert f"## Decision: {question}?" in report
        method = sheet.split("## Method and reproduction")[1]
        assert method.strip() in report, "the same numbers, under the same tolerance"
        assert loss in method


def test_the_numbers_of_a_stopped_heal_are_said_to_be_of_the_pruned_model(app, healed):
    stopped = replace(
        fakes.heal(20), spec=replace(healed.spec, seed=5), adapter="adapters/abc", kept_step=20
    )
    stopped.save()
    at = app("pages/export.py", n="5", way="Decision sheet")
    choice = next(item for item in at.selectbox if item.label == "Healing run")
    choice.set_value(stopped.spec.fingerprint()).run()
    assert "pruned" in gains(at)["Loss, nats/token"]
    assert "was stopped and not scored" in texts(at)
    assert not at.error
