"""Contract of every chart: it draws results of its kind, light and dark, with two-sided error bars
around its points.
"""

import pytest

import analysis
from analysis.charts import kinds
from analysis.charts.kinds import CHARTS
from tests.support import fakes

MADE = {"sweep": [fakes.generating_sweep()]}


@pytest.mark.parametrize("chart", CHARTS.values(), ids=CHARTS)
def test_chart(chart):
    results = [
        *MADE.get(chart.kind, ()),
        *(found.result for found in analysis.stored(chart.kind)[:3]),
    ]
    figures = [kinds.figure(result, chart.name) for result in results]
    assert figures[0].data
    assert len(figures[0].data) == len(kinds.figure(results[0], chart.name, dark=True).data)
    for trace in (trace for figure in figures for trace in figure.data):
        for axis in ("x", "y"):
            bars = trace[f"error_{axis}"] if trace.type in ("scatter", "bar") else None
            if bars is not None and bars.array is not None:
                assert bars.symmetric is False
                assert all(
                    min(below, above) >= 0
                    for below, above in zip(bars.arrayminus, bars.array, strict=True)
                )
