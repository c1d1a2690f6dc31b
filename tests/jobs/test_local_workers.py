"""Requests whose models no worker pool of this machine can share."""

import pytest

from analysis.core.errors import JobError
from analysis.experiments.maps.distance_spec import DistanceSpec
from analysis.jobs.runner.local_workers import LocalWorkers
from analysis.models.source.model_spec import ModelSpec


@pytest.mark.parametrize("device", ["cuda:all", "cuda:1"])
def test_several_local_processes_cannot_share_a_named_gpu(device):
    with pytest.raises(JobError, match=f"Device '{device}' cannot be shared by several workers"):
        LocalWorkers(DistanceSpec(ModelSpec(device=device)), 2)
