"""Actions on jobs that wait or have ended: pause, move, resume by themselves, remove with their
saved files.
"""

import contextlib
import json
import sqlite3
import subprocess
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path

import pytest

from analysis import jobs
from analysis.core import disk, store
from analysis.core.blocks import Block
from analysis.core.errors import JobError, StorageError
from analysis.core.progress import Progress
from analysis.experiments.accuracy.sweep_spec import EvaluateSpec
from analysis.experiments.heal.heal_spec import HealSpec
from analysis.jobs.queue import attempt as interruption
from analysis.jobs.queue import processes, settings, table
from analysis.jobs.queue import space as job_space
from analysis.jobs.queue.processes import Process
from analysis.jobs.queue.space import Space, saved_folders
from tests.support import fakes
from tests.support.worker import another, request

pytestmark = pytest.mark.timeout(60)

HERE = Process.current()
GONE = another(HERE)
LAYOUT_1 = Path(__file__).with_name("jobs-layout-1.sql")
BLOCK = Block(2, 2)
KEY = "0123456789abcdef0123"


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("LAYERSCOPE_CACHE", str(tmp_path))
    return tmp_path


def queue(n: int) -> list[str]:
    return [jobs.submit(request(seed=seed)).id for seed in range(n)]


def waiting() -> list[str]:
    return [job.id for job in jobs.active() if job.state == jobs.QUEUED]


def claim(process: Process = HERE) -> jobs.Job:
    found = table.claim(process)
    assert found is not None
    return found


def events(job: jobs.Job, *told: tuple[int, str, int]) -> None:
    lines = [
        json.dumps({"attempt": attempt, "phase": phase, "done": done})
        for attempt, phase, done in told
    ]
    (job.folder / "events.jsonl").write_text("\n".join(lines) + "\n")


# Pause


def test_queued_job_pauses_at_once_and_resumes_at_the_end():
    first, second = queue(2)
    assert jobs.pause(first).state == "paused"
    assert jobs.pause(first).state == "paused"
    assert [job.id for job in jobs.list_jobs()] == [second, first]
    assert claim().id == second
    assert table.claim(HERE) is None
    assert jobs.resume(first).state == "queued"


@pytest.mark.parametrize(
    ("wishes", "ends"),
    [
        (["pause"], "paused"),
        (["cancel"], "cancelled"),
        (["pause", "cancel"], "cancelled"),
        (["pause", "pause"], "paused"),
    ],
)
def test_a_running_job_ends_as_it_was_asked_last(wishes, ends):
    queue(1)
    job = claim()
    for wish in wishes:
        getattr(jobs, wish)(job.id)
    assert table.update(job) is table.RowState.STOP
    table.finish_stopped(job, "It was {state}. Finished parts are kept.")
    now = jobs.get(job.id)
    assert (now.state, now.error) == (ends, f"It was {ends}. Finished parts are kept.")
    assert jobs.resume(job.id).stop_as is None


def test_the_wish_to_pause_outlives_the_worker():
    queue(1)
    job = claim(GONE)
    jobs.pause(job.id)
    settings.set_auto_resume(True)
    assert [found.state for found in jobs.reap()] == ["paused"]


# Move


def test_a_queued_job_moves_and_the_others_keep_their_order():
    a, b, c, d = queue(4)
    jobs.move(d, -1)
    assert waiting() == [a, b, d, c]
    jobs.move(a, 2)
    assert waiting() == [b, d, a, c]
    jobs.move(c, jobs.FRONT)
    assert waiting() == [c, b, d, a]
    jobs.move(c, jobs.END)
    jobs.move(c, 5)
    assert waiting() == [b, d, a, c]
    jobs.move(b, -1)
    assert waiting() == [b, d, a, c]
    assert claim().id == b
    jobs.move(d, 1)
    assert waiting() == [a, d, c]
    with pytest.raises(JobError, match="Only queued jobs"):
        jobs.move(b, 1)


# Layout


