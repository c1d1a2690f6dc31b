"""A place to run is one class in one file of anybody's: jobs go there, are seen, stopped, resumed
and read back.
"""

import importlib.util
import json
import sys
import time
from pathlib import Path

import pytest

from analysis import jobs
from analysis.cli import main
from analysis.core.errors import JobError
from analysis.core.experiment import EXPERIMENTS
from analysis.jobs.queue import attempt, backend, processes, settings, table
from analysis.jobs.queue.processes import Process

pytestmark = pytest.mark.timeout(60)

TOY = '''
"""A place to run that is a thread of this process."""

import threading
from pkgutil import resolve_name

from analysis.core.errors import JobError
from analysis.core.progress import Cancelled
from analysis.core.experiment import EXPERIMENTS
from analysis.jobs.queue.backend import Backend, AttemptStatus, register
from analysis.jobs.queue.job import CANCELLED, DONE, FAILED, RUNNING


class Attempt(threading.Thread):
    def __init__(self, job):
        super().__init__(daemon=True)
        self.job, self.seen, self.stop = job, AttemptStatus(RUNNING), threading.Event()
        self.start()

    def run(self):
        try:
            result = resolve_name(EXPERIMENTS[self.job.kind].run)(self.job.spec, self.on_progress, load=None)
            self.seen = AttemptStatus(DONE, self.seen.progress, result_key=result.spec.fingerprint())
        except Cancelled:
            self.seen = AttemptStatus(CANCELLED, self.seen.progress)
        except Exception as error:
            self.seen = AttemptStatus(FAILED, self.seen.progress, error=str(error))

    def on_progress(self, progress):
        self.seen = AttemptStatus(RUNNING, progress)
        if self.stop.is_set():
            raise Cancelled


@register
class Toy(Backend):
    name = "toy"
    title = "A toy"
    help = "Runs jobs in a thread."

    def __init__(self):
        self.attempts, self.told, self.closed, self.out_of_reach = {}, [], None, False

    def available(self):
        return self.closed

    def submit(self, job):
        self.told.append("submit")
        self._begin(job)

    def resume(self, job):
        self.told.append("resume")
        self._begin(job)

    def watch(self, job):
        self._reach()
        found = self.attempts.get((job.id, job.attempts))
        return found and found.seen

    def cancel(self, job):
        self._reach()
        if (job.id, job.attempts) in self.attempts:
            self.attempts[job.id, job.attempts].stop.set()

    def _begin(self, job):
        self._reach()
        self.attempts.setdefault((job.id, job.attempts), Attempt(job))

    def _reach(self):
        if self.out_of_reach:
            raise JobError("Nobody answers at toy:1; check the address.")
'''

KIND = '''
"""Counts to ten, with a gate at every number, and goes on from where it was."""

import time
from dataclasses import dataclass
from typing import ClassVar

from analysis.core import store
from analysis.core.errors import SpecError
from analysis.core.progress import Progress
from analysis.core.record import Result, Spec, spec_dataclass
from analysis.core.experiment import Experiment, register


@spec_dataclass
class CountSpec(Spec):
    kind: ClassVar[str] = "count"
    seed: int = 0


@dataclass(frozen=True)
class CountResult(Result):
    kind: ClassVar[str] = "count"
    spec_type: ClassVar[type[Spec]] = CountSpec
    numbers: list[int]


def gate():
    return store.cache_dir() / "gate.txt"


def run(spec, on_progress, *, load):
    saved = store.cache_dir() / "saved.txt"
    numbers = [int(line) for line in saved.read_text().split()] if saved.exists() else []
    while len(numbers) < 10:
        while len(numbers) >= int(gate().read_text() or 0):
            on_progress(Progress("counting", len(numbers), 10, "Going on.", {"n": len(numbers)}))
            time.sleep(0.01)
        if spec.seed == 13:
            raise SpecError("Thirteen cannot be counted with; give another seed.")
        numbers.append(len(numbers) + 1)
        saved.write_text(" ".join(map(str, numbers)))
    on_progress(Progress("counting", 10, 10))
    result = CountResult(spec, {}, 0.1, 0, True, numbers)
    result.save()
    return result


register(Experiment(CountSpec, CountResult, run=f"{__name__}:run", title="Count"))
'''


def load_file(path: Path, text: str):
    """The module in a file of anybody's."""
    path.write_text(text)
    spec = importlib.util.spec_from_file_location(path.stem, path)
    module = importlib.util.module_from_spec(spec)
    sys.modules[path.stem] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    folder = tmp_path / "cache"
    folder.mkdir()
    monkeypatch.setenv("LAYERSCOPE_CACHE", str(folder))
    monkeypatch.setattr(
        processes,
        "ensure_worker",
        lambda: pytest.fail("a worker was started for a job that runs elsewhere"),
    )
    return folder


