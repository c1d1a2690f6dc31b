"""The trade-off is drawn as it was measured: intervals, standing of every offer, and the block that a click takes."""

from dataclasses import replace

import pytest

from analysis.charts import front as figures
from analysis.core import blocks
from analysis.models.source.model_spec import ModelSpec
from analysis.results import verdict
from analysis.results.compared import front
from analysis.results.compared.front import SIZE, SPEED
from analysis.results.stored.reading import ACCURACY
from tests.support import fakes


@pytest.fixture
def found():
    """The front of a curve with speeds."""
    return front.compare([fakes.sweep()], (), [fakes.speed()]).front(ACCURACY)


@pytest.mark.parametrize("by", [SIZE, SPEED])
def test_points_have_intervals_and_only_dominated_ones_are_open(found, by):
    figure = figures.trade_off(found, by, dark=False)
    best, standing = verdict.best(found, by), [(candidate.cut, own) for candidate, own in verdict.standing(found, by)]
    pruned = [trace for trace in figure.data if trace.name.startswith("pruned")]
    candidates = {blocks.written(one.cut): one for one in found.candidates if one.cut and (by == SIZE or one.gain)}
    assert {name for trace in pruned for name in trace.customdata} == set(candidates)
    for trace in pruned:
        for place, name in enumerate(trace.customdata):
            candidate = candidates[name]
            measured = candidate.readings[ACCURACY]
            assert trace.y[place] + trace.error_y.array[place] == pytest.approx(measured.high)
            assert trace.y[place] - trace.error_y.arrayminus[place] == pytest.approx(measured.low)
            assert trace.marker.symbol.endswith("-open") == ((candidate.cut, verdict.DOMINATED) in standing)
    (line,) = [trace for trace in figure.data if trace.name == "best measured"]
    assert list(line.y) == [candidate.readings[ACCURACY].value for candidate in best]


def test_open_difference_is_named(found):
    unseen = [one for one in found.candidates if one.changes and not one.changes[ACCURACY].is_significant]
    assert unseen
    assert all("not significantly different" in " ".join(figures.describe(one, found)) for one in unseen)


def with_others(found, *names):
    """The front with other models of eight times the size, in as many forms."""
    forms = [
        replace(one, model=ModelSpec(name), facts=replace(one.facts, name=name), memory=8 * one.memory, is_other=True)
        for name in names
        for one in found.candidates
    ]
    return replace(found, candidates=(*found.candidates, *forms))


def test_model_name_makes_no_link_in_a_chart(found):
    drawn = figures.trade_off(with_others(found, "<a href='http://a.test'>x</a>"), SIZE, dark=False)
    assert "<a " not in drawn.to_json()
    assert "&lt;a href" in " ".join(text for trace in drawn.data if trace.text for text in trace.text)


def test_far_sizes_are_on_a_log_axis(found):
    assert figures.trade_off(found, SIZE, dark=False).layout.xaxis.type is None
    assert figures.trade_off(with_others(found, "Large"), SIZE, dark=False).layout.xaxis.type == "log"


def test_legend_names_other_models_by_symbols_of_their_own(found):
    figure = figures.trade_off(with_others(found, "Large", "Huge"), SIZE, dark=False)
    in_legend = [trace.name for trace in figure.data if trace.showlegend is not False]
    assert len(in_legend) == len(set(in_legend))
    assert set(in_legend) == {trace.name for trace in figure.data} >= {"Large", "Huge"}
    large, huge, pruned = (
        {trace.marker.symbol.removesuffix("-open") for trace in figure.data if trace.name == name}
        for name in ("Large", "Huge", "pruned")
    )
    assert [len(large), len(huge)] == [1, 1]
    assert len(large | huge | pruned) == 3


def test_legend_repeats_no_dtype_that_all_models_share(found):
    usual = found.condition.precision
    quantized = [
        replace(
            one, readings={ACCURACY: replace(one.readings[ACCURACY], condition=replace(found.condition, precision=precision))}
        )
        for one, precision in zip(found.candidates[1:], [f"NF4, {usual}", "float64"], strict=False)
    ]
    figure = figures.trade_off(replace(found, candidates=(found.candidates[0], *quantized)), SIZE, dark=False)
    assert {trace.name for trace in figure.data} >= {"unpruned", "pruned, NF4", "pruned, float64"}
