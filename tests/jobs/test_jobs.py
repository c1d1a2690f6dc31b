"""The queue without a worker: states, ids, events, logs, and who counts as alive."""

import contextlib
import json
import sqlite3
import subprocess
import sys
import time
from dataclasses import replace

import pytest

from analysis import jobs
from analysis.core.blocks import Block
from analysis.core.errors import JobError, StorageError
from analysis.experiments.heal.heal_spec import HealSpec
from analysis.jobs.queue import attempt, processes, table
from analysis.jobs.queue.job import STATES
from analysis.jobs.queue.processes import Process
from analysis.models.source.model_spec import ModelSpec
from tests.support.worker import another, end_worker, request

pytestmark = pytest.mark.timeout(60)

HERE = Process.current()


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("LAYERSCOPE_CACHE", str(tmp_path))
    yield tmp_path
    end_worker()


def set_columns(job: jobs.Job, **columns) -> None:
    with table.transaction(write=True) as db:
        for name, value in columns.items():
            db.execute(f"UPDATE jobs SET {name} = ? WHERE id = ?", (value, job.id))


def claimed(what: str = "quick", process: Process = HERE) -> jobs.Job:
    job = jobs.submit(request(what))
    found = table.claim(process)
    assert found is not None
    assert found.id == job.id
    return found


def front(job_id: str) -> jobs.Job:
    return jobs.move(job_id, jobs.FRONT)


front.__name__ = "move"


def test_a_submitted_job_can_be_read_back():
    spec = HealSpec(Block(11, 5), model=ModelSpec(source="org/Small-1B"), steps=7)
    job = jobs.submit(spec)
    assert job == jobs.get(job.id)
    assert job.spec == spec
    assert (job.kind, job.state, job.attempts) == ("heal", "queued", 0)
    assert job.label == "Heal of Small-1B, layers 11-15"
    assert json.loads((job.folder / "spec.json").read_text()) == {
        "kind": "heal",
        "spec": spec.to_json(),
    }
    assert job.is_active
    assert job.elapsed_s is None
    assert job.left_s is None
    assert jobs.submit(request(), label="My map").label == "My map"


def test_an_identical_request_is_not_queued_twice():
    job = jobs.submit(request())
    assert jobs.submit(request()).id == job.id
    assert jobs.submit(request(seed=1)).id != job.id
    running = table.claim(HERE)
    assert running.id == job.id
    assert jobs.submit(request()).id == job.id
    assert len(list((job.folder.parent).iterdir())) == 2
    # Once it is being stopped, or has ended, the same request is new work.
    jobs.cancel(job.id)
    again = jobs.submit(request())
    assert again.id != job.id
    table.finish(running, jobs.CANCELLED)
    with pytest.raises(JobError, match=f"job {again.id} does the same work and is queued"):
        jobs.resume(job.id)


def test_no_job_is_given_to_two_workers():
    expected = [jobs.submit(request(seed=seed)).id for seed in range(30)]
    code = (
        "from analysis.jobs.queue import table as job_table\n"
        "from analysis.jobs.queue.processes import Process\nme = Process.current()\n"
        "while (job := job_table.claim(me)) is not None: print(job.id)"
    )
    started = [
        subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
        for _ in range(4)
    ]
    taken = [process.communicate(timeout=30)[0].split() for process in started]
    assert sorted(sum(taken, [])) == sorted(expected)
    for ids in taken:
        assert ids == sorted(ids, key=expected.index)


def test_list_shows_active_jobs_first_in_running_order():
    old = [claimed(f"old{i}") for i in range(3)]
    for i, job in enumerate(old):
        table.finish(job, jobs.DONE, finished_at=1000.0 + i)
    running = claimed("running")
    waiting = [jobs.submit(request("waiting", seed)) for seed in range(3)]
    expected = [running.id, *(job.id for job in waiting), old[2].id, old[1].id, old[0].id]
    assert [job.id for job in jobs.list_jobs()] == expected
    assert [job.id for job in jobs.active()] == expected[:4]
    assert [job.id for job in jobs.list_jobs(limit=2)] == expected[:2]


