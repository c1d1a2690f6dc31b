"""Contract of every metric."""

from dataclasses import replace

import pytest
import torch

from analysis.core.blocks import Block
from analysis.experiments.maps.distances import Depths
from analysis.experiments.maps.metrics import METRICS
from tests.support import fakes


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


@pytest.mark.parametrize("name", METRICS)
def test_distances_are_within_the_declared_range(name):
    states = torch.randn(3, 5, 8, generator=torch.Generator().manual_seed(2), dtype=torch.bfloat16)
    states[:, 1] = -states[:, 0]  # the largest angle
    measured = METRICS[name].measure(Depths(states))
    least, most = METRICS[name].range
    assert least <= measured.min()
    assert measured[:, *torch.triu_indices(5, 5, 1)].max() <= most + 1e-9


def test_the_interval_of_a_distance_ends_at_the_largest_one():
    made = fakes.distances()
    mean = [[0.99 if start == 0 else value for start, value in enumerate(made.mean[0])]]
    stderr = [[0.05] * len(mean[0]), *made.stderr[1:]]
    near = replace(made, mean=[*mean, *made.mean[1:]], stderr=stderr)
    low, high = near.interval(Block(0, 1))
    assert high == 1.0
    assert 0.8 < low < 0.99
    row = next(row for row in near.tables()["blocks"].rows if row["start"] == 0 and row["n"] == 1)
    assert (row["low"], row["high"]) == (low, high)
