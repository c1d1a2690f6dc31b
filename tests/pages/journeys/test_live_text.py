"""Generated text follows slider and strip in a real browser, before the server hears of the block."""

import re

import pytest
from playwright.sync_api import Page, expect

from tests.support import browser
from tests.support.on_strip import drag, place

pytestmark = [pytest.mark.browser, pytest.mark.timeout(300)]

COLUMNS = """
() => {
  const root = document.querySelector('.st-key-generated-text [data-testid=stBidiComponentIsolated]')?.shadowRoot;
  return Object.fromEntries([...root?.querySelectorAll('.column') ?? []].map(column => [column.classList[1],
    [column.querySelector('.title').textContent, column.querySelector('.text').textContent]]));
}
"""


def columns(page: Page) -> dict[str, tuple[str, str]]:
    return {name: tuple(said) for name, said in page.evaluate(COLUMNS).items()}


def expect_selected(page: Page, title: str) -> None:
    page.wait_for_function(f"title => ({COLUMNS})().selected?.[0] === title", arg=title)


@pytest.mark.long
def test_text_follows_dragged_strip_and_blocks_without_text_say_so(served):
    page = served.visitor()
    browser.visit(page, served.address, "explore", "?n=5&tab=generation")
    expect_selected(page, "Selected: layers 11-15")
    own = columns(page)
    assert own["own"] == ("similarity's block: layers 11-15", "Same as the selected block.")
    assert own["selected"][1].startswith("Dennis M. O'Brien"), "an English prompt"
    drag(page, place(page, 13), place(page, 15))
    expect_selected(page, "Selected: layers 13-17")
    shown = columns(page)
    assert shown["selected"][1] == "Not measured for this selection"
    assert shown["own"][0] == "similarity's block: layers 11-15"
    assert shown["own"][1] == own["selected"][1]
    button = page.get_by_role("button", name="Measure generation")
    expect(button).to_have_count(0)  # the server has not heard of it
    page.mouse.up()
    expect(button).to_be_visible()
    expect(page).to_have_url(re.compile(r"block=13(:|%3A)5"))
    page.context.close()
