"""The glossary: short, closed in itself, and numbers about nats that are true."""

import math
import re

import pytest

from analysis.results.words import glossary


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
        (17.2, "over 100 times"),
    ],
)
def test_nats_as_a_factor_of_surprise(nats, said):
    assert said == glossary.times_as_surprising(nats)


def test_the_nat_of_the_glossary_is_e():
    assert f"{math.e:.1f} times" in glossary.TERMS["Nat"].meaning
