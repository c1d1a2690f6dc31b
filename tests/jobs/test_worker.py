"""The worker, in real processes: whole lives of jobs, and every way they can end."""

import dataclasses
import os
import signal
import subprocess
import sys
import time
import weakref
from pathlib import Path

import psutil
import pytest

from analysis import jobs
from analysis.cli import jobs as jobs_command
from analysis.core.blocks import Block
from analysis.core.errors import JobError, SpecError
from analysis.experiments.accuracy.sweep_spec import SweepSpec
from analysis.exports import export
from analysis.exports.spec import ExportSpec
from analysis.jobs.backends import local
from analysis.jobs.queue import processes, table
from analysis.jobs.runner import worker
from analysis.models.loading import load
from analysis.models.source.model_spec import ModelSpec
from tests.support.worker import COMMAND, SCRIPT, end_worker, request, wait_for, wait_state

pytestmark = pytest.mark.timeout(60)


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("LAYERSCOPE_CACHE", str(tmp_path))
    yield tmp_path
    end_worker()


def worker_pid() -> int:
    process = processes.worker()
    assert process is not None
    return process.pid


def order(cache) -> list[str]:
    return (cache / "order.txt").read_text().splitlines()


def test_job_runs_to_its_end_and_progress_outlives_reader():
    job = jobs.submit(request())
    assert job.state == "queued"
    assert jobs.ensure_worker(COMMAND)
    job = wait_state(job, "done")
    assert (job.phase, job.done, job.total, job.message) == ("counting", 3, 3, "step 3")
    assert job.values | {"step": 3, "loss": pytest.approx(1 / 3)} == job.values
    assert job.result_key == request().fingerprint()
    assert job.error is None
    assert job.attempts == 1
    assert job.pid == worker_pid()
    assert 0 <= job.elapsed_s < 10
    assert job.left_s is None
    # A reader that knows nothing but the id and the folder sees the same.
    code = (
        f"from analysis import jobs; print(jobs.get({job.id!r}).state, [e['done'] for e in"
        f" jobs.events({job.id!r})[0]])"
    )
    seen = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    ).stdout
    assert seen.strip() == "done [0, 1, 2, 3]"


def test_error_is_one_sentence_and_the_queue_continues(cache):
    kinds = ["refused", "memory", "cuda", "bug", "exits", "panic", "sweep"]
    found = {k: jobs.submit(SweepSpec() if k == "sweep" else request(k)) for k in kinds}
    last = jobs.submit(request("quick"))
    jobs.ensure_worker(COMMAND)
    wait_state(last, "done")
    errors = {}
    for kind, job in found.items():
        now = jobs.get(job.id)
        assert now.state == "failed", kind
        assert "\n" not in now.error
        assert now.finished_at is not None
        errors[kind] = now.error
    assert errors["refused"] == "This text is empty (hf_[redacted]); give another."
    assert "Lower" in errors["memory"]
    assert "GPU" in errors["cuda"]
    assert "Lower" in errors["cuda"]
    nobody = (
        "Layerscope has a bug: an unexpected error while running this distances job (ValueError:"
        " seven is not)"
    )
    assert errors["bug"].startswith(nobody)
    assert "Traceback" not in errors["bug"]
    for kind, job in found.items():
        assert jobs.log_tail(job.id) == errors[kind], (
            "the log that pages show has the sentence and no traceback"
        )
    own = (cache / "worker.log").read_text()
    assert own.count("Traceback") >= len(kinds)
    assert f"Job {found['bug'].id}:\nTraceback" in own
    assert "hf_Ab3" not in own
    assert "(SystemExit: " in errors["exits"]
    assert "most likely the rules of its tokenizer" in errors["panic"]
    assert "ModuleNotFoundError" in errors["sweep"]


def test_traceback_of_a_crash_is_in_the_worker_log(cache):
    job = jobs.submit(request("aborts"))
    jobs.ensure_worker(COMMAND)
    wait_for(jobs.reap)
    assert jobs.get(job.id).state == "interrupted"
    assert jobs.log_tail(job.id) == ""
    assert "Fatal Python error: Aborted" in (cache / "worker.log").read_text()


def test_full_disk_fails_the_job_and_not_the_worker():
    no_events, no_log = jobs.submit(request("quick")), jobs.submit(request("bug"))
    (no_events.folder / "events.jsonl").symlink_to("/dev/full")
    (no_log.folder / "log.txt").symlink_to("/dev/full")
    jobs.ensure_worker(COMMAND)
    assert "no space left" in wait_state(no_events, "failed").error
    assert "ValueError" in wait_state(no_log, "failed").error
    pid = worker_pid()
    assert wait_state(jobs.submit(request("quick", 1)), "done").pid == pid


