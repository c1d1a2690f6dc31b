"""Gains: the strongest evidence that has the unpruned model beside it, and speed with an interval."""

import math
from dataclasses import replace
from statistics import fmean, stdev

import pytest

from analysis.core.blocks import Block
from analysis.results import gains
from analysis.results.reading import ACCURACY, LOSS
from tests.support import fakes

CUT = fakes.distances().best[4].block
CURVE = fakes.sweep(answers=True)


def heal(**changes):
    made = fakes.heal()
    return replace(made, spec=replace(made.spec, block=CUT), **changes)


def test_a_curve_says_both_with_the_unpruned_model_beside_it():
    found = gains.quality(ACCURACY, [CURVE], CUT)
    at = next(point for point in CURVE.points if point.block == CUT)
    assert (found.before.value, found.after.value) == (CURVE.points[0].acc, at.acc)
    assert found.change.difference == pytest.approx(at.acc - CURVE.points[0].acc)
    assert found.change.paired
    assert gains.quality(LOSS, [CURVE], CUT).after.value == at.loss


def test_more_questions_win_over_the_newer_try():
    few = fakes.sweep(limit=5)
    assert gains.quality(ACCURACY, [few, CURVE], CUT).after.condition.n == 100
    assert gains.quality(ACCURACY, [few], CUT).after.condition.n == 5


def test_only_healed_quality_is_read_from_a_healing_run():
    healed = heal()
    found = gains.quality(LOSS, [CURVE, healed], CUT, healed)
    assert (found.before.value, found.after.value) == (2.41, 3.1)
    assert found.after.repair == "quick"
    assert gains.quality(LOSS, [healed], CUT).after.value == 4.45
    assert gains.quality(LOSS, [heal(healed=None)], CUT, healed) is None


def test_an_evaluation_needs_the_unpruned_model_asked_the_same_elsewhere():
    alone = fakes.evaluate(CUT, curve=CURVE)
    assert gains.quality(ACCURACY, [alone], CUT) is None
    found = gains.quality(ACCURACY, [alone, replace(CURVE, points=CURVE.points[:2])], CUT)
    assert (found.before.value, found.after.value) == (CURVE.points[0].acc, 0.37)
    other = fakes.sweep(limit=50)
    assert gains.quality(ACCURACY, [alone, other], Block(1, 1)) is None
    assert gains.quality(ACCURACY, [alone, replace(other, points=other.points[:1])], CUT) is None, "other questions"


def test_speed_is_a_geometric_mean_and_gain_pairs_rounds():
    result = fakes.speed()
    found = gains.speed([result], 5)
    times = {point.n: point.decode.repeats_s for point in result.points}
    assert found.before.value == pytest.approx(math.exp(-fmean(map(math.log, times[0]))))
    ratios = [math.log(a / b) for a, b in zip(times[0], times[5], strict=True)]
    assert found.times.value == pytest.approx(math.exp(fmean(ratios)))
    assert found.times.low == pytest.approx(found.times.high), "every round has the same ratio, however slow it was"
    logs = [-math.log(time) for time in times[5]]
    half = 2.776445 * stdev(logs) / math.sqrt(5)
    assert found.after.low == pytest.approx(math.exp(fmean(logs) - half), rel=1e-5)
    assert found.after.high == pytest.approx(math.exp(fmean(logs) + half), rel=1e-5)


def test_unmeasured_speed_is_none_and_one_round_has_no_interval():
    assert gains.speed([fakes.speed()], 4) is None
    assert gains.speed([fakes.speed(ns=(2, 5))], 5) is None
    assert gains.speed([], 5) is None
    once = gains.speed([fakes.speed(1)], 5)
    assert (once.times.low, once.times.high, once.rounds) == (None, None, 1)
