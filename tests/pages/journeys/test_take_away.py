"""Compare and Export in a real browser: a blind test that the page does not give away, and a file in three clicks."""

import re

import pytest
from playwright.sync_api import Page, expect

from analysis import jobs
from analysis.exports import folders
from analysis.models.source import gguf
from tests.support import browser

pytestmark = [pytest.mark.browser, pytest.mark.starter, pytest.mark.timeout(400)]

COLUMNS = """
() => [...document.querySelectorAll('[data-testid=stColumn]')]
  .filter(column => / is the pruned one/.test(column.innerText) && !column.querySelector('[data-testid=stColumn]'))
  .map(column => [column.querySelector('[data-testid=stHtml] p').innerText, column.outerHTML])
"""
"""The text of each column, and all that the page knows of it."""


def opened(page: Page, served) -> list[tuple[str, str]]:
    browser.visit(page, served.address, "compare", "?n=5")
    page.get_by_role("radio", name="Blind test").click()
    page.get_by_role("button", name="A is the pruned one").wait_for()
    browser.settled(page)
    return page.evaluate(COLUMNS)


def stripped(markup: str) -> str:
    """Return a column without its text, its letter, and the numbers that the browser gives."""
    markup = re.sub(r"<p style=.*?</p>", "A TEXT", markup, flags=re.S)
    markup = re.sub(r"\b[ABC]( is the pruned one)?(?=<)|blind-[ABC]\b", "LETTER", markup)
    return re.sub(r'(id|for|aria-[a-z]+by|aria-controls)="[^"]*"', "", markup)


@pytest.mark.long
def test_page_does_not_reveal_the_author_of_a_text(served):
    page = served.visitor()
    columns = opened(page, served)
    assert len(columns) == 3
    assert len({text for text, _ in columns}) == 3
    assert len({stripped(markup) for _, markup in columns}) == 1, "but for text and letter the columns are alike"
    everything = page.content()
    for word in ("instant heal", "mean surprisal", "30 layers</", "25 layers"):
        assert word not in everything
    assert page.locator("[data-testid=stDownloadButton]").count() == 0
    page.context.close()


@pytest.mark.long
def test_it_is_played_by_the_keyboard_alone(served):
    page = served.visitor(theme="dark")
    opened(page, served)
    page.get_by_role("button", name="A is the pruned one").focus()
    page.keyboard.press("Tab")
    expect(page.get_by_role("button", name="B is the pruned one")).to_be_focused()
    page.keyboard.press("Enter")
    expect(page.get_by_text(re.compile("(Right|Wrong): [ABC] is the pruned one"))).to_be_visible()
    expect(page.get_by_text(re.compile(r"[01] of 1 right \(95 % CI \d+ to \d+ %, guessing gives 33 %\)"))).to_be_visible()
    expect(page.get_by_text("without layers 11-15").first).to_be_visible()
    page.context.close()


@pytest.mark.long
def test_a_file_for_llama_cpp_takes_three_clicks(served):
    page = served.visitor()
    browser.visit(page, served.address, "explore", "?n=5")
    clicks = 0

    def click(target) -> None:
        nonlocal clicks
        target.click()
        clicks += 1

    click(page.get_by_test_id("stSidebar").get_by_role("link", name="Export"))
    click(page.get_by_role("radio", name="llama.cpp"))
    expect(page.get_by_text("Then quantize it with llama.cpp")).to_be_visible()
    click(page.get_by_role("button", name="Save the GGUF file"))
    expect(page.get_by_role("heading", name="On this machine")).to_be_visible(timeout=300_000)
    assert clicks == 3
    (made,) = [job.spec for job in jobs.list_jobs() if job.kind == "export"]
    (file,) = folders.folder(made.name).glob("*.gguf")
    told = gguf.header(file)
    assert told["llama.block_count"] == 25
    assert told["tokenizer.ggml.pre"] == "smollm", "the tokenizer is that of the starter's own file"
    page.context.close()
