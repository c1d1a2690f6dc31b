"""Starting jobs where nothing can be written, and answers that a thread finds behind the pages,
once for all of them.
"""

import threading

import pytest

from analysis.core.blocks import Block
from analysis.core.errors import ModelNotFoundError
from analysis.exports.spec import ExportSpec
from pages.components.shared import start
from tests.support.worker import wait_for

PAGES = ("model", "explore", "heal", "compare", "export", "learn")


@pytest.fixture
def unwritable(ui_cache, tmp_path, monkeypatch):
    """A cache folder that even root cannot write in: the path of a folder above it is a file."""
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("LAYERSCOPE_CACHE", str(tmp_path / "file" / "cache"))


@pytest.mark.parametrize("page", PAGES)
def test_every_page_names_an_unwritable_cache_in_one_sentence(app, unwritable, page):
    said = {error.value for error in app(f"pages/{page}.py").error}
    assert len(said) == 1, said
    assert "cannot be written" in said.pop()


def test_a_click_with_an_unwritable_cache_starts_nothing(ui_cache, unwritable, monkeypatch):
    told = []
    monkeypatch.setattr(start.st, "error", told.append)
    assert start.start(ExportSpec(Block(1, 1), "x"), "An export") is None
    (sentence,) = told
    assert "cannot be written" in sentence


class Slow:
    """A look that ends when it is let, and a clock that is set by hand."""

    def __init__(self):
        self.asked, self.time, self.goes_on = [], 0.0, threading.Event()
        self.inside, self.most = 0, 0
        self.looks = start.Looks(self, lambda: self.time)

    def __call__(self, source):
        self.asked.append(source)
        self.inside += 1
        self.most = max(self.most, self.inside)
        assert self.goes_on.wait(10)
        self.inside -= 1
        if source == "bad":
            raise ModelNotFoundError("There is no model there.")
        return {"source": source, "look": len(self.asked)}

    def answered(self, source):
        self.goes_on.set()
        return wait_for(lambda: self.looks.of(source))


@pytest.fixture
def slow():
    made = Slow()
    yield made
    made.goes_on.set()


def test_nobody_waits_for_a_look_and_it_runs_once(slow):
    assert [slow.looks.of("a") for _ in range(3)] == [None] * 3
    assert slow.answered("a") == {"source": "a", "look": 1}
    assert slow.asked == ["a"]


def test_an_old_answer_is_read_again(slow):
    first = slow.answered("a")
    slow.time = start.MAX_AGE_S - 1
    assert slow.looks.of("a") is first
    slow.time = start.MAX_AGE_S
    assert slow.looks.of("a") is None
    assert slow.answered("a")["look"] == 2


def test_all_waiting_pages_see_a_refusal_until_the_next_try(slow):
    assert slow.looks.of("bad") is None
    with pytest.raises(ModelNotFoundError, match="no model there"):
        slow.answered("bad")
    with pytest.raises(ModelNotFoundError):
        slow.looks.of("bad")
    assert len(slow.asked) == 1
    slow.time = start.RETRY_AFTER_S
    assert slow.looks.of("bad") is None
    wait_for(lambda: len(slow.asked) == 2)
