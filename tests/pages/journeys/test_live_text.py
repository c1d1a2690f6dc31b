"""Generated text follows slider and strip in a real browser, before the server hears of the
block.
"""

import re

import pytest
from playwright.sync_api import Page, expect

from tests.support import browser
from tests.support.on_strip import drag, place

pytestmark = [pytest.mark.browser, pytest.mark.timeout(300)]

TEXT = """
() => [...document.querySelector('.st-key-readout [data-testid=stBidiComponentIsolated]')?.shadowRoot
  ?.querySelectorAll('.text') ?? []].map(row => row.textContent)
"""


def expect_text(page: Page, beginning: str) -> None:
    page.wait_for_function(f"beginning => ({TEXT})().at(-1)?.startsWith(beginning)", arg=beginning)


@pytest.mark.long
def test_text_follows_dragged_strip_and_blocks_without_text_say_so(served):
    page = served.visitor()
    browser.visit(page, served.address, "explore", "?n=5")
    expect_text(page, "without layers 11-15 ")
    unpruned, pruned = page.evaluate(TEXT)
    assert unpruned.startswith("unpruned ")
    assert "not measured" not in pruned
    drag(page, place(page, 13), place(page, 15))
    expect_text(page, "without layers 13-17 not measured")
    button = page.get_by_role("button", name=re.compile("Generate text|Measure scores"))
    expect(button).to_have_count(0)  # the server has not heard of it
    page.mouse.up()
    expect(button).to_be_visible()
    expect(page).to_have_url(re.compile(r"block=13(:|%3A)5"))
    page.context.close()