@pytest.fixture
def count(tmp_path, cache):
    module = load_file(tmp_path / "toy_kind.py", KIND)
    module.gate().write_text("10")
    yield module
    EXPERIMENTS.remove("count")
    sys.modules.pop("toy_kind")


@pytest.fixture
def toy(tmp_path, count):
    load_file(tmp_path / "toy_backend.py", TOY)
    place = backend.BACKENDS["toy"]
    yield place
    for thread in place.attempts.values():
        thread.stop.set()
        thread.join(5)
    backend.BACKENDS.remove("toy")
    sys.modules.pop("toy_backend")


def wait_for(condition, timeout: float = 15.0):
    """Return the result of `condition()` as soon as it is true, looking as pages do."""
    end = time.monotonic() + timeout
    while time.monotonic() < end:
        jobs.reap()
        if found := condition():
            return found
        time.sleep(0.02)
    raise AssertionError(f"not within {timeout} s: {jobs.list_jobs()}")


def wait_state(job: jobs.Job, state: str, timeout: float = 15.0) -> jobs.Job:
    return wait_for(lambda: (now := jobs.get(job.id)).state == state and now, timeout)


def begun(count, n: int = 3, seed: int = 0) -> jobs.Job:
    """A job on the toy that has counted to n and waits there."""
    count.gate().write_text(str(n))
    job = jobs.submit(count.CountSpec(seed), backend="toy")
    return wait_for(lambda: (now := jobs.get(job.id)).done == n and now)


def listed(capsys, *words: str) -> tuple[str, list[dict]]:
    """Return the output of `jobs` for people and for programs."""
    capsys.readouterr()
    assert main.main(["jobs", *words]) == 0
    text = capsys.readouterr().out
    assert main.main(["jobs", "list", "--json", "-"]) == 0
    return text, json.loads(capsys.readouterr().out)["jobs"]


def test_job_runs_on_its_backend_and_its_result_loads(toy, count):
    job = jobs.submit(count.CountSpec(), "A count", backend="toy")
    assert (job.backend, job.state, job.attempts, job.process) == ("toy", "running", 1, None)
    done = wait_state(job, "done")
    assert (done.phase, done.done, done.total, done.error) == ("counting", 10, 10, None)
    assert done.result_key == count.CountSpec().fingerprint()
    assert count.CountResult.load(done.spec).numbers == list(range(1, 11))
    assert toy.told == ["submit"]
    assert [found.id for found in jobs.list_jobs()] == [job.id]
    assert jobs.active() == []


def test_progress_is_reported_once_for_many_looks(toy, count):
    job = begun(count, 3)
    for _ in range(5):
        jobs.reap()
    events = [event for event in jobs.events(job.id)[0] if event["done"] == 3]
    assert len(events) == 1
    assert (events[0]["attempt"], events[0]["phase"], events[0]["values"]) == (
        1,
        "counting",
        {"n": 3},
    )
    count.gate().write_text("6")
    now = wait_for(lambda: (now := jobs.get(job.id)).done == 6 and now)
    assert (now.message, now.values) == ("Going on.", {"n": 6})


@pytest.mark.parametrize(("wish", "state"), [(jobs.cancel, "cancelled"), (jobs.pause, "paused")])
def test_stopped_job_resumes_from_its_stored_work(toy, count, wish, state):
    job = begun(count, 4)
    wish(job.id)
    stopped = wait_state(job, state)
    assert stopped.error == f"It was {state}. Finished parts are kept."
    count.gate().write_text("10")
    again = jobs.resume(job.id)
    assert (again.backend, again.state, again.attempts) == ("toy", "running", 2)
    assert wait_state(job, "done").done == 10
    assert toy.told == ["submit", "resume"]
    assert count.CountResult.load(job.spec).numbers == list(range(1, 11))


def test_command_line_shows_the_backend_and_resumes_there(toy, count, capsys):
    job = begun(count, 4)
    text, found = listed(capsys, "list")
    assert f"{job.id}  count      running      on toy: counting 4/10" in text
    assert [(row["id"], row["backend"]) for row in found] == [(job.id, "toy")]
    listed(capsys, "pause", job.id)
    wait_state(job, "paused")
    count.gate().write_text("10")
    assert listed(capsys, "resume", job.id)[1][0]["backend"] == "toy"
    wait_state(job, "done")


@pytest.mark.parametrize("flag", ["--run-on", "--backend"])
def test_command_line_waits_for_remote_job_and_shows_its_result(toy, count, capsys, flag):
    assert main.main(["count", flag, "toy", "--json", "-"]) == 0
    said = capsys.readouterr()
    assert json.loads(said.out)["numbers"] == list(range(1, 11))
    (job,) = jobs.list_jobs()
    assert (
        said.err.splitlines()[0]
        == f"Job {job.id} runs on toy and continues there if this command ends."
    )
    assert job.backend == "toy"


