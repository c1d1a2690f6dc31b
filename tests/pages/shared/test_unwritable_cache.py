"""A cache folder that cannot be written: every page says so in a sentence, and starts nothing."""

import pytest

from analysis.core.blocks import Block
from analysis.exports.spec import ExportSpec
from pages.components.shared import start

PAGES = ("model", "explore", "heal", "compare", "export", "learn")


@pytest.fixture
def unwritable(ui_cache, tmp_path, monkeypatch):
    """A cache folder that even root cannot write in: the path of a folder above it is a file."""
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("LAYERSCOPE_CACHE", str(tmp_path / "file" / "cache"))


@pytest.mark.parametrize("page", PAGES)
def test_every_page_says_so_in_one_sentence(app, unwritable, page):
    said = {error.value for error in app(f"pages/{page}.py").error}
    assert len(said) == 1, said
    assert "cannot be written" in said.pop()


def test_a_click_that_starts_something_says_so_and_starts_nothing(ui_cache, unwritable, monkeypatch):
    told = []
    monkeypatch.setattr(start.st, "error", told.append)
    assert start.start(ExportSpec(Block(1, 1), "x"), "An export") is None
    (sentence,) = told
    assert "cannot be written" in sentence
