"""The manifest for Kubernetes: KubeRay knows every field, it runs as nobody, and an impossible one is one sentence.

The schema is a part of the definition of `rayjobs.ray.io`, version v1, as KubeRay 1.7 has it. It leaves out the fields that
we do not set, and allows nothing else.
"""

import json
import re
import shlex
from pathlib import Path

import jsonschema
import pytest

from analysis.cli import main
from analysis.core import host
from analysis.core.errors import SpecError
from analysis.data.spec import CorpusSpec
from analysis.experiments.maps.distance_spec import DistanceSpec
from analysis.exports import rayjob
from analysis.models.source.model_spec import ModelSpec

REPOSITORY = Path(__file__).resolve().parents[2]
GIB = 1 << 30


def record(required: str = "", **properties) -> dict:
    return {"type": "object", "properties": properties, "required": required.split(), "additionalProperties": False}


def several(items: dict) -> dict:
    return {"type": "array", "items": items, "minItems": 1}


TEXT, COUNT, YES_OR_NO = {"type": "string"}, {"type": "integer", "minimum": 0}, {"type": "boolean"}
TEXTS = {"type": "object", "additionalProperties": TEXT}
QUANTITY = r"^(\+|-)?(([0-9]+(\.[0-9]*)?)|(\.[0-9]+))(([KMGTPE]i)|[numkMGTPE]|([eE](\+|-)?(([0-9]+(\.[0-9]*)?)|(\.[0-9]+))))?$"
QUANTITIES = {"type": "object", "additionalProperties": {"type": "string", "pattern": QUANTITY}}
CONTAINER = record(
    "name image",
    name=TEXT,
    image=TEXT,
    env=several(record("name", name=TEXT, value=TEXT)),
    resources=record(limits=QUANTITIES, requests=QUANTITIES),
    securityContext=record(allowPrivilegeEscalation=YES_OR_NO, capabilities=record(drop=several(TEXT))),
    volumeMounts=several(record("name mountPath", name=TEXT, mountPath=TEXT)),
)
POD = record(
    "containers",
    automountServiceAccountToken=YES_OR_NO,
    containers=several(CONTAINER),
    securityContext=record(
        runAsNonRoot=YES_OR_NO,
        runAsUser=COUNT,
        runAsGroup=COUNT,
        fsGroup=COUNT,
        fsGroupChangePolicy={"enum": ["Always", "OnRootMismatch"]},
        seccompProfile=record("type", type={"enum": ["RuntimeDefault", "Localhost", "Unconfined"]}),
    ),
    tolerations=several(record(key=TEXT, operator={"enum": ["Exists", "Equal"]}, effect=TEXT)),
    volumes=several(
        record(
            "name",
            name=TEXT,
            persistentVolumeClaim=record("claimName", claimName=TEXT),
            emptyDir=record(medium=TEXT, sizeLimit={"type": "string", "pattern": QUANTITY}),
        )
    ),
)
TEMPLATE = record("spec", metadata=record(labels=TEXTS), spec=POD)
CLUSTER = record(
    "headGroupSpec",
    rayVersion=TEXT,
    authOptions=record(mode={"enum": ["disabled", "token"]}, secretName=TEXT),
    headGroupSpec=record("template", rayStartParams=TEXTS, template=TEMPLATE),
    workerGroupSpecs=several(
        record(
            "groupName minReplicas maxReplicas template",
            groupName=TEXT,
            replicas=COUNT,
            minReplicas=COUNT,
            maxReplicas=COUNT,
            rayStartParams=TEXTS,
            template=TEMPLATE,
        )
    ),
)
RAYJOB = record(
    "apiVersion kind metadata spec",
    apiVersion={"const": "ray.io/v1"},
    kind={"const": "RayJob"},
    metadata=record("name", name={"type": "string", "pattern": "^[a-z]([-a-z0-9]{0,45}[a-z0-9])?$"}, labels=TEXTS),
    spec=record(
        entrypoint=TEXT,
        entrypointNumCpus={"type": "number"},
        entrypointNumGpus={"type": "number"},
        submissionMode={"enum": ["K8sJobMode", "HTTPMode", "InteractiveMode", "SidecarMode"]},
        backoffLimit=COUNT,
        shutdownAfterJobFinishes=YES_OR_NO,
        ttlSecondsAfterFinished=COUNT,
        rayClusterSpec=CLUSTER,
    ),
)


def cluster(**changes) -> rayjob.KubernetesCluster:
    usual = {"image": "layerscope:ray", "claim": "cache", "secret": "ray-token", "name": "a-map", "memory_bytes": 4 * GIB}
    return rayjob.KubernetesCluster(**{**usual, **changes})


def pods(made: dict) -> list[dict]:
    groups = made["spec"]["rayClusterSpec"]
    return [groups["headGroupSpec"]["template"]["spec"], groups["workerGroupSpecs"][0]["template"]["spec"]]


