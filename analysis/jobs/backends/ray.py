"""A Ray cluster, for users who share a cache folder with its machines: each attempt at a job is one job of the cluster.

Environment variables: those of `ray_dashboard` give its address and token. `LAYERSCOPE_RAY_OPTIONS` names the resources that
each process of a job asks the cluster for, such as `num_gpus=1,num_cpus=8,memory_gb=64`. Resources that are left out follow
from the needs of the model (`preflight`) and from the cluster. A process then gets a GPU where there are some, and its share
of the cores.
"""

import contextlib
import math
import os
import shlex
import time
from dataclasses import replace
from importlib.util import find_spec
from typing import Any

from analysis.core import input_files, units
from analysis.core.errors import JobError, LayerscopeError, SpecError, one_line
from analysis.core.experiment import TITLES
from analysis.core.failures import redact
from analysis.core.progress import Progress
from analysis.core.record import Spec
from analysis.jobs import preflight
from analysis.jobs.backends import ray_dashboard
from analysis.jobs.queue.backend import AttemptStatus, Backend, register
from analysis.jobs.queue.job import CANCELLED, FAILED, INTERRUPTED, RUNNING, Job
from analysis.jobs.runner import remote

OPTIONS = "LAYERSCOPE_RAY_OPTIONS"
WORKERS = "analysis.jobs.backends.ray_workers:RayWorkers"
"""The worker pool there."""
_OPTIONS = ("num_gpus", "num_cpus", "memory_gb")
_GRACE_S = 20.0
"""Seconds that an attempt may take to save its work after it was asked to stop."""
_UNSEEN_S = 30.0
"""Seconds during which the cluster may know nothing yet of an attempt that was just handed over."""
_LOG_CHARS = 20_000
_RESUME = "Resume the job to continue from its saved state."
_AGAIN = f"The Ray cluster no longer knows the job, because the cluster restarted. {_RESUME}"
_GONE = f"The Ray cluster lost the machine or process that ran the job: {{said}}. {_RESUME}"
_KILLED = f"The cluster killed it with signal {{number}}, most likely because the memory ran out. {_RESUME}"
_STOPPED = f"Somebody stopped it on the cluster. {_RESUME}"
_CLEAR = " Data sent to it is not encrypted."
_NO_ROOM = (
    "No machine of the Ray cluster had free resources in time ({asked}). Resume the job to wait again, or ask for "
    f"less with {OPTIONS}."
)
_NOT_BEGUN = (
    "The Ray cluster cannot start it: {said}. Install this program on all of its machines at the same path, with its "
    "Python at {python}."
)


