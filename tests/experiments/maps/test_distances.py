"""Distances of all metrics: known answers, a brute-force reference, properties, precision."""

import math

import pytest
import torch

from analysis.experiments.maps import distances
from analysis.experiments.maps.depths import Depths, angular_distance
from analysis.experiments.maps.distances import rows_by_size, text_distances
from analysis.experiments.maps.metrics import METRICS
from analysis.experiments.maps.metrics.of_depths import relative_l2
from analysis.models.architecture import decoder as architecture
from analysis.models.running.hidden_states import token_streams
from tests.support.families import build


def brute_force(a, b):
    """One pair of vectors, in Python floats."""
    dot = sum(x * y for x, y in zip(a, b, strict=True))
    norms = math.sqrt(sum(x * x for x in a)) * math.sqrt(sum(y * y for y in b))
    return math.acos(max(-1.0, min(1.0, dot / norms))) / math.pi


@pytest.mark.parametrize(
    ("degrees", "distance"), [(0, 0.0), (45, 0.25), (60, 1 / 3), (90, 0.5), (180, 1.0)]
)
def test_known_angles(degrees, distance):
    angle = math.radians(degrees)
    a, b = (
        torch.tensor([3.0, 0.0]),
        0.5 * torch.tensor([math.cos(angle), math.sin(angle)], dtype=torch.float64),
    )
    assert angular_distance(a, b).item() == pytest.approx(distance, abs=1e-7)


def test_identical_states_are_at_distance_zero_and_never_nan():
    row = torch.randn(1, 1, 576, generator=torch.Generator().manual_seed(3))
    states = torch.cat([row, row, row * 1e6, row * 1e-6], dim=1).repeat(256, 1, 1)
    pairs = Depths(states).angles
    assert not pairs.isnan().any()
    assert pairs.max() < 1e-7
    assert angular_distance(states[:, 0], states[:, 1]).max() < 1e-7


def test_a_zero_state_gives_a_number():
    pairs = Depths(torch.tensor([[[0.0, 0.0], [1.0, 0.0]]])).angles
    assert pairs[0, 0, 1].item() == 0.5


def streams_of(states):
    """Token states (n_tokens, L+1, hidden_size) as the streams that a forward pass gives."""
    return list(states.unbind(1))


def matrices(states, lengths, name):
    return text_distances(streams_of(states), lengths)[name]


def test_angles_are_averaged_not_cosines():
    """Mean of 0 and 90 degrees is 45 degrees; the angle of the mean cosine would be 60."""
    states = torch.tensor([[[1.0, 0.0], [1.0, 0.0]], [[1.0, 0.0], [0.0, 1.0]]])
    assert matrices(states, [1, 1], "angular").mean(0)[0, 1].item() == pytest.approx(0.25)
    assert matrices(states, [2], "angular-tokens")[0, 0, 1].item() == pytest.approx(0.25)
    assert matrices(states, [2], "cosine-tokens")[0, 0, 1].item() == pytest.approx(0.5)
    assert matrices(states, [2], "angular")[0, 0, 1].item() == pytest.approx(
        0.5
    )  # the last token alone


@pytest.mark.parametrize("chunk_bytes", [1, 2000, 1 << 24])
def test_every_metric_agrees_with_a_brute_force_loop(monkeypatch, chunk_bytes):
    monkeypatch.setattr("analysis.experiments.maps.distances._CHUNK_BYTES", chunk_bytes)
    lengths, depths = [3, 1, 7], 4
    states = torch.randn(sum(lengths), depths, 10, generator=torch.Generator().manual_seed(6))
    found = text_distances(streams_of(states), lengths)
    assert set(found) == set(METRICS)
    assert {matrices.shape for matrices in found.values()} == {(3, depths, depths)}
    assert {matrices.dtype for matrices in found.values()} == {torch.float64}
    texts = states.double().split(lengths)
    for text, tokens in enumerate(texts):
        for start in range(depths):
            for stop in range(start + 1, depths):
                angles = [
                    brute_force(token[start].tolist(), token[stop].tolist()) for token in tokens
                ]
                written = math.dist(tokens[-1, start].tolist(), tokens[-1, stop].tolist())
                expected = {
                    "angular": angles[-1],
                    "angular-tokens": sum(angles) / len(angles),
                    "cosine-tokens": (
                        sum(1 - math.cos(math.pi * angle) for angle in angles) / len(angles)
                    ),
                    "relative-l2": written / math.hypot(*tokens[-1, start].tolist()),
                }
                for name in METRICS:
                    assert found[name][text, start, stop].item() == pytest.approx(
                        expected[name], abs=1e-9
                    ), name


