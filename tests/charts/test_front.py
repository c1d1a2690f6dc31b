"""The trade-off is drawn as it was measured: intervals, standing of every offer, and the block that a click takes."""

from dataclasses import replace

import pytest

from analysis.charts import front as figures
from analysis.core import blocks
from analysis.core.blocks import Block
from analysis.results.compared import front
from analysis.results.compared.front import SIZE, SPEED
from analysis.results.stored.reading import ACCURACY
from tests.support import fakes


@pytest.mark.parametrize("by", [SIZE, SPEED])
def test_points_have_intervals_and_only_dominated_ones_are_open(by):
    (found,) = front.fronts(ACCURACY, [fakes.sweep()], speed=fakes.speed())
    figure = figures.trade_off(found, by, None, dark=False)
    best, standing = found.best(by), [(offer.cut, own) for offer, own in found.standing(by)]
    pruned = [trace for trace in figure.data if trace.name.startswith("pruned")]
    offers = {blocks.written(offer.cut): offer for offer in found.offers if offer.cut and (by == SIZE or offer.gain)}
    assert {name for trace in pruned for name in trace.customdata} == set(offers)
    for trace in pruned:
        for place, name in enumerate(trace.customdata):
            offer = offers[name]
            assert trace.y[place] + trace.error_y.array[place] == pytest.approx(offer.reading.high)
            assert trace.y[place] - trace.error_y.arrayminus[place] == pytest.approx(offer.reading.low)
            assert trace.marker.symbol.endswith("-open") == ((offer.cut, front.DOMINATED) in standing)
    (line,) = [trace for trace in figure.data if trace.name == "best measured"]
    assert list(line.y) == [offer.reading.value for offer in best]


def test_selected_block_is_ringed_and_an_open_difference_is_named():
    curve = fakes.sweep()
    cut = curve.points[5].block
    (found,) = front.fronts(ACCURACY, [curve])
    figure = figures.trade_off(found, SIZE, cut, dark=True)
    (ring,) = [trace for trace in figure.data if trace.name == "selected"]
    assert list(ring.y) == [curve.points[5].acc]
    other = figures.trade_off(found, SIZE, Block(14, 5), dark=True)
    assert "selected" not in [trace.name for trace in other.data]
    assert [note.text for note in other.layout.annotations] == ["Not measured for this selection"]
    unseen = [offer for offer in found.offers if offer.change and not offer.change.is_significant]
    assert unseen
    assert all("not significantly different" in " ".join(figures.describe(offer, SIZE)) for offer in unseen)


def test_model_name_makes_no_link_in_a_chart():
    rival = replace(fakes.sweep(), model=replace(fakes.FACTS, name="<a href='http://a.test'>x</a>"))
    (found,) = front.fronts(ACCURACY, [fakes.sweep()], speed=fakes.speed())
    offer = replace(found.offers[0], name=rival.model.name, is_rival=True)
    shown = figures.trade_off(replace(found, offers=[*found.offers, offer]), SIZE, None, dark=False)
    assert "<a " not in shown.to_json()
    assert "&lt;a href" in " ".join(text for trace in shown.data if trace.text for text in trace.text)


def test_far_sizes_are_on_a_log_axis():
    (found,) = front.fronts(ACCURACY, [fakes.sweep()], speed=fakes.speed())
    assert figures.trade_off(found, SIZE, None, dark=False).layout.xaxis.type is None
    assert figures.trade_off(with_others(found, "Large"), SIZE, None, dark=False).layout.xaxis.type == "log"


def with_others(found, *names):
    """The front with other models of eight times the size, in as many forms."""
    forms = [replace(offer, name=name, bytes=8 * offer.bytes, is_rival=True) for name in names for offer in found.offers]
    return replace(found, offers=[*found.offers, *forms])


def test_legend_names_other_models_by_symbols_of_their_own():
    (found,) = front.fronts(ACCURACY, [fakes.sweep()], speed=fakes.speed())
    figure = figures.trade_off(with_others(found, "Large", "Huge"), SIZE, None, dark=False)
    shown = [trace.name for trace in figure.data if trace.showlegend is not False]
    assert len(shown) == len(set(shown))
    assert set(shown) == {trace.name for trace in figure.data} >= {"Large", "Huge"}
    large, huge, pruned = (
        {trace.marker.symbol.removesuffix("-open") for trace in figure.data if trace.name == name}
        for name in ("Large", "Huge", "pruned")
    )
    assert [len(large), len(huge)] == [1, 1]
    assert len(large | huge | pruned) == 3


def test_legend_repeats_no_dtype_that_all_models_share():
    (found,) = front.fronts(ACCURACY, [fakes.sweep()])
    usual = found.condition.precision
    quantized = [
        replace(offer, reading=replace(offer.reading, condition=replace(found.condition, precision=precision)))
        for offer, precision in zip(found.offers[1:], [f"NF4, {usual}", "float64"], strict=False)
    ]
    figure = figures.trade_off(replace(found, offers=[found.offers[0], *quantized]), SIZE, None, dark=False)
    assert {trace.name for trace in figure.data} >= {"unpruned", "pruned, NF4", "pruned, float64"}