def test_output_of_a_job_is_only_in_its_log(cache):
    job = jobs.submit(request("noisy"))
    after = jobs.submit(request("quick"))
    jobs.ensure_worker(COMMAND)
    wait_state(after, "done")
    log = jobs.log_tail(job.id, 100)
    for source in ("print", "descriptor 1", "a child", "warnings", "logging"):
        assert f"from {source}" in log
    assert "hf_Ab3" not in log
    assert "hf_[redacted]" in log
    assert jobs.log_tail(after.id) == ""
    assert "from" not in (cache / "worker.log").read_text()
    job = jobs.get(job.id)
    assert job.message == "using hf_[redacted]"
    assert job.values["loss"] is None
    assert "hf_Ab3" not in (job.folder / "events.jsonl").read_text()


def test_jobs_run_in_order_and_a_warm_model_stays(cache):
    queue = [jobs.submit(request("loads", seed)) for seed in range(3)]
    jobs.ensure_worker(COMMAND)
    done = [wait_state(job, "done") for job in queue]
    assert order(cache) == [f"{what} {seed}" for seed in range(3) for what in ("begin", "end")]
    assert [job.values["model"] for job in done] == [
        f"load {n} in process {worker_pid()}" for n in (1, 2, 3)
    ]


def test_job_adds_up_the_work_of_its_attempts():
    job = jobs.submit(request("computes"))
    jobs.ensure_worker(COMMAND)
    failed = wait_state(job, "failed")
    assert failed.work.peak_bytes == 4000
    jobs.resume(job.id)
    done = wait_state(job, "done")
    assert done.work.seconds > failed.work.seconds > 0
    assert jobs_command._as_json(done)["work"] == dataclasses.asdict(done.work)


@pytest.mark.parametrize("what", ["tidy", "partial"])
def test_cancelled_job_stops_soon_and_keeps_finished_work(cache, what):
    job = jobs.submit(request(what))
    jobs.ensure_worker(COMMAND)
    wait_for(lambda: jobs.get(job.id).done >= 3)
    pid = worker_pid()
    began = time.monotonic()
    assert jobs.cancel(job.id).cancel_requested
    job = wait_state(job, "cancelled", 2)
    assert time.monotonic() - began < 2
    assert job.result_key == request(what).fingerprint()
    assert job.error.startswith("It was cancelled")
    if what == "tidy":
        assert (cache / "kept.txt").exists()
    assert worker_pid() == pid
    wait_state(jobs.submit(request("quick")), "done")


def test_stuck_job_is_cancelled_within_5_s_and_queue_continues(cache):
    stuck, waiting = jobs.submit(request("stuck")), jobs.submit(request("quick"))
    jobs.ensure_worker(COMMAND)
    wait_for(lambda: jobs.get(stuck.id).message == "going to sleep")
    pid, child = worker_pid(), int((cache / "child.txt").read_text())
    began = time.monotonic()
    jobs.cancel(stuck.id)
    job = wait_state(stuck, "cancelled", 10)
    assert time.monotonic() - began < 5
    assert "stopped at once" in job.error
    assert wait_state(waiting, "done", 5).attempts == 1
    # The same process began anew, and the children of the job are gone.
    assert worker_pid() == pid
    assert psutil.Process(pid).cwd() == str(SCRIPT.parents[2])
    assert not psutil.pid_exists(child) or psutil.Process(child).status() == psutil.STATUS_ZOMBIE
    assert "sleep" not in jobs.log_tail(waiting.id)
    assert jobs.reap() == []


def test_killed_worker_is_noticed_and_its_job_resumed(cache):
    job = jobs.submit(request("steps"))
    jobs.ensure_worker(COMMAND)
    wait_for(lambda: jobs.get(job.id).done >= 8)
    running = jobs.get(job.id)
    assert running.state == "running"
    assert 0 <= running.left_s < 20
    assert jobs.reap() == []
    with pytest.raises(JobError, match="Cancel it first"):
        jobs.delete(job.id)
    os.kill(worker_pid(), signal.SIGKILL)
    reaped = wait_for(jobs.reap, 15)
    assert [(j.id, j.state) for j in reaped] == [(job.id, "interrupted")]
    assert "Resume" in jobs.get(job.id).error
    assert jobs.get(job.id).done >= 5
    assert not jobs.worker_alive()
    # As a kill in the middle of a write leaves it.
    with (job.folder / "events.jsonl").open("ab") as stream:
        stream.write(b'{"t": 1, "phase": "st')
    assert jobs.resume(job.id).state == "queued"
    assert jobs.ensure_worker(COMMAND)
    job = wait_state(job, "done")
    assert (job.attempts, job.done, job.error) == (2, 40, None)
    steps = (cache / "steps-0.txt").read_text().split()
    assert len(set(steps)) == 40
    assert len(steps) <= 41
    told, _ = jobs.events(job.id)
    assert {event["attempt"] for event in told} == {1, 2}
    second = [event for event in told if event["attempt"] == 2]
    assert second[0]["phase"] == "starting"
    assert second[1]["done"] >= 5


def test_sigterm_interrupts_the_job_during_a_long_call():
    job = jobs.submit(request("stuck"))
    jobs.ensure_worker(COMMAND)
    wait_for(lambda: jobs.get(job.id).message == "going to sleep")
    os.kill(worker_pid(), signal.SIGTERM)
    job = wait_state(job, "interrupted", 3)
    assert "was stopped before the job ended" in job.error
    wait_for(lambda: not jobs.worker_alive(), 3)


