"""Reading of a head's answers by the Ray backend, here a head that says anything a test wants it to."""

import json
import os
import subprocess
import sys
import threading
import time
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib.metadata import version

import pytest

from analysis import jobs
from analysis.core import extensions
from analysis.core.errors import JobError, LayerscopeError
from analysis.experiments.batch.grid_spec import GridSpec
from analysis.experiments.maps.distance_spec import DistanceSpec
from analysis.experiments.speed.speed_spec import SpeedSpec
from analysis.jobs import preflight
from analysis.jobs.backends import ray, ray_dashboard
from analysis.jobs.queue import backend, processes
from analysis.jobs.queue.reporter import Reporter
from analysis.jobs.runner import remote, versions
from analysis.models.source.model_spec import InspectSpec, ModelSpec
from tests.jobs.test_backends import cache as cache
from tests.jobs.test_backends import count as count  # the kind of job that counts to ten
from tests.jobs.test_backends import wait_for, wait_state
from tests.support import fakes

pytestmark = pytest.mark.timeout(60)
TOKEN = "5ecre7t0ken"


class Head(ThreadingHTTPServer):
    """A head that knows the jobs in `jobs`, and answers other paths with their entry in `says`."""

    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), _Answers)
        self.token, self.jobs, self.says, self.asked, self.slow_s = TOKEN, {}, {}, [], 0.0
        nodes = {"a1": {"CPU": [1.0, 8.0], "GPU": [1.0, 2.0], "memory": [0.0, 64e9], "node:10.0.0.1": [0.0, 1.0]}}
        self.says["/api/version"] = 200, {"ray_version": version("ray"), "session_name": "one"}
        self.says["/api/cluster_status"] = 200, {"data": {"clusterStatus": {"loadMetricsReport": {"usageByNode": nodes}}}}
        threading.Thread(target=self.serve_forever, args=(0.02,), daemon=True).start()

    @property
    def address(self):
        return f"http://127.0.0.1:{self.server_address[1]}"


class _Answers(BaseHTTPRequestHandler):
    def log_message(self, *arguments):
        pass

    def do_GET(self):
        shown = self.headers.get("Authorization")
        self.server.asked.append((self.command, self.path, shown))
        if self.server.token and shown != f"Bearer {self.server.token}":
            return self.say(401 if shown is None else 403, "Unauthorized")
        if self.path in self.server.says:
            return self.say(*self.server.says[self.path])
        name = self.path.split("/")[3]
        if self.path.endswith("/logs"):
            return self.say(200, {"logs": f"a line with {TOKEN} in it\n"})
        return self.say(200, self.server.jobs[name]) if name in self.server.jobs else self.say(404, "Job does not exist")

    def do_POST(self):
        shown = self.headers.get("Authorization")
        self.server.asked.append((self.command, self.path, shown))
        body = json.loads(self.rfile.read(int(self.headers.get("Content-Length") or 0)) or b"{}")
        time.sleep(self.server.slow_s)
        if self.path.endswith("/stop"):
            return self.say(200, {"stopped": True})
        if self.path in self.server.says:
            return self.say(*self.server.says[self.path])
        self.server.jobs[body["submission_id"]] = {**body, "status": "PENDING", "message": "Job has not started yet."}
        return self.say(200, {"submission_id": body["submission_id"]})

    def say(self, code, what):
        text = (what if isinstance(what, str) else json.dumps(what)).encode()
        self.send_response(code)
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)


@pytest.fixture(autouse=True)
def cluster(monkeypatch):
    found = Head()
    for name in (ray_dashboard.TOKEN_FILE, ray_dashboard.OPEN, ray.OPTIONS):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv(ray_dashboard.ADDRESS, found.address)
    monkeypatch.setenv(ray_dashboard.TOKEN, TOKEN)
    monkeypatch.setattr(ray_dashboard, "_FRESH_S", 0.0)
    ray_dashboard._glances.clear()
    yield found
    found.shutdown()
    found.server_close()