def test_every_state_allows_only_sensible_actions():
    allowed = {
        "queued": {"cancel", "pause", "move", "delete"},
        "running": {"cancel", "pause"},
        "paused": {"cancel", "pause", "resume", "delete"},
        "done": {"delete"},
        "failed": {"resume", "delete"},
        "cancelled": {"cancel", "resume", "delete"},
        "interrupted": {"resume", "delete"},
    }
    assert set(allowed) == set(STATES)
    for state, actions in allowed.items():
        for action in (jobs.cancel, jobs.pause, jobs.resume, front, jobs.delete):
            job = jobs.submit(request(f"{state}-{action.__name__}"))
            set_columns(job, state=state)
            if action.__name__ in actions:
                action(job.id)
            else:
                with pytest.raises(JobError, match=job.id):
                    action(job.id)
                assert jobs.get(job.id).state == state
                assert job.folder.exists()


@pytest.mark.parametrize(
    "bad",
    ["../../secrets", "", "ZZZZZZZZZZ", "0123456789a", "0123456789\n", "0123456789", "*", None, 7],
)
def test_a_wrong_id_is_a_sentence_and_touches_nothing(cache, bad):
    (cache / "secrets").mkdir()
    for name in ("log.txt", "events.jsonl"):
        (cache / "secrets" / name).write_text("{}\n")
    kept = jobs.submit(request())
    for action in (
        jobs.get,
        jobs.cancel,
        jobs.pause,
        jobs.resume,
        front,
        jobs.space,
        jobs.delete,
        jobs.events,
        jobs.log_tail,
    ):
        with pytest.raises(JobError, match="There is no job"):
            action(bad)
    assert jobs.list_jobs() == [kept]
    assert (cache / "secrets" / "log.txt").exists()


def test_events_are_read_from_offset_without_a_half_line():
    job = jobs.submit(request())
    assert jobs.events(job.id) == ([], 0)
    file = job.folder / "events.jsonl"
    file.write_bytes(b'{"done": 1}\n{"done": 2}\n{"do')
    first, offset = jobs.events(job.id)
    assert [event["done"] for event in first] == [1, 2]
    assert jobs.events(job.id, offset) == ([], offset)
    with file.open("ab") as stream:
        stream.write('ne": 3}\n{"broken\n{"message": "ä"}\n'.encode())
    rest, end = jobs.events(job.id, offset)
    assert rest == [{"done": 3}, {"message": "ä"}]
    assert end == file.stat().st_size
    # An offset that cannot be: from the beginning, not an error.
    assert len(jobs.events(job.id, end + 1)[0]) == len(jobs.events(job.id, -5)[0]) == 4


def test_the_log_tail_shows_last_lines_and_no_token():
    token = "hf_" + "q7Z" * 12
    job = jobs.submit(request())
    assert jobs.log_tail(job.id) == ""
    log = job.folder / "log.txt"
    log.write_text(
        f"first\nusing {token} now\nurl=https://user:{token}@hub\n 10%|\r 90%|\r100%|"
        " done\nhf_hub_download\n\n"
    )
    lines = jobs.log_tail(job.id, 4).split("\n")
    assert lines == [
        "using hf_[redacted] now",
        "url=https://user:hf_[redacted]@hub",
        "100%| done",
        "hf_hub_download",
    ]
    assert jobs.log_tail(job.id, 1) == "hf_hub_download"
    assert jobs.log_tail(job.id, 0) == ""


def test_the_log_tail_never_begins_inside_a_token(monkeypatch):
    token = "hf_" + "q7Z" * 12
    job = jobs.submit(request())
    (job.folder / "log.txt").write_text(f"a {token} b\nlast")
    for length in range(1, 60):
        monkeypatch.setattr(attempt, "_LOG_TAIL_BYTES", length)
        assert "q7Z" not in jobs.log_tail(job.id)


def test_a_reused_pid_is_not_the_worker():
    earlier = another(HERE)
    job = claimed(process=earlier)
    assert [(j.id, j.state) for j in jobs.reap()] == [(job.id, "interrupted")]
    assert jobs.reap() == []
    alive = claimed("other", process=HERE)
    assert jobs.reap() == []
    assert jobs.get(alive.id).state == "running"


def test_a_zombie_is_not_the_worker():
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    process = Process.of(child.pid)
    job = claimed(process=process)
    assert jobs.reap() == []
    child.kill()
    deadline = time.monotonic() + 5
    while not (reaped := jobs.reap()) and time.monotonic() < deadline:
        time.sleep(0.02)
    assert [j.id for j in reaped] == [job.id]
    assert child.wait(5) == -9
    child.stdin.close()


