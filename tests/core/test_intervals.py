"""Text forms of intervals."""

from dataclasses import dataclass

import pytest

from analysis.core.intervals import Interval


@dataclass(frozen=True)
class Difference(Interval):
    low: float | None
    high: float | None


@pytest.mark.parametrize(
    ("low", "high", "text"),
    [
        (-4.2, 15.0, "-4 to +15"),
        (9.81, 10.3, "+9.8 to +10.3"),
        (10.0, 10.0, "+10 to +10"),
        (None, None, "unknown"),
    ],
)
def test_different_ends_read_differently(low, high, text):
    assert Difference(low, high).ends(0) == text