def handed(cluster, count):
    """Return a job that the cluster has, and the cluster's record of it."""
    job = jobs.submit(count.CountSpec(), backend="ray")
    assert (job.state, job.error) == ("running", None)
    return job, cluster.jobs[f"layerscope-{job.id}-1"]


def seen(job):
    jobs.reap()
    return jobs.get(job.id)


def test_cluster_gets_command_cache_and_resources(cluster, count):
    job, told = handed(cluster, count)
    assert told["entrypoint"].startswith(f"cd {remote.ROOT} && exec ")
    assert told["entrypoint"].endswith(f" -m analysis.jobs.runner.remote {job.id} 1 {versions.program()} 1 {ray.WORKERS}")
    assert (told["entrypoint_num_gpus"], told["entrypoint_num_cpus"], told["entrypoint_memory"]) == (1, 4, 0)
    assert told["runtime_env"]["env_vars"]["LAYERSCOPE_CACHE"] == os.environ["LAYERSCOPE_CACHE"]
    assert told["metadata"] == {"layerscope_job": job.id, "kind": "count"}
    assert seen(job).phase == "waiting for free resources on the cluster"


def test_needs_of_each_process_can_be_set(cluster, count, monkeypatch):
    monkeypatch.setenv(ray.OPTIONS, "num_gpus=0.5,num_cpus=3,memory_gb=20")
    told = handed(cluster, count)[1]
    assert (told["entrypoint_num_gpus"], told["entrypoint_num_cpus"], told["entrypoint_memory"]) == (0.5, 3, 20_000_000_000)


def test_starter_of_several_takes_nothing_and_passes_their_needs(cluster, count, monkeypatch):
    monkeypatch.setattr("analysis.jobs.queue.control.check_workers", lambda spec, n: None)
    job = jobs.submit(count.CountSpec(), backend="ray", shards=2)
    told = cluster.jobs[f"layerscope-{job.id}-1"]
    assert (told["entrypoint_num_gpus"], told["entrypoint_num_cpus"], told["entrypoint_memory"]) == (0, 0, 0)
    assert told["runtime_env"]["env_vars"][ray.OPTIONS] == "num_gpus=1,num_cpus=4,memory_gb=0"
    assert told["entrypoint"].endswith(f" 2 {ray.WORKERS}")


@pytest.fixture
def seventy(cache):
    """A model of 70 billion parameters that somebody has looked at: 140 GB in bfloat16."""
    sizes = {"n_layers": 80, "layer_parameters": [860_000_000] * 80, "other_parameters": 1_200_000_000}
    facts = replace(fakes.FACTS, name="seventy", **sizes)
    model = ModelSpec("some/seventy", dtype="bfloat16", device="cpu", identity="hub:1")
    looked = replace(
        fakes.inspect(), spec=InspectSpec(model), model=facts, working_bytes=3_000_000_000, layered_bytes=9_000_000_000
    )
    looked.save()
    return ModelSpec("some/seventy")


def test_requested_memory_follows_from_the_model(cluster, seventy, monkeypatch):
    found, place = ray_dashboard.look(), backend.BACKENDS["ray"]
    free = {"num_gpus": 1.0, "num_cpus": 4.0}
    # Of 64 GB: layer by layer a map fits, and a text that is written does not; on a card the weights go through memory.
    assert ray.needs(found, DistanceSpec(seventy)) == {**free, "memory_gb": 9.5}
    assert ray.needs(found, DistanceSpec(seventy), 2)["memory_gb"] == 9.5
    assert ray.needs(found, SpeedSpec(seventy)) == {**free, "memory_gb": 140.5}
    assert ray.needs(found, SpeedSpec(replace(seventy, quantization="4bit")))["memory_gb"] == 0, "its layers are not known"
    on_processor = replace(seventy, device="cpu")
    assert ray.needs(found, SpeedSpec(on_processor)) == {"num_gpus": 0, "num_cpus": 8, "memory_gb": 286.5}, "in float32"
    assert ray.needs(found, DistanceSpec(replace(seventy, device="cuda:all")))["num_gpus"] == 2
    several = GridSpec((seventy, replace(seventy, dtype="float32")), max_n=1)
    assert ray.needs(found, several)["memory_gb"] == 18.5, "the largest of its models decides"
    assert place.tells(SpeedSpec(seventy)).endswith(" A job (speed) takes 1 GPU, 4 CPU cores and 140 GB of memory.")
    shared = place.tells(DistanceSpec(seventy), 3)
    assert shared.endswith(" Each of 3 processes of a job (distance map) takes 1 GPU, 4 CPU cores and 9.5 GB of memory.")
    monkeypatch.setenv(ray.OPTIONS, "memory_gb=20")
    assert ray.needs(found, SpeedSpec(seventy))["memory_gb"] == 20


