"""Angular distances: known answers, a brute-force reference, properties, precision."""

import math

import pytest
import torch

from analysis.distances import DistanceSums, angular_distance, pairwise_angular_distances, rows_by_size


def brute_force(a, b):
    """One pair of vectors, in Python floats."""
    dot = sum(x * y for x, y in zip(a, b, strict=True))
    norms = math.sqrt(sum(x * x for x in a)) * math.sqrt(sum(y * y for y in b))
    return math.acos(max(-1.0, min(1.0, dot / norms))) / math.pi


@pytest.mark.parametrize(("degrees", "distance"), [(0, 0.0), (45, 0.25), (60, 1 / 3), (90, 0.5), (180, 1.0)])
def test_known_angles(degrees, distance):
    angle = math.radians(degrees)
    a, b = torch.tensor([3.0, 0.0]), 0.5 * torch.tensor([math.cos(angle), math.sin(angle)], dtype=torch.float64)
    assert angular_distance(a, b).item() == pytest.approx(distance, abs=1e-7)


def test_agrees_with_a_brute_force_loop():
    states = torch.randn(5, 7, 16, generator=torch.Generator().manual_seed(1))
    pairs = pairwise_angular_distances(states)
    for text in range(5):
        for i in range(7):
            for j in range(7):
                expected = 0 if i == j else brute_force(states[text, i].tolist(), states[text, j].tolist())
                assert pairs[text, i, j].item() == pytest.approx(expected, abs=1e-9)


def test_range_symmetry_and_scale():
    states = torch.randn(8, 5, 12, generator=torch.Generator().manual_seed(2))
    pairs = pairwise_angular_distances(states)
    assert ((pairs >= 0) & (pairs <= 1)).all()
    torch.testing.assert_close(pairs, pairs.transpose(1, 2))
    torch.testing.assert_close(pairs, pairwise_angular_distances(states * 37.5))


def test_identical_states_are_at_distance_zero_and_never_nan():
    row = torch.randn(1, 1, 576, generator=torch.Generator().manual_seed(3))
    states = torch.cat([row, row, row * 1e6, row * 1e-6], dim=1).repeat(256, 1, 1)
    pairs = pairwise_angular_distances(states)
    assert not pairs.isnan().any()
    assert pairs.max() < 1e-7
    assert angular_distance(states[:, 0], states[:, 1]).max() < 1e-7


def test_a_zero_state_gives_a_number():
    pairs = pairwise_angular_distances(torch.tensor([[[0.0, 0.0], [1.0, 0.0]]]))
    assert pairs[0, 0, 1].item() == 0.5


def test_bfloat16_states_keep_small_angles_apart():
    """In bfloat16 arithmetic 64 pairs of mean distance 0.01 collapse to a few values; float64 keeps them apart."""
    generator = torch.Generator().manual_seed(4)
    a = torch.randn(64, 576, generator=generator).bfloat16()
    b = (a + 0.03 * torch.randn(64, 576, generator=generator)).bfloat16()
    assert len(set(angular_distance(a, b).tolist())) == 64


def test_angles_are_averaged_not_cosines():
    """Mean of 0 and 90 degrees is 45 degrees; the angle of the mean cosine would be 60."""
    states = torch.tensor([[[1.0, 0.0], [1.0, 0.0]], [[1.0, 0.0], [0.0, 1.0]]])
    sums = DistanceSums.of(states)
    assert sums.mean[0, 1].item() == pytest.approx(0.25)
    assert sums.stderr[0, 1].item() == pytest.approx(0.25)


def test_sums_of_shards_equal_the_sum_of_all():
    states = torch.randn(30, 6, 8, generator=torch.Generator().manual_seed(5))
    whole, parts = DistanceSums.of(states, chunk=7), DistanceSums.of(states[:11]) + DistanceSums.of(states[11:])
    torch.testing.assert_close(whole.mean, parts.mean)
    torch.testing.assert_close(whole.stderr, parts.stderr)
    reference = pairwise_angular_distances(states)
    torch.testing.assert_close(whole.stderr, reference.std(0) / math.sqrt(30))


def test_rows_hold_every_pair_with_start_zero_and_the_last_layer():
    matrix = torch.arange(16.0).reshape(4, 4)  # L = 3
    assert rows_by_size(matrix) == [[1, 6, 11], [2, 7], [3]]
