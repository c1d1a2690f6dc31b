"""Seconds measured again and again: quartiles and the line over the layers left, with answers that
are known.
"""

import numpy as np
import pytest
from scipy import stats

from analysis.experiments.speed.speed_spec import fit, timing


def test_quartiles_of_known_numbers():
    found = timing([5.0, 1.0, 4.0, 2.0, 3.0])
    assert (found.low_s, found.median_s, found.high_s) == (2.0, 3.0, 4.0)
    assert found.repeats_s == [5.0, 1.0, 4.0, 2.0, 3.0], "in the order of measuring"
    alone = timing([0.25])
    assert (alone.low_s, alone.median_s, alone.high_s) == (0.25, 0.25, 0.25)


def test_an_exact_line_is_found_exactly():
    line = fit([30, 28, 25, 20, 15], [0.5 + 0.1 * left for left in (30, 28, 25, 20, 15)], 30)
    assert line.intercept_s == pytest.approx(0.5)
    assert line.slope_s == pytest.approx(0.1)
    assert line.slope_stderr_s == pytest.approx(0, abs=1e-9)
    assert line.r_squared == pytest.approx(1)
    assert line.fixed_share == pytest.approx(0.5 / 3.5)
    assert line.at(20) == pytest.approx(2.5)


def test_a_noisy_line_is_that_of_another_implementation():
    left = [30, 28, 25, 20, 15, 8]
    seconds = [
        0.3 + 0.05 * n + e
        for n, e in zip(left, np.random.default_rng(1).normal(0, 0.1, 6), strict=True)
    ]
    line, known = fit(left, seconds, 30), stats.linregress(left, seconds)
    assert line.slope_s == pytest.approx(known.slope)
    assert line.intercept_s == pytest.approx(known.intercept)
    assert line.slope_stderr_s == pytest.approx(known.stderr)
    assert line.r_squared == pytest.approx(known.rvalue**2)


def test_too_little_for_a_line_or_for_its_error():
    assert fit([], [], 30) is None
    assert fit([30], [1.0], 30) is None
    assert fit([30, 30], [1.0, 2.0], 30) is None
    two = fit([30, 20], [3.0, 2.0], 30)
    assert (two.slope_stderr_s, two.r_squared) == (None, pytest.approx(1))
    assert fit([30, 20, 10], [1.0, 1.0, 1.0], 30).r_squared is None, (
        "nothing varies, so nothing is explained"
    )


@pytest.mark.parametrize(
    ("seconds", "share"), [([1.0, 0.2, 0.1], 0.0), ([1.0, 1.0, 1.0], 1.0), ([1.0, 1.2, 1.4], 1.0)]
)
def test_the_fixed_share_stays_a_share(seconds, share):
    assert fit([30, 20, 10], seconds, 30).fixed_share == pytest.approx(share)
