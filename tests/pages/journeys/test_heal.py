"""Heal it in ten minutes, by pointer and by keyboard, in a real browser."""

import re

import pytest
from playwright.sync_api import Page, expect

from analysis import jobs
from tests.support import browser
from tests.support.worker import end_worker, wait_for

pytestmark = [pytest.mark.browser, pytest.mark.starter, pytest.mark.timeout(300)]


@pytest.fixture
def page(served):
    opened = served.visitor()
    yield opened
    opened.context.close()
    for job in jobs.active():
        jobs.cancel(job.id)
    end_worker()


def at_heal(page: Page) -> None:
    expect(page.get_by_role("heading", name="Heal", exact=True)).to_be_visible()
    expect(page.get_by_role("button", name="Start healing")).to_be_visible()
    browser.settled(page)


def test_ten_minute_heal_starts_from_explore_and_is_found_after_a_reload(served, page):
    browser.visit(page, served.address, "explore")
    page.get_by_role("link", name="Heal").click()
    at_heal(page)
    expect(page.get_by_text("layers 11-15").first).to_be_visible()
    expect(page.get_by_role("radio", name=re.compile("^10 minutes"))).to_be_checked()
    page.get_by_role("button", name="Start healing").click()
    wait_for(jobs.active, 60)
    (job,) = jobs.active()
    assert (job.spec.minutes, job.spec.block.start, job.spec.block.size) == (10.0, 11, 5)
    page.reload()
    strip = page.get_by_test_id("stSidebar")
    strip.get_by_role("button", name="Cancel").click()
    expect(strip.get_by_text("cancelled", exact=True)).to_be_visible()


@pytest.mark.long
def test_the_page_goes_by_the_keyboard(served, page):
    browser.visit(page, served.address, "heal")
    page.get_by_role("radio", name="Own").focus()
    page.keyboard.press("Space")
    expect(page.get_by_role("spinbutton", name="Minutes")).to_be_visible()
    page.get_by_role("spinbutton", name="Minutes").focus()
    page.keyboard.press("Tab")
    expect(page.get_by_role("button", name="Start healing")).to_be_focused()
