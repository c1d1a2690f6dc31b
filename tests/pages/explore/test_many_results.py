"""With more results than a page lists, it opens few of them, says how many there are, and finds each by a filter."""

from dataclasses import replace

import pytest

from analysis.core.blocks import Block
from analysis.results.stored import result as opened
from pages.components.shared import stored_results
from tests.support import fakes


@pytest.fixture
def few(monkeypatch):
    """Let pages list two results of a kind, and return the results that are opened."""
    read = []
    monkeypatch.setattr(stored_results, "MOST", 2)
    monkeypatch.setattr(opened, "_read", lambda *args, own=opened._read: read.append(args[:2]) or own(*args))
    return read


def test_lists_are_bounded_counted_and_filtered(app, few):
    for number in range(4):
        made = fakes.distances()
        replace(made, spec=replace(made.spec, corpus=replace(made.spec.corpus, seed=number, n_texts=32 + number))).save()
        fakes.sweep(limit=100 + number).save()
    at = app()
    said = [caption.value for caption in at.caption]
    assert said.count("Lists the strongest 2 of 4 results.") == 2
    at.text_input(key="filter-sweep").set_value("101").run()
    assert not at.exception
    assert "Lists the strongest 1 of 1 results." in [caption.value for caption in at.caption]


def test_page_opens_few_of_many_results(app, few):
    fakes.distances().save()
    fakes.sweep().save()
    for number in range(30):
        made = fakes.evaluate(Block(number % 20, 5), acc=0.3)
        replace(made, spec=replace(made.spec, benchmark=replace(made.spec.benchmark, seed=1 + number))).save()
    fakes.evaluate(Block(3, 5), acc=0.42).save()
    at = app(n="5", block="3:5")
    assert not at.exception
    assert len({key for _, key in few}) < 20