@pytest.mark.parametrize("changes", [{}, {"gpus": 2}, {"shards": 7, "gpus": 1}, {"memory": "40GB"}])
def test_every_field_of_the_manifest_is_one_that_kuberay_has(changes):
    jsonschema.validate(rayjob.manifest(["python", "-m", "analysis"], cluster(**changes)), RAYJOB)


def test_pods_pass_the_restricted_standard_and_mount_the_cache():
    for pod in pods(rayjob.manifest(["true"], cluster(gpus=1))):
        [container] = pod["containers"]
        assert pod["securityContext"]["runAsNonRoot"] is True
        assert pod["securityContext"]["runAsUser"] == pod["securityContext"]["fsGroup"] == rayjob.USER
        assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        assert container["securityContext"] == {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}}
        assert pod["automountServiceAccountToken"] is False
        assert {"name": "cache", "mountPath": "/cache"} in container["volumeMounts"]
        assert {mount["name"] for mount in container["volumeMounts"]} == {volume["name"] for volume in pod["volumes"]}
        assert {"name": "LAYERSCOPE_CACHE", "value": "/cache"} in container["env"]


def test_the_cluster_takes_its_token_from_the_secret():
    made = rayjob.manifest(["true"], cluster(secret="the-token"))
    assert made["spec"]["rayClusterSpec"]["authOptions"] == {"mode": "token", "secretName": "the-token"}
    assert "auth_token" not in json.dumps(made)


def test_one_worker_gets_the_request_and_several_share_it():
    alone, shared = (rayjob.manifest(["true"], cluster(shards=n, cpus=8, gpus=1))["spec"] for n in (1, 3))
    assert (alone["entrypointNumCpus"], alone["entrypointNumGpus"]) == (8, 1)
    assert not {"entrypointNumCpus", "entrypointNumGpus"} & shared.keys()
    [workers] = shared["rayClusterSpec"]["workerGroupSpecs"]
    assert (workers["replicas"], workers["minReplicas"], workers["maxReplicas"]) == (3, 3, 3)


def test_cards_and_memory_are_asked_for_by_workers_alone():
    head, worker = pods(rayjob.manifest(["true"], cluster(cpus=6, gpus=2, memory_bytes=6 * GIB, memory="4GB")))
    asked = worker["containers"][0]["resources"]
    assert asked["limits"] == asked["requests"] == {"cpu": "6", "memory": "6144Mi", "nvidia.com/gpu": "2"}
    assert "nvidia.com/gpu" not in head["containers"][0]["resources"]["limits"]
    assert "tolerations" in worker
    assert "tolerations" not in head
    assert {"name": host.MEMORY, "value": "4GB"} in worker["containers"][0]["env"]


def test_the_command_is_read_by_one_shell_as_meant():
    words = ["python", "-m", "analysis", "compare", "--prompt", 'It\'s $5 for `id` and "more"']
    assert shlex.split(rayjob.manifest(words, cluster())["spec"]["entrypoint"]) == words
    assert rayjob.manifest(words, cluster())["spec"]["submissionMode"] == "HTTPMode"


@pytest.mark.parametrize(
    "image",
    ["layerscope:ray", "reg.example.org:5000/a/b/layerscope:1.0-ray", f"localhost/a_b/c@sha256:{'0' * 64}", "a/b__c:x"],
)
def test_images_as_registries_name_them_are_taken(image):
    assert cluster(image=image).image == image


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"image": "layerscope"}, "has no version"),
        ({"image": "Layer Scope:ray"}, "--image"),
        ({"image": "layerscope:ray\nx"}, "--image"),
        ({"image": "a//b:ray"}, "--image"),
        ({"image": ""}, "--image"),
        ({"claim": "Cache"}, "--claim"),
        ({"claim": "a..b"}, "--claim"),
        ({"secret": "-token"}, "--secret"),
        ({"secret": "t" * 300}, "--secret"),
        ({"name": "9lives"}, "--name"),
        ({"name": "a" * 48}, "--name"),
        ({"shards": 0}, "--workers is 0. It must be 1 to 256"),
        ({"shards": 257}, "--workers"),
        ({"cpus": 0}, "--cpus"),
        ({"gpus": -1}, "--gpus"),
        ({"memory_bytes": GIB - 1}, "--worker-memory"),
    ],
)
def test_an_impossible_cluster_is_one_sentence(changes, said):
    with pytest.raises(SpecError, match=re.escape(said)):
        cluster(**changes)


def test_equal_requests_have_equal_names_that_kubernetes_accepts():
    from analysis.core.experiment import SPECS

    one = DistanceSpec()
    assert rayjob.name_of(one) == rayjob.name_of(DistanceSpec())
    assert rayjob.name_of(one) != rayjob.name_of(DistanceSpec(model=ModelSpec("a/b")))
    for kind in SPECS:
        assert cluster(name=f"layerscope-{kind[:24]}-01234567").name


