"""A request as a RayJob of Kubernetes: a manifest by which KubeRay starts a cluster, has it answer, and takes it away.

The fields are those of `ray.io/v1` as KubeRay 1.7 has them. They were held against its schema and that of Kubernetes for pods;
no manifest of ours was applied to a cluster.
"""

import math
import re
import shlex
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from analysis.core import host
from analysis.core.bounds import shown
from analysis.core.errors import LayerscopeError, SpecError
from analysis.core.record import Spec
from analysis.core.serving import is_plain_name, named_files
from analysis.jobs import preflight
from analysis.models.source.model_spec import ModelSpec

RAY = "2.60.0"
"""The version of Ray in the image (`requirements-ray.txt`), which KubeRay wants to be told."""
CACHE = "/cache"
"""Where the volume is in the containers, as the image has it; all that requests name has to lie below it."""
USER = 10001
"""Whom the image runs as."""
MOST_SHARDS = 256
PROGRAM_BYTES = 2 << 30
"""Memory of a worker besides the model: Python, torch, a node of Ray."""

_GIB = 1 << 30
_STORE_BYTES = 256 << 20
"""Ray's object store: results go through the volume, so that little is left for it."""
_SHARED = "512Mi"
_HEAD = {"cpu": "2", "memory": "4Gi"}
_KEPT_S = 3600
"""How long the cluster stays after the end, for its logs."""
_RETRIES = 2
"""New clusters after one that was lost; each resumes from the stored results."""
_LABEL = r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?"
_NAME = re.compile(r"[a-z]([-a-z0-9]{0,45}[a-z0-9])?")
"""A label that begins with a letter, of 47 characters at most: KubeRay makes longer ones of it."""
_OBJECT = re.compile(rf"(?=.{{1,253}}\Z){_LABEL}(\.{_LABEL})*")
_PART = r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*"
_IMAGE = re.compile(
    r"(?=.{1,512}\Z)(?:[A-Za-z0-9](?:[A-Za-z0-9.-]*[A-Za-z0-9])?(?::[0-9]{1,5})?/)?"
    rf"{_PART}(?:/{_PART})*(?P<tag>:[A-Za-z0-9_][A-Za-z0-9_.-]{{0,127}})?(?P<digest>@sha256:[0-9a-f]{{64}})?"
)


@dataclass(frozen=True)
class KubernetesCluster:
    """Size and image of the cluster that runs a request, and the objects that it needs in its namespace."""

    image: str
    """With a tag or a digest: the image that `docker build --target ray` made."""
    claim: str
    """The volume claim that holds the cache; every machine that gets a pod mounts it, so it is one of ReadWriteMany."""
    secret: str
    """The secret with the token of the cluster, under the key `auth_token`."""
    name: str
    """Of the RayJob."""
    memory_bytes: int
    """Of each worker."""
    shards: int = 1
    """Workers that share the request."""
    cpus: int = 4
    """Processors of each worker."""
    gpus: int = 0
    """Cards of each worker."""
    memory: str | None = None
    """The most that a model may take there, as `--memory`: layers of a larger one are read from the disk; None for all."""

    def __post_init__(self) -> None:
        _check("--name", self.name, _NAME, "up to 47 lowercase letters, digits and hyphens, a letter first")
        _check("--claim", self.claim, _OBJECT, "a Kubernetes name: lowercase letters, digits, hyphens and dots")
        _check("--secret", self.secret, _OBJECT, "a Kubernetes name: lowercase letters, digits, hyphens and dots")
        image = _check("--image", self.image, _IMAGE, "an image name, such as registry.example.org/layerscope:ray")
        if not (image["tag"] or image["digest"]):
            raise SpecError(
                f"--image {shown(self.image)} has no version. Add a tag or a digest, so that all pods run the same image."
            )
        for option, value, lower, upper in (
            ("--workers", self.shards, 1, MOST_SHARDS),
            ("--cpus", self.cpus, 1, 1024),
            ("--gpus", self.gpus, 0, 64),
        ):
            if not lower <= value <= upper:
                raise SpecError(f"{option} is {shown(value)}. It must be {lower} to {upper}.")
        if self.memory_bytes < _GIB:
            raise SpecError("--worker-memory is less than 1GiB, too little to start a worker. Set at least 1GiB.")


def _check(option: str, value: str, pattern: re.Pattern[str], subject: str) -> re.Match[str]:
    match = pattern.fullmatch(value)
    if match is None:
        raise SpecError(f"{option} {shown(value)} is invalid. Use {subject}.")
    return match


def name_of(spec: Spec) -> str:
    """Return the default name of a request's RayJob: the same request has the same name."""
    kind = re.sub(r"[^a-z0-9]+", "-", spec.kind.lower()).strip("-")
    return f"layerscope-{kind[:24].rstrip('-')}-{spec.fingerprint()[:8]}"


def check_files(spec: Spec) -> None:
    """Refuse a request that names a file which the pods cannot see.

    Raises:
        SpecError: when it names one outside of the volume.
    """
    for value in named_files(spec):
        is_below = value.startswith(f"{CACHE}/") and ".." not in value.split("/")
        if not (is_plain_name(value) or is_below):
            raise SpecError(
                f"The pods cannot read {shown(value)}. Copy it into the volume and give its path there, below {CACHE}, or "
                "use a "
                "Hub id."
            )