def test_layout_1_list_is_updated_in_place(cache):
    db = sqlite3.connect(cache / "jobs.sqlite")
    db.execute("PRAGMA journal_mode = WAL")
    db.executescript(LAYOUT_1.read_text())
    old = {
        row[0]: row
        for row in db.execute("SELECT id, label, state, error, result_key, created_at FROM jobs")
    }
    db.close()
    # Six servers open it at the same moment.
    opened: list[int] = []
    threads = [
        threading.Thread(target=lambda: opened.append(len(jobs.list_jobs()))) for _ in range(6)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert opened == [5] * 6
    now = {
        job.id: (job.id, job.label, job.state, job.error, job.result_key, job.created_at)
        for job in jobs.list_jobs()
    }
    assert now == old
    # The job that an older worker left running, asked to stop before there was anything but
    # cancelling, is cancelled.
    ended = [job for job in jobs.reap() if job.stop_as is None]
    assert [job.state for job in ended] == ["cancelled"]
    first, second = waiting()
    jobs.move(second, jobs.FRONT)
    jobs.pause(first)
    assert waiting() == [second]


# Owners and limits


def test_job_keeps_its_owner_when_others_request_the_same():
    first = jobs.submit(request(), owner="Ada #1", limit_s=60)
    assert (first.owner, first.limit_s) == ("Ada #1", 60)
    assert jobs.submit(request(), owner="Bob #2").owner == "Ada #1"
    assert jobs.submit(request(seed=1)).owner is None
    jobs.cancel(first.id)
    assert jobs.resume(first.id).owner == "Ada #1"


def test_a_paused_job_is_resumed_by_its_owner_and_operators_alone():
    job = jobs.submit(request(), owner="Ada #1", owner_label="Ada")
    jobs.pause(job.id)
    with pytest.raises(JobError, match=rf"{job.id}, by Ada, does this work and is paused"):
        jobs.submit(request(), owner="Bob #2", shards=2)
    assert (jobs.get(job.id).state, jobs.get(job.id).shards) == ("paused", 1)
    resumed = jobs.submit(request(), owner="Eve #3", is_operator=True, shards=2)
    assert (resumed.id, resumed.state, resumed.owner) == (job.id, "queued", "Ada #1")
    assert resumed.shards == 1  # the owner's choice
    jobs.pause(job.id)
    resumed = jobs.submit(request(), owner="Ada #1", shards=2)
    assert (resumed.id, resumed.state, resumed.shards) == (job.id, "queued", 2)
    jobs.pause(job.id)
    resumed = jobs.submit(request())  # from the machine itself
    assert (resumed.id, resumed.state, resumed.shards) == (job.id, "queued", 2)


def test_job_over_its_time_limit_is_stopped_once():
    jobs.submit(request(), limit_s=60)
    taken = claim()
    table.update(taken, started_at=taken.started_at - 61)
    taken = jobs.get(taken.id)
    assert taken.is_over_time
    jobs.reap()  # this machine's worker counts by itself
    assert not jobs.get(taken.id).cancel_requested
    table.stop_over_time(taken)
    asked = jobs.get(taken.id)
    assert asked.cancel_requested
    table.stop_over_time(taken)
    assert jobs.get(taken.id).cancel_requested_at == asked.cancel_requested_at
    table.finish_stopped(asked, "It was {state}. Finished parts are kept.")
    ended = jobs.get(taken.id)
    assert ended.state == "cancelled"
    assert (
        ended.error
        == "It reached the limit of 0.0167 h for a job. It was cancelled. Finished parts are kept."
    )
    assert jobs.resume(taken.id).state == "queued"


# Going on by itself


def test_interrupted_job_waits_unless_auto_resume_is_on():
    first, second = queue(2)
    claim(GONE)
    assert [job.state for job in jobs.reap()] == ["interrupted"]
    settings.set_auto_resume(True)
    assert jobs.get(first).state == "interrupted", (
        "what was found before the setting was made waits"
    )
    assert claim(GONE).id == second
    third = jobs.submit(request(seed=9)).id
    (found,) = jobs.reap()
    assert (found.state, found.id) == ("queued", second)
    assert "The job resumes automatically" in found.message
    assert waiting() == [second, third]


@pytest.mark.parametrize(
    ("told", "n"),
    [
        ([], 3),
        ([(1, "loading", 1), (2, "loading", 1), (3, "loading", 1)], 2),
        (
            [
                (1, "loading", 1),
                (1, "healing", 4),
                (2, "loading", 1),
                (2, "healing", 4),
                (3, "healing", 5),
            ],
            0,
        ),
        ([(1, "healing", 9), (2, "healing", 3), (3, "scoring", 0)], 0),
        ([(1, "healing", 9), (2, "healing", 10), (3, "healing", 8)], 1),
        ([(1, "healing", 9), (2, "healing", 7), (3, "healing", 8)], 2),
    ],
)
def test_attempt_that_only_repeats_is_no_progress(told, n):
    queue(1)
    job = replace(claim(), attempts=3)
    events(job, *told)
    with (job.folder / "events.jsonl").open("a") as stream:
        stream.write('{"attempt": 3, "phase": "healing", "do')
    assert interruption.stalled_attempts(job) == n


def test_a_crash_loop_ends_and_says_so():
    settings.set_auto_resume(True)
    (job_id,) = queue(1)
    told = []
    for attempt, ends in [(1, "queued"), (2, "queued"), (3, "interrupted")]:
        job = claim(GONE)
        told.append((attempt, "loading", 1))
        events(job, *told)
        assert [found.state for found in jobs.reap()] == [ends]
    assert "the last 2 attempts made no progress" in jobs.get(job_id).error
    assert jobs.resume(job_id).state == "queued"


def test_memory_is_named_only_after_a_kernel_kill(monkeypatch):
    counts = iter([3, 3, 3, 4, None, None])
    monkeypatch.setattr(processes, "oom_kills", lambda: next(counts))
    queue(3)
    said = []
    for _ in range(3):
        claim(GONE)
        said.append(jobs.reap()[0].error)
    assert "the cause is not recorded" in said[0]
    assert "most likely this one. Lower" in said[1]
    assert said[2] == said[0]


def test_settings_survive_damage_and_strangers(cache):
    assert not settings.auto_resume()
    settings.set_auto_resume(True)
    assert settings.auto_resume()
    for damaged in ("{half", "[]", '{"auto_resume": "yes"}', '{"other": 1}'):
        (cache / "settings.json").write_text(damaged)
        assert not settings.auto_resume()


# Space


def saved(cache: Path, kind: str = "heal", key: str = KEY) -> list[Path]:
    """Write files that a job has saved, 100 bytes each."""
    folders = [
        cache / "checkpoints" / key / "step-1",
        cache / "adapters" / key,
        store.result_dir(kind, key),
    ]
    for folder in folders:
        folder.mkdir(parents=True)
        (folder / "file.bin").write_bytes(b"x" * 100)
    return [cache / "checkpoints" / key, *folders[1:]]


def ended(spec=None, state: str = "failed", key: str | None = KEY) -> jobs.Job:
    jobs.submit(spec or HealSpec(block=BLOCK))
    table.finish(job := claim(), state, result_key=key)
    return jobs.get(job.id)


def test_job_is_forgotten_alone_or_with_its_files(cache):
    folders, job = saved(cache), ended()
    own = (job.folder / "spec.json").stat().st_size
    assert jobs.space(job.id) == Space(own, 300, None)
    assert jobs.size_bytes(job) == own + 300
    jobs.delete(job.id)
    assert not job.folder.exists()
    assert all(folder.exists() for folder in folders)
    job = ended()
    jobs.delete(job.id, saved=True)
    assert not any(folder.exists() for folder in folders)
    assert not list(cache.rglob("*.part"))


class Killed(BaseException):
    """Ends a call where a kill would end its process."""


def test_a_kill_in_submit_leaves_no_folder_without_its_job(cache, monkeypatch):
    write = store.write_atomic

    def end(path, content):
        write(path, content)
        raise Killed

    monkeypatch.setattr(store, "write_atomic", end)
    with pytest.raises(Killed):
        jobs.submit(request())
    known = {job.id for job in jobs.list_jobs()}
    assert {folder.name for folder in (cache / "jobs").glob("*")} <= known


def test_a_kill_in_delete_leaves_a_draft_that_is_removed(cache, monkeypatch):
    job = ended()

    def end(folders):
        raise Killed

    monkeypatch.setattr(job_space, "erase", end)
    with pytest.raises(Killed):
        jobs.delete(job.id)
    monkeypatch.setattr(disk, "DRAFT_S", -1.0)
    store.remove_leftovers()
    assert list((cache / "jobs").iterdir()) == []


def test_files_needed_by_other_jobs_or_results_stay(cache):
    folders, job = saved(cache), ended()
    evaluation = jobs.submit(EvaluateSpec(block=BLOCK, adapter=str(cache / "adapters" / KEY)))
    assert jobs.space(job.id).needed_by == f"job {evaluation.id} needs it too"
    jobs.delete(job.id, saved=True)
    assert all(folder.exists() for folder in folders)
    jobs.delete(evaluation.id)
    first, twin = ended(), ended(HealSpec(block=BLOCK, seed=3))
    assert first.id in jobs.space(twin.id).needed_by
    jobs.delete(first.id, saved=True)
    assert all(folder.exists() for folder in folders)
    jobs.delete(twin.id, saved=True)
    assert not any(folder.exists() for folder in folders)


def test_map_stays_while_a_curve_needs_it(cache):
    curve = fakes.sweep()
    curve.save()
    spec, key = curve.spec.distances, curve.spec.distances.fingerprint()
    saved(cache, "distances", key)
    job = ended(spec, "done", key)
    assert (
        jobs.space(job.id).needed_by
        == f"the stored sweep result {curve.spec.fingerprint()} builds on it"
    )
    jobs.delete(job.id, saved=True)
    assert store.result_dir("distances", key).exists()


def test_a_running_job_is_never_removed(cache):
    folders = saved(cache)
    jobs.submit(HealSpec(block=BLOCK))
    job = claim()
    table.update(job, result_key=KEY)
    with pytest.raises(JobError, match="Cancel it first"):
        jobs.delete(job.id, saved=True)
    assert jobs.clear(saved=True) == 0
    assert all(folder.exists() for folder in folders)


@pytest.mark.parametrize("key", ["../../../outside", "", f"{KEY}\n"])
def test_a_key_that_is_not_ours_leads_nowhere(cache, key, tmp_path_factory):
    outside = tmp_path_factory.mktemp("outside")
    (outside / "kept").write_text("kept")
    job = ended(key=key)
    assert saved_folders(job.kind, key) == []
    jobs.delete(job.id, saved=True)
    assert (outside / "kept").exists()
    assert cache.exists()


def test_a_folder_that_is_a_link_is_never_followed(cache, tmp_path_factory):
    outside = tmp_path_factory.mktemp("outside")
    (outside / "kept").write_text("k" * 100_000)
    job = ended()
    (cache / "adapters").mkdir()
    (cache / "adapters" / KEY).symlink_to(outside)
    (job.folder / "link").symlink_to(outside)
    assert jobs.size_bytes(job) < 50_000
    jobs.delete(job.id, saved=True)
    assert (outside / "kept").exists()
    assert not job.folder.exists()


def test_clearing_forgets_only_ended_jobs(cache):
    folders = saved(cache)
    done = [
        ended(HealSpec(block=BLOCK, seed=seed), state)
        for seed, state in enumerate(("done", "failed", "cancelled"))
    ]
    paused = jobs.pause(jobs.submit(request(seed=7)).id)
    queued = jobs.submit(request(seed=8))
    assert jobs.clear(saved=True) == 3
    assert [job.id for job in jobs.list_jobs()] == [queued.id, paused.id]
    assert not any(folder.exists() for folder in [*folders, *(job.folder for job in done)])


# Trouble with the file


def test_held_list_is_one_sentence_and_pages_still_read(cache, monkeypatch):
    (job_id,) = queue(1)
    code = (
        "import sqlite3, sys; db = sqlite3.connect(sys.argv[1], isolation_level=None);"
        " db.execute('BEGIN IMMEDIATE'); print('held', flush=True); input()"
    )
    command = [sys.executable, "-c", code, str(cache / "jobs.sqlite")]
    holder = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    try:
        assert holder.stdout.readline() == "held\n"
        monkeypatch.setattr(table, "_BUSY_S", 0.1)
        assert [job.id for job in jobs.list_jobs()] == [job_id]
        assert jobs.reap() == []
        for action in (jobs.cancel, jobs.pause, jobs.delete):
            with pytest.raises(
                StorageError, match=r"jobs\.sqlite cannot be used \(database is locked\)"
            ):
                action(job_id)
    finally:
        holder.communicate("\n", timeout=10)
    assert jobs.pause(job_id).state == "paused"


@contextlib.contextmanager
def held(cache):
    """Hold the list of jobs for writing, as a backup or another program does."""
    with contextlib.closing(sqlite3.connect(cache / "jobs.sqlite", isolation_level=None)) as db:
        db.execute("BEGIN IMMEDIATE")
        yield


def test_submitting_waits_for_the_held_list_and_says_so_once(cache, monkeypatch):
    queue(1)
    monkeypatch.setattr(table, "_BUSY_S", 0.05)
    holder, said, waits = held(cache), [], []
    holder.__enter__()

    def wait(seconds: float) -> None:
        waits.append(seconds)
        if len(waits) == 3:
            holder.__exit__(None, None, None)

    monkeypatch.setattr(table.time, "sleep", wait)
    made = jobs.waited(lambda: jobs.submit(request(seed=7)).id, said.append)
    assert jobs.get(made).state == "queued"
    assert len(said) == 1
    assert "another process has locked it" in said[0]


def test_a_full_disk_is_named_where_the_list_cannot_grow():
    queue(1)

    def fill() -> None:
        with table.transaction(write=True) as db:
            db.execute("PRAGMA max_page_count = 1")
            db.execute("CREATE TABLE filler AS SELECT hex(randomblob(100000)) AS x")

    with pytest.raises(StorageError, match=r"no space left on the disk"):
        fill()
    assert len(jobs.list_jobs()) == 1


def test_repeated_reports_of_a_waiting_job_fill_no_disk(monkeypatch):
    now = [1_000_000.0]
    monkeypatch.setattr(time, "time", lambda: now[0])
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    jobs.submit(request())
    run = interruption.Run(table.claim(HERE))
    for _ in range(5 * 60):
        now[0] += 0.2
        run.on_progress(Progress("measuring 8 shards in 2 processes", 3, 8))
    assert 2 <= len(jobs.events(run.job.id)[0]) <= 4
    now[0] += 0.2
    run.on_progress(Progress("measuring 8 shards in 2 processes", 4, 8))
    assert jobs.get(run.job.id).done == 4, "what is new is written at once"
