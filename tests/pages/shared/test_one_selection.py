"""No page looks a score up by a number of layers or takes the newest result: the selector alone finds scores."""

from tests.support import fakes


def test_every_group_of_scores_carries_the_chip(app, ui_cache):
    from tests.support.seen import opened, read, texts

    fakes.distances().save()
    fakes.sweep(answers=True, writes=True).save()
    fakes.alike_heal().save()
    at = app(n="5")
    wanted = "ARC-Easy · n = 100"
    for tab in ("cost", "questions", "trade-off"):
        assert f":gray-badge[{wanted}" in read(texts(opened(at, tab))), tab
    for page in ("pages/export.py", "pages/heal.py"):
        assert f":gray-badge[{wanted}" in read(texts(app(page, block="11:5"))), page
