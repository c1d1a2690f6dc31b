"""Rights of visitors are checked at the action: no click, however it was made, starts or stops a
forbidden job.
"""

from dataclasses import replace
from pathlib import Path

import pytest
import streamlit as st

from analysis import jobs, service
from analysis.core import sandbox, store
from analysis.core.errors import AccessError, BenchmarkError, JobError
from analysis.data import files
from analysis.data.spec import BenchmarkSpec, CorpusSpec
from analysis.experiments.maps.distance_spec import DistanceSpec
from analysis.jobs.queue import settings
from analysis.models.source.model_spec import ModelSpec
from pages.components.model import inspection
from pages.components.shared import access, start, words
from pages.web.visitors import HOST, OPERATOR, READ_ONLY, USER, VIEWER, Visitor
from tests.pages.explore.test_scores import with_answers
from tests.support import fakes
from tests.support.seen import read, texts

ADA = Visitor(USER, "oidc:https://id.example#1", "Ada")
BOB = Visitor(USER, "oidc:https://id.example#2", "Bob")
ROOT = Visitor(OPERATOR, "oidc:https://id.example#3", "Root")
GUEST, TEACHER = Visitor(VIEWER), Visitor(HOST)


def spec(seed: int = 0, **changes) -> DistanceSpec:
    return DistanceSpec(corpus=CorpusSpec(seed=seed), **changes)


@pytest.fixture
def be(ui_cache, monkeypatch):
    """A function that makes somebody the visitor."""

    def become(there: Visitor | None) -> None:
        monkeypatch.setattr(access, "visitor", lambda: there)

    become(None)
    return become


def crafted(widget):
    """The widget as somebody can use it who writes to the server without a browser: disabled or
    not.
    """
    widget.proto.disabled = False
    return widget


def plain_button(label: str, *, place=st, in_form: bool = False, **options) -> bool:
    return (place.form_submit_button if in_form else place.button)(label, **options)


def submit(seed: int = 0, **changes) -> jobs.Job:
    return service.submit(spec(seed, **changes), **access.terms())


# Owners


def test_jobs_belong_to_who_started_them(be):
    assert submit(0).owner is None
    be(ADA)
    job = submit(1)
    assert (job.owner, job.owner_label) == (ADA.subject, "Ada")


def test_the_providers_subject_owns_a_job_not_a_name(be):
    be(ADA)
    job = submit()
    be(Visitor(USER, "oidc:https://id.example#4", "Ada"))
    assert access.why_not_change(job) is not None
    be(Visitor(USER, ADA.subject, "Ada Lovelace"))
    assert access.why_not_change(job) is None


def test_operators_handle_a_listed_job_of_an_earlier_version(app, be):
    name = "ada@example.org"
    fakes.distances().save()
    job = jobs.submit(spec(), owner=name)
    be(ADA)
    assert "Started by an unknown owner" in texts(app("pages/heal.py"))
    with pytest.raises(AccessError, match="Only an unknown owner or an operator may do that"):
        access.change("cancel", job.id)
    be(ROOT)
    access.change("cancel", job.id)
    assert name not in texts(app("pages/heal.py"))


def test_the_request_of_a_paused_job_of_somebody_else_is_refused(be):
    be(ADA)
    job = submit()
    access.change("pause", job.id)
    be(BOB)
    with pytest.raises(JobError, match=f"job {job.id}, by Ada, does this work and is paused"):
        submit()
    assert jobs.get(job.id).state == "paused"
    be(ROOT)
    assert (submit().id, jobs.get(job.id).state) == (job.id, "queued")


@pytest.mark.parametrize("action", access.CHANGES)
def test_only_the_owner_or_an_operator_changes_a_job(be, action):
    be(ADA)
    job = submit()
    given = {"move": (1,)}.get(action, ())
    if action == "resume":
        access.change("pause", job.id)
    before = jobs.get(job.id)
    be(BOB)
    with pytest.raises(AccessError, match="Only Ada or an operator may do that"):
        access.change(action, job.id, *given)
    assert jobs.get(job.id) == before
    for there in (ADA, ROOT, None):
        be(there)
        assert access.why_not_change(before) is None
    access.change(action, job.id, *given)


def test_nothing_else_is_done_with_a_job(be):
    with pytest.raises(AccessError, match="'submit' is not an action on a job"):
        access.change("submit", submit().id)


def test_a_guest_clears_only_their_own(be):
    for there, seed in ((None, 0), (ADA, 1), (BOB, 2)):
        be(there)
        access.change("cancel", submit(seed).id)
    be(ADA)
    assert access.clear(saved=False) == 1
    assert {job.owner for job in jobs.list_jobs()} == {None, BOB.subject}
    be(ROOT)
    assert access.clear(saved=False) == 2


