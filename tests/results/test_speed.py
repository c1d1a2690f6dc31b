"""The speed of a pruned model: one figure in the verdict, Cost, Export and the report."""

import math
from dataclasses import replace
from statistics import fmean, stdev

import pytest

from analysis.core.blocks import Block
from analysis.experiments.speed.speed_spec import timing
from analysis.results.compared import speed as speeds
from tests.support import fakes


def uneven():
    """Rounds whose medians and means of logarithms disagree."""
    speed = fakes.speed()
    before, after = [0.025, 0.030, 0.024, 0.050, 0.026], [0.021, 0.029, 0.019, 0.030, 0.0215]
    times = {0: before, 5: after}
    points = [replace(p, decode=timing(times[p.n])) if p.n in times else p for p in speed.points]
    return replace(speed, points=points)


def test_gain_is_the_paired_geometric_mean():
    speed = uneven()
    times = {point.n: point.decode.repeats_s for point in speed.points}
    logs = [math.log(a / b) for a, b in zip(times[0], times[5], strict=True)]
    half = 2.776445 * stdev(logs) / math.sqrt(5)
    gain = speeds.timed(speed, 5).gain
    assert gain.is_measured
    assert gain.value == pytest.approx(math.exp(fmean(logs)) - 1)
    assert (gain.low, gain.high) == pytest.approx(
        (math.exp(fmean(logs) - half) - 1, math.exp(fmean(logs) + half) - 1)
    )


def test_line_that_falls_below_zero_gives_no_seconds():
    measured = fakes.speed(ns=(0, 2))
    steep = replace(measured, decode=replace(measured.decode, intercept_s=-0.01))
    found = speeds.timed(steep, 29)
    assert (found.pruned, found.how, found.gain) == (None, speeds.EXTRAPOLATED, None)


def test_one_round_has_a_figure_and_no_interval():
    found = speeds.timed(fakes.speed(1), 5)
    assert found.gain is None
    assert found.rounds == 1
    assert found.pruned < found.unpruned


def test_nothing_removed_changes_nothing():
    found = speeds.timed(fakes.speed(), 0)
    assert found.unpruned == found.pruned


def test_sentence_says_how_the_gain_is_known():
    assert "paired over 5 rounds" in speeds.sentence(uneven(), Block(11, 5))
    assert "interpolated from the fitted line" in speeds.sentence(fakes.speed(), Block(11, 8))
    assert speeds.sentence(replace(fakes.speed(), points=[], decode=None), Block(11, 5)) == ""


def test_speed_is_a_geometric_mean():
    result = fakes.speed()
    unpruned, pruned = speeds.decode_speed(result, Block(11, 5))
    times = {point.n: point.decode.repeats_s for point in result.points}
    assert unpruned == pytest.approx(math.exp(-fmean(map(math.log, times[0]))))
    assert pruned == pytest.approx(math.exp(-fmean(map(math.log, times[5]))))


def test_unmeasured_speed_is_none():
    assert speeds.decode_speed(fakes.speed(), Block(11, 4)) is None
    assert speeds.decode_speed(fakes.speed(ns=(2, 5)), Block(11, 5)) is None
