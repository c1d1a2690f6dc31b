"""What the lesson says of a prediction: where the questions let a cliff begin, and how near a drawing came."""

import random
from dataclasses import replace

import pytest

from analysis.core.stats import wilson_interval
from analysis.experiments.accuracy.points import Lines, Point
from analysis.reading import lesson
from analysis.reading.lesson import Seen
from tests.support.toy import MAP, SWEEP


def curve(*accuracies: float, n_samples: int = 200, chance: float = 0.25):
    points = [Point(n, None if n == 0 else 1, acc, 0.03, n_samples=n_samples) for n, acc in enumerate(accuracies)]
    return replace(SWEEP, points=points, lines=Lines(chance, 0.3))


# The cliff


def test_a_sharp_fall_is_settled_with_many_questions_and_not_with_five():
    sharp = (0.65, 0.6, 0.62, 0.26, 0.25)
    many = lesson.cliff(curve(*sharp, n_samples=400))
    assert (many.earliest, many.latest, many.is_settled) == (3, 3, True)
    five = lesson.cliff(curve(0.8, 0.6, 0.6, 0.2, 0.2, n_samples=5))
    assert (five.n, five.latest, five.is_settled) == (3, None, False), "the accuracies alone say n = 3"


def test_a_slope_leaves_a_range_in_which_the_cliff_begins():
    found = lesson.cliff(curve(0.65, 0.6, 0.48, 0.44, 0.41, 0.28, 0.26))
    assert (found.earliest, found.latest) == (2, 5)


def test_one_unlucky_cut_within_the_plateau_is_no_cliff_and_one_lucky_cut_behind_it_ends_it():
    assert lesson.cliff(curve(0.65, 0.3, 0.6, 0.6)).latest is None
    late = lesson.cliff(curve(0.65, 0.6, 0.3, 0.28, 0.44, 0.27))
    assert (late.earliest, late.latest) == (2, 5), "n = 4 may lie above halfway"


def test_the_range_agrees_with_every_n_tried_one_by_one():
    rng = random.Random(0)
    for _ in range(200):
        right = [rng.randrange(90, 130), *(rng.randrange(30, 130) for _ in range(rng.randrange(1, 9)))]
        found = lesson.cliff(curve(*(n / 200 for n in right)))
        if found is None:
            continue
        sides = [wilson_interval(n, 200) for n in right]
        possible = [n for n in range(1, len(right)) if not any(low > found.midpoint for low, _ in sides[n:])]
        settled = [n for n in range(1, len(right)) if all(high < found.midpoint for _, high in sides[n:])]
        assert found.earliest == min(possible, default=len(right))
        assert found.latest == (min(settled) if settled else None)


def test_a_guess_is_ruled_out_only_by_what_is_beyond_doubt():
    settled = lesson.cliff(curve(0.65, 0.6, 0.48, 0.44, 0.41, 0.28, 0.26))
    assert [settled.allows(n) for n in (1, 2, 5, 6)] == [False, True, True, False]
    assert not settled.allows(None)
    open_end = lesson.cliff(curve(0.65, 0.6, 0.45, 0.4))
    assert [open_end.allows(n) for n in (1, 2, 3, None)] == [False, True, True, True]


# Drawings


def test_a_drawing_is_judged_where_both_are_known():
    measured = [Seen(1, 0.5, 0.4, 0.6), Seen(2, 0.3, 0.25, 0.35), Seen(5, 0.2, 0.1, 0.3)]
    judged = lesson.judge_drawing([None, 0.6, 0.5, None, 0.9, 0.2], measured)
    assert judged.compared == (1, 2, 5)
    assert judged.inside == (1, 5), "the end of an interval belongs to it"
    assert judged.mean_distance == pytest.approx((0.1 + 0.2 + 0.0) / 3)
    assert judged.farthest == 2
    assert lesson.judge_drawing([None, None], measured) is None
    assert lesson.judge_drawing([0.1], measured) is None, "a drawing that ends before the measurement begins"


@pytest.mark.parametrize(
    ("places", "said"), [((), ""), ((4,), "4"), ((1, 2), "1-2"), ((7, 3, 1, 2), "1-3 and 7"), ((1, 3, 5), "1, 3 and 5")]
)
def test_places_are_written_as_people_write_them(places, said):
    assert lesson.spans(places) == said


def test_accuracies_leave_the_told_one_out_and_carry_their_intervals():
    seen = lesson.accuracies(curve(0.65, 0.6, 0.3))
    assert [(one.place, one.value) for one in seen] == [(1, 0.6), (2, 0.3)]
    assert (seen[0].low, seen[0].high) == wilson_interval(120, 200)


def test_distances_of_a_size_carry_their_intervals():
    seen = lesson.blocks_of(MAP, 2)
    assert [one.value for one in seen] == MAP.mean[1]
    assert seen[0].high - seen[0].value == pytest.approx(4.303 * MAP.stderr[1][0], rel=1e-3), "t of three texts"


def test_a_guess_that_the_texts_cannot_tell_from_the_best_is_a_rival():
    close = replace(MAP, mean=[[0.30, 0.10, 0.105, 0.40], *MAP.mean[1:]], stderr=[[0.01] * 4, *MAP.stderr[1:]], wins=[])
    assert lesson.judge_block(close, lesson.Block(2, 1)).is_rival
    assert not lesson.judge_block(close, lesson.Block(0, 1)).is_rival
