"""The needs of a request, before it is sent anywhere: from a model's configuration, looked at once."""

import pytest

from analysis.core.blocks import Block
from analysis.core.errors import JobError
from analysis.experiments.heal import memory
from analysis.experiments.heal.recipes import heal_spec
from analysis.experiments.maps.distance_spec import DistanceSpec
from analysis.exports import rayjob
from analysis.jobs import preflight
from analysis.jobs.runner.local_workers import LocalWorkers
from analysis.models.loading import inspection, planning
from analysis.models.source.model_spec import InspectSpec, ModelSpec
from tests.support import fakes


def test_unknown_model_is_looked_at_once(cache, tiny_folder, monkeypatch):
    def looked_at(source, revision, dtype, device, quantization, *, within_s):
        return inspection.run(InspectSpec(ModelSpec(source, revision, dtype, device, quantization))).to_json()

    monkeypatch.setattr(preflight, "looked_at", looked_at)  # here, and not in a process
    model = ModelSpec(str(tiny_folder("llama")), device="cpu")
    assert preflight.takes(DistanceSpec(model), "float32", look=False) is None
    found = preflight.takes(DistanceSpec(model), "float32")
    planned = planning.plan(ModelSpec(model.source, dtype="float32", device="cpu"))
    assert found == preflight.Takes(planned.weight_bytes, planned.working_bytes, found.layered)
    assert found.layered == min(planned.layered_bytes, found.whole)
    monkeypatch.setattr(preflight, "looked_at", lambda *_, **__: pytest.fail("it is looked at again"))
    half = preflight.takes(DistanceSpec(model), "bfloat16")
    assert half.weights * 2 == found.weights
    needed = rayjob.model_bytes(DistanceSpec(ModelSpec(model.source, dtype="float32", device="cpu")))
    assert needed == found.whole


def test_heal_takes_the_memory_of_its_steps():
    spec = heal_spec("distill", model=ModelSpec(dtype="float32"), block=Block(5, 3))
    needed = memory.step_bytes(spec, fakes.FACTS)
    assert preflight.working_bytes(spec, fakes.FACTS, 1) == needed > 1
    assert preflight.working_bytes(spec, fakes.FACTS, needed + 1) == needed + 1
    instant = heal_spec("instant", model=ModelSpec(dtype="float32"), block=Block(5, 3))
    assert preflight.working_bytes(instant, fakes.FACTS, 1) == 1


@pytest.mark.parametrize("device", ["cuda:all", "cuda:1"])
def test_several_local_processes_cannot_share_a_named_gpu(device):
    said = f"Device '{device}' cannot be shared by several workers, which take one GPU each. Choose device cuda"
    with pytest.raises(JobError, match=said):
        LocalWorkers(DistanceSpec(ModelSpec(device=device)), 2)
