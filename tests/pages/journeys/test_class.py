"""A class in real browsers: the presenter opens a poll, two phones answer, the answers are seen before the reveal."""

import re

import pytest
from axe_playwright_python.base import AXE_SCRIPT
from playwright.sync_api import Page, expect

from tests.support import browser

pytestmark = [pytest.mark.browser, pytest.mark.starter, pytest.mark.timeout(300)]


def violations(page: Page) -> list[str]:
    page.evaluate(AXE_SCRIPT)
    return [found["id"] for found in page.evaluate("() => axe.run().then(found => found.violations)")]


def test_two_phones_answer_and_the_distribution_is_seen_before_the_reveal(served):
    page = served.visitor(width=1920)
    page.goto(f"{served.address}/learn?present=1&step=map")
    browser.settled(page)
    page.get_by_role("button", name="Ask the class").click()
    page.get_by_text("only this computer").click()
    page.get_by_role("button", name="Open the poll").click()
    panel = page.locator(".st-key-learn-poll")
    expect(panel).to_contain_text("0 students have joined")
    expect(panel).to_contain_text(re.compile(r"127\.0\.0\.1:\d+.*Code.*\d{3} \d{3}", re.DOTALL))
    told = panel.inner_text()
    address = re.search(r"127\.0\.0\.1:\d+", told)[0]
    code = re.search(r"Code\s+(\d{3} \d{3})", told)[1]

    phones = [served.visitor(width=390, theme=theme) for theme in ("light", "dark")]
    for phone in phones:
        phone.goto(f"http://{address}/")
        assert not violations(phone)
        phone.get_by_label("Code on the screen").fill(code)
        phone.get_by_role("button", name="Join").click()
        expect(phone.get_by_text("No question is open")).to_be_visible()
        assert not violations(phone)
    expect(panel).to_contain_text("2 students have joined")

    panel.get_by_role("button", name="Ask this step").click()
    expect(panel).to_contain_text("0 of 2 have answered")
    for phone, block in zip(phones, ("11-15", "0-4"), strict=True):
        phone.get_by_role("link", name="Look for the next question").click()
        phone.get_by_label("Which 5 layers in a row change the stream least?").select_option(block)
        assert not violations(phone)
        phone.get_by_role("button", name="Answer").click()
        expect(phone.get_by_text(f"Your answer counts: {block}.")).to_be_visible()
        browser.screenshot(phone, f"class-phone-{block}")
        assert phone.evaluate("document.documentElement.scrollWidth <= innerWidth")
    expect(panel).to_contain_text("2 of 2 have answered")
    expect(page.get_by_test_id("stAlert")).to_have_count(0)
    browser.screenshot(page, "class-before")

    panel.get_by_role("button", name="Reveal").click()
    expect(panel).to_contain_text("1 of 2 gave an answer that holds: 11-15")
    expect(page.get_by_test_id("stAlert")).to_contain_text("block [11, 16)")
    browser.screenshot(page, "class-revealed")
    phones[0].reload()
    expect(phones[0].get_by_text("No question is open")).to_be_visible()
    assert not phones[0].evaluate("document.querySelectorAll('script').length")

    for _ in range(3):  # the answers are drawn anew every second, and on a busy machine Streamlit may take that for the click
        browser.drawn(page)
        panel.get_by_role("button", name="Close the poll").click()
        page.wait_for_timeout(3000)
        if not panel.is_visible():
            break
    expect(page.get_by_role("button", name="Ask the class")).to_be_visible()
    with pytest.raises(Exception, match="ERR_CONNECTION_REFUSED"):
        phones[0].goto(f"http://{address}/")
    for window in (page, *phones):
        window.context.close()