def test_request_too_large_for_every_machine_creates_no_job(cluster, seventy, monkeypatch):
    with pytest.raises(JobError) as error:
        jobs.submit(SpeedSpec(seventy), backend="ray")
    assert str(error.value) == (
        "It takes 1 GPU, 4 CPU cores and 140 GB of memory, but the largest machine of the Ray cluster has 2 GPUs, 8 CPU cores "
        "and 64.0 GB of memory. Choose a smaller model or 4bit, add a larger machine, or set its needs with "
        "LAYERSCOPE_RAY_OPTIONS."
    )
    monkeypatch.setenv(ray.OPTIONS, "num_gpus=3,memory_gb=1")
    with pytest.raises(JobError, match="Each of 2 processes takes 3 GPUs, 12 CPU cores and 1.0 GB of memory, but the largest"):
        jobs.submit(DistanceSpec(seventy), backend="ray", shards=2)
    monkeypatch.delenv(ray.OPTIONS)
    with pytest.raises(JobError, match="Device 'cuda:1' cannot be chosen on a Ray cluster, which assigns GPUs itself"):
        jobs.submit(DistanceSpec(replace(seventy, device="cuda:1")), backend="ray")
    assert jobs.list_jobs() == []
    assert cluster.jobs == {}


def test_model_unknown_here_is_left_to_its_machine(cluster, cache, monkeypatch):
    def refused(*asked, within_s):
        raise LayerscopeError("There is none.")

    monkeypatch.setattr(preflight, "looked_at", refused)
    job = jobs.submit(DistanceSpec(ModelSpec("/there/alone")), backend="ray")
    assert cluster.jobs[f"layerscope-{job.id}-1"]["entrypoint_memory"] == 0


def test_token_goes_only_to_the_cluster_and_is_kept_nowhere(cluster, count):
    job, told = handed(cluster, count)
    told |= {"status": "FAILED", "driver_exit_code": 127, "message": f"/bin/sh: not found {TOKEN}"}
    failed = seen(job)
    assert failed.state == "failed"
    assert "not found [redacted]" in failed.error
    assert TOKEN not in json.dumps(told["runtime_env"])
    kept = [path.read_text() for path in job.folder.rglob("*") if path.is_file()]
    assert any("a line with [redacted] in it" in text for text in kept)
    assert not any(TOKEN in text for text in kept)
    # Each look asks without it first, to hear whether it is asked for at all.
    assert {path for _, path, shown in cluster.asked if shown is None} == {"/api/version"}
    assert cluster.asked[0][2] is None


def test_the_same_attempt_handed_over_twice_is_begun_once(cluster, count):
    job, _ = handed(cluster, count)
    backend.BACKENDS["ray"].submit(job)
    assert [path for method, path, _ in cluster.asked if method == "POST"] == ["/api/jobs/"]
    cluster.says["/api/jobs/"] = 500, "Traceback\nValueError: Job with submission_id x already exists. Please use another.\n.\n"
    cluster.jobs.clear()
    backend.BACKENDS["ray"].submit(job)  # as when two dashboards do it at once


def test_job_belongs_to_head_that_answers_too_late(cluster, count, monkeypatch):
    monkeypatch.setattr(ray_dashboard, "PATIENT_S", 0.3)
    cluster.slow_s = 0.6
    job = jobs.submit(count.CountSpec(), backend="ray")
    assert job.state == "running"
    wait_state(job, "running")
    time.sleep(0.5)
    assert seen(job).phase == "waiting for free resources on the cluster"


