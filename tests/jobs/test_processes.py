"""Identity of the worker under any clock: steps of the clock, signs of life from the future, pids
that are none.
"""

import json
import os
import subprocess
import sys
import time
from dataclasses import asdict, replace

import psutil
import pytest

from analysis import jobs
from analysis.jobs.queue import processes, table
from analysis.jobs.queue.processes import Process
from tests.support.worker import another, request

pytestmark = pytest.mark.timeout(60)

HERE = Process.current()
ELSEWHERE = replace(HERE, host="elsewhere")
HOUR = 3600


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("LAYERSCOPE_CACHE", str(tmp_path))
    return tmp_path


@pytest.fixture
def clock(monkeypatch):
    """A function that sets the clock so many seconds ahead, as programs see it: start times move
    too, ticks do not.
    """
    now, created = time.time, psutil.Process.create_time

    def step(seconds: float) -> None:
        monkeypatch.setattr(time, "time", lambda: now() + seconds)
        monkeypatch.setattr(psutil.Process, "create_time", lambda self: created(self) + seconds)

    return step


def claimed(process: Process) -> jobs.Job:
    job = jobs.submit(request())
    assert table.claim(process).id == job.id
    return jobs.get(job.id)


def set_columns(job: jobs.Job, **columns) -> None:
    with table.transaction(write=True) as db:
        for name, value in columns.items():
            db.execute(f"UPDATE jobs SET {name} = ? WHERE id = ?", (value, job.id))


needs_ticks = pytest.mark.skipif(
    HERE.born is None, reason="this system does not tell the ticks since its start"
)


@needs_ticks
@pytest.mark.parametrize("seconds", [3, -3, HOUR, -HOUR])
def test_clock_step_interrupts_no_job_and_starts_no_second_worker(clock, seconds):
    processes.announce(HERE)
    job = claimed(HERE)
    clock(seconds)
    assert jobs.reap() == []
    assert jobs.get(job.id).state == "running"
    assert jobs.worker_alive()
    assert jobs.ensure_worker(("no", "such", "program")) is False
    assert Process.current().same(HERE)


@needs_ticks
def test_a_process_is_known_by_ticks_boot_and_numbering():
    boot, numbering, ticks = HERE.born.split("/")
    assert HERE.is_here
    assert not another(HERE).same(HERE)
    for other in (f"{boot}/1/{ticks}", f"another-boot/{numbering}/{ticks}"):
        of_another = replace(HERE, born=other)
        assert not of_another.is_here
        assert not of_another.same(HERE)
        assert not of_another.is_alive(None)
        assert of_another.is_alive(time.time() - 1), (
            "of another container or machine the heartbeat tells, not a pid of ours"
        )


@pytest.mark.parametrize("pid", [0, -1, -12345, 2**31, True, 1.5, "1", None])
def test_invalid_pid_is_refused_and_nothing_is_signalled(cache, pid, monkeypatch):
    monkeypatch.setattr(os, "kill", lambda *given: pytest.fail(f"a signal was sent: {given}"))
    with pytest.raises(ValueError, match="is not a process id"):
        replace(HERE, pid=pid)
    (cache / "worker.json").write_text(json.dumps({**asdict(HERE), "pid": pid}))
    assert processes.announced() == (None, None)
    assert not jobs.worker_alive()


@pytest.mark.parametrize("pid", [0, -1, -12345, "many"])
def test_row_with_invalid_pid_is_an_interrupted_job(pid):
    job = claimed(HERE)
    set_columns(job, pid=pid)
    assert jobs.get(job.id).process is None
    assert [ended.state for ended in jobs.reap()] == ["interrupted"]


def test_future_heartbeat_of_remote_worker_holds_the_queue_no_longer(cache, clock):
    processes.announce(ELSEWHERE)
    ahead = time.time() + 30 * HOUR
    os.utime(cache / "worker.json", (ahead, ahead))
    assert jobs.worker_alive()
    clock(processes.SILENCE_S + 1)
    assert not jobs.worker_alive()


def test_remote_job_with_future_heartbeat_is_interrupted_when_silent(clock):
    job = claimed(ELSEWHERE)
    set_columns(job, heartbeat_at=time.time() + 30 * HOUR)
    assert jobs.reap() == []
    clock(processes.SILENCE_S + 1)
    assert [ended.state for ended in jobs.reap()] == ["interrupted"]


def test_remote_worker_with_lock_is_alive_under_any_clock(cache):
    processes.announce(ELSEWHERE)
    long_ago = time.time() - HOUR
    os.utime(cache / "worker.json", (long_ago, long_ago))
    job = claimed(ELSEWHERE)
    set_columns(job, heartbeat_at=long_ago)
    with processes.lock():
        assert processes.is_locked()
        assert jobs.worker_alive()
        assert jobs.reap() == []
        assert jobs.ensure_worker(("no", "such", "program")) is False
    assert not jobs.worker_alive()
    assert [ended.state for ended in jobs.reap()] == ["interrupted"]


def test_clock_step_after_cancel_ends_no_healthy_worker(clock, monkeypatch):
    monkeypatch.setattr(Process, "kill", lambda self: pytest.fail("a healthy worker was killed"))
    job = claimed(HERE)
    jobs.cancel(job.id)
    clock(HOUR)
    for _ in range(3):
        assert jobs.reap() == []
    assert jobs.get(job.id).state == "running"


def test_worker_without_writable_cache_says_so_in_a_sentence(cache):
    (cache / "worker.lock").mkdir()
    ended = subprocess.run(
        [sys.executable, "-m", "analysis.jobs.runner.worker"],
        capture_output=True,
        text=True,
        timeout=50,
    )
    assert ended.returncode == 1
    assert "cannot be written" in ended.stderr
    assert ended.stderr.count("\n") == 1
