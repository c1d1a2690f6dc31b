"""Intervals and paired tests: published values, brute force, coverage; words that fit the
numbers.
"""

import itertools
import math
import random

import numpy as np
import pytest

from analysis.core import stats
from analysis.experiments.accuracy import pairs
from analysis.experiments.accuracy.points import Lines, Point, QuestionScore
from analysis.results.compared import remarks


def point(n, acc, n_samples=200):
    return Point(n, None if n == 0 else 1, acc, 0.03, n_samples=n_samples)


def answers(right, gold=0):
    """Answers whose i-th is right where `right[i]`."""
    return [
        QuestionScore(f"q{index}", [0.0, 0.0], gold if ok else 1 - gold, gold)
        for index, ok in enumerate(right)
    ]


def test_wilson_known_values():
    assert stats.share_interval(0, 10) == pytest.approx((0.0, 0.27753), abs=1e-5)
    assert stats.share_interval(5 / 10, 10) == pytest.approx((0.23659, 0.76341), abs=1e-5)
    assert stats.share_interval(81 / 263, 263) == pytest.approx((0.25526, 0.36615), abs=2e-4)


def test_wilson_covers_as_often_as_it_says():
    draw = random.Random(0)
    hits = 0
    for _ in range(2000):
        low, high = stats.share_interval(sum(draw.random() < 0.3 for _ in range(60)) / 60, 60)
        hits += low <= 0.3 <= high
    assert 0.93 < hits / 2000 < 0.97


@pytest.mark.parametrize("n", [1, 4, 9])
def test_mcnemar_equals_enumeration_of_all_coins(n):
    for gained in range(n + 1):
        as_uneven = [
            abs(2 * sum(coins) - n) >= abs(2 * gained - n)
            for coins in itertools.product((0, 1), repeat=n)
        ]
        assert stats.mcnemar_p(gained, n - gained) == pytest.approx(sum(as_uneven) / 2**n)


def test_a_paired_comparison_counts_questions_not_order():
    first = answers([True] * 60 + [False] * 40)
    second = answers([True] * 50 + [False] * 45 + [True] * 5)
    random.Random(1).shuffle(second)
    compared = pairs.compare(first, second)
    assert (compared.gained, compared.lost, compared.n) == (5, 10, 100)
    assert compared.difference == pytest.approx(-0.05)
    assert compared.low < compared.difference < compared.high
    expected = 1.96 * math.sqrt((15 / 100 - 0.05**2) / 100)
    assert compared.high - compared.low == pytest.approx(2 * expected, rel=0.15)
    assert not compared.is_significant
    assert compared == pairs.compare(first, second)


def test_pairing_finds_significance_that_separate_intervals_miss():
    """Twelve of 200 questions lost and none gained: the separate intervals overlap, the paired one
    excludes zero.
    """
    first, second = answers([True] * 100 + [False] * 100), answers([True] * 88 + [False] * 112)
    assert stats.share_interval(100 / 200, 200)[0] < stats.share_interval(88 / 200, 200)[1]
    compared = pairs.compare(first, second)
    assert compared.is_significant
    assert compared.p_value < 0.001


def test_only_shared_questions_count():
    assert pairs.compare(answers([True] * 10), answers([True] * 4)).n == 4
    with pytest.raises(ValueError, match="no question in common"):
        pairs.compare([], answers([True]))


def test_collapse_is_seen_but_not_in_a_skewed_set():
    given = [QuestionScore(str(index), [], 1, index % 4) for index in range(40)]
    assert remarks.collapsed_option(given) == (1, 1.0)
    assert (
        remarks.collapsed_option([QuestionScore(str(index), [], 1, 1) for index in range(40)])
        is None
    )
    assert (
        remarks.collapsed_option(
            [QuestionScore(str(index), [], index % 4, 0) for index in range(40)]
        )
        is None
    )
    assert remarks.collapsed_option(given[:5]) is None


def test_remarks_agree_with_the_numbers():
    lines = Lines(0.25, 0.3)
    weak = remarks.remarks([point(0, 0.26), point(1, 0.24)], lines)
    assert len(weak) == 1
    assert "not significantly above chance" in weak[0]
    good = [point(0, 0.5), point(1, 0.49), point(2, 0.27)]
    collapsed = [
        answers([True, False] * 10),
        answers([True, False] * 10),
        [QuestionScore(str(i), [], 2, i % 4) for i in range(40)],
    ]
    said = remarks.remarks(good, lines, collapsed)
    assert "At n = 2 the model gives option 3 for 100%" in said[0]
    assert remarks.remarks([point(0, 0.5), point(1, 0.49)], lines) == []
    assert remarks.remarks(good, None) == []
    assert (
        "not significantly above always giving"
        in remarks.remarks([point(0, 0.6)], Lines(0.5, 0.62))[0]
    )