@pytest.mark.parametrize(
    ("info", "state", "sentence"),
    [
        ({"status": "STOPPED"}, "interrupted", "Somebody stopped it on the cluster. Resume the job"),
        (
            {"status": "FAILED", "error_type": "JOB_SUPERVISOR_ACTOR_START_TIMEOUT", "message": "within 900 s"},
            "interrupted",
            "No machine of the Ray cluster had free resources in time (CPU cores 4, GPUs 1). Resume the job to wait again",
        ),
        (
            {"status": "FAILED", "error_type": "JOB_SUPERVISOR_ACTOR_DIED", "message": "died: its node 10.0.0.1 has died."},
            "interrupted",
            "The Ray cluster lost the machine or process that ran the job: died: its node 10.0.0.1 has died.",
        ),
        (
            {"status": "FAILED", "driver_exit_code": -9, "message": "Job entrypoint command failed"},
            "interrupted",
            "The cluster killed it with signal 9, most likely because the memory ran out. Resume the job",
        ),
        (
            {"status": "FAILED", "driver_exit_code": remote.NOT_SHARED, "message": "log:\nThis machine does not see the job's"},
            "failed",
            "This machine does not see the job's",
        ),
        (
            {"status": "FAILED", "driver_exit_code": 2, "message": "Running entrypoint for job x\n/bin/sh: can't cd to /x\n"},
            "failed",
            "The Ray cluster cannot start it: /bin/sh: can't cd to /x. Install this program on all of its machines",
        ),
    ],
)
def test_end_reported_by_the_cluster_is_one_sentence(cluster, count, info, state, sentence):
    job, told = handed(cluster, count)
    told |= info
    ended = seen(job)
    assert (ended.state, ended.error[: len(sentence)]) == (state, sentence)


def test_job_can_be_resumed_after_a_restart_of_the_head(cluster, count, monkeypatch):
    job, _ = handed(cluster, count)
    cluster.jobs.clear()
    assert seen(job).state == "running"  # it may be on its way there
    monkeypatch.setattr(ray, "_UNSEEN_S", 0.0)
    lost = seen(job)
    assert lost.state == "interrupted"
    assert lost.error.startswith("The Ray cluster no longer knows the job, because the cluster restarted")
    assert jobs.resume(job.id).attempts == 2
    assert set(cluster.jobs) == {f"layerscope-{job.id}-2"}


def test_killed_cluster_is_reported_and_a_new_one_resumes(cluster, count, monkeypatch):
    job, _ = handed(cluster, count)
    count.gate().write_text("4")
    lines = f"from analysis.jobs.runner import remote\nremote.LOADER = 'builtins:object'\nremote.main(['{job.id}', '1'])"
    known = os.environ | {extensions.VARIABLE: count.__file__}
    attempt = subprocess.Popen([sys.executable, "-c", lines], cwd=remote.ROOT, env=known)
    try:
        wait_for(lambda: seen(job).done == 4, 30)
    finally:
        attempt.kill()
        attempt.wait()
    monkeypatch.setenv(ray_dashboard.ADDRESS, "http://127.0.0.1:9")
    lost = seen(job)
    assert lost.state == "interrupted"
    assert lost.error.startswith("The job and the cluster do not respond: No Ray cluster answers at")
    assert lost.error.endswith("When the cluster is back, resume the job to continue from its saved state.")

    cluster.jobs.clear()
    monkeypatch.setenv(ray_dashboard.ADDRESS, cluster.address)
    assert jobs.resume(job.id).attempts == 2
    assert set(cluster.jobs) == {f"layerscope-{job.id}-2"}
    count.gate().write_text("10")
    monkeypatch.setattr(remote, "LOADER", "builtins:object")
    told = []
    monkeypatch.setattr(Reporter, "__call__", lambda self, progress: told.append(progress.done))
    remote.make(job.id, 2)
    assert seen(job).state == "done"
    assert told[0] >= 4
    assert count.CountResult.load(job.spec).numbers == list(range(1, 11))


