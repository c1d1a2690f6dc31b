"""The glossary: short, closed in itself, and numbers about nats that are true."""

import math
import re
from dataclasses import replace

import pytest

from analysis.results.words import glossary
from tests.support import fakes


def test_every_meaning_is_one_or_two_short_sentences():
    for name, term in glossary.TERMS.items():
        assert term.meaning.endswith("."), name
        assert len(term.meaning.split()) <= 40, name
        assert len(re.findall(r"[.:](?:\s|$)", term.meaning)) <= 4, name


@pytest.mark.parametrize(
    ("nats", "said"),
    [
        (0.66, "1.9 times"),
        (2.52, "12 times"),
        (1.0, "2.7 times"),
        (0.02, "1.02 times"),
        (-0.1, "0.90 times"),
        (-0.7, "0.5 times"),
        (0.0, "1.00 times"),
    ],
)
def test_nats_as_a_factor_of_surprise(nats, said):
    assert said in glossary.as_surprise(nats)


def test_the_nat_of_the_glossary_is_e():
    assert f"{math.e:.1f} times" in glossary.TERMS["Nat"].meaning


def test_a_rise_is_like_the_measured_cut_that_comes_nearest():
    curve = fakes.sweep()
    rises = {point.n: point.loss - curve.points[0].loss for point in curve.points if point.n}
    for n, rise in rises.items():
        said = glossary.compare_with_cuts(curve, rise + 0.001)
        assert f"removing {n} layer" in said
        assert f"({rise:+.2f} nats/token)" in said


def test_without_a_near_block_there_is_no_comparison():
    curve = fakes.sweep()
    assert glossary.compare_with_cuts(curve, 50.0) is None
    assert glossary.compare_with_cuts(curve, 0.001) is None
    assert glossary.compare_with_cuts(curve, -0.5) is None
    assert glossary.compare_with_cuts(replace(curve, points=curve.points[1:]), 0.3) is None
    assert glossary.compare_with_cuts(replace(curve, points=curve.points[:1]), 0.3) is None
