"""The glossary: short, closed in itself, and numbers about nats that are true."""

import math
import re

from analysis.results.words import glossary


def test_every_meaning_is_one_or_two_short_sentences():
    for name, term in glossary.TERMS.items():
        assert term.meaning.endswith("."), name
        assert len(term.meaning.split()) <= 40, name
        assert len(re.findall(r"[.:](?:\s|$)", term.meaning)) <= 4, name


def test_the_nat_of_the_glossary_is_e():
    assert f"{math.e:.1f} times" in glossary.TERMS["Nat"].meaning