def test_unreachable_attempt_is_lost_only_after_its_own_silence(cluster, count, monkeypatch):
    job, _ = handed(cluster, count)
    monkeypatch.setenv(ray_dashboard.ADDRESS, "http://127.0.0.1:9")
    away = seen(job)
    assert away.state == "running"
    assert away.error.startswith("No Ray cluster answers at http://127.0.0.1:9 (Connection refused). Start it, or correct")
    told = {
        "state": "running",
        "progress": None,
        "error": None,
        "result_key": None,
        "process": vars(processes.Process.of(2**22)),
    }
    (job.folder / "attempt-1.json").write_text(json.dumps(told))
    gone = seen(job)
    assert gone.state == "interrupted"
    assert gone.error.startswith("The job and the cluster do not respond: No Ray cluster answers")


def test_waiting_cluster_job_stops_at_once_and_never_begins(cluster, count):
    job, _ = handed(cluster, count)
    jobs.cancel(job.id)
    assert ("POST", f"/api/jobs/layerscope-{job.id}-1/stop") in [asked[:2] for asked in cluster.asked]
    assert seen(job).state == "cancelled"
    assert remote.make(job.id, 1) == 0
    assert remote.of(job).status().state == "cancelled"


def test_a_job_of_a_lost_cluster_can_be_cancelled(cluster, count, monkeypatch):
    job, _ = handed(cluster, count)
    monkeypatch.setenv(ray_dashboard.ADDRESS, "http://127.0.0.1:9")
    jobs.cancel(job.id)
    assert seen(job).state == "cancelled"


REFUSED = [
    ({ray_dashboard.ADDRESS: ""}, {}, "no Ray cluster is set up. Set RAY_API_SERVER_ADDRESS=http://HOST:8265"),
    ({ray_dashboard.ADDRESS: "ray://head:10001"}, {}, "RAY_API_SERVER_ADDRESS must be the address of a cluster's dashboard"),
    (
        {ray_dashboard.ADDRESS: "http://me:pass@head:8265"},
        {},
        "RAY_API_SERVER_ADDRESS must be the address of a cluster's dashboard",
    ),
    ({ray_dashboard.ADDRESS: "http://127.0.0.1:9"}, {}, "No Ray cluster answers at http://127.0.0.1:9 (Connection refused)"),
    ({ray_dashboard.TOKEN: "wrong"}, {}, "rejects this program's token. Set RAY_AUTH_TOKEN_PATH to a file"),
    (
        {ray_dashboard.TOKEN: "", "HOME": "/nowhere"},
        {},
        "requires a token, but none is set here. Set RAY_AUTH_TOKEN_PATH to a file",
    ),
    ({ray_dashboard.TOKEN: "two words"}, {}, "RAY_AUTH_TOKEN holds no valid token of a Ray cluster"),
    (
        {ray_dashboard.TOKEN: "", ray_dashboard.TOKEN_FILE: "/nowhere/token"},
        {},
        "/nowhere/token, cannot be read (No such file or directory)",
    ),
    (
        {ray.OPTIONS: "num_gpus=many"},
        {},
        "LAYERSCOPE_RAY_OPTIONS holds 'num_gpus=many'. Write NAME=NUMBER, with a name of num_gpus,",
    ),
    (
        {},
        {"token": ""},
        "requires no token. Start it with RAY_AUTH_MODE=token, or set LAYERSCOPE_RAY_OPEN=yes if every user",
    ),
    ({}, {"version": (200, {"ray_version": "2.9.3"})}, "runs Ray 2.9.3, but this program has Ray 2."),
    ({}, {"version": (200, "<html>")}, "is not a Ray dashboard (status 200). Set RAY_API_SERVER_ADDRESS"),
    ({}, {"version": (302, "")}, "is not a Ray dashboard (status 302)"),
]


@pytest.mark.parametrize(("variables", "says", "why"), REFUSED)
def test_where_nothing_can_be_run_it_says_why(cluster, count, monkeypatch, variables, says, why):
    cluster.token = says.get("token", TOKEN)
    cluster.says["/api/version"] = says.get("version", cluster.says["/api/version"])
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(JobError) as error:
        jobs.submit(count.CountSpec(), backend="ray")
    assert why in str(error.value)
    assert "pass@" not in str(error.value)
    assert "ray" not in jobs.usable_backends()
    assert jobs.list_jobs() == []


