"""The rows behind a chart are its drawn values, under the names and units of its axes."""

import math

import pytest

from analysis.charts import curves, data, heals, maps
from analysis.core.blocks import Block
from tests.support import fakes

N, ACC = "removed layers n", "accuracy"


def of(rows, curve):
    return [row for row in rows if row["curve"] == curve]


def test_a_curve_has_its_points_its_band_and_its_levels():
    sweep = fakes.sweep()
    rows = data.rows(curves.accuracy_curve(sweep, [fakes.heal()]))
    assert list(rows[0])[:3] == ["curve", N, ACC]
    drawn = of(rows, "pruned")
    assert [(row[N], row[ACC]) for row in drawn] == [(point.n, point.acc) for point in sweep.points]
    assert "95 % interval" in drawn[3]["label"]
    assert "<" not in drawn[3]["label"]
    band = of(rows, "interval")
    assert [row[N] for row in band] == [point.n for point in sweep.points]
    assert all(
        low["low"] <= point.acc <= low["high"]
        for low, point in zip(band, sweep.points, strict=True)
    )
    (chance,) = of(rows, "chance")
    assert chance[ACC] == 0.25
    assert chance[N] is None
    (healed,) = of(rows, "healed")
    assert healed["low"] < healed[ACC] == fakes.heal().healed.acc < healed["high"]


def test_a_map_has_every_cell():
    result = fakes.distances()
    rows = of(data.rows(maps.distance_map(result, selected=Block(11, 5))), "distance")
    assert len(rows) == sum(map(len, result.mean))
    cell = next(
        row
        for row in rows
        if (row["start layer l (0-based)"], row["block size n, layers"]) == (11, 5)
    )
    assert cell["distance, share of 180°"] == result.mean[4][11]
    place, value = cell["label"].split("; ", 1)
    assert place == "layers 11-15"
    assert value.startswith("distance")


@pytest.mark.parametrize(
    "figure",
    [
        lambda: heals.training_curve(fakes.heal()),
        lambda: heals.heal_comparison(fakes.heal(), "loss"),
        lambda: curves.writing_curve(fakes.sweep(writes=True)),
        lambda: maps.layer_strip(30, Block(3, 2)),
    ],
)
def test_every_chart_of_ours_has_rows_of_one_shape(figure):
    rows = data.rows(figure())
    assert rows
    assert len({tuple(row) for row in rows}) == 1
    numbers = [value for row in rows for value in row.values() if isinstance(value, float)]
    assert all(math.isfinite(value) for value in numbers)
