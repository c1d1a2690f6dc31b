"""Contract of every metric."""

import pytest
import torch

from analysis.experiments.maps.distances import Depths
from analysis.experiments.maps.metrics import METRICS


@pytest.mark.parametrize("name", METRICS)
def test_metric(name):
    metric = METRICS[name]
    assert metric.title
    assert metric.unit
    states = torch.randn(3, 5, 8, generator=torch.Generator().manual_seed(2), dtype=torch.bfloat16)
    kept = states.clone()
    measured = metric.measure(Depths(states))
    assert (measured.dtype, measured.shape) == (torch.float64, (3, 5, 5))
    assert not measured.diagonal(dim1=1, dim2=2).any()
    above = measured[:, *torch.triu_indices(5, 5, 1)]
    assert (above > 0).all()
    assert above.isfinite().all()
    assert torch.equal(states, kept)
    torch.testing.assert_close(metric.measure(Depths(states[1:2])), measured[1:2])
