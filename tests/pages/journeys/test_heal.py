"""The Heal page by the keyboard, in a real browser."""

import pytest
from playwright.sync_api import expect

from tests.support import browser

pytestmark = [pytest.mark.browser, pytest.mark.starter, pytest.mark.timeout(300)]


def test_the_page_goes_by_the_keyboard(served):
    page = served.visitor()
    browser.visit(page, served.address, "heal")
    page.get_by_role("radio", name="Own").focus()
    page.keyboard.press("Space")
    expect(page.get_by_role("spinbutton", name="Minutes")).to_be_visible()
    page.get_by_role("spinbutton", name="Minutes").focus()
    page.keyboard.press("Tab")
    expect(page.get_by_role("button", name="Start healing")).to_be_focused()
    page.context.close()