def test_the_strip_names_owners_and_offers_only_permitted_actions(app, be):
    fakes.distances().save()
    be(BOB)
    job = submit()
    be(ADA)
    at = app("pages/heal.py")
    assert "Started by Bob" in texts(at)
    assert "You are Ada" in texts(at)
    cancel = at.sidebar.button(key=f"strip-cancel-{job.id}")
    assert cancel.disabled
    assert cancel.help.replace("\\", "") == "Only Bob or an operator may do that."
    crafted(cancel).click().run()
    assert jobs.get(job.id).state == jobs.QUEUED
    be(BOB)
    at = app("pages/heal.py")
    assert "Started by" not in texts(at)
    at.sidebar.button(key=f"strip-cancel-{job.id}").click().run()
    assert jobs.get(job.id).state == jobs.CANCELLED


def test_a_guest_decides_nothing_for_everybody(app, be):
    fakes.distances().save()
    be(ADA)
    at = app("pages/heal.py")
    assert at.sidebar.toggle(key="auto-resume").disabled
    crafted(at.sidebar.toggle(key="auto-resume")).set_value(True).run()
    assert not settings.auto_resume()
    be(ROOT)
    app("pages/heal.py").sidebar.toggle(key="auto-resume").set_value(True).run()
    assert settings.auto_resume()


# Show


def stored() -> list[Path]:
    """All files of the cache, but for those that the list of jobs and the index of the results come
    and go with.
    """
    files = [
        path.relative_to(store.cache_dir())
        for path in sorted(store.cache_dir().rglob("*"))
        if path.is_file()
    ]
    come_and_go = ("jobs.sqlite-shm", "jobs.sqlite-wal")
    return [
        path
        for path in files
        if path.name not in come_and_go and not path.name.startswith("index-")
    ]


@pytest.mark.parametrize("page", ["model", "explore", "heal", "compare", "export", "learn"])
def test_in_show_no_click_starts_or_stores_anything(app, be, monkeypatch, page):
    for result in (fakes.rich_distances(), fakes.sweep(), fakes.alike_heal(), fakes.damage()):
        result.save()
    be(ADA)
    job = submit()
    be(GUEST)
    monkeypatch.setattr(inspection, "of", lambda model: fakes.inspect())
    before = jobs.list_jobs()
    kept = stored()
    at = app(f"pages/{page}.py")
    assert "Started by" not in texts(at)
    keys = [button.key for button in at.button]
    assert f"strip-cancel-{job.id}" in keys
    said = (READ_ONLY, words.plain(READ_ONLY))
    refused = [button.key for button in at.button if button.help in said]
    assert page == "learn" or len(refused) > 1
    assert all(button.disabled for button in at.button if button.help in said)
    # As if no button were disabled: Streamlit lets no click on one of those pass either.
    monkeypatch.setattr(start, "button", plain_button)
    for key in keys:
        if key not in [button.key for button in at.button]:  # a click before led away from it
            at = app(f"pages/{page}.py")
        if key in [button.key for button in at.button]:
            crafted(at.button(key=key)).click().run()
    assert jobs.list_jobs() == before
    assert stored() == kept


@pytest.mark.parametrize("there", [GUEST, TEACHER], ids=["guest", "host"])
def test_in_show_nothing_starts_for_anybody(be, there):
    job = submit()
    be(there)
    with pytest.raises(AccessError, match="read-only"):
        submit(1)
    with pytest.raises(AccessError, match="read-only"):
        access.keep_upload("a.txt", b"text", ".txt")
    with pytest.raises(AccessError, match="read-only"):
        inspection.of(ModelSpec(source="some/model"))
    with pytest.raises(AccessError, match="read-only"):
        access.check_operator("delete exports")
    with pytest.raises(AccessError, match="read-only"):
        access.clear(saved=False)
    for action in access.CHANGES:
        with pytest.raises(AccessError, match="read-only"):
            access.change(action, job.id)


def test_the_host_of_show_does_more_than_a_guest(be):
    for there in (None, TEACHER, ROOT):
        be(there)
        access.check_host("open a poll")
    for there in (GUEST, ADA):
        be(there)
        with pytest.raises(AccessError, match="Only an operator or the host"):
            access.check_host("open a poll")


# How much


def test_a_users_job_may_take_only_so_long(be, monkeypatch):
    monkeypatch.setenv("LAYERSCOPE_JOB_HOURS", "0.5")
    be(ADA)
    assert submit(0).limit_s == 1800
    be(ROOT)
    assert submit(1).limit_s is None