def test_a_file_outside_of_the_volume_is_refused(tmp_path):
    rayjob.check_files(DistanceSpec(model=ModelSpec("starter")))
    rayjob.check_files(DistanceSpec(model=ModelSpec("/cache/models/mine"), corpus=CorpusSpec("/cache/uploads/a.txt")))
    for spec in (
        DistanceSpec(model=ModelSpec(str(tmp_path))),
        DistanceSpec(corpus=CorpusSpec("/cache/../etc/passwd")),
        DistanceSpec(model=ModelSpec("./mine")),
    ):
        with pytest.raises(SpecError, match="The pods cannot read"):
            rayjob.check_files(spec)


def test_ray_is_the_version_that_the_image_brings():
    ranges = (REPOSITORY / "requirements-ray.txt").read_text()
    least, below = re.search(r"ray\[default\]>=([\d.]+),<([\d.]+)", ranges).groups()
    assert rayjob.RAY.startswith(f"{least}.")
    assert not rayjob.RAY.startswith(f"{below}.")


def test_the_user_is_that_of_the_image():
    assert f"USER {rayjob.USER}:{rayjob.USER}" in (REPOSITORY / "Dockerfile").read_text()


OPTIONS = ("--image", "layerscope:ray", "--claim", "cache", "--secret", "ray-token")


def ask(*words, out: Path) -> int:
    return main.main(["manifest", *OPTIONS, "--out", str(out), *map(str, words)])


def test_the_command_line_of_a_written_manifest_makes_its_request(tmp_path, capsys):
    out = tmp_path / "job.json"
    words = ["sweep", "/cache/models/mine", "--limit", "8", "--strategy", "deepest"]
    assert ask("--worker-memory", "16GiB", "--gpus", 1, "--", *words, out=out) == 0
    made = json.loads(out.read_text())
    jsonschema.validate(made, RAYJOB)
    *program, subcommand = shlex.split(made["spec"]["entrypoint"])[:4]
    assert (program, subcommand) == (["python", "-m", "analysis"], "sweep")
    assert main.request(shlex.split(made["spec"]["entrypoint"])[3:]) == main.request(words)
    assert made["metadata"]["name"] == rayjob.name_of(main.request(words))
    assert "Not submitted" in capsys.readouterr().out


def test_memory_that_bounds_the_model_bounds_the_worker_too(tmp_path, monkeypatch):
    monkeypatch.setenv(host.MEMORY, "")
    out = tmp_path / "job.json"
    assert ask("--memory", "4GiB", "--", "distances", "some/model", out=out) == 0
    worker = pods(json.loads(out.read_text()))[1]["containers"][0]
    assert worker["resources"]["limits"]["memory"] == "6144Mi"
    assert {"name": host.MEMORY, "value": "4GiB"} in worker["env"]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([], "after `--`"),
        (["--", "jobs", "list"], "cannot run as a job"),
        (["--workers", "2", "--worker-memory", "4GiB", "--", "run", "inspect"], "`run` runs on one worker"),
        (["--", "distances", "starter", "--detach"], "--detach has no effect"),
        (["--", "distances", "starter", "--json", "-"], "--json has no effect"),
        (["--", "distances", "starter", "--memory", "4GB"], "before the `--`"),
        (["--", "export", "starter", "--block", "1:1", "--out", "here"], "--out has no effect"),
        (["--", "distances", "starter", "--texts", "./mine.txt", "--samples", "1"], "The pods cannot read"),
        (["--", "distances", "starter", "--nothing"], "Unrecognized"),
        (["--name", "Nope", "--worker-memory", "4GiB", "--", "distances", "starter"], "--name"),
        (["--worker-memory", "much", "--", "distances", "starter"], "not an amount of memory"),
        (["--", "distances", "no/such-model-here"], "Set --worker-memory"),
    ],
)
def test_a_request_without_manifest_is_one_sentence_and_writes_nothing(tmp_path, capsys, words, said):
    out = tmp_path / "job.json"
    try:
        code = ask(*words, out=out)
    except SystemExit as stop:
        code = stop.code
    sentence = capsys.readouterr().err
    assert (code, sentence.count("\n")) == (main.BAD_INPUT, 1)
    assert said in sentence
    assert not out.exists()


def test_memory_of_a_model_on_this_machine_follows_its_configuration(tiny_folder):
    folder = str(tiny_folder())
    needed = rayjob.model_bytes(DistanceSpec(model=ModelSpec(folder)))
    assert needed > 0
    assert rayjob.memory_for(needed) % GIB == 0
    assert rayjob.memory_for(needed) >= needed + rayjob.PROGRAM_BYTES
