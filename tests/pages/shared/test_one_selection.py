"""No page looks a score up by a number of layers or takes the newest result: the selector alone
finds scores.
"""

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
    assert f":gray-badge[{wanted}" in read(texts(app("pages/heal.py", block="11:5")))
    captions = [caption.value for caption in app("pages/export.py", block="11:5").caption]
    assert any("100 ARC-Easy questions" in caption for caption in captions), (
        "Export states it below its table"
    )