@register
class Ray(Backend):
    """Jobs of a Ray cluster whose machines see the cache folder."""

    name = "ray"
    title = "Ray"
    help = "Runs on a Ray cluster whose machines see the cache folder, and waits in its queue."

    def available(self) -> str | None:
        """Why nothing can be run there now."""
        try:
            ray_dashboard.address()
            if find_spec("ray") is None:
                return "the package ray is not installed. Run `pip install -r requirements-ray.txt`."
            options()
            ray_dashboard.look()
        except LayerscopeError as error:
            return str(error)
        return None

    def tells(self, spec: Spec | None = None, shards: int = 1) -> str | None:
        """Describe the free resources and the needs of a job, or why nothing can be run."""
        if not os.environ.get(ray_dashboard.ADDRESS):
            return None
        if (reason := self.available()) is not None:
            return reason
        cluster = ray_dashboard.look()
        requested = needs(cluster, spec, shards, look=False)
        free = [
            f"{cluster.total(f'free_{resource}'):g} of {cluster.total(resource):g} {title}"
            for resource, title in (("cards", "GPUs"), ("cores", "CPU cores"))
            if cluster.total(resource)
        ]
        n, memory = len(cluster.machines), units.size(cluster.total("free_bytes"))
        free_text = f"{' and '.join(free) or 'Nothing'} free on {n} machine{'s' * (n != 1)} ({memory} of memory)"
        job = "a job" if spec is None else f"a job ({TITLES[spec.kind].lower()})"
        who = f"A{job[1:]}" if shards == 1 else f"Each of {shards} processes of {job}"
        return f"{free_text}. {who} takes {_in_words(requested)}.{_CLEAR * cluster.is_in_clear}"

    def refuses(self, spec: Spec, shards: int) -> str | None:
        """Why the cluster can never run a request: it takes more than its largest machine has, or names cards by number."""
        cluster = ray_dashboard.look(ray_dashboard.PATIENT_S)
        requested = needs(cluster, spec, shards)
        for device in sorted({model.device for model in preflight.models_of(spec)}):
            number = device.removeprefix("cuda:")
            if number.isdecimal() and int(number) >= max(1, requested["num_gpus"]):
                return (
                    f"Device {device!r} cannot be chosen on a Ray cluster, which assigns GPUs itself. Choose device "
                    "cuda, cuda:all or auto."
                )
        if not cluster.machines or any(_has_room(machine, requested) for machine in cluster.machines):
            return None
        largest = max(cluster.machines, key=lambda machine: (machine.cards, machine.memory_bytes, machine.cores))
        has = {"num_gpus": largest.cards, "num_cpus": largest.cores, "memory_gb": largest.memory_bytes / 1e9}
        return (
            f"{'It' if shards == 1 else f'Each of {shards} processes'} takes {_in_words(requested)}, but the largest machine "
            f"of the Ray cluster has {_in_words(has)}. Choose a smaller model or 4bit, add a larger machine, or set its "
            f"needs with {OPTIONS}."
        )

    def submit(self, job: Job) -> None:
        """Hand the attempt to the cluster, unless it has it."""
        cluster = ray_dashboard.look(ray_dashboard.PATIENT_S)
        if _info(job, ray_dashboard.PATIENT_S) is not None:
            return
        requested = needs(cluster, job.spec, job.shards)
        environment = {
            **remote.surroundings(),
            "PYTHONPATH": remote.ROOT,
            "OMP_NUM_THREADS": str(max(1, int(requested["num_cpus"]))),
            OPTIONS: ",".join(f"{name}={value:g}" for name, value in requested.items()),
        }
        # Where several share it, the process that starts them computes nothing, and waits with the head for free resources for
        # them.
        driver_resources = requested if job.shards == 1 else dict.fromkeys(requested, 0)
        body = {
            "entrypoint": f"cd {shlex.quote(remote.ROOT)} && exec {shlex.join(remote.command(job, WORKERS))}",
            "submission_id": _name(job),
            "metadata": {"layerscope_job": job.id, "kind": job.kind},
            "runtime_env": {"env_vars": environment},
            "entrypoint_num_cpus": driver_resources["num_cpus"],
            "entrypoint_num_gpus": driver_resources["num_gpus"],
            "entrypoint_memory": int(driver_resources["memory_gb"] * 1e9),
        }
        with contextlib.suppress(ray_dashboard.Silent):  # it may have heard, which `watch` finds out
            code, text = ray_dashboard.ask("POST", "/api/jobs/", body, within_s=ray_dashboard.PATIENT_S)
            if code != 200 and "already exists" not in text:
                raise JobError(f"Ray rejected the job: {_last_line(text)}. Check {OPTIONS}.")

    def watch(self, job: Job) -> AttemptStatus | None:
        """Return the state that the attempt reports; while it reports nothing, the state that the cluster reports."""
        report = remote.of(job).read()
        if report is not None and not report.is_gone:
            return report.status
        try:
            info = _info(job)
        except JobError as error:
            if report is None and not job.cancel_requested:
                raise
            info, problem = (
                None,
                f"The job and the cluster do not respond: {error} When the cluster is back, {_RESUME[0].lower()}{_RESUME[1:]}",
            )
        else:
            problem = _AGAIN
        report = remote.of(job).read()  # its last word may have come since
        if report is not None and not report.is_gone:
            return report.status
        before = report.status if report is not None else AttemptStatus()
        if info is None:
            started_at = job.started_at or 0.0
            is_new = report is None and not job.cancel_requested and time.time() - started_at < _UNSEEN_S
            return AttemptStatus() if is_new else replace(before, state=INTERRUPTED, error=problem)
        return _status_without_report(job, before, has_begun=report is not None, info=info)

    def cancel(self, job: Job) -> None:
        """Ask the attempt to stop, and end it where it has not begun, or does not stop."""
        remote.of(job).ask_to_stop()
        late = job.cancel_requested_at is not None and time.time() - job.cancel_requested_at > _GRACE_S
        if late or remote.of(job).read() is None:
            with contextlib.suppress(JobError):  # `cancel` is called again until `watch` sees the end
                ray_dashboard.ask("POST", f"/api/jobs/{_name(job)}/stop")


