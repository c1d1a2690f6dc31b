"""A table of methods as a chart: every measured cell with its interval, coloured if significant,
ringed where best.
"""

import pytest

from analysis.charts import kinds
from analysis.charts.look import palette
from tests.support import fakes


@pytest.mark.parametrize("name", ["nats", "accuracy"])
def test_every_measured_cell_is_a_point_with_its_interval(name):
    result = fakes.methods()
    drawn = kinds.figure(result, name)
    points = {
        (trace.name, method): (value, value - low, value + high)
        for trace in drawn.data
        if "lowest" not in trace.name
        for method, value, low, high in zip(
            trace.y, trace.x, trace.error_x.arrayminus, trace.error_x.array, strict=True
        )
    }
    find = result.nats if name == "nats" else result.gained
    wanted = {
        (f"n = {cell.n}", cell.method): find(place)
        for place, cell in enumerate(result.cells)
        if not cell.error
    }
    assert len(wanted) == 7
    assert points == {key: pytest.approx(ends) for key, ends in wanted.items()}
    for trace in drawn.data:
        for method, colour in (
            zip(trace.y, trace.marker.color, strict=True) if "lowest" not in trace.name else ()
        ):
            _, low, high = wanted[trace.name, method]
            assert (colour == palette(False).unpruned) == (low <= 0 <= high)


def test_only_a_significantly_best_method_has_a_ring():
    drawn = kinds.figure(fakes.methods(), "nats")
    assert [(trace.name, list(trace.y)) for trace in drawn.data if "lowest" in trace.name] == [
        ("lowest loss at n = 3", ["similarity + instant"])
    ]
    assert not [
        trace.name
        for trace in kinds.figure(fakes.methods(), "accuracy").data
        if "lowest" in trace.name
    ]


def test_an_unfinished_table_is_drawn_with_all_its_rows():
    assert list(kinds.figure(fakes.methods(1)).layout.yaxis.categoryarray)[::-1] == [
        "similarity",
        "similarity + instant",
        "deepest",
        "deepest + instant",
    ]
