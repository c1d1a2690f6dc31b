"""Text of outside origin is shown as it is: nothing in it is rendered, hides or turns round the
text next to it.
"""

import re
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from pages.components.shared import words

PARSER = MarkdownIt("commonmark").enable(["table", "strikethrough"])
JOINER = "\u2060"
LOOKED_FOR_IN_TEXT = (
    r"https?://[-.\w]+",
    r"www\.[-.\w]+",
    r"[-.\w+]+@[-\w]+(?:\.[-\w]+)+",
    r":\+1:|:-1:|:[\w-]+:",
    r":material_\w+:",
    r":streamlit:",
    r"(^|\s)(<->|->|<-|--|>=|<=|~=)(\s|$)",
)
"""Patterns that Streamlit turns into links, emoji, icons and arrows after Markdown was read, when
no backslash is left."""
PIECES = [
    "![x](http://a.test/b.png)",
    "[a](javascript:alert(1))",
    "<img src=x onerror=alert(1)>",
    "http://a.test/?q=1",
    "www.a.test",
    "a@b.test",
    "<b>",
    "<!-- -->",
    "&lt;b&gt;",
    "`code`",
    "```",
    "**bold**",
    "__bold__",
    "~~gone~~",
    "$x^2$",
    "$$x$$",
    ":smile:",
    ":+1:",
    ":material/home:",
    ":material_home:",
    ":streamlit:",
    ":red[x]",
    ":blue-background[x]",
    ":red-badge[x]",
    "# heading",
    "heading\n===",
    "- item",
    "1. item",
    "1) item",
    "> quote",
    "---",
    "    code",
    "| a | b |\n|---|---|",
    "[^1]",
    "[^1]: note",
    "[a]: http://a.test",
    "[a]",
    "-> --",
    "<->",
    "\\",
    "\n\n",
    "\u202e",
    "\u200b",
    "\x00",
    "\ud800",
    "a",
    " ",
    "\t",
]
texts = st.one_of(st.text(max_size=60), st.lists(st.sampled_from(PIECES), max_size=6).map("".join))


def shown(markdown: str) -> str:
    """Return the visible text of Markdown that is one paragraph of nothing but text."""
    tokens = PARSER.parse(markdown)
    if not tokens:
        return ""
    assert [token.type for token in tokens] == [
        "paragraph_open",
        "inline",
        "paragraph_close",
    ], tokens
    assert {child.type for child in tokens[1].children} <= {"text"}, tokens[1].children
    return "".join(child.content for child in tokens[1].children)


@given(texts)
def test_markdown_shows_the_text_as_written(text):
    said = shown(words.plain(text))
    assert said.replace(JOINER, "") == words.seen(text)
    for pattern in LOOKED_FOR_IN_TEXT:
        assert not re.search(
            pattern, said.replace(":material/", ":material_"), re.ASCII | re.IGNORECASE
        ), pattern


@given(texts)
def test_no_directive_and_no_formula_is_left(text):
    assert not re.search(r"(?<!\\)(?:\\\\)*[$\[\]:<>`*_!|~#&]", words.plain(text))


def test_a_message_shows_its_command_as_code():
    markdown = words.message("Not here. Run `python -m x a_b/c --fetch`, or get a_b.")
    assert markdown == r"Not here. Run `python -m x a_b/c --fetch`, or get a\_b."


@given(texts)
def test_a_message_is_text_and_code(text):
    tokens = PARSER.parse(words.message(text))
    assert {child.type for token in tokens for child in token.children or ()} <= {
        "text",
        "code_inline",
    }


@given(texts, st.sampled_from(["**{}**", ":gray[{}]", "- {}", "said: {}.", "## {}", "a\n\n{}"]))
def test_it_stays_inside_its_element(text, place):
    around = [token.type for token in PARSER.parse(place.format("x"))]
    assert [token.type for token in PARSER.parse(place.format(f"x{words.plain(text)}"))] == around


@given(st.text())
def test_nothing_hides_or_turns_round_the_text_next_to_it(text):
    for letter in words.seen(text):
        assert (
            unicodedata.category(letter) not in ("Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp")
            or letter == "\ufffd"
        )


@given(st.text(max_size=3000), st.integers(2, 200))
def test_no_text_is_longer_than_its_place(text, most):
    assert len(words.seen(text, most)) <= most
    assert words.seen(text, most).endswith("…") or words.seen(text, most) == words.seen(
        text, 10_000
    )


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("HuggingFaceTB/SmolLM2-135M", "HuggingFaceTB/SmolLM2-135M"),
        ("a block of 3:1+7:2, at 12:30", r"a block of 3\:1+7\:2, at 12\:30"),
        ("main@a1b2, -0.5 and 50.5 %", "main@a1b2, -0.5 and 50.5 %"),
        ("n < L\r\nand more", r"n \< L and more"),
    ],
)
def test_copied_text_holds_no_invisible_characters(text, said):
    assert words.plain(text) == said


def test_a_text_of_any_length_takes_no_time():
    assert len(words.seen("é\u200b" * 5_000_000)) == 1000
