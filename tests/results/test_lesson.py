"""Sentences of the lesson on a prediction: where the questions let a cliff begin, and how near a
drawing came.
"""

from dataclasses import replace

import pytest

from analysis.core.stats import share_interval
from analysis.experiments.accuracy.points import Lines, Point
from analysis.results.words import lesson
from analysis.results.words.lesson import MeasuredPoint
from tests.support.toy import MAP, SWEEP


def curve(*accuracies: float, n_samples: int = 200, chance: float = 0.25):
    points = [
        Point(n, None if n == 0 else 1, acc, 0.03, n_samples=n_samples)
        for n, acc in enumerate(accuracies)
    ]
    return replace(SWEEP, points=points, lines=Lines(chance, 0.3))


# Drawings


def test_a_drawing_is_judged_where_both_are_known():
    measured = [
        MeasuredPoint(1, 0.5, 0.4, 0.6),
        MeasuredPoint(2, 0.3, 0.25, 0.35),
        MeasuredPoint(5, 0.2, 0.1, 0.3),
    ]
    judged = lesson.judge_drawing([None, 0.6, 0.5, None, 0.9, 0.2], measured)
    assert judged.compared == (1, 2, 5)
    assert judged.inside == (1, 5), "the end of an interval belongs to it"
    assert judged.mean_distance == pytest.approx((0.1 + 0.2 + 0.0) / 3)
    assert judged.farthest == 2
    assert lesson.judge_drawing([None, None], measured) is None
    assert lesson.judge_drawing([0.1], measured) is None, (
        "a drawing that ends before the measurement begins"
    )


@pytest.mark.parametrize(
    ("places", "said"),
    [
        ((), ""),
        ((4,), "4"),
        ((1, 2), "1-2"),
        ((7, 3, 1, 2), "1-3 and 7"),
        ((1, 3, 5), "1, 3 and 5"),
    ],
)
def test_places_are_written_as_people_write_them(places, said):
    assert lesson.spans(places) == said


def test_accuracies_leave_the_told_one_out_and_carry_their_intervals():
    seen = lesson.accuracies(curve(0.65, 0.6, 0.3))
    assert [(one.place, one.value) for one in seen] == [(1, 0.6), (2, 0.3)]
    assert (seen[0].low, seen[0].high) == share_interval(120 / 200, 200)


def test_distances_of_a_size_carry_their_intervals():
    seen = lesson.blocks_of(MAP, 2)
    assert [one.value for one in seen] == MAP.mean[1]
    assert seen[0].high - seen[0].value == pytest.approx(4.303 * MAP.stderr[1][0], rel=1e-3), (
        "t of three texts"
    )


def test_guess_statistically_tied_with_the_best_is_tied_with_it():
    close = replace(
        MAP,
        mean=[[0.30, 0.10, 0.105, 0.40], *MAP.mean[1:]],
        stderr=[[0.01] * 4, *MAP.stderr[1:]],
        wins=[],
    )
    assert lesson.judge_block(close, lesson.Block(2, 1)).is_tied
    assert not lesson.judge_block(close, lesson.Block(0, 1)).is_tied
