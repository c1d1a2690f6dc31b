"""Reading of Ray's messages by a worker pool, here from a stand-in: which member is lost, and which was too large."""

import json
import signal
import sys
from types import SimpleNamespace

import pytest

from analysis.core.errors import JobError
from analysis.jobs.crew import MemberLost
from analysis.jobs.crew.ray import RayCrew


class RayError(Exception):
    pass


class OutOfMemoryError(RayError):
    pass


class Seat:
    """An actor: it answers at once, or raises the error that a test wants."""

    def __init__(self, raises=None, error=None):
        self.raises, self.error, self.is_killed = raises, error, False
        self.do = SimpleNamespace(remote=lambda *asked: (self, *asked))


class Ray:
    """As much of the library as a pool uses."""

    def __init__(self, seats):
        self.exceptions = SimpleNamespace(RayError=RayError, OutOfMemoryError=OutOfMemoryError)
        self._seats, self.asked_for, self.joined = iter(seats), None, 0

    def is_initialized(self):
        return self.joined > 0

    def init(self, **options):
        self.joined += 1
        signal.signal(signal.SIGTERM, signal.SIG_DFL)  # as Ray does, which then ends without saving

    def remote(self, **options):
        self.asked_for = options
        return lambda kind: SimpleNamespace(remote=lambda: next(self._seats))

    def get(self, question):
        seat, line = question
        if seat.raises:
            raise seat.raises
        return json.dumps({"error": seat.error, "machine": "m7"} if seat.error else {"value": json.loads(line)["do"]})

    def kill(self, seat):
        seat.is_killed = True


@pytest.fixture
def crew(monkeypatch):
    """Make a pool on a cluster with these seats."""

    def make(*seats, n=None):
        library = Ray(seats)
        monkeypatch.setitem(sys.modules, "ray", library)
        monkeypatch.setenv("RAY_ADDRESS", "10.0.0.1:6379")
        return RayCrew(None, n or len(seats)), library

    return make


def test_each_actor_requests_its_computed_resources_and_answers(crew, monkeypatch):
    monkeypatch.setenv("LAYERSCOPE_RAY_OPTIONS", "num_gpus=1,num_cpus=4,memory_gb=0")
    ours, library = crew(Seat(), Seat())
    asked = library.asked_for
    assert (asked["num_gpus"], asked["num_cpus"], asked["memory"], asked["max_restarts"]) == (1, 4, None, 0)
    assert [ours.call(place, "hello") for place in range(ours.n)] == ["hello", "hello"]
    ours.close()


def test_lost_member_and_too_large_member_raise_different_errors(crew):
    ours, _ = crew(Seat(raises=RayError("The actor died.\n\tits node has died")), Seat(raises=OutOfMemoryError("1.2 GB")))
    with pytest.raises(MemberLost, match="The actor died. its node has died"):
        ours.call(0, "hello")
    with pytest.raises(JobError, match="ran out of memory.* Ask for more memory with LAYERSCOPE_RAY_OPTIONS=memory_gb=NUMBER"):
        ours.call(1, "hello")


def test_error_of_a_member_names_its_machine(crew):
    ours, _ = crew(Seat(error="There is no model at '/models/x': give a folder."))
    with pytest.raises(JobError, match="On the machine m7 of the Ray cluster: There is no model at '/models/x': give a folder"):
        ours.call(0, "begin")


def test_another_takes_the_place_of_one_that_is_lost(crew):
    lost, next_one = Seat(raises=RayError("gone")), Seat()
    ours, _ = crew(lost, next_one, n=1)
    ours.replace(0)
    assert (lost.is_killed, ours.call(0, "hello")) == (True, "hello")


def test_process_in_a_cluster_keeps_its_sigterm_handler(crew):
    def ours(number, frame):
        pass

    before = signal.signal(signal.SIGTERM, ours)
    try:
        crew(Seat())
        assert signal.getsignal(signal.SIGTERM) is ours
    finally:
        signal.signal(signal.SIGTERM, before)


def test_outside_of_a_cluster_it_says_how_to_get_there(crew, monkeypatch):
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    monkeypatch.setitem(sys.modules, "ray", Ray([]))
    with pytest.raises(JobError, match="belongs to no Ray cluster. Use `--run-on ray`"):
        RayCrew(None, 2)


class TrainingFailedError(Exception):
    worker_failures: dict = {}


@pytest.fixture
def trained(crew, monkeypatch):
    """Return the request to Ray Train by a pool of three members, two of them present; `fails` with the error that a test
    wants."""

    def make(fails=None):
        ours, _ = crew(Seat(), Seat(), Seat())
        seats, kept = ours._seats, {}

        class Trainer:
            def __init__(self, do, **options):
                kept.update(options)

            def fit(self):
                kept["released"] = all(seat.is_killed for seat in seats)
                if fails is not None:
                    raise fails

        named = {name: SimpleNamespace for name in ("FailureConfig", "RunConfig", "ScalingConfig")}
        train = SimpleNamespace(**named, TrainingFailedError=TrainingFailedError)
        monkeypatch.setitem(sys.modules, "ray.train", train)
        monkeypatch.setitem(sys.modules, "ray.train.torch", SimpleNamespace(TorchConfig=SimpleNamespace, TorchTrainer=Trainer))
        ours.together({"folder": "/shared"}, 2)
        return kept

    return make


def test_training_workers_get_computed_resources_and_replace_the_actors(trained, monkeypatch):
    monkeypatch.setenv("LAYERSCOPE_RAY_OPTIONS", "num_gpus=1,num_cpus=4,memory_gb=2")
    kept = trained()
    assert kept["released"]
    assert kept["train_loop_config"] == {"folder": "/shared"}
    scaling = kept["scaling_config"]
    assert (scaling.num_workers, scaling.use_gpu, scaling.resources_per_worker) == (
        2,
        True,
        {"CPU": 4, "GPU": 1, "memory": 2e9},
    )
    assert kept["run_config"].storage_path == "/shared"
    assert kept["run_config"].failure_config.max_failures == 3
    assert kept["torch_config"].backend == "cpu:gloo,cuda:nccl"
    monkeypatch.setenv("LAYERSCOPE_RAY_OPTIONS", "num_gpus=0,num_cpus=1")
    assert trained()["torch_config"].backend == "gloo"


def test_part_of_a_gpu_is_too_little_for_shared_training(trained, monkeypatch):
    monkeypatch.setenv("LAYERSCOPE_RAY_OPTIONS", "num_gpus=0.5")
    with pytest.raises(JobError, match=r"need one GPU each, but LAYERSCOPE_RAY_OPTIONS asks for num_gpus=0\.5"):
        trained()


def test_a_training_that_ray_gives_up_says_why(trained):
    with pytest.raises(JobError, match=r"was lost 4 times. The saved parts are kept\. its node has died"):
        trained(TrainingFailedError("its node has died"))
    too_large = TrainingFailedError("killed")
    too_large.worker_failures = {1: OutOfMemoryError("1.2 GB")}
    with pytest.raises(JobError, match="ran out of memory"):
        trained(too_large)