def test_bootstrap_wins_agree_with_a_loop_over_the_same_resamples():
    values = np.random.default_rng(3).normal(size=(6, 4))
    weights = np.random.default_rng(0).multinomial(6, [1 / 6] * 6, size=200)
    expected = [0] * 4
    for drawn in weights:
        texts = [index for index, times in enumerate(drawn) for _ in range(times)]
        means = [sum(values[text, candidate] for text in texts) / 6 for candidate in range(4)]
        expected[means.index(min(means))] += 1
    (found,) = stats.bootstrap_wins([values], n_resamples=200)
    assert found == pytest.approx([count / 200 for count in expected])


def loop_spearman(a, b):
    """Ranks by counting, then Pearson by the textbook."""

    def ranks(values):
        return [
            sum(other < value for other in values)
            + (sum(other == value for other in values) + 1) / 2
            for value in values
        ]

    x, y = ranks(a), ranks(b)
    mean = (len(a) + 1) / 2
    top = sum((p - mean) * (q - mean) for p, q in zip(x, y, strict=True))
    return top / math.sqrt(sum((p - mean) ** 2 for p in x) * sum((q - mean) ** 2 for q in y))


def test_spearman():
    assert stats.spearman([1, 2, 3, 4], [10, 20, 25, 900]) == 1
    assert stats.spearman([1, 2, 3], [3.0, 2.0, -5.0]) == -1
    assert stats.spearman(
        [86, 97, 99, 100, 101, 103, 106, 110, 112, 113], [2, 20, 28, 27, 50, 29, 7, 17, 6, 12]
    ) == (
        pytest.approx(
            -29 / 165
        )  # the worked example of the statistics encyclopaedias: hours of television against IQ
    )
    assert stats.spearman([1, 2], [1, 2]) is None
    assert stats.spearman([1, 2, 3], [4, 4, 4]) is None
    draw = random.Random(1)
    for _ in range(50):
        a = [draw.randrange(6) for _ in range(12)]
        b = [draw.randrange(6) for _ in range(12)]
        assert stats.spearman(a, b) == pytest.approx(loop_spearman(a, b), abs=1e-12)


def test_losses_are_compared_text_by_text():
    """A difference far smaller than the spread between texts is seen, because the texts are the
    same.
    """
    first = [1.0, 3.0, 2.0, 5.0, 4.0, 2.5, 3.5, 1.5]
    second = [loss - 0.1 - 0.01 * (index % 3) for index, loss in enumerate(first)]
    mean, low, high = stats.compare_losses(first, second)
    assert mean == pytest.approx(-0.1 - 0.01 * 7 / 8)
    assert -0.13 < low < mean < high < -0.09
    with pytest.raises(ValueError, match="no text"):
        stats.compare_losses([], [])
    with pytest.raises(ValueError, match="8 texts but 2 weights"):
        stats.compare_losses(first, second, [1, 2])


def test_losses_weighed_by_tokens_are_the_loss_per_token():
    draw = random.Random(3)
    for _ in range(20):
        texts = [
            [draw.gauss(3, 1) for _ in range(draw.randrange(2, 40))]
            for _ in range(draw.randrange(2, 12))
        ]
        values, sizes = [sum(text) / len(text) for text in texts], [len(text) for text in texts]
        tokens = [loss for text in texts for loss in text]
        mean, stderr = stats.weighted_mean_and_stderr(values, sizes)
        assert mean == pytest.approx(sum(tokens) / len(tokens))
        # The ratio estimator, term by term: residuals of whole texts over the mean size.
        residuals = [sum(text) - mean * len(text) for text in texts]
        n, size = len(texts), len(tokens) / len(texts)
        assert stderr == pytest.approx((sum(r * r for r in residuals) / (n - 1) / n) ** 0.5 / size)
        assert stats.weighted_mean_and_stderr(values, [7] * n) == pytest.approx(
            stats.mean_and_stderr(values)
        )
    assert stats.weighted_mean_and_stderr([2.0], [9]) == (2.0, 0.0)


def test_arithmetic_scores_have_wilson_intervals_at_zero_and_one():
    for right, n in ((1, 24), (12, 24), (23, 24), (3, 8)):
        share, error = stats.mean_and_stderr([1.0] * right + [0.0] * (n - right))
        assert Point(
            5, 11, sum_acc=share, sum_acc_stderr=error
        ).sum_interval == stats.share_interval(right / n, n)
    for right, share in ((0, 0.0), (24, 1.0)):
        assert Point(5, 11, sum_acc=share, sum_acc_stderr=0.0).sum_interval == stats.share_interval(
            right / 24, 24
        )
        assert Point(
            5, 11, sum_acc=share, sum_acc_stderr=0.0, n_sums=8
        ).sum_interval == stats.share_interval(right // 3 / 8, 8)
    assert Point(5, 11).sum_interval is None
