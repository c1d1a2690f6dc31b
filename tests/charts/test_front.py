"""The trade-off is drawn as it was measured: intervals, limits, and the block that a click
takes.
"""

from dataclasses import replace

import pytest

from analysis.charts import front as figures
from analysis.core import blocks
from analysis.models.source.model_spec import ModelSpec
from analysis.results import verdict
from analysis.results.compared import front
from analysis.results.compared.front import SIZE, SPEED
from analysis.results.score.score import ACCURACY
from analysis.results.verdict import BYTES, Goal
from tests.support import fakes


@pytest.fixture
def found():
    """The front of a curve with speeds."""
    return front.compare([fakes.sweep()], (), [fakes.speed()]).front(ACCURACY)


@pytest.mark.parametrize("by", [SIZE, SPEED])
def test_each_variant_has_one_point_a_size_with_its_interval(found, by):
    figure = figures.trade_off(found, by, dark=False)
    drawn = [
        (trace, place)
        for trace in figure.data
        if trace.name == "pruned" and trace.text
        for place in range(len(trace.x))
    ]
    candidates = {
        blocks.written(one.cut): one
        for one in found.candidates
        if one.cut and (by == SIZE or one.gain)
    }
    assert len(drawn) == len({one.memory for one in candidates.values()})
    for trace, place in drawn:
        measured = candidates[trace.customdata[place]].scores[ACCURACY]
        assert trace.y[place] + trace.error_y.array[place] == pytest.approx(measured.high)
        assert trace.y[place] - trace.error_y.arrayminus[place] == pytest.approx(measured.low)
    (line,) = [trace for trace in figure.data if trace.name == "best measured"]
    assert list(line.y) == [
        candidate.scores[ACCURACY].value for candidate in verdict.best(found, by)
    ]


def test_a_model_that_misses_a_limit_is_pale_and_the_limit_is_a_line(found):
    limit = Goal(BYTES, found.candidates[5].memory)
    figure = figures.trade_off(found, SIZE, dark=False, limits=[limit])
    pale = {
        name
        for trace in figure.data
        if "0.25" in str(trace.marker.color)
        for name in trace.customdata
        if name
    }
    assert pale == {
        blocks.written(one.cut) for one in found.candidates if one.cut and one.memory > limit.value
    }
    assert [shape.x0 for shape in figure.layout.shapes] == [pytest.approx(limit.value / 1e6)]
    assert not figures.trade_off(found, SPEED, dark=False, limits=[limit]).layout.shapes


def with_others(found, *names):
    """The front with other models of eight times the size, in as many forms."""
    forms = [
        replace(
            one,
            model=ModelSpec(name),
            facts=replace(one.facts, name=name),
            memory=8 * one.memory,
            is_other=True,
        )
        for name in names
        for one in found.candidates
    ]
    return replace(found, candidates=(*found.candidates, *forms))


def test_model_name_makes_no_link_in_a_chart(found):
    drawn = figures.trade_off(with_others(found, "<a href='http://a.test'>x</a>"), SIZE, dark=False)
    assert "<a " not in drawn.to_json()
    assert "&lt;a href" in " ".join(
        text for trace in drawn.data if trace.text for text in trace.text
    )


def test_a_symbol_is_a_model_and_a_colour_a_variant(found):
    drawn = with_others(found, "Large", "Huge")
    quantized = [
        replace(one, is_quantized=True, memory=one.memory // 2) for one in found.candidates
    ]
    figure = figures.trade_off(
        replace(drawn, candidates=(*drawn.candidates, *quantized)), SIZE, dark=False
    )
    in_legend = [trace.name for trace in figure.data if trace.showlegend is not False]
    selected = found.candidates[0].name
    assert in_legend == [
        "unpruned",
        "quantized",
        "pruned",
        "pruned and quantized",
        selected,
        "Huge",
        "Large",
    ]
    symbols = {trace.name: trace.marker.symbol for trace in figure.data[1:]}
    assert len({symbols[name] for name in (selected, "Large", "Huge")}) == 3
    assert len({symbols[name] for name in in_legend[:5]}) == 1
    assert (
        len({trace.marker.color for trace in figure.data[1:] if trace.name in in_legend[:4]}) == 4
    )
