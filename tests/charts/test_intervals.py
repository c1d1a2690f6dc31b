"""One convention on every chart: 95 % intervals, filled points and strong lines only where a
difference is settled.
"""

from dataclasses import replace

from analysis.charts import curves, data
from analysis.experiments.accuracy.points import QuestionScore
from analysis.results.score import changes
from tests.support import fakes


def named(figure, name):
    return next(trace for trace in figure.data if trace.name == name)


def with_answers(*rights):
    """Return a curve whose n-th pruned model got these of 200 questions right, the first ones of a
    fixed order.
    """
    sweep, n = fakes.sweep(last=len(rights) - 1, limit=200), 200
    given = [
        [QuestionScore(f"q{place}", [0.0, 0.0], int(place not in right), 0) for place in range(n)]
        for right in rights
    ]
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
    assert "not significantly different (n = 200 questions, would need about" in pruned.text[
        1
    ].replace("<br>", " ")
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
    others = [
        fakes.sweep(strategy=name)
        for name in ("deepest", "reverse", "block-influence", "loss-greedy")
    ]
    figure = curves.accuracy_curve(fakes.sweep(), [fakes.heal(), fakes.heal()], others=others)
    clickable = [trace for trace in figure.data if trace.customdata]
    at_five = [
        x
        for trace in clickable
        for x, (_, n) in zip(trace.x, trace.customdata, strict=True)
        if n == 5
    ]
    assert len(set(at_five)) == len(at_five) == 7
    assert all(x == 5 or 0 < abs(x - 5) < 0.4 for x in at_five)
    rows = [row for row in data.rows(figure) if row["curve"] == "deepest"]
    assert [row["removed layers n"] for row in rows] == list(range(16))
    assert {"low", "high"} <= rows[1].keys()
