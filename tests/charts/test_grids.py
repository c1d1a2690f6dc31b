"""The charts of a grid: a panel for each model and material, a line for each strategy, on scales that all share."""

import math
from dataclasses import replace

import pytest

from analysis.charts import grids, kinds
from tests.support import fakes


def test_panel_has_a_line_with_intervals_for_each_strategy():
    result = fakes.grid()
    panels = grids.panels(result, grids.ACCURACY)
    assert list(panels) == ["SmolLM2-135M-Instruct, bfloat16 from Q4_1 weights: ARC-Easy", "small, bfloat16: ARC-Easy"]
    first = [trace for trace in grids.figure(result, grids.ACCURACY).data if trace.xaxis in (None, "x")]
    assert [trace.name for trace in first] == ["similarity", "deepest", "chance"]
    cuts, line = result.cells[0].cuts, first[0]
    assert list(line.y) == [cut.acc for cut in cuts]
    assert [y - low for y, low in zip(line.y, line.error_y.arrayminus, strict=True)] == [cut.acc_low for cut in cuts]


@pytest.mark.parametrize(("quantity", "name", "read"), [(grids.ACCURACY, "acc", float), (grids.LOSS, "loss", math.log10)])
def test_all_panels_share_one_scale_that_holds_every_interval(quantity, name, read):
    result = fakes.grid()
    drawn = grids.figure(result, quantity)
    ((low, high),) = {axis.range for axis in drawn.select_yaxes()}
    cuts = [cut for cell in result.cells for cut in cell.cuts]
    assert low < min(read(getattr(cut, f"{name}_low")) for cut in cuts)
    assert high > max(read(getattr(cut, f"{name}_high")) for cut in cuts)


def test_the_same_questions_beside_two_texts_are_one_line():
    result = fakes.grid()
    twice = replace(result, cells=[*result.cells, *(replace(cell, texts="Wikipedia") for cell in result.cells)])
    assert [len(lines) for lines in grids.panels(twice, grids.ACCURACY).values()] == [2, 2]
    assert [len(lines) for lines in grids.panels(twice, grids.LOSS).values()] == [2, 2, 2, 2]


def test_panels_share_one_chart_and_a_legend_without_duplicates():
    for name in kinds.names("grid"):
        drawn = kinds.figure(fakes.grid(), name, dark=True)
        told = [trace.name for trace in drawn.data if trace.showlegend]
        assert sorted(told) == sorted(set(told))
        assert [note.text for note in drawn.layout.annotations] == list(grids.panels(fakes.grid(), name))


@pytest.mark.slow
def test_a_grid_without_a_finished_curve_is_an_empty_chart():
    assert not kinds.figure(fakes.grid(0)).data
    assert kinds.figure(fakes.grid(failing=True)).data
