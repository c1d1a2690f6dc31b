"""The glossary states the ratio that a nat is."""

import math

from analysis.results.words import glossary


def test_the_nat_of_the_glossary_is_e():
    assert f"{math.e:.1f} times" in glossary.TERMS["Nat"]
