"""A goal is reached by an interval, never by a point estimate."""

import math
from dataclasses import replace

import pytest

from analysis.api import facade
from analysis.core import stats
from analysis.core.errors import SpecError
from analysis.results.compared import front
from analysis.results.stored.reading import ACCURACY, LOSS
from analysis.results.words import goals
from analysis.results.words.goals import MEGABYTES, NATS, POINTS, TIMES, Goal
from tests.results.test_front import kept_answers
from tests.support import fakes


def fronts(*right: int, n: int = 200):
    return front.fronts(ACCURACY, [kept_answers(*right, n=n)])


def test_smallest_removal_whose_interval_allows_it_is_chosen():
    """Of 1,000 questions three layers lose 5, six lose 60: only the former are within 3 points."""
    found = fronts(600, 600, 598, 595, 540, 500, n=1000)
    answer = goals.reach(Goal(POINTS, 3), found)
    assert answer.offer.cut.size == 3
    assert answer.offer.change.low > -0.03
    assert all(o.change.low <= -0.03 for o in found[0].own() if o.cut and o.bytes < answer.offer.bytes)


def test_point_estimate_of_zero_with_a_wide_interval_reaches_nothing():
    """The old page recommended a removal by +0.0 (-9.8 to +9.8)."""
    sweep = kept_answers(100, 100)
    flipped = [replace(a, prediction=int(50 <= q < 150)) for q, a in enumerate(sweep.questions[1])]
    found = front.fronts(ACCURACY, [replace(sweep, questions=[sweep.questions[0], flipped])])
    answer = goals.reach(Goal(POINTS, 3), found)
    assert answer.offer is None
    assert answer.candidate.change.difference == 0
    assert answer.needed > 200


def test_needed_questions_follow_from_the_margin():
    change = fronts(100, 97)[0].own()[1].change
    deviation = (change.high - change.low) / 2 / stats.Z * math.sqrt(200)
    answer = goals.reach(Goal(POINTS, 3), fronts(100, 97))
    assert answer.offer is None or answer.needed is None
    wide = goals.reach(Goal(POINTS, 2), fronts(100, 99))
    margin = 0.02 - 0.005
    own = wide.candidate.change
    deviation = (own.high - own.low) / 2 / stats.Z * math.sqrt(200)
    assert wide.needed == max(stats.needed(margin, deviation), 201)
    assert f"about {goals.two_digits(wide.needed)} questions" in " ".join(wide.sentences())


def test_size_and_speed_take_the_removal_that_removes_least():
    found = front.fronts(ACCURACY, [fakes.sweep()], speed=fakes.speed())
    sizes = sorted({offer.bytes for offer in found[0].own() if offer.cut})
    answer = goals.reach(Goal(MEGABYTES, sizes[4] / 1e6), found)
    assert answer.offer.bytes == sizes[4]
    quick = goals.reach(Goal(TIMES, 1.1), found).offer
    assert 1 + quick.gain.low >= 1.1
    assert all(1 + o.gain.low < 1.1 for o in found[0].own() if o.cut and o.gain and o.bytes > quick.bytes)
    assert goals.reach(Goal(TIMES, 1000), found).offer is None


@pytest.mark.parametrize(
    ("goal", "aim"),
    [
        (Goal(POINTS, 0.5), "lose less than 0.5 points of accuracy"),
        (Goal(MEGABYTES, 12), "fit 12 MB"),
        (Goal(TIMES, 9), "be 9 times as fast"),
    ],
)
def test_a_goal_that_no_removal_reaches_is_named(goal, aim):
    assert goals.reach(goal, fronts(100, 90)).sentences()[0] == f"No measured removal is shown to {aim}."


def test_a_loss_goal_that_no_removal_reaches_is_named():
    found = front.fronts(LOSS, [fakes.sweep()])
    named = goals.reach(Goal(NATS, -1.0), found).sentences()[0]
    assert named == "No measured removal is shown to raise the loss by less than -1 nats/token."


def test_loss_goal_is_decided_by_the_upper_end():
    sweep = fakes.sweep()
    losses = [[point.loss + (1 + point.n * text) / 100 for text in range(8)] for point in sweep.points]
    found = front.fronts(LOSS, [replace(sweep, text_losses=losses)])
    offer = goals.reach(Goal(NATS, 1.0), found).offer
    assert offer.change.high < 1.0
    assert all(o.change.high >= 1.0 for o in found[0].own() if o.cut and o.bytes < offer.bytes)


def test_answer_shows_a_loss_without_an_interval():
    said = " ".join(goals.reach(Goal(POINTS, 50), fronts(100, 99)).sentences())
    assert "Accuracy is not significantly different (95 % CI" in said
    assert "Loss changes by " in said
    assert "200 ARC-Easy questions" in said


def test_larger_number_of_questions_decides_for_a_removal():
    few, many = kept_answers(60, 60, n=100), kept_answers(600, 500, n=1000)
    found = front.fronts(ACCURACY, [few, many])
    assert goals.reach(Goal(POINTS, 6), front.fronts(ACCURACY, [few])).offer is not None
    assert goals.reach(Goal(POINTS, 6), found).offer is None


def test_layers_needed_for_a_size_agree_with_every_number():
    from analysis.core.blocks import Block
    from analysis.models.source import sizes as spec

    sizes = {n: spec.weight_bytes(fakes.FACTS, Block(29 - n, n), "bfloat16") or 0 for n in range(1, 29)}
    for megabytes in (100, 150, 200, 250):
        n = goals.layers_needed(fakes.FACTS, megabytes, "bfloat16")
        if sizes[1]:
            assert n == next((n for n, size in sizes.items() if size <= 1e6 * megabytes), None)


def test_duration_rests_on_sweeps_of_this_machine():
    assert goals.seconds_per_question([fakes.sweep()]) is None, "measured on another machine"
    assert goals.duration(1600, None) is None
    assert goals.duration(1600, 0.5) == pytest.approx(1600)


def test_candidate_that_needs_too_many_questions_is_not_named():
    found = fronts(100, 99)
    needed = goals.reach(Goal(POINTS, 2), found).needed
    assert goals.reach(Goal(POINTS, 2), found, most=needed).candidate is not None
    assert goals.reach(Goal(POINTS, 2), found, most=needed - 1).candidate is None


def test_python_answers_a_goal_from_everything_stored(cache):
    curve = fakes.sweep(limit=200, answers=True)
    curve.save()
    asked = facade.Model(curve.spec.model)
    found = asked.goal(8)
    assert found.offer.cut == goals.reach(Goal(POINTS, 8), front.fronts(ACCURACY, [curve])).offer.cut
    assert asked.goal(300, "megabytes").offer.bytes <= 3e8
    with pytest.raises(SpecError, match="points, nats, megabytes, times"):
        asked.goal(3, "percent")
    for limit in (0, -3, math.nan, math.inf):
        with pytest.raises(SpecError, match="above 0 and finite"):
            asked.goal(limit, "megabytes")
