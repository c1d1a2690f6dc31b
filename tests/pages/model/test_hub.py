"""The Hub on the Model page: search, commit and size before a click, fetching as a job, deletion
with the freed bytes.
"""

from dataclasses import replace

import pytest
from huggingface_hub import ModelInfo

from analysis import hub, jobs, service
from analysis.core.errors import HubError
from analysis.models.source.model_spec import InspectSpec, ModelSpec
from pages.components.model import choice
from pages.components.shared.start import Looks
from tests.support import fakes
from tests.support.seen import read, texts
from tests.support.worker import wait_for

COMMIT = "0123456789abcdef" * 2 + "01234567"
FILES = {"config.json": b"{}", "model.safetensors": bytes(3_000_000)}


@pytest.fixture(autouse=True)
def _from_the_hub(inspected):
    found = replace(fakes.inspect(), commit=COMMIT, file_bytes=5_000_000, missing_bytes=3_000_000)
    inspected(lambda model: found if model.source != "starter" else fakes.inspect())


def opened(app, **query):
    at = app("pages/model.py", model="org/model", **query)
    at.button(key="check").click().run()
    return at


def searched(app, monkeypatch, answer):
    looks = Looks(answer)
    monkeypatch.setattr(choice, "_searches", looks)
    at = app("pages/model.py", model="org/model")
    at.text_input(key="hub-search").input("tiny").run()
    wait_for(lambda: next(iter(looks._answers.values()))[0].done(), 10)
    return at.run()


def test_a_click_after_commit_and_size_queues_the_download(app, loopback):
    at = opened(app)
    said = texts(at)
    assert (
        f"Commit {COMMIT[:12]} (current commit of the default branch) · 5.0 MB, 3.0 MB to download."
        in read(said)
    )
    at.button(key="fetch").click().run()
    (job,) = jobs.active()
    assert job.spec == InspectSpec(ModelSpec("org/model", revision=COMMIT), fetch=True)
    assert at.button(key="fetch").disabled
    assert at.button(key="fetch").label == "Downloading"


def test_a_full_disk_is_reported_before_the_click(app, loopback, monkeypatch):
    monkeypatch.setattr(service, "free_bytes", lambda path: 1_000_000)
    button = opened(app).button(key="fetch")
    assert button.disabled
    assert "only 1.0 MB free" in button.help


def test_using_a_model_pins_its_commit(app, loopback):
    at = opened(app)
    at.button(key="use").click().run()
    assert at.session_state["model"] == ModelSpec("org/model", revision=COMMIT)
    assert at.query_params["revision"] == COMMIT
    assert at.button(key="use").label == "In use"


def test_search_finds_and_a_click_picks(app, monkeypatch, loopback):
    found = [
        ModelInfo(
            id="org/tiny-llama",
            downloads=12_345,
            safetensors={"parameters": {}, "total": 1_100_000_000},
            gated="manual",
        ),
        ModelInfo(id="org/tiny", downloads=3, gated=False),
    ]
    at = searched(app, monkeypatch, lambda said, endpoint: {"found": found})
    labels = [read(button.label) for button in at.button if button.key.startswith("hub-pick")]
    assert labels == [
        "org/tiny-llama · 1.1 B parameters · 12.3 k downloads · gated",
        "org/tiny · 3 downloads",
    ]
    at.button(key="hub-pick-0").click().run()
    assert not at.exception
    assert at.text_input(key="source-Hub id").value == "org/tiny-llama"


def test_a_search_that_fails_says_why(app, monkeypatch, loopback):
    def refuse(said, endpoint):
        raise HubError("The Hub received too many requests from here (429).")

    assert "too many requests" in texts(searched(app, monkeypatch, refuse))


def typed(app, monkeypatch, id):
    """The page after an id is typed and the Hub has answered."""
    monkeypatch.setattr(choice, "_known_ids", Looks(choice._exists))
    at = app("pages/model.py")
    at.segmented_control(key="source-kind").set_value("Hub id").run()
    at.text_input(key="source-Hub id").set_value(id).run()
    wait_for(lambda: next(iter(choice._known_ids._answers.values()))[0].done(), 10)
    return at.run()


def test_an_id_that_the_hub_does_not_have_is_refused_below_the_field(app, loopback, monkeypatch):
    at = typed(app, monkeypatch, "org/nothing")
    assert "The Hub shows no model org/nothing" in at.error[0].value.replace("\\", "")
    assert "Check this model" not in [button.label for button in at.button]


def test_an_id_that_the_hub_has_can_be_checked(app, loopback, monkeypatch):
    loopback.add("org/model", FILES)
    at = typed(app, monkeypatch, "org/model")
    assert not at.error
    assert "Check this model" in [button.label for button in at.button]


def test_a_link_alone_does_not_ask_the_hub(app, loopback, monkeypatch):
    monkeypatch.setattr(choice, "_exists", lambda *question: pytest.fail("asked"))
    at = app("pages/model.py", model="org/nothing")
    assert not at.error


@pytest.fixture
def fetched(loopback):
    loopback.add("org/model", FILES)
    repository = hub.repository.look("org/model")
    hub.download.fetch(repository, repository.files)


def with_list(at):
    at.session_state["kept-models"] = True
    return at.run()


def test_weights_are_deleted_with_the_freed_bytes(app, fetched):
    at = with_list(app("pages/model.py"))
    assert "org/model" in read(texts(at))
    button = at.button(key="kept-hub-0")
    assert button.label == "Delete, frees 3.0 MB"
    button.click().run()
    assert hub.cache.cached_repositories() == []
    assert any("3.0 MB freed" in read(toast.value) for toast in at.toast)


def test_weights_that_a_job_needs_stay(app, fetched, job):
    job(InspectSpec(ModelSpec("org/model"), load=True), jobs.QUEUED)
    at = with_list(app("pages/model.py"))
    at.button(key="kept-hub-0").click().run()
    assert [id for _, id, _ in hub.cache.cached_repositories()] == ["org/model"]
    assert any("job (" in read(toast.value) for toast in at.toast)
