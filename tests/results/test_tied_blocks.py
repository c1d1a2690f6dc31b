"""Blocks statistically tied with the best, at 95 %: known answers, a plain loop beside the fast
one.
"""

from dataclasses import replace
from statistics import mean, stdev

import numpy as np
import pytest

from analysis.results.compared import remarks
from tests.support.toy import MAP

T = {12: 2.200985}
"""Quantiles from a table of Student's t, two-sided 95 %, by number of texts."""


def by_hand(per_text: np.ndarray) -> list[int]:
    """Return the tied blocks, one block after the other."""
    columns = [[float(value) for value in per_text[:, start]] for start in range(per_text.shape[1])]
    best = min(range(len(columns)), key=lambda start: (mean(columns[start]), -start))
    found = []
    for start, column in enumerate(columns):
        gaps = [a - b for a, b in zip(column, columns[best], strict=True)]
        if start != best and mean(gaps) <= T[len(gaps)] * stdev(gaps) / len(gaps) ** 0.5:
            found.append(start)
    return found


def test_block_whose_interval_includes_zero_is_tied():
    gaps = np.array([0.5, 3.5, -0.5, 2.5, 0.0, 3.0, -0.5, 3.5])
    error = stdev(gaps) / 8**0.5
    for errors, expected in ((1.5, [1]), (2.3, [1]), (2.4, [])):
        moved = gaps - mean(gaps) + errors * error
        assert remarks.tied_starts(np.column_stack([np.zeros(8), moved])) == expected, (
            f"{errors} standard errors apart"
        )


def test_pairing_finds_differences_below_the_spread_over_texts():
    texts = np.array([[0.1, 0.11, 0.12], [0.5, 0.51, 0.49], [0.9, 0.91, 0.92]])
    # Block 1 is always a little worse, on every text: not tied, although texts differ by far more
    # than that.
    assert remarks.tied_starts(texts) == [2]


def test_against_a_plain_loop():
    rng = np.random.default_rng(0)
    for n_starts in (1, 2, 9):
        texts = rng.normal(0.2, 0.05, (12, n_starts))
        assert remarks.tied_starts(texts) == by_hand(texts)


def test_the_map_is_asked_in_the_best_way_it_allows():
    assert remarks.of_map(MAP, "angular") == [
        [],
        [],
        [0],
        [],
    ], "as if independent, ties go to the deeper block"
    won = replace(MAP, wins=[[0.0, 0.8, 0.2, 0.0], [0.02, 0.98, 0.0], [0.5, 0.5], [1.0]])
    assert remarks.of_map(won, "angular") == [[2], [], [0], []]
    per_text = np.zeros((3, 5, 5))
    per_text[:, 0, 1] = (0.1, 0.2, 0.3)
    per_text[:, 1, 2] = (0.2, 0.1, 0.3)
    per_text[:, 2, 3] = 9
    per_text[:, 3, 4] = 9
    assert remarks.of_map(won, "relative-l2", {"relative-l2": per_text})[0] == [0]
    assert remarks.of_map(won, "relative-l2") == [[], [], [], []]


@pytest.mark.parametrize("texts", [2, 40])
def test_identical_blocks_are_always_tied(texts):
    same = np.repeat(np.random.default_rng(1).uniform(size=(texts, 1)), 4, axis=1)
    assert remarks.tied_starts(same) == [0, 1, 2]
