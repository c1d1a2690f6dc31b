"""The job strip and the list of all jobs: actions from any page, and notices that each session gets
once.
"""

from dataclasses import asdict
from types import SimpleNamespace

import pytest

from analysis import jobs
from analysis.core.meter import ResourceUsage
from analysis.data.spec import CorpusSpec
from analysis.experiments.maps.distance_spec import DistanceSpec
from analysis.jobs.queue import backend
from analysis.jobs.queue import table as job_table
from analysis.jobs.queue.backend import AttemptStatus, Backend, register
from pages.components.jobs import card
from tests.support import fakes
from tests.support.seen import read, texts


def spec(seed: int) -> DistanceSpec:
    return DistanceSpec(corpus=CorpusSpec(seed=seed))


def waiting() -> list[str]:
    return [job.id for job in jobs.active() if job.state == jobs.QUEUED]


def toasts(at) -> list[str]:
    return [read(toast.value) for toast in at.toast]


@pytest.fixture
def known(ui_cache):
    fakes.distances().save()


@pytest.mark.parametrize(
    ("left", "every"),
    [
        ([], None),
        ([None], "1s"),
        ([30.0], "1s"),
        ([600.0], "2s"),
        ([600.0, 30.0], "1s"),
        ([600.0, "waits"], "2s"),
        (["waits"], "1s"),
        ([900.0], "5s"),
        ([900.0, 300.0], "2s"),
        ([900.0, None], "1s"),
    ],
)
def test_strip_refreshes_less_often_while_jobs_run_for_minutes(left, every):
    active = [
        SimpleNamespace(
            state=jobs.QUEUED if seconds == "waits" else jobs.RUNNING,
            left_s=None if seconds == "waits" else seconds,
        )
        for seconds in left
    ]
    assert card.refresh_interval(active) == every


def test_a_running_job_has_a_bar_and_can_be_paused(app, known, job):
    work = job_table.to_json(asdict(ResourceUsage(peak_bytes=10**9)))
    made = job(
        spec(1),
        jobs.RUNNING,
        "A map",
        phase="measuring",
        done=3,
        total=12,
        work=work,
        values='{"remaining": {"share": 0.25}}',
    )
    at = app("pages/heal.py")
    (bar,) = at.get("progress")
    assert (bar.proto.value, bar.proto.text) == (25, "measuring · 3/12")
    at.sidebar.button(key=f"strip-pause-{made.id}").click().run()
    assert jobs.get(made.id).stop_as == jobs.PAUSED
    assert "Pausing. Finished parts are kept." in texts(at)
    assert not [button for button in at.sidebar.button if button.key == f"strip-cancel-{made.id}"]


def test_a_paused_job_stays_in_sight_and_is_resumed(app, known, job):
    work = job_table.to_json(asdict(ResourceUsage(seconds=60, peak_bytes=10**9)))
    made = job(
        spec(1), jobs.PAUSED, "A map", error="It was paused. Finished parts are kept.", work=work
    )
    with job_table.transaction(write=True) as db:
        db.execute("UPDATE jobs SET finished_at = 1.0")
    at = app("pages/heal.py")
    assert "It was paused" in texts(at)
    assert "Peak memory 1.0 GB" in texts(at)
    at.sidebar.button(key=f"strip-resume-{made.id}").click().run()
    assert jobs.get(made.id).state == jobs.QUEUED


def test_waiting_jobs_are_moved_from_their_cards(app, known, job):
    ids = [job(spec(seed), jobs.QUEUED, f"Map {seed}").id for seed in range(3)]
    at = app("pages/heal.py")
    at.sidebar.menu_button(key=f"strip-move-{ids[2]}").click("To the front").run()
    assert waiting() == [ids[2], ids[0], ids[1]]
    at.sidebar.menu_button(key=f"strip-move-{ids[2]}").click("Down").run()
    assert waiting() == ids[:1] + ids[2:] + ids[1:2]


def test_a_failed_job_has_its_log_folded_on_the_card(app, known, job):
    made = job(spec(1), jobs.FAILED, "A map", error="The memory was not enough.")
    (made.folder / "log.txt").write_text("Loading.\nIt ran out of memory.\n")
    at = app("pages/heal.py")
    assert "The memory was not enough." in texts(at)
    assert not at.sidebar.code
    at.session_state[f"strip-log-{made.id}"] = True
    at.run()
    assert at.sidebar.code[0].value == "Loading.\nIt ran out of memory."


