"""Intervals of means: scipy and simulation."""

import numpy as np
import pytest
from scipy.stats import t

from analysis.core import stats


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