def test_without_the_package_it_says_how_to_install_it(monkeypatch):
    monkeypatch.setattr(ray, "find_spec", lambda name: None)
    assert "pip install -r requirements-ray.txt" in backend.BACKENDS["ray"].available()


def test_token_file_readable_by_others_is_refused(cluster, monkeypatch, tmp_path):
    file = tmp_path / "token"
    file.write_text(f"{TOKEN}\n")
    monkeypatch.delenv(ray_dashboard.TOKEN)
    monkeypatch.setenv(ray_dashboard.TOKEN_FILE, str(file))
    file.chmod(0o640)
    assert "Run `chmod 600` on the file, and change the token" in backend.BACKENDS["ray"].available()
    file.chmod(0o600)
    assert backend.BACKENDS["ray"].available() is None


def test_open_cluster_is_used_only_on_loopback_when_allowed(cluster, monkeypatch):
    cluster.token = ""
    monkeypatch.setenv(ray_dashboard.OPEN, "yes")
    assert ray_dashboard.look().is_open
    monkeypatch.setattr(ray_dashboard, "_is_loopback", lambda address: False)
    time.sleep(0.01)
    assert "anybody on its network can run anything on it" in backend.BACKENDS["ray"].available()


def test_page_waits_less_than_a_second_for_silent_head(cluster, monkeypatch):
    """Nobody takes the messages to this port."""
    import socket

    with socket.socket() as deaf:
        deaf.bind(("127.0.0.1", 0))
        deaf.listen()
        monkeypatch.setenv(ray_dashboard.ADDRESS, f"http://127.0.0.1:{deaf.getsockname()[1]}")
        began = time.monotonic()
        assert "answer" in backend.BACKENDS["ray"].available()
        assert time.monotonic() - began < 1.5


def test_free_resources_are_known_by_machine(cluster):
    (machine,) = ray_dashboard.look().machines
    assert (machine.name, machine.free_cores, machine.cores, machine.free_cards, machine.cards) == ("10.0.0.1", 7, 8, 1, 2)
    assert (machine.free_bytes, ray_dashboard.look().total("free_cards"), ray_dashboard.look().is_in_clear) == (
        64_000_000_000,
        1,
        False,
    )
    cluster.says["/api/cluster_status"] = 200, {"data": "otherwise"}
    time.sleep(0.01)
    assert ray_dashboard.look().machines == ()


def test_free_resources_and_needs_are_described_in_a_sentence(cluster, monkeypatch):
    place = backend.BACKENDS["ray"]
    assert (
        place.tells()
        == "1 of 2 GPUs and 7 of 8 CPU cores free on 1 machine (64.0 GB of memory). A job takes 1 GPU and 4 CPU cores."
    )
    cluster.token = "another"
    time.sleep(0.01)
    assert "rejects this program's token" in place.tells()
    monkeypatch.delenv(ray_dashboard.ADDRESS)
    assert place.tells() is None


@pytest.mark.parametrize(
    ("cores", "n", "each"),
    [((8,), 1, 8), ((8, 4), 1, 8), ((8, 4), 3, 4), ((5, 1), 2, 2), ((2,), 7, 0.25), ((2,), 2, 1), ((), 3, 1), ((2, 2), 4, 1)],
)
def test_processes_of_a_job_share_the_cores_machine_by_machine(cores, n, each):
    assert ray._cores(list(map(float, cores)), n) == each


def test_different_version_is_refused_with_both_named(cluster, count):
    job, _ = handed(cluster, count)
    assert remote.main([job.id, "1", "0.0.1"]) == 0
    failed = seen(job)
    assert failed.state == "failed"
    assert f"has Layerscope {versions.program()}, but this request came from 0.0.1. Install the same version" in failed.error


def test_machine_without_the_cache_folder_says_so(cluster, count, capsys):
    assert remote.main(["0123456789", "1", versions.program()]) == remote.NOT_SHARED
    assert "Put the cache folder on storage that all machines share, at the same path." in capsys.readouterr().err
