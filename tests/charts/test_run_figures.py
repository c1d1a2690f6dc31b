"""Overlaid runs: relative depth, one chance line for each level, the reference dashed, differences
centred on zero.
"""

from dataclasses import replace

import pytest

from analysis.charts import runs
from analysis.charts.look import ACCURACY, BITS, LOSS
from analysis.charts.runs import DrawnRun
from analysis.experiments.accuracy.points import Lines
from analysis.experiments.maps.distance_spec import Best
from analysis.results.score import changes
from tests.support import fakes


def small():
    """Return a map of four layers with hand-made best blocks."""
    best = [Best(1, 2, 0.1), Best(2, 1, 0.2), Best(3, 0, 0.3)]
    mean = [[0.3, 0.2, 0.1, 0.4], [0.5, 0.2, 0.6], [0.3, 0.7], [0.5]]
    return replace(
        fakes.distances(),
        n_layers=4,
        mean=mean,
        stderr=[[0.01] * len(row) for row in mean],
        best=best,
        model=replace(fakes.FACTS, n_layers=4),
    )


def named(figure, name):
    return next(trace for trace in figure.data if trace.name == name)


def test_maps_of_any_depth_stand_on_the_same_axes():
    maps = [DrawnRun(small(), "small", 0), DrawnRun(fakes.distances(), "large", 1)]
    distance = runs.best_curves(maps)
    assert list(named(distance, "small").x) == [0.25, 0.5, 0.75]
    assert list(named(distance, "small").y) == [0.1, 0.2, 0.3]
    assert max(named(distance, "large").x) == pytest.approx(29 / 30)
    assert "layers 1-2" in named(distance, "small").text[1]


def test_only_the_reference_is_dashed_and_looks_differ():
    maps = [
        DrawnRun(small(), "a", 0, pinned=True),
        DrawnRun(small(), "b", 1),
        DrawnRun(small(), "c", 2),
    ]
    for dark in (False, True):
        traces = runs.best_curves(maps, dark=dark).data
        assert [trace.line.dash != "solid" for trace in traces] == [True, False, False]
        assert len({(trace.line.color, trace.marker.symbol) for trace in traces}) == 3
    assert traces[0].name == "a (reference)"


def test_every_set_of_questions_has_its_chance_line():
    two = replace(fakes.sweep(), lines=Lines(0.5, 0.5))
    curves = [
        DrawnRun(fakes.sweep(), "four options", 0),
        DrawnRun(fakes.sweep(), "again", 1),
        DrawnRun(two, "two options", 2),
    ]
    figure = runs.score_curves(curves, ACCURACY)
    levels = [trace.name for trace in figure.data if trace.name.startswith("chance")]
    assert levels == ["chance, 25.0%", "chance, 50.0%"]
    assert named(figure, "four options").x[15] == 0.5
    assert not [
        trace for trace in runs.score_curves(curves, LOSS).data if trace.name.startswith("chance")
    ]
    assert (
        named(runs.score_curves(curves, BITS), "again").y[3]
        == fakes.sweep().points[3].bits_per_byte
    )


def test_points_are_filled_only_where_significantly_different_from_unpruned():
    curve = fakes.with_losses(fakes.sweep(answers=True))
    for measure in (ACCURACY, LOSS, BITS):
        for pinned, look in ((False, 0), (True, 1), (False, len(runs.LOOKS) + 2)):
            trace = runs.score_curves([DrawnRun(curve, "a", look, pinned=pinned)], measure).data[-1]
            moved = changes.against_unpruned(curve, measure.quantity)
            is_filled = [not symbol.endswith("-open") for symbol in trace.marker.symbol]
            assert is_filled == [change is not None and change.is_significant for change in moved]
            assert {True, False} == set(is_filled)
            assert (
                "paired with the unpruned model" in trace.text[3] or "not paired" in trace.text[3]
            )


def test_names_cannot_bring_markup():
    figure = runs.best_curves([DrawnRun(small(), "<b>x</b>", 0)])
    assert figure.data[0].name == "&lt;b&gt;x&lt;/b&gt;"


def test_heals_are_orange_with_their_steps_and_shares():
    heals = [DrawnRun(fakes.heal(), "quick", 0), DrawnRun(fakes.heal(20), "growing", 1)]
    figure = runs.heal_curves(heals)
    assert list(named(figure, "quick").x) == [0, 10, 20, 30, 40, 50]
    assert named(figure, "unpruned").y[0] == 2.43
    bars = runs.recovery_bars(heals).data
    assert [bar.name for bar in bars] == ["quick"]
    assert bars[0].x[0] == pytest.approx((4.45 - 3.1) / (4.45 - 2.41))