def test_somebody_at_the_machine_itself_has_no_limits(be):
    for seed in range(6):
        assert submit(seed, model=ModelSpec(source="/any/model")).limit_s is None


def test_results_fill_the_disk_only_so_far(be, monkeypatch):
    monkeypatch.setenv("LAYERSCOPE_RESULTS_GB", "0.000001")
    be(ADA)
    submit(0)
    (store.cache_dir() / "adapters" / "x").mkdir(parents=True)
    (store.cache_dir() / "adapters" / "x" / "weights").write_bytes(b"0" * 1000)
    with pytest.raises(AccessError, match="0.000001|1e-06 GB"):
        submit(1)


def test_uploads_take_only_so_much(be, monkeypatch):
    monkeypatch.setenv("LAYERSCOPE_UPLOADS_GB", "0.000001")
    be(ADA)
    kept = access.keep_upload("a.txt", b"a" * 600, ".txt")
    with pytest.raises(AccessError, match="all uploads would take"):
        access.keep_upload("b.txt", b"b" * 600, ".txt")
    assert access.keep_upload("again.txt", b"a" * 600, ".txt") == kept


# Which files


def test_no_request_of_a_guest_names_a_server_file(be, tmp_path, monkeypatch):
    monkeypatch.setattr(inspection._looks, "of", lambda *_: pytest.fail("It looked."))
    (tmp_path / "there").mkdir()
    be(ADA)
    said = set()
    for name in ("there", "not-there"):
        model = ModelSpec(source=f"{tmp_path}/{name}")
        with pytest.raises(AccessError) as refused:
            submit(0, model=model)
        said.add(str(refused.value).replace(name, "it"))
        with pytest.raises(AccessError) as refused:
            inspection.of(model)
        said.add(str(refused.value).replace(name, "it"))
    assert len(said) == 1
    assert jobs.list_jobs() == []


def test_a_guests_upload_can_be_asked_for(be):
    be(ADA)
    path = access.keep_upload("a.txt", b"some text", ".txt")
    assert (
        service.submit(DistanceSpec(corpus=CorpusSpec(source=path)), **access.terms()).state
        == jobs.QUEUED
    )


def test_an_address_with_a_file_outside_shows_the_starter(app, be, tmp_path):
    fakes.distances().save()
    be(ADA)
    for name in ("there", "not-there"):
        at = app("pages/explore.py", model=f"{tmp_path}/{name}")
        assert at.session_state["model"].source == "starter"
        assert any(
            "is outside the folders that this dashboard allows" in warning.value
            for warning in at.warning
        )


# Fields for files


def test_in_show_a_file_field_is_disabled_with_the_reason(app, be):
    fakes.rich_distances().save()
    be(GUEST)
    at = app()
    at.selectbox(key="map-texts").set_value("file").run()
    field = at.file_uploader(key="map-file")
    assert field.disabled
    assert read(field.help) == READ_ONLY


# Question files are read once, in a process of its own

QUESTION_ROWS = b"id,question,A,B,answer\n" + b"".join(
    b"%d,How many is %d?,one,two,A\n" % (row, row) for row in range(400)
)


@pytest.fixture
def readings(monkeypatch):
    """Return the readings by another process; reading a question file in this process fails the
    test.
    """
    seen, answer = [], sandbox.answer
    monkeypatch.setattr(
        sandbox,
        "answer",
        lambda function, *given, **ends: seen.append(given) or answer(function, *given, **ends),
    )
    monkeypatch.setattr(
        files, "read_table", lambda path: pytest.fail(f"{path} was read by the server.")
    )
    return seen


def test_pages_use_the_answer_of_the_reading_process(app, ui_cache, readings):
    path = access.keep_upload("mine.csv", QUESTION_ROWS, ".csv")
    curve, asked = with_answers(), BenchmarkSpec(path, limit=100)
    curve = replace(curve, spec=replace(curve.spec, benchmark=asked), n_questions=100)
    for result in (fakes.distances(), curve):
        result.save()
    for _ in range(2):
        at = app(tab="questions", n="5")
        assert "How many is " in "".join(table.value.to_csv() for table in at.dataframe)
    assert readings == [(path,)]


def test_a_file_is_read_again_only_when_it_was_rewritten(tmp_path, readings):
    path = tmp_path / "q.csv"
    for n in (400, 7):
        path.write_bytes(b"".join(QUESTION_ROWS.splitlines(keepends=True)[: n + 1]))
        assert [access.question_file(path).n_rows for _ in range(2)] == [n, n]
    assert len(readings) == 2
    for _ in range(2):
        with pytest.raises(BenchmarkError, match="cannot be read"):
            access.question_file(tmp_path / "missing.csv")
    assert len(readings) == 3