@pytest.mark.parametrize(("choice", "left"), [("forget", True), ("erase", False)])
def test_removal_lists_deleted_files_and_asks_first(app, known, job, ui_cache, choice, left):
    key = "0123456789abcdef0123"
    made = job(spec(1), jobs.FAILED, "A map", error="No.", result_key=key)
    folder = ui_cache / "checkpoints" / key
    folder.mkdir(parents=True)
    (folder / "state").write_bytes(b"x" * 5_000_000)
    at = app("pages/heal.py")
    assert not [button for button in at.button if "forget" in button.key], (
        "nothing goes by the first click"
    )
    at.session_state[f"strip-remove-{made.id}"] = True
    at.run()
    assert "This job takes **5.0 MB** on disk." in texts(at)
    at.button(key=f"strip-{choice}-{made.id}").click().run()
    assert not at.exception
    assert jobs.list_jobs() == []
    assert folder.exists() is left


def test_all_jobs_have_age_and_size_and_are_cleared(app, known, job):
    for seed in range(6):
        job(spec(seed), jobs.DONE if seed % 2 else jobs.CANCELLED, f"Map {seed}")
    queued = job(spec(10), jobs.QUEUED, "Waits")
    at = app("pages/heal.py")
    at.sidebar.button(key="all-jobs").click().run()
    table = next(frame.value for frame in at.dataframe if "on disk" in frame.value)
    assert list(table.columns) == ["job", "kind", "state", "submitted", "took", "on disk"]
    assert len(table) == 7
    assert (table["on disk"] > 0).all()
    assert at.button(key=f"all-cancel-{queued.id}")
    at.run()
    assert [frame for frame in at.dataframe if "on disk" in frame.value], (
        "it stays open when the page is redrawn"
    )
    at.button(key="clear-go").click().run()
    assert [listed.id for listed in jobs.list_jobs()] == [queued.id]


def test_each_session_gets_one_notice_and_none_after_a_reload(app, known, job):
    made = job(spec(1), jobs.RUNNING, "The map")
    first, second = app("pages/heal.py"), app("pages/heal.py")
    job_table.finish(made, jobs.DONE)
    told = {}
    for name, at in (("first", first), ("second", second)):
        told[name] = [toast for _ in range(3) for toast in toasts(at.run())]
    assert told == {"first": ["The map: done."], "second": ["The map: done."]}
    reloaded = app("pages/heal.py")
    assert [toast for _ in range(2) for toast in toasts(reloaded.run())] == []
    first.switch_page("pages/explore.py")
    assert toasts(first.run()) == []


def test_half_an_event_and_a_broken_list_break_no_page(app, known, job, ui_cache):
    made = job(spec(1), jobs.FAILED, "A map", error="No.")
    (made.folder / "events.jsonl").write_bytes(b'{"t": 1, "ph\xff')
    assert not app("pages/heal.py").error
    for file in ui_cache.glob("jobs.sqlite*"):
        file.unlink()
    (ui_cache / "jobs.sqlite").write_bytes(b"this is no list of jobs" * 100)
    at = app("pages/heal.py")
    assert any("It was moved to jobs.sqlite.damaged" in error.value for error in at.error)
    assert at.title[0].value == "Heal"


def test_the_first_map_shows_its_progress_where_it_will_be(app, ui_cache, job):
    made = job(DistanceSpec(), jobs.RUNNING, "The first map", phase="measuring", done=1, total=4)
    at = app()
    assert "It appears here when it is done" in texts(at)
    assert [bar.proto.text for bar in at.get("progress")] == ["measuring · 1/4"] * 2
    at.button(key=f"first-map-pause-{made.id}").click().run()
    assert jobs.get(made.id).stop_as == jobs.PAUSED


class _Elsewhere(Backend):
    name, title, help = "elsewhere", "Elsewhere", "Keeps its jobs."

    def submit(self, job):
        pass

    def watch(self, job):
        return AttemptStatus()

    def cancel(self, job):
        pass


def test_choice_of_where_jobs_run_appears_only_with_several(app, monkeypatch):
    fakes.distances().save()
    at = app()
    assert not [box for box in at.selectbox if box.key == "place"]
    monkeypatch.setattr(backend.BACKENDS, "_entries", dict(backend.BACKENDS))
    register(_Elsewhere)
    at = app()
    assert at.selectbox(key="place").options == ["This machine", "Elsewhere"]
    at.button(key="sweep-go").click().run()
    at.selectbox(key="place").set_value("elsewhere").run()
    at.number_input(key="shards").set_value(3).run()
    at.multiselect(key="sweep-how").set_value(["deepest"]).run()
    at.button(key="sweep-go").click().run()
    assert not at.exception
    assert sorted((job.backend, job.shards) for job in jobs.active()) == [
        ("elsewhere", 3),
        ("local", 1),
    ]
