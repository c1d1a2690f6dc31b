"""Claims of the paper on models of several sizes: differences of known data, and models that are not compared."""

from dataclasses import replace

import numpy as np
import pytest

from analysis.results.compared import paper_claims as claims
from tests.support import fakes

N_LAYERS, N_TEXTS = 8, 6


def damage(costs):
    """Return a loss-increase map of single layers, each with a constant cost, and its losses per text."""
    level = np.linspace(2.0, 3.0, N_TEXTS)
    losses = np.array([level, *(level + cost for cost in costs)], np.float32)
    return replace(fakes.damage(), n_layers=len(costs), n_texts=N_TEXTS, text_tokens=[100] * N_TEXTS), losses


def sweep(n_layers, n_parameters, costs, tokens=100):
    """Return a curve whose loss rises by a known amount, a little different in each text."""
    base = fakes.sweep()
    first = [2.0 + 0.1 * text for text in range(N_TEXTS)]
    shaped = [[loss + cost * (1 + 0.01 * text) for text, loss in enumerate(first)] for cost in costs]
    points = [replace(base.points[0], n=n, loss=2.0, bits_per_byte=1.0, n_texts=N_TEXTS) for n in range(len(costs))]
    model = replace(base.model, layer_parameters=[n_parameters] * n_layers, other_parameters=0)
    tokens = [tokens] * N_TEXTS
    return replace(base, model=model, n_layers=n_layers, points=points, text_losses=shaped, text_tokens=tokens)


@pytest.mark.parametrize(
    ("costs", "verdict"),
    [
        ([9.0, 0.4, 0.4, 0.4, 0.1, 0.1, 0.1, 9.0], claims.HOLDS),
        ([0.0, 0.1, 0.1, 0.1, 0.4, 0.4, 0.4, 0.0], claims.FAILS),
        ([9.0, 0.2, 0.2, 0.2, 0.2, 0.2, 0.2, 0.0], claims.OPEN),
    ],
    ids=["deeper cost less", "deeper cost more", "equal"],
)
def test_halves_are_compared_without_first_and_last_layer(costs, verdict):
    result = claims.depth_costs("m", *damage(costs))
    assert [layer.increase for layer in result.layers] == pytest.approx(costs, abs=1e-6)
    assert result.difference == pytest.approx(costs[4] - costs[1], abs=1e-6)
    if verdict != claims.OPEN:
        assert result.verdict == verdict
    assert f"{result.deep:.3f} nats/token in the deeper half" in result.sentence()


def test_noise_between_texts_leaves_a_claim_undecided():
    result, losses = damage([0.0, 0.2, 0.2, 0.2, 0.2, 0.2, 0.2, 0.0])
    losses[5:8] += np.array([0.3, -0.3] * (N_TEXTS // 2), np.float32)
    assert claims.depth_costs("m", result, losses).verdict == claims.OPEN


def test_a_map_without_losses_or_with_gaps_has_no_costs():
    result, losses = damage([0.1] * N_LAYERS)
    assert claims.depth_costs("m", result, None) is None
    losses[3, 2] = np.nan
    assert claims.depth_costs("m", result, losses) is None


def test_tolerance_is_in_bits_per_byte():
    curve = claims.tolerance("m", sweep(8, 100, [0.0, 0.5, 1.0]))
    assert [point.share for point in curve.points] == [0, 1 / 8, 2 / 8]
    assert curve.points[1].increase == pytest.approx(0.5 * 1.025 / 2)  # half a bit per byte for a nat per token
    assert curve.points[1].low < curve.points[1].increase < curve.points[1].high


def test_sizes_are_paired_at_equal_shares_of_depth():
    small, large = sweep(4, 100, [0.0, 0.8, 1.6]), sweep(8, 300, [0.0, 0.1, 0.2, 0.3, 0.4])
    pairs = claims.size_pairs([("large", large), ("small", small)])
    assert [(pair.smaller_n, pair.larger_n, pair.share) for pair in pairs] == [(1, 2, 0.25), (2, 4, 0.5)]
    assert pairs[0].difference == pytest.approx((0.2 - 0.8) * 1.025)
    assert {pair.verdict for pair in pairs} == {claims.HOLDS}
    assert "Without 25% of the layers, the loss of large rises by 0.21 nats/token" in pairs[0].sentence()
    swapped = claims.size_pairs([("a", replace(small, model=replace(small.model, other_parameters=5000))), ("b", large)])
    assert {pair.verdict for pair in swapped} == {claims.FAILS}
    counted = claims.conclusion(claims.SIZES_CLAIM, [pair.verdict for pair in pairs])
    assert counted == "Larger models tolerate more: holds in 2 of 2 cases."


def test_models_with_other_tokenizers_or_texts_are_not_paired():
    small, large = sweep(4, 100, [0.0, 0.8]), sweep(8, 300, [0.0, 0.1, 0.2], tokens=90)
    assert claims.size_pairs([("small", small), ("large", large)]) == []
    assert claims.conclusion(claims.SIZES_CLAIM, []) == ""


def test_texts_of_one_length_are_not_one_tokenizer():
    small, large = sweep(4, 100, [0.0, 0.8]), sweep(8, 300, [0.0, 0.1, 0.2])
    points = [replace(point, bits_per_byte=0.8) for point in large.points]
    assert claims.size_pairs([("small", small), ("large", large)])
    assert claims.size_pairs([("small", small), ("large", replace(large, points=points))]) == []
