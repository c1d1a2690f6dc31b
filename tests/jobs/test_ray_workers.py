"""Reading of Ray's messages by a worker pool, here from a stand-in: which worker is lost, and which
was too large.
"""

import json
import signal
import sys
from types import SimpleNamespace

import pytest

from analysis.core.errors import JobError
from analysis.jobs.backends.ray_workers import RayWorkers
from analysis.jobs.runner.executor import WorkerLost


class RayError(Exception):
    pass


class OutOfMemoryError(RayError):
    pass


class Actor:
    """An actor: it answers each task with the next of its answers, or raises it."""

    def __init__(self, *answers):
        self._answers, self.is_killed = iter(answers), False
        ready = SimpleNamespace(remote=lambda: None)
        self.ready = SimpleNamespace(options=lambda max_task_retries: ready)
        self.do = SimpleNamespace(remote=lambda task: next(self._answers))


class Ray:
    """As much of the library as a pool uses."""

    def __init__(self, actors):
        self.exceptions = SimpleNamespace(RayError=RayError, OutOfMemoryError=OutOfMemoryError)
        self._actors, self.asked_for, self.joined = iter(actors), None, 0

    def is_initialized(self):
        return self.joined > 0

    def init(self, **options):
        self.joined += 1
        signal.signal(signal.SIGTERM, signal.SIG_DFL)  # as Ray does, which then ends without saving

    def remote(self, **options):
        self.asked_for = options
        return lambda kind: SimpleNamespace(remote=lambda: next(self._actors))

    def get(self, answer):
        if isinstance(answer, Exception):
            raise answer
        return json.dumps(answer)

    def kill(self, actor):
        actor.is_killed = True


@pytest.fixture
def pool(monkeypatch):
    """Make a pool on a cluster with these seats."""

    def make(*actors, n=None):
        library = Ray(actors)
        monkeypatch.setitem(sys.modules, "ray", library)
        monkeypatch.setenv("RAY_ADDRESS", "10.0.0.1:6379")
        monkeypatch.setenv("LAYERSCOPE_RAY_OPTIONS", "num_gpus=1,num_cpus=4,memory_gb=2")
        return RayWorkers(None, n or len(actors)), library

    return make


def test_lost_actor_returns_and_too_large_one_fails(pool):
    lost = RayError("The actor died.\n\tits node has died")
    workers, _ = pool(Actor(lost, OutOfMemoryError("1.2 GB"), {"value": 1}))
    with pytest.raises(WorkerLost, match="The actor died. its node has died"):
        workers.submit({}).result(20)
    with pytest.raises(
        JobError,
        match=(
            "ran out of memory.* Ask for more memory with LAYERSCOPE_RAY_OPTIONS=memory_gb=NUMBER"
        ),
    ):
        workers.submit({}).result(20)
    assert workers.submit({}).result(20) == 1
    workers.close()


def test_error_of_a_worker_names_its_machine(pool):
    workers, _ = pool(
        Actor({"error": "There is no model at '/models/x': give a folder.", "machine": "m7"})
    )
    with pytest.raises(
        JobError,
        match=(
            "On the machine m7 of the Ray cluster: There is no model at '/models/x': give a folder"
        ),
    ):
        workers.submit({}).result(20)
    workers.close()


def test_process_in_a_cluster_keeps_its_sigterm_handler(pool):
    def ours(number, frame):
        pass

    before = signal.signal(signal.SIGTERM, ours)
    try:
        pool(Actor())
        assert signal.getsignal(signal.SIGTERM) is ours
    finally:
        signal.signal(signal.SIGTERM, before)