def _status_without_report(job: Job, before: AttemptStatus, *, has_begun: bool, info: dict[str, Any]) -> AttemptStatus:
    """How an attempt is that says nothing itself, or no longer does."""
    status, kind, code = info.get("status"), str(info.get("error_type") or ""), info.get("driver_exit_code")
    if status == "PENDING" and job.cancel_requested:
        return AttemptStatus(CANCELLED)  # should it begin after all, it reads that it shall not
    if status == "PENDING":
        return AttemptStatus(RUNNING, Progress("waiting for free resources on the cluster"))
    if status == "RUNNING":
        return before
    _keep_log(job)
    message = _last_line(str(info.get("message") or ""))
    if status == "STOPPED":
        return replace(before, state=CANCELLED) if job.cancel_requested else replace(before, state=INTERRUPTED, error=_STOPPED)
    if kind.endswith(("START_TIMEOUT", "UNSCHEDULABLE")):
        resources = ", ".join(f"{name} {value:g}" for name, value in _requested_resources(info).items() if value)
        return AttemptStatus(INTERRUPTED, error=_NO_ROOM.format(asked=resources))
    if code == remote.NOT_SHARED:
        return AttemptStatus(FAILED, error=message)
    if isinstance(code, int) and code < 0:
        return replace(before, state=INTERRUPTED, error=_KILLED.format(number=-code))
    if has_begun or kind.startswith("JOB_SUPERVISOR"):
        return replace(before, state=INTERRUPTED, error=_GONE.format(said=message.rstrip(".")))
    return AttemptStatus(FAILED, error=_NOT_BEGUN.format(said=message.rstrip("."), python=remote.command(job)[0]))


def _name(job: Job) -> str:
    """Return the name of the attempt there: the cluster takes a name once only."""
    return f"layerscope-{job.id}-{job.attempts}"


def _info(job: Job, within_s: float | None = None) -> dict[str, Any] | None:
    """Return the cluster's record of the attempt; None where it knows nothing of it."""
    code, text = ray_dashboard.ask("GET", f"/api/jobs/{_name(job)}", within_s=within_s)
    if code == 404:
        return None
    with contextlib.suppress(ValueError):
        if code == 200:
            return input_files.parsed_object(text)
    raise ray_dashboard.OutOfReach(f"The Ray cluster does not report the state of job {job.id}: {_last_line(text)}.")


def _requested_resources(info: dict[str, Any]) -> dict[str, float]:
    names = {"CPU cores": "entrypoint_num_cpus", "GPUs": "entrypoint_num_gpus"}
    return {name: float(info.get(key) or 0) for name, key in names.items()}


def _keep_log(job: Job) -> None:
    """Put the attempt's output, as the cluster has it, at the end of the job's log."""
    with contextlib.suppress(JobError, ValueError, OSError):
        code, text = ray_dashboard.ask("GET", f"/api/jobs/{_name(job)}/logs")
        if code == 200:
            content = str(input_files.parsed_object(text).get("logs", ""))[-_LOG_CHARS:]
            with (job.folder / "log.txt").open("ab") as log:
                log.write(redact(ray_dashboard.blotted(content)).encode())


def _last_line(text: str) -> str:
    """The line of an answer that says most: the last one, where it is a traceback or a log."""
    lines = [line.strip() for line in text.splitlines() if any(map(str.isalnum, line)) and "Running entrypoint" not in line]
    return one_line(redact(ray_dashboard.blotted(lines[-1])))[:300] if lines else "it gave no reason"


def _in_words(resources: dict[str, float]) -> str:
    """GPUs, CPU cores and memory: "1 GPU, 4 CPU cores and 15.2 GB of memory"."""
    nouns = (("num_gpus", "GPU"), ("num_cpus", "CPU core"))
    parts = [f"{resources[name]:g} {noun}{'s' * (resources[name] != 1)}" for name, noun in nouns if resources[name]]
    parts += [f"{units.size(int(resources['memory_gb'] * 1e9))} of memory"] if resources["memory_gb"] else []
    return " and ".join(filter(None, (", ".join(parts[:-1]), parts[-1]))) if parts else "nothing"


