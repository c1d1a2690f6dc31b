"""Curves of several models on one scale: measured values are drawn, and a model that only guesses has no line."""

from dataclasses import replace

import pytest

from analysis.charts import published
from analysis.data.spec import BenchmarkSpec
from analysis.results.compared.plateaus import plateaus
from tests.support import fakes


def asked(sweep, task):
    return replace(sweep, spec=replace(sweep.spec, benchmark=BenchmarkSpec(task=task, limit=100)))


def test_models_of_any_depth_share_a_scale_with_their_intervals():
    short = replace(fakes.sweep(), n_layers=20)
    curves = plateaus([("one", fakes.sweep()), ("two", short)])
    assert [curve.name for curve in curves] == ["one", "two"]
    for curve, sweep in zip(curves, (fakes.sweep(), short), strict=True):
        step, point = curve.steps[5], sweep.points[5]
        assert (step.n, step.share) == (5, 5 / sweep.n_layers)
        assert (step.above, step.low, step.high) == pytest.approx((point.acc - 0.25, *(end - 0.25 for end in point.interval)))
    figure = published.plateaus(curves)
    line = next(trace for trace in figure.data if trace.name == "two")
    assert list(line.x) == [n / 20 for n in range(16)]
    assert line.error_y.array[5] == pytest.approx(curves[1].steps[5].high - curves[1].steps[5].above)
    assert "n = 5 of 20 layers" in line.text[5]


def test_names_hold_differences_and_guessing_models_are_left_out():
    guesses = replace(fakes.sweep(), points=[replace(point, acc=0.25) for point in fakes.sweep().points])
    found = plateaus([("m", fakes.sweep()), ("m", asked(fakes.sweep(strategy="greedy"), "mmlu")), ("n", guesses)])
    assert [curve.name for curve in found] == ["m · ARC-Easy · similarity", "m · MMLU · greedy"]
    assert plateaus([]) == []
