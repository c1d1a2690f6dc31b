"""Every page says its words at its title, and the lesson says all of them."""

import pytest

from analysis.results.words.glossary import TERMS
from pages.components.model import inspection
from pages.components.shared import frame
from tests.support import fakes
from tests.support.seen import texts


@pytest.mark.parametrize("title", frame.PAGES)
def test_the_words_of_a_page_stand_at_its_title(app, title, monkeypatch):
    monkeypatch.setattr(inspection, "of", lambda model: None)  # a process that takes seconds
    fakes.distances().save()
    at = app(f"pages/{title.lower()}.py")
    helps = [element.proto.help for element in at.caption if element.proto.help]
    said = next(text for text in helps if text.startswith(f"- **{frame.PAGES[title][0]}**"))
    assert [name for name in frame.PAGES[title] if f"**{frame.words.plain(name)}**" in said] == [
        *frame.PAGES[title]
    ]


def test_the_lesson_has_all_of_them(app):
    said = texts(app("pages/learn.py"))
    assert not [name for name in TERMS if f"- **{frame.words.plain(name)}**" not in said]
    assert "(`acc` of" in said, "code, without literal backticks"
    assert "\\`" not in said