def _has_room(machine: ray_dashboard.Machine, resources: dict[str, float]) -> bool:
    """Return whether a machine could ever hold a process that asks for so much."""
    memory_bytes = int(resources["memory_gb"] * 1e9)
    return (
        machine.cards >= resources["num_gpus"]
        and machine.cores >= resources["num_cpus"]
        and machine.memory_bytes >= memory_bytes
    )


def needs(cluster: ray_dashboard.Cluster, spec: Spec | None = None, n: int = 1, *, look: bool = True) -> dict[str, float]:
    """Return the needs of each of `n` processes of a job: GPUs, cores, gigabytes; 0 where nothing is asked for.

    Args:
        cluster: as it was seen.
        spec: the request; None for a request of any model.
        n: how many share it.
        look: whether a model that nobody has looked at is looked at now, for seconds; else its memory counts as not known.

    Raises:
        SpecError: when the needs in the environment cannot be read.
    """
    resources, devices = options(), {model.device for model in preflight.models_of(spec)} if spec is not None else set[str]()
    with_cards = [machine for machine in cluster.machines if machine.cards >= 1]
    cards = 0.0
    if "cuda:all" in devices:
        cards = max([1.0, *(machine.cards // 1 for machine in with_cards)])
    elif any(device.startswith("cuda") for device in devices) or (with_cards and not devices & {"cpu", "mps"}):
        cards = 1.0
    cards = resources.get("num_gpus", cards)
    if cards >= 1 and with_cards:
        cores = max(1.0, min(machine.cores // machine.cards for machine in with_cards) * cards)
    else:
        cores = _cores([machine.cores for machine in cluster.machines], n)
    memory = resources["memory_gb"] if "memory_gb" in resources else _memory_gb(cluster, spec, has_card=cards > 0, look=look)
    return {"num_gpus": cards, "num_cpus": resources.get("num_cpus", cores), "memory_gb": memory}


def _memory_gb(cluster: ray_dashboard.Cluster, spec: Spec | None, *, has_card: bool, look: bool) -> float:
    """Return the memory of its machine that a process takes: on a GPU, the memory of the weights on their way to it.

    0 where that is not known: the machine itself then refuses a model that does not fit. Where the request allows it, a model
    that fits no machine whole is read layer by layer.
    """
    takes = None if spec is None else preflight.takes(spec, "bfloat16" if has_card else "float32", look=look)
    if takes is None:
        return 0.0
    largest_bytes = max((machine.memory_bytes for machine in cluster.machines), default=0)
    wanted_bytes = takes.weights if has_card else takes.whole
    if largest_bytes and preflight.PROCESS_BYTES + wanted_bytes > largest_bytes:
        wanted_bytes = min(wanted_bytes, takes.layered)
    return math.ceil((preflight.PROCESS_BYTES + wanted_bytes) / 1e8) / 10


def _cores(machines: list[float], n: int) -> float:
    """Return the most cores, or else the largest part of one, that the machines have `n` times, machine by machine."""
    for n_cores in range(int(max(machines, default=1)), 0, -1):
        if sum(free // n_cores for free in machines) >= n:
            return float(n_cores)
    parts = next((parts for parts in range(2, n + 1) if sum(free * parts // 1 for free in machines) >= n), 1)
    return math.floor(100 / parts) / 100


def options() -> dict[str, float]:
    """Return the resources that each process asks the cluster for, from the environment.

    Raises:
        SpecError: when the variable holds something else.
    """
    values: dict[str, float] = {}
    for part in filter(None, os.environ.get(OPTIONS, "").split(",")):
        name, _, value = part.strip().partition("=")
        with contextlib.suppress(ValueError):
            if name in _OPTIONS and 0 <= (number := float(value)) < 1e6:
                values[name] = number
                continue
        raise SpecError(f"{OPTIONS} holds {part[:40]!r}. Write NAME=NUMBER, with a name of {', '.join(_OPTIONS)}.")
    return values
