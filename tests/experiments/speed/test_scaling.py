"""Verdicts of `make bench-scaling`: linear, flat and superlinear, and the count of operations."""

import random
import xml.etree.ElementTree as ET

import pytest
import torch

from benchmarks import scaling, work

X = [16, 32, 64, 128, 256]


@pytest.mark.parametrize("exponent", [0.0, 1.0, 1.5, 2.0])
def test_the_fit_finds_the_exponent_that_is_there(exponent):
    exact = scaling.fit(X, [3 * x**exponent for x in X])
    assert (exact.exponent, exact.low, exact.high) == pytest.approx((exponent,) * 3, abs=1e-9)
    assert exact.factor == pytest.approx(3)


def test_the_interval_holds_the_exponent_nineteen_times_in_twenty():
    noise, held = random.Random(0), 0
    for _ in range(400):
        found = scaling.fit(X, [x**1.2 * noise.lognormvariate(0, 0.1) for x in X])
        held += found.low <= 1.2 <= found.high
    assert 0.92 <= held / 400 <= 0.98


def test_two_points_have_no_interval():
    with pytest.raises(ValueError, match="at least three"):
        scaling.fit([1, 2], [1, 2])


@pytest.mark.parametrize(
    ("growth", "spread", "word"),
    [
        (0.02, 0.01, "linear"),
        (-0.3, 0.05, "below linear"),
        (0.3, 0.05, "SUPERLINEAR"),
        (0.05, 0.4, "unclear"),
        (0.3, 0.4, "unclear"),
    ],
)
def test_faster_growth_than_the_operations_is_superlinear(growth, spread, word):
    assert scaling.verdict(scaling.Fit(growth, growth - spread, growth + spread, 1.0)) == word


def test_memory_is_flat_within_a_twentieth_from_the_middle_on():
    assert scaling.memory_verdict([10, 20, 40], [50e6, 100e6, 104e6]) == "flat (+4.0% from 20 to 40)"
    assert scaling.memory_verdict([10, 20, 40], [100e6, 100e6, 190e6]) == "GROWS (+90.0% from 20 to 40)"


def test_the_layers_of_a_curve_count_as_they_run():
    from analysis.models.running.hidden_states import layer_passes

    for layers, curve in ((24, 0), (24, 7), (32, -3)):
        assert scaling.layer_passes(layers, curve) == layer_passes(scaling.cuts(layers, curve), layers)


def test_operations_are_those_of_products_and_half_a_causal_square():
    a, b = torch.ones(3, 5), torch.ones(5, 7)
    states = torch.ones(1, 2, 16, 8)
    assert work.flop_of(lambda: a @ b) == 2 * 3 * 5 * 7
    whole = work.flop_of(lambda: torch.nn.functional.scaled_dot_product_attention(states, states, states))
    half = work.flop_of(lambda: torch.nn.functional.scaled_dot_product_attention(states, states, states, is_causal=True))
    assert (whole, half) == (4 * 2 * 16 * 16 * 8, 2 * 2 * 16 * 16 * 8)


@pytest.mark.parametrize(("exponent", "is_fault"), [(1.0, False), (1.5, True)])
def test_growth_beyond_the_expected_is_a_fault(exponent, is_fault, capsys):
    axis = scaling.axes(quick=True)["texts"]
    found = [scaling.Found([2.0 * point.x**exponent], 1e9 * point.x, 1 << 29, 10**7) for point in axis.points]
    assert scaling.tell(axis, found, 1e10) is is_fault
    said = capsys.readouterr().out
    assert ("SUPERLINEAR" in said) is is_fault
    assert "memory: flat (+0.0% from 16 to 32)" in said
    found[-1] = scaling.Found(found[-1].seconds, found[-1].flop, 1 << 30, 10**7)
    assert scaling.tell(axis, found, 1e10)


def test_the_picture_has_every_point_and_can_be_read():
    axis = scaling.axes(quick=True)["texts"]
    found = [scaling.Found([2.0 * point.x], 1e9 * point.x, 1 << 29, 10**7) for point in axis.points]
    picture = ET.fromstring(scaling.drawn([(axis, found)] * 5, "told <so>"))
    assert len([one for one in picture.iter() if one.tag.endswith("circle")]) == 5 * len(axis.points)
    assert "exponent 1.00 (1.00 to 1.00)" in [one.text for one in picture.iter()]