def test_an_attempt_that_was_given_up_cannot_write():
    stale = claimed(process=another(HERE))
    jobs.reap()
    jobs.resume(stale.id)
    assert table.update(stale, done=99) is table.RowState.LOST
    fresh = table.claim(HERE)
    assert fresh.attempts == 2
    assert table.finish(stale, jobs.DONE) is table.RowState.LOST
    assert jobs.get(stale.id).state == "running"
    assert jobs.get(stale.id).done == 0
    assert table.finish(fresh, jobs.DONE) is table.RowState.GO_ON


def test_time_left_is_that_of_all_stages_less_the_time_since_the_last_report():
    now = time.time()
    stages = {"left_s": 300.0, "share": 0.4, "stage": "fit", "stage_number": 2, "n_stages": 3}
    job = replace(claimed(), progress_at=now - 5, done=9, total=10, values={"remaining": stages})
    assert (job.left_s, job.share, job.stage) == (pytest.approx(295, abs=0.5), 0.4, "fit, 2 of 3")
    assert replace(job, values={"remaining": {"share": 0.4}}).left_s is None, "no rate is measured"
    assert replace(job, state="done").left_s is None
    assert (job.how_far, replace(job, done=9_000, total=30_000).how_far) == ("9/10", "40%")
    silent = replace(job, progress_at=now - 60)
    assert (silent.silent_s, silent.left_s) == (pytest.approx(60, abs=0.5), None)
    slow = replace(silent, values={"remaining": stages | {"unit_s": 50.0}})
    assert (slow.silent_s, slow.left_s) == (
        None,
        pytest.approx(240, abs=0.5),
    ), "one unit takes that long"


@pytest.mark.parametrize("part", ["header", "page"])
def test_a_damaged_list_of_jobs_is_moved_aside_and_a_new_one_begins(cache, part):
    for seed in range(20):
        jobs.submit(request(seed=seed))
    with contextlib.closing(table.connect()) as db:
        db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    content = (cache / "jobs.sqlite").read_bytes()
    damaged = (
        b"no list" * 1000 if part == "header" else content[:4096] + b"\xff" * (len(content) - 4096)
    )
    (cache / "jobs.sqlite").write_bytes(damaged)
    with pytest.raises(
        StorageError,
        match=r"is damaged .* It was moved to jobs\.sqlite\.damaged, and a new list begins",
    ):
        jobs.list_jobs()
    assert jobs.list_jobs() == []
    job = jobs.submit(request())
    assert jobs.list_jobs() == [job]
    assert (cache / "jobs.sqlite.damaged").read_bytes() == damaged


def test_a_newer_list_of_jobs_is_a_sentence(cache):
    jobs.submit(request())
    with sqlite3.connect(cache / "jobs.sqlite") as db:
        db.execute("PRAGMA user_version = 99")
    db.close()
    with pytest.raises(StorageError, match="layout 99"):
        jobs.list_jobs()


def test_a_job_of_another_version_disturbs_no_other():
    strange, unknown, good = (jobs.submit(request(seed=seed)) for seed in (1, 2, 3))
    set_columns(strange, spec='{"no_such_field": 1}')
    set_columns(unknown, kind="no-such-kind")
    assert [job.id for job in jobs.list_jobs()] == [strange.id, good.id]
    with pytest.raises(JobError, match="another version"):
        _ = jobs.get(strange.id).spec
    assert not jobs.get(strange.id).asks(lambda spec: True)
    with pytest.raises(JobError, match="another version"):
        jobs.get(unknown.id)
    assert table.claim(HERE).id == strange.id
    assert table.claim(HERE) is None
    assert table.claim(HERE).id == good.id
    jobs.delete(unknown.id)


def test_the_worker_record_names_a_live_process_only(cache):
    assert not jobs.worker_alive()
    processes.announce(HERE)
    assert jobs.worker_alive()
    other = another(HERE)
    processes.withdraw(other)
    assert jobs.worker_alive()
    processes.announce(other)
    assert not jobs.worker_alive()
    (cache / "worker.json").write_text("{half")
    assert not jobs.worker_alive()
    processes.announce(HERE)
    processes.withdraw(HERE)
    assert not (cache / "worker.json").exists()