SESSION = Path("/proc/self/autogroup")
"""Where a Linux that shares the processors between sessions says how far this one gives way."""


@pytest.mark.parametrize("said", ["20", "-1", "", "1e1", "9" * 5000, "0199"])
def test_invalid_niceness_is_refused(said, monkeypatch):
    monkeypatch.setenv("LAYERSCOPE_NICENESS", said)
    with pytest.raises(SpecError, match=r"^LAYERSCOPE_NICENESS must be 0 \(no lower CPU priority"):
        worker.lower_priority()


def test_a_forked_child_can_be_ended_without_ending_the_worker():
    job = jobs.submit(request("forks"))
    jobs.ensure_worker(COMMAND)
    assert wait_state(job, "done").values["signal"] == signal.SIGTERM


def test_two_servers_at_once_start_one_worker_that_outlives_both(cache):
    job = jobs.submit(request("steps"))
    # Starting takes each of them long enough that the other asks before it ends.
    code = (
        "import time; from analysis import jobs; from analysis.jobs.queue import processes; start"
        " = processes._start; processes._start = lambda *given: (time.sleep(0.5),"
        f" start(*given))[1]; print(jobs.ensure_worker({COMMAND!r}))"
    )
    servers = [
        subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
        for _ in range(2)
    ]
    answers = sorted(server.communicate(timeout=20)[0].strip() for server in servers)
    assert answers == ["False", "True"]
    assert wait_state(job, "done").pid == worker_pid()
    found = [p.pid for p in psutil.process_iter() if _is_worker_of(p, cache)]
    assert found == [worker_pid()]
    assert jobs.ensure_worker(COMMAND) is False


def _is_worker_of(process: psutil.Process, cache) -> bool:
    try:
        return str(SCRIPT) in process.cmdline() and process.environ().get(
            "LAYERSCOPE_CACHE"
        ) == str(cache)
    except psutil.Error:
        return False


def test_an_idle_worker_leaves_and_the_next_job_starts_another():
    jobs.ensure_worker((*COMMAND[:2], "0.2"))
    first = worker_pid()
    wait_for(lambda: not jobs.worker_alive())
    assert processes.announced() == (None, None)
    job = jobs.submit(request())
    assert jobs.ensure_worker(COMMAND)
    assert wait_state(job, "done").pid != first


def test_worker_with_stuck_watchdog_is_ended_by_the_next_reader(monkeypatch):
    stuck, waiting = jobs.submit(request("stuck")), jobs.submit(request("quick"))
    jobs.ensure_worker(COMMAND)
    wait_for(lambda: jobs.get(stuck.id).message == "going to sleep")
    os.kill(worker_pid(), signal.SIGSTOP)
    jobs.cancel(stuck.id)
    assert jobs.reap() == []
    monkeypatch.setattr(local, "STUCK_S", 0.5)
    reaped = wait_for(jobs.reap, 5)
    assert [(job.id, job.state) for job in reaped] == [(stuck.id, "cancelled")]
    wait_for(lambda: not jobs.worker_alive(), 3)
    jobs.ensure_worker(COMMAND)
    wait_state(waiting, "done")


def test_worker_starts_by_module_name_with_lower_priority_and_leaves_on_sigterm(cache, monkeypatch):
    monkeypatch.delenv("LAYERSCOPE_NICENESS")
    assert jobs.ensure_worker()
    pid = worker_pid()
    assert psutil.Process(pid).cmdline()[1:] == ["-m", "analysis.jobs.runner.worker"]
    assert os.getsid(pid) != os.getsid(0)
    wait_for(lambda: psutil.Process(pid).nice() == 10)
    if SESSION.exists():
        wait_for(lambda: Path(f"/proc/{pid}/autogroup").read_text().endswith("nice 10\n"))
    # It has taken the lock once a second one is turned away.
    wait_for(lambda: subprocess.run([*COMMAND[:2], "0"], timeout=20).returncode == 3)
    os.kill(pid, signal.SIGTERM)
    wait_for(lambda: not jobs.worker_alive(), 5)
    assert "Traceback" not in (cache / "worker.log").read_text()


def test_warm_model_is_freed_before_an_export(tiny_folder, monkeypatch):
    warm, loading = load.WarmModels(), load.load
    model = ModelSpec(str(tiny_folder("llama")), dtype="float32", device="cpu")
    kept, in_memory = weakref.ref(warm(model).model), []
    monkeypatch.setattr(
        load, "load", lambda *given, **how: in_memory.append(kept()) or loading(*given, **how)
    )
    export.run(ExportSpec(Block(2, 2), "without", model), load=warm)
    assert in_memory[0] is None


def test_worker_stops_job_over_its_time_limit_by_itself():
    job = jobs.submit(request("waits"), limit_s=0.5)
    assert jobs.ensure_worker(COMMAND)
    wait_for(lambda: table.get(job.id).state == "cancelled")
    assert "h for a job" in table.get(job.id).error
