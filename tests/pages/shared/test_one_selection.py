"""No page looks a score up by a number of layers or takes the newest result: the selector alone finds scores."""

from analysis.results.stored import reading
from pages.components.shared import selection
from tests.support import fakes


def test_a_chip_names_dataset_n_precision_and_weights():

    conditions = list(reading.conditions_of(fakes.sweep()).values())
    said = selection.chip(conditions)
    for part in ("ARC-Easy", "n = 100", "C4", "n = 8 texts", "bfloat16", r"Q4\_1 weights"):
        assert part in said
    assert said.startswith(":gray-badge[")
    assert selection.chip([None]) == ""
    assert "100 ARC-Easy questions, bfloat16 from Q4" in selection.chip_details(conditions)


def test_every_group_of_scores_carries_the_chip(app, ui_cache):
    from tests.support.seen import opened, read, texts

    fakes.distances().save()
    fakes.sweep(answers=True, writes=True).save()
    fakes.alike_heal().save()
    at = app(n="5")
    wanted = "ARC-Easy · n = 100"
    for tab in ("map", "cost", "questions", "trade-off"):
        assert f":gray-badge[{wanted}" in read(texts(opened(at, tab))), tab
    for page in ("pages/export.py", "pages/heal.py"):
        assert f":gray-badge[{wanted}" in read(texts(app(page, block="11:5"))), page
