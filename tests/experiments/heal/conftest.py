"""Heals of tiny models, whose vocabulary is the starter's: texts of 256 tokens would take most of
the time.
"""

import pytest


@pytest.fixture(autouse=True)
def _short_texts(short_texts: None) -> None:
    """Where a test leaves the text open, losses are taken on few and short ones."""
