"""Intervals of means, differences and ratios: scipy and simulation."""

import numpy as np
import pytest
from scipy.stats import t

from analysis.core import stats
from benchmarks import interval_coverage


@pytest.mark.parametrize("freedom", [1, 2, 3, 4, 7, 31, 200, 999])
def test_the_quantile_is_that_of_students_t(freedom):
    assert stats.t_quantile(freedom) == pytest.approx(t.ppf(0.975, freedom), rel=1e-9)


def test_the_interval_of_a_mean_covers_correctly_with_few_texts():
    draw, hits, as_normal = np.random.default_rng(0), 0, 0
    for _ in range(4000):
        mean, stderr = stats.mean_and_stderr(draw.normal(3.0, 0.5, size=4).tolist())
        low, high = stats.mean_interval(mean, stderr, 4)
        hits += low <= 3.0 <= high
        as_normal += abs(mean - 3.0) <= 1.96 * stderr
    assert hits / 4000 == pytest.approx(0.95, abs=0.015)
    assert as_normal / 4000 < 0.88


def test_one_text_or_no_error_has_no_interval():
    assert stats.mean_interval(3.0, 0.0, 1) is None
    assert stats.mean_interval(3.0, None, 32) is None


@pytest.mark.parametrize("n", [4, 8, 12, 32])
@pytest.mark.parametrize(("skewness", "shortest"), [(0.0, 127), (1.0, 64)])
def test_an_interval_of_a_loss_difference_covers_95_percent(n, skewness, shortest):
    """Normal differences, and gamma ones as skewed as the gallery's (its median is 0.7), of texts
    up to 255 tokens.
    """
    draw, n_draws = np.random.default_rng(0), 2000
    shape = (2 / skewness) ** 2 if skewness else 0.0
    standard = (
        (draw.gamma(shape, size=(n_draws, n)) - shape) / shape**0.5
        if skewness
        else draw.normal(size=(n_draws, n))
    )
    losses, tokens = (
        draw.normal(3, 1, size=(n_draws, n)),
        draw.integers(shortest, 256, size=(n_draws, n)),
    )
    hits = 0
    for first, change, sizes in zip(losses, 0.4 + 0.2 * standard, tokens, strict=True):
        _, low, high = stats.compare_losses(
            first.tolist(), (first + change).tolist(), sizes.tolist()
        )
        hits += low <= 0.4 <= high
    assert 0.935 <= hits / n_draws <= 0.965


@pytest.mark.parametrize(
    ("shape", "n", "share"), [(0.5, 8, 0.93), (0.5, 32, 0.945), (1.0, 8, 0.88), (1.0, 32, 0.925)]
)
def test_the_documented_coverage_is_that_of_the_benchmark(shape, n, share):
    found = interval_coverage.coverage(shape, (256, 256), n, n_draws=2000)
    assert found == pytest.approx(share, abs=0.015)


@pytest.mark.parametrize("n", [1, 2, 3])
def test_fewer_than_four_texts_give_no_interval(n):
    assert stats.compare_losses([1.0] * n, [2.0] * n) == (1.0, None, None)


def test_an_interval_reaches_farther_to_the_longer_tail():
    mean, low, high = stats.compare_losses([0.0] * 6, [0.1, 0.1, 0.2, 0.2, 0.3, 0.9])
    assert high - mean > mean - low > 0
