"""The lesson in a real browser, from the first step to the last: as one person sees it, then as a class does."""

import contextlib
import re
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from analysis import jobs
from pages.components.learn.lesson import STEPS
from tests.support import browser

pytestmark = [pytest.mark.browser, pytest.mark.starter, pytest.mark.timeout(600)]

SECOND = 1000


def test_the_lesson_from_the_first_step_to_the_last(cache: Path):
    with browser.dashboard(cache) as address, browser.chromium() as chromium:
        context = chromium.new_context(viewport={"width": 1280, "height": 720}, color_scheme="light")
        page = context.new_page()
        page.set_default_timeout(60 * SECOND)
        expect.set_options(timeout=60 * SECOND)  # the machine may be busy with other things
        page.goto(f"{address}/learn")
        walk(page, "learn")
        present(page)
        walk(page, "learn-presented")
        leave(page)
        assert "Traceback" not in (cache / "server.log").read_text()
        assert not jobs.list_jobs(), "the lesson never starts a job by itself"


def walk(page: Page, name: str) -> None:
    """Every step in turn, with the guesses locked and the questions answered."""
    browser.settled(page)
    for step in range(1, len(STEPS) + 1):
        expect(page.get_by_text(f"step {step} of {len(STEPS)}")).to_be_visible()
        if STEPS[step - 1] in ("Map", "Cliff"):
            guess(page, "2" if STEPS[step - 1] == "Map" else "3")
        if STEPS[step - 1] == "Check":
            answer(page)
        browser.settled(page)
        assert_nothing_sticks_out(page)
        browser.screenshot(page, f"{name}-{step}")
        if step < len(STEPS):
            page.get_by_role("button", name="Next").click()
    expect(page.get_by_role("button", name="Next")).to_be_disabled()
    table = page.locator("[data-testid=stTable]")
    expect(table).to_contain_text("n = 3")
    expect(table).to_contain_text("block [2, 7)")
    expect(table).to_contain_text(re.compile("number [0-9]+ of 26"))
    expect(table).to_contain_text("3 right")


def guess(page: Page, place: str) -> None:
    """Move the slider by the keyboard, lock, and see what was hidden."""
    slider = page.get_by_role("slider", name=re.compile("begins at"))
    slider.focus()
    for _ in range(2):
        page.keyboard.press("ArrowRight")
    expect(slider).to_have_attribute(
        "aria-valuetext" if slider.get_attribute("aria-valuetext") else "value", re.compile("[23]")
    )
    before = charts(page)
    page.get_by_role("button", name="Lock in my guess").click()
    expect(page.get_by_test_id("stAlert")).to_contain_text(re.compile("Most similar|The cliff is at"))
    expect(page.locator(".js-plotly-plot")).to_have_count(before + 1)


def charts(page: Page) -> int:
    """How many are on the page once those of the step before are gone."""
    count = -1
    while count != (count := page.locator(".js-plotly-plot").count()):
        page.wait_for_timeout(1500)
    return count


def answer(page: Page) -> None:
    for right in ("They stand at a right angle", "the cost must be measured", "may write and reckon worse"):
        page.get_by_text(right).first.click()
        told = page.get_by_test_id("stAlert").filter(has_text=re.compile(right, re.IGNORECASE))
        for _ in range(3):  # the page may be drawn again under the pointer, and a click on a button that is going is lost
            browser.settled(page)
            page.get_by_role("button", name="Answer", exact=True, disabled=False).first.click()
            with contextlib.suppress(AssertionError):
                expect(told).to_be_visible(timeout=15_000)
                break
        expect(told).to_be_visible()


def present(page: Page) -> None:
    """Switch the mode on: the sidebar goes, the type grows, the address says so, and the lesson begins again."""
    size = "() => parseFloat(getComputedStyle(document.documentElement).fontSize)"
    before = page.evaluate(size)
    page.get_by_text("Presenter mode").click()
    expect(page.get_by_test_id("stSidebar")).to_be_hidden()
    expect(page).to_have_url(re.compile("present=1"))
    assert page.evaluate(size) > 1.15 * before
    page.get_by_role("button", name="Start over").click()


def leave(page: Page) -> None:
    """The mode goes along to other pages, survives a reload, and can be left from each of them."""
    page.get_by_role("link", name="Explore").click()
    expect(page.get_by_role("heading", name="Explore")).to_be_visible()
    expect(page).to_have_url(re.compile("present=1"))
    page.reload()
    browser.settled(page)
    expect(page.get_by_test_id("stSidebar")).to_be_hidden()
    page.get_by_role("button", name="Leave presenter mode").click()
    expect(page.get_by_test_id("stSidebar")).to_be_visible()
    expect(page).not_to_have_url(re.compile("present=1"))


def assert_nothing_sticks_out(page: Page) -> None:
    """No sideways scrolling, and no chart wider than its column."""
    wide = "() => { const main = document.querySelector('[data-testid=stMain]'); return main.scrollWidth - main.clientWidth }"
    assert page.evaluate(wide) <= 1