def test_relative_l2_known_answers_and_small_differences():
    """Where a layer writes 1e-9 of the stream, the matrix product would say 0 or noise; the
    difference says 1e-9.
    """
    state = torch.tensor([3.0, 4.0], dtype=torch.float64)
    states = torch.stack(
        [state, 2 * state, state * (1 + 1e-9), torch.zeros(2, dtype=torch.float64)]
    )[None]
    written = relative_l2(Depths(states))[0]
    assert written[0].tolist() == pytest.approx([0, 1, 1e-9, 1], rel=1e-6)
    assert written[1, 0].item() == pytest.approx(0.5)
    assert written[3].tolist() == [1, 1, 1, 0]


def test_ranges_and_diagonals_of_all_metrics():
    states = torch.randn(40, 6, 16, generator=torch.Generator().manual_seed(7))
    found = text_distances(
        streams_of(torch.cat([states, -states, states.abs() * 1e-4])), [40, 40, 40]
    )
    for matrices in found.values():
        assert (matrices >= 0).all()
        assert (torch.diagonal(matrices, dim1=1, dim2=2) == 0).all()
    for name, most in (("angular", 1), ("angular-tokens", 1), ("cosine-tokens", 2)):
        metric = found[name]
        assert (metric <= most).all()
        torch.testing.assert_close(metric, metric.transpose(1, 2))


def test_bfloat16_streams_give_right_small_angles():
    """The exact angle of the rounded states: an angle of 0.003 (in units of pi) to 1e-6, where
    bfloat16 products give 0.
    """
    generator = torch.Generator().manual_seed(9)
    first = torch.randn(64, 576, generator=generator).bfloat16()
    second = (first + 0.01 * torch.randn(64, 576, generator=generator)).bfloat16()
    streams = [first, second]
    exact = torch.tensor(
        [brute_force(a.tolist(), b.tolist()) for a, b in zip(first, second, strict=True)]
    )
    assert 0.002 < exact.mean() < 0.005
    found = text_distances(streams, [64])
    assert found["angular-tokens"][0, 0, 1].item() == pytest.approx(exact.mean().item(), abs=1e-6)
    assert found["angular"][0, 0, 1].item() == pytest.approx(exact[-1].item(), abs=1e-6)


@torch.inference_mode()
def test_block_influence_is_the_papers_formula_on_a_real_pass():
    """ShortGPT: 1 - mean over tokens of cos(x[l], x[l+1]); x[l] from transformers, so only layers
    before the last count.
    """
    decoder = architecture.find_decoder(build("llama"))
    texts = [[5, 9, 33, 7, 8, 21], [4, 17, 6]]
    found = text_distances(token_streams(decoder, texts), [6, 3])["cosine-tokens"]
    for index, text in enumerate(texts):
        own = decoder.model(
            torch.tensor([text]), output_hidden_states=True, use_cache=False
        ).hidden_states
        for layer in range(decoder.n_layers - 1):
            influence = (
                1
                - torch.cosine_similarity(
                    own[layer][0].double(), own[layer + 1][0].double(), dim=-1
                ).mean()
            )
            assert found[index, layer, layer + 1].item() == pytest.approx(
                influence.item(), abs=1e-5
            )


def test_rows_hold_every_pair_from_zero_to_the_last_layer():
    matrix = torch.arange(16.0).reshape(4, 4)  # L = 3
    assert rows_by_size(matrix) == [[1, 6, 11], [2, 7], [3]]


def test_the_last_tokens_of_all_texts_are_measured_together(monkeypatch):
    """On a card every call costs: one by one, the last tokens of a batch would take longer than the
    model.
    """
    measured, original = [], distances._measured
    monkeypatch.setattr(
        distances,
        "_measured",
        lambda metric, depths: measured.append(metric) or original(metric, depths),
    )
    states = torch.randn(3, 40, 8, generator=torch.Generator().manual_seed(0))
    found = distances.text_distances(list(states), [10, 16, 14])
    of_last = [metric.name for metric in measured if metric.of == "last"]
    assert sorted(of_last) == sorted({*of_last})
    alone = distances.text_distances(list(states[:, 10:26]), [16])
    for name, of_texts in found.items():
        torch.testing.assert_close(of_texts[1], alone[name][0], rtol=0, atol=1e-12)


def test_all_depths_are_stacked_where_calls_dominate_the_cost():
    states = [torch.ones(9, 8, dtype=torch.bfloat16, device="meta") for _ in range(4)]
    stacked = distances._stack(states, slice(2, 7), torch.device("meta"))
    assert (stacked.shape, stacked.dtype) == ((5, 4, 8), torch.float64)