def test_remote_failure_is_bad_input_for_waiting_command_line(toy, count, capsys):
    assert main.main(["count", "--set", "seed=13", "--run-on", "toy"]) == 2
    job, said = jobs.list_jobs()[0], capsys.readouterr().err
    assert said.endswith(
        f"Job {job.id} on toy is failed: Thirteen cannot be counted with; give another seed.\n"
    )


def test_an_unknown_place_is_one_sentence_with_those_that_exist(toy, count):
    with pytest.raises(JobError) as error:
        jobs.submit(count.CountSpec(), backend="mars")
    assert str(error.value) == "There is no backend 'mars'. Choose one of local, ray, slurm, toy."
    assert jobs.list_jobs() == []


def test_the_worker_of_this_machine_takes_only_its_own_jobs(toy, count):
    here = jobs.submit(count.CountSpec(1))
    there = begun(count)
    with table.transaction(write=True) as db:
        db.execute("UPDATE jobs SET state = 'queued', position = -1 WHERE id = ?", (there.id,))
    assert table.claim(Process.current()).id == here.id
    assert table.claim(Process.current()) is None


def test_paused_work_resumes_on_the_newly_chosen_backend(toy, count):
    job = jobs.pause(jobs.submit(count.CountSpec()).id)
    assert job.backend == "local"
    again = jobs.submit(count.CountSpec(), backend="toy")
    assert (again.id, again.backend, again.state) == (job.id, "toy", "running")
    assert jobs.submit(count.CountSpec()).id == job.id
    assert len(jobs.list_jobs()) == 1


def test_out_of_reach_is_not_gone(toy, count):
    job = begun(count, 4)
    toy.out_of_reach = True
    jobs.cancel(job.id)
    assert jobs.reap() == []
    now = jobs.get(job.id)
    assert (now.state, now.cancel_requested) == ("running", True)
    assert now.error == "Nobody answers at toy:1; check the address."
    # A wish that could not be sent then is sent as soon as somebody answers.
    toy.out_of_reach = False
    wait_state(job, "cancelled")


def test_refused_job_has_failed_and_is_resumable(toy, count):
    toy.out_of_reach = True
    job = jobs.submit(count.CountSpec(), backend="toy")
    assert (job.state, job.error) == ("failed", "Nobody answers at toy:1; check the address.")
    toy.out_of_reach = False
    jobs.resume(job.id)
    wait_state(job, "done")


def test_forgotten_attempt_is_interrupted_after_a_silence(toy, count, monkeypatch):
    job = begun(count, 4)
    lost = toy.attempts.pop((job.id, 1))
    assert jobs.reap() == []
    monkeypatch.setattr(processes, "SILENCE_S", 0.0)
    assert [(found.id, found.state) for found in jobs.reap()] == [(job.id, "interrupted")]
    assert (
        jobs.get(job.id).error
        == f"A toy no longer knows the job, because its process is gone. {attempt.RESUME}"
    )
    lost.stop.set()
    lost.join(5)


def test_lost_machine_is_named_and_the_job_resumes_by_itself(toy, count):
    job = begun(count, 4)
    settings.set_auto_resume(True)
    lost = toy.attempts[job.id, 1]
    lost.stop.set()
    lost.join(5)
    lost.seen = backend.AttemptStatus(
        "interrupted",
        error="The machine toy-7 was lost; resume the job to go on from what was saved.",
    )
    assert [found.state for found in jobs.reap()] == ["queued"]
    count.gate().write_text("10")
    jobs.start()
    assert jobs.get(job.id).attempts == 2
    wait_state(job, "done")
    assert toy.told == ["submit", "resume"]


def test_start_runs_the_worker_only_for_local_jobs(toy, count, monkeypatch):
    begun(count)
    jobs.start()
    started = []
    monkeypatch.setattr(processes, "ensure_worker", lambda: started.append(1))
    for seed in (1, 2):
        jobs.submit(count.CountSpec(seed))
    jobs.start()
    assert started == [1]


def test_job_of_unknown_backend_is_left_alone(toy, count, monkeypatch):
    job = begun(count, 4)
    with table.transaction(write=True) as db:
        db.execute(
            "UPDATE jobs SET backend = 'elsewhere', heartbeat_at = 1.0 WHERE id = ?", (job.id,)
        )
    assert jobs.reap() == []
    jobs.start()
    assert jobs.cancel(job.id).state == "running"
    assert jobs.get(job.id).backend == "elsewhere"