def memory_for(model_bytes: int) -> int:
    """Bytes that a worker is given for a model that takes so many at work, in whole GiB."""
    return math.ceil((model_bytes + PROGRAM_BYTES) / _GIB) * _GIB


def model_bytes(spec: Spec) -> int:
    """Bytes that a request's model takes at work, from its configuration alone; in the dtype that this machine would choose.

    Raises:
        SpecError: when that is not known here.
    """
    model = getattr(spec, "model", None)
    if not isinstance(model, ModelSpec):
        raise SpecError("This request has no model, so the memory of a worker is unknown. Set --worker-memory.")
    from analysis.models.loading import planning

    try:
        planned = planning.plan(model)
    except LayerscopeError as error:
        raise SpecError(
            f"The memory of a worker is unknown on this machine. Set --worker-memory. The cause: {error}"
        ) from error
    concrete: Any = replace(spec, **{"model": planned.spec})
    return planned.weight_bytes + preflight.working_bytes(concrete, planned.facts, planned.working_bytes)


def sharing(shards: int) -> list[str]:
    """Return the options that make the workers of its own cluster share a command."""
    return ["--run-on", "ray", "--workers", str(shards)]


def manifest(words: Sequence[str], cluster: KubernetesCluster) -> dict[str, Any]:
    """Return the manifest, as JSON types: `kubectl apply` takes JSON as it takes YAML.

    Args:
        words: the command line of the request, the program's name first.
        cluster: the cluster to start for it.
    """
    head_resources = {"cpu": str(cluster.cpus), "memory": f"{cluster.memory_bytes // (1 << 20)}Mi"}
    if cluster.gpus:
        head_resources["nvidia.com/gpu"] = str(cluster.gpus)
    store = {"object-store-memory": str(_STORE_BYTES)}
    spec: dict[str, Any] = {
        "entrypoint": shlex.join(words),
        # The operator hands the line over itself, and one shell reads it; the other ways have two of them take it apart.
        "submissionMode": "HTTPMode",
        "backoffLimit": _RETRIES,
        "shutdownAfterJobFinishes": True,
        "ttlSecondsAfterFinished": _KEPT_S,
        "rayClusterSpec": {
            "rayVersion": RAY,
            "authOptions": {"mode": "token", "secretName": cluster.secret},
            "headGroupSpec": {
                # No processors are offered: it hands work out and does none.
                "rayStartParams": {"dashboard-host": "0.0.0.0", "num-cpus": "0", **store},
                "template": _pod("head", cluster, _HEAD, RAY_API_SERVER_ADDRESS="http://127.0.0.1:8265"),
            },
            "workerGroupSpecs": [
                {
                    "groupName": "workers",
                    "replicas": cluster.shards,
                    "minReplicas": cluster.shards,
                    "maxReplicas": cluster.shards,
                    "rayStartParams": store,
                    "template": _pod("worker", cluster, head_resources),
                }
            ],
        },
    }
    if cluster.shards == 1:
        # The whole of a worker, so that it is answered there and not on the head.
        spec["entrypointNumCpus"] = cluster.cpus
        spec |= {"entrypointNumGpus": cluster.gpus} if cluster.gpus else {}
    labels = {"app.kubernetes.io/name": "layerscope"}
    return {"apiVersion": "ray.io/v1", "kind": "RayJob", "metadata": {"name": cluster.name, "labels": labels}, "spec": spec}


def _pod(role: str, cluster: KubernetesCluster, resources: dict[str, str], **extra: str) -> dict[str, Any]:
    """The template of a pod that a namespace with the restricted standard of Kubernetes lets in."""
    environment = {
        "LAYERSCOPE_CACHE": CACHE,
        "HF_HOME": f"{CACHE}/hub",
        "RAY_USAGE_STATS_ENABLED": "0",
        # Else Ray gives a task one thread.
        "OMP_NUM_THREADS": resources["cpu"],
        **({host.MEMORY: cluster.memory} if cluster.memory else {}),
        **extra,
    }
    container = {
        "name": f"ray-{role}",
        "image": cluster.image,
        "env": [{"name": name, "value": value} for name, value in environment.items()],
        "resources": {"limits": resources, "requests": resources},
        "securityContext": {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}},
        "volumeMounts": [{"name": "cache", "mountPath": CACHE}, {"name": "shared-memory", "mountPath": "/dev/shm"}],
    }
    pod: dict[str, Any] = {
        "automountServiceAccountToken": False,
        "containers": [container],
        "securityContext": {
            "runAsNonRoot": True,
            "runAsUser": USER,
            "runAsGroup": USER,
            "fsGroup": USER,
            # Else each start opens every file of the cache to the group.
            "fsGroupChangePolicy": "OnRootMismatch",
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "volumes": [
            {"name": "cache", "persistentVolumeClaim": {"claimName": cluster.claim}},
            {"name": "shared-memory", "emptyDir": {"medium": "Memory", "sizeLimit": _SHARED}},
        ],
    }
    if "nvidia.com/gpu" in resources:
        pod["tolerations"] = [{"key": "nvidia.com/gpu", "operator": "Exists", "effect": "NoSchedule"}]
    return {"metadata": {"labels": {"app.kubernetes.io/name": "layerscope"}}, "spec": pod}
