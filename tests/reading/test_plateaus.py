"""Curves of several models on one scale: what is drawn is what was measured, and a model that only guesses has no line."""

from dataclasses import replace

import pytest

from analysis.charts import lesson
from analysis.data.spec import BenchmarkSpec
from analysis.reading.plateaus import Plateau, Step, differ, plateaus
from tests.support import fakes


def asked(sweep, task):
    return replace(sweep, spec=replace(sweep.spec, benchmark=BenchmarkSpec(task=task, limit=100)))


def test_models_of_any_depth_stand_on_one_scale_with_their_intervals():
    short = replace(fakes.sweep(), n_layers=20)
    curves = plateaus([("one", fakes.sweep()), ("two", short)])
    assert [curve.name for curve in curves] == ["one", "two"]
    for curve, sweep in zip(curves, (fakes.sweep(), short), strict=True):
        step, point = curve.steps[5], sweep.points[5]
        assert (step.n, step.share) == (5, 5 / sweep.n_layers)
        assert (step.above, step.low, step.high) == pytest.approx((point.acc - 0.25, *(end - 0.25 for end in point.interval)))
    figure = lesson.plateaus(curves)
    line = next(trace for trace in figure.data if trace.name == "two")
    assert list(line.x) == [n / 20 for n in range(16)]
    assert line.error_y.array[5] == pytest.approx(curves[1].steps[5].high - curves[1].steps[5].above)
    assert "n = 5 of 20 layers" in line.text[5]


@pytest.mark.parametrize(
    ("cliff", "measured_to", "other", "told"),
    [(6, 12, "b", True), (6, 5, "b", False), (None, 12, "b", False), (6, 12, "a", False)],
    ids=["stands where the other falls", "not measured so far", "no cliff", "two cuts of one model"],
)
def test_models_differ_where_one_falls_and_another_was_measured_and_stands(cliff, measured_to, other, told):
    def curve(model: str, cliff: int | None, last: int) -> Plateau:
        steps = tuple(Step(n, n / 20, 0.2, 0.1, 0.3) for n in range(last + 1))
        return Plateau(model, model, 20, 100, "float32", steps, cliff)

    assert differ([curve("a", cliff, 12), curve(other, None, measured_to)]) is told


def test_a_name_says_what_tells_curves_apart_and_what_only_guesses_is_left_out():
    guesses = replace(fakes.sweep(), points=[replace(point, acc=0.25) for point in fakes.sweep().points])
    found = plateaus([("m", fakes.sweep()), ("m", asked(fakes.sweep(strategy="greedy"), "mmlu")), ("n", guesses)])
    assert [curve.name for curve in found] == ["m · ARC-Easy · similarity", "m · MMLU · greedy"]
    assert plateaus([]) == []
