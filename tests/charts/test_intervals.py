"""One convention on every chart: 95 % intervals, filled points and strong lines only where a difference is settled."""

from dataclasses import replace
from pathlib import Path

import pytest

import analysis
from analysis.charts import curves, data, heals, kinds, look
from analysis.core import stats
from analysis.experiments.accuracy.points import QuestionScore
from analysis.results.compared import changes
from analysis.results.stored import reading
from tests.support import fakes

CHARTS = Path(look.__file__).parent


def stored(kind):
    return [found.result for found in analysis.stored(kind)]


def named(figure, name):
    return next(trace for trace in figure.data if trace.name == name)


def ends(trace, axis="y"):
    """Return the lower and upper ends of a trace's bars."""
    bars, values = trace[f"error_{axis}"], trace[axis]
    return [(v - below, v + above) for v, below, above in zip(values, bars.arrayminus, bars.array, strict=True)]


def close(found, expected):
    assert len(found) == len(expected) > 0
    for one, another in zip(found, expected, strict=True):
        assert one == pytest.approx(another)


def wilson(point):
    return stats.share_interval(point.acc, point.n_samples)


def student(value, stderr, n):
    half = stats.t_quantile(n - 1) * stderr
    return value - half, value + half


def test_only_one_place_makes_error_bars():
    for file in CHARTS.glob("*.py"):
        said = file.read_text()
        assert file.name == "look.py" or '"array"' not in said, f"{file.name} makes error bars of its own"
        assert "±" not in said, file.name


@pytest.mark.slow
def test_curves_of_stored_results_have_wilsons_and_students_intervals():
    for sweep in stored("sweep"):
        by_n = sorted(sweep.points, key=lambda point: point.n)
        expected = {"accuracy": [wilson(point) for point in by_n]}
        if sweep.spec.loss_corpus is not None:
            expected["loss"] = [student(point.loss, point.loss_stderr, point.n_texts) for point in by_n]
        for name, sides in expected.items():
            figure = kinds.figure(sweep, name)
            band = named(figure, "interval")
            half = len(band.x) // 2
            close(list(zip(reversed(band.y[half:]), band.y[:half], strict=True)), sides)
            beside = curves.accuracy_curve(fakes.sweep(), others=[sweep]) if name == "accuracy" else None
            if beside is not None and sweep.spec.strategy not in ("similarity", "random"):
                close(ends(named(beside, sweep.spec.strategy))[1:], sides[1:])


@pytest.mark.slow
def test_heals_of_stored_results_have_wilsons_and_students_intervals():
    for heal in stored("heal"):
        for name, point in heal.models.items():
            shown = "control" if heal.spec.control and name == "healed" else name
            accuracy, loss = (named(heals.heal_comparison(heal, field), shown) for field in ("acc", "loss"))
            close(ends(accuracy), [wilson(point)])
            close(ends(loss), [student(point.loss, point.loss_stderr, point.n_texts)])
        checks = heals.training_curve(heal).data[1]
        expected = [
            student(check.loss, check.loss_stderr, heal.n_choice_texts or heal.unpruned.n_texts) for check in heal.validations
        ]
        if expected:
            close(ends(checks), expected)


def with_answers(*rights):
    """Return a curve whose n-th pruned model got these of 200 questions right, the first ones of a fixed order."""
    sweep, n = fakes.sweep(last=len(rights) - 1, limit=200), 200
    given = [[QuestionScore(f"q{place}", [0.0, 0.0], int(place not in right), 0) for place in range(n)] for right in rights]
    points = [
        replace(point, acc=len(right) / n, n_samples=n, acc_stderr=0.035)
        for point, right in zip(sweep.points, rights, strict=True)
    ]
    return replace(sweep, points=points, questions=given)


NOISY = [set(range(100)), set(range(14, 108)), set(range(70))]
"""The unpruned model; 14 lost and 8 gained, 3 points with p = 0.29; 30 lost and none gained."""


def test_point_is_filled_only_where_its_paired_difference_is_significant():
    sweep = with_answers(*NOISY)
    pruned = named(curves.accuracy_curve(sweep), "pruned")
    assert list(pruned.marker.symbol) == ["circle-open", "circle-open", "circle"]
    assert "not significantly different (n = 200 questions, would need about" in pruned.text[1].replace("<br>", " ")
    assert "paired with the unpruned model: -3.0 points" in pruned.text[1].replace("<br>", " ")
    assert "McNemar p = 0.29" in pruned.text[1].replace("<br>", " ")
    assert changes.NOT_SEEN not in pruned.text[2].replace("<br>", " ")
    unpaired = named(curves.accuracy_curve(replace(sweep, questions=[])), "pruned")
    assert "not paired with the unpruned model" in unpaired.text[1].replace("<br>", " ")


def test_line_is_strong_only_between_significantly_different_points():
    figure = curves.accuracy_curve(with_answers(*NOISY))
    assert list(named(figure, curves.STEPS).x) == [1, 2, None]
    guide = named(figure, "pruned").line
    assert guide.width < 1.5
    assert guide.color.startswith("rgba")
    assert curves.STEPS not in {row["curve"] for row in data.rows(figure)}


def test_curves_of_equal_n_are_shifted_but_their_data_not():
    others = [fakes.sweep(strategy=name) for name in ("deepest", "reverse", "block-influence", "loss-greedy")]
    figure = curves.accuracy_curve(fakes.sweep(), [fakes.heal(), fakes.heal()], others=others)
    clickable = [trace for trace in figure.data if trace.customdata]
    at_five = [x for trace in clickable for x, (_, n) in zip(trace.x, trace.customdata, strict=True) if n == 5]
    assert len(set(at_five)) == len(at_five) == 7
    assert all(x == 5 or 0 < abs(x - 5) < 0.4 for x in at_five)
    rows = [row for row in data.rows(figure) if row["curve"] == "deepest"]
    assert [row["removed layers n"] for row in rows] == list(range(16))
    assert {"low", "high"} <= rows[1].keys()


def test_a_loss_is_paired_over_texts():
    sweep = next(found for found in stored("sweep") if found.text_losses)
    change = changes.against_unpruned(sweep, reading.LOSS)[1]
    mean, low, high = stats.compare_losses(sweep.text_losses[0], sweep.text_losses[1], sweep.text_tokens)
    assert (change.difference, change.low, change.high, change.paired) == (mean, low, high, True)
