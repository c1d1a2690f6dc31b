"""The lesson in a real browser, from the first step to the last: as one person sees it, then as a
class does.
"""

import contextlib
import re
from collections.abc import Sequence
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from analysis import jobs
from pages.components.learn.lesson import STEPS
from tests.support import browser

pytestmark = [pytest.mark.browser, pytest.mark.starter, pytest.mark.timeout(600)]

SECOND = 1000


@pytest.mark.long
def test_the_lesson_from_the_first_step_to_the_last(cache: Path):
    with browser.dashboard(cache) as address, browser.chromium() as chromium:
        context = chromium.new_context(
            viewport={"width": 1280, "height": 720}, color_scheme="light", reduced_motion="reduce"
        )
        page = context.new_page()
        page.set_default_timeout(60 * SECOND)
        expect.set_options(timeout=60 * SECOND)  # the machine may be busy with other things
        page.goto(f"{address}/learn")
        walk(page, "learn")
        what_was_learnt(page)
        present(page)
        walk(page, "learn-presented", STEPS[:4])
        leave(page)
        assert "Traceback" not in (cache / "server.log").read_text()
        assert not jobs.list_jobs(), "the lesson never starts a job by itself"


def walk(page: Page, name: str, steps: Sequence[str] = STEPS) -> None:
    """These steps in turn: predicted by hand or by key, locked, revealed; the questions
    answered.
    """
    browser.settled(page)
    for step, title in enumerate(steps, start=1):
        expect(page.get_by_text(f"step {step} of {len(STEPS)}")).to_be_visible()
        if title in PREDICT:
            PREDICT[title](page)
            browser.screenshot(page, f"{name}-{step}-predicted")
            lock(page)
        if title == "Check":
            answer(page)
        browser.settled(page)
        assert_nothing_sticks_out(page)
        browser.screenshot(page, f"{name}-{step}")
        if step < len(steps):
            page.get_by_role("button", name="Next").click()


def what_was_learnt(page: Page) -> None:
    """Check that the last step holds all predictions next to the measured values."""
    expect(page.get_by_role("button", name="Next")).to_be_disabled()
    page.get_by_role("tab", name="Your results").click()
    table = page.locator("[data-testid=stTable]")
    expect(table).to_contain_text("layers 2-6")
    expect(table).to_contain_text(re.compile("number [0-9]+ of 26"))
    expect(table).to_contain_text("3 right")


def lock(page: Page) -> None:
    """Nothing measured is shown before the click, and the verdict with a chart after it."""
    expect(page.get_by_test_id("stAlert")).to_have_count(0)
    page.get_by_role("button", name="Lock in and reveal").click()
    expect(page.get_by_test_id("stAlert")).to_be_visible()
    expect(page.locator(".js-plotly-plot").first).to_be_visible()


def drag_block(page: Page) -> None:
    """With the pointer to the second cell, then by two keys."""
    strip, block = page.locator(".strip"), page.locator(".block")
    expect(block).to_have_attribute("aria-valuetext", "layers 0 to 4")
    box = strip.bounding_box()
    cell = box["width"] / 30
    page.mouse.move(box["x"] + 2.5 * cell, box["y"] + 20)
    page.mouse.down()
    page.mouse.move(box["x"] + 9.5 * cell, box["y"] + 20, steps=6)
    page.mouse.move(box["x"] + 3.5 * cell, box["y"] + 20, steps=6)
    page.mouse.up()
    expect(block).to_have_attribute("aria-valuetext", "layers 1 to 5")
    block.press("ArrowRight")
    expect(block).to_have_attribute("aria-valuetext", "layers 2 to 6")


def move_block(page: Page) -> None:
    block = page.locator(".block")
    block.focus()
    block.press("End")
    block.press("PageDown")
    expect(block).to_have_attribute("aria-valuenow", re.compile("[1-9]"))


def draw(page: Page) -> None:
    """One stroke of the pointer from left to right."""
    svg = page.locator("svg[role=group]")
    svg.scroll_into_view_if_needed()
    box = svg.bounding_box()
    page.mouse.move(box["x"] + 56, box["y"] + 60)
    page.mouse.down()
    page.mouse.move(box["x"] + 0.6 * box["width"], box["y"] + 90, steps=3)
    page.mouse.move(box["x"] + 0.97 * box["width"], box["y"] + 0.5 * box["height"], steps=3)
    page.mouse.up()
    expect(page.locator("[class*=st-key-drawing-] .said")).to_contain_text(
        re.compile(r"([0-9]+) of \1 drawn")
    )
    expect(page.get_by_role("button", name="Lock in and reveal")).to_be_enabled()


PREDICT = {
    "Layers": draw,
    "Angle": lambda page: None,
    "Map": drag_block,
    "Big models": move_block,
    "Healing": draw,
    "Limits": move_block,
}


def answer(page: Page) -> None:
    for right in (
        "They are at a right angle",
        "you must measure the cost",
        "may generate and calculate worse",
    ):
        page.get_by_text(right).first.click()
        told = page.get_by_test_id("stAlert").filter(has_text=re.compile(right, re.IGNORECASE))
        for _ in range(
            3
            # the page may be drawn again under the pointer, and a click on a button that is going
            # is lost
        ):
            browser.settled(page)
            page.get_by_role("button", name="Answer", exact=True, disabled=False).first.click()
            with contextlib.suppress(AssertionError):
                expect(told).to_be_visible(timeout=15_000)
                break
        expect(told).to_be_visible()


def present(page: Page) -> None:
    """Switch the mode on: the sidebar goes, the type grows, the address says so, and the lesson
    begins again.
    """
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
    wide = (
        "() => { const main = document.querySelector('[data-testid=stMain]'); return"
        " main.scrollWidth - main.clientWidth }"
    )
    assert page.evaluate(wide) <= 1


@pytest.mark.long
def test_a_finger_draws_on_a_phone(served):
    context = served.chromium.new_context(
        viewport={"width": 390, "height": 844}, has_touch=True, is_mobile=True
    )
    page = context.new_page()
    page.set_default_timeout(60 * SECOND)
    page.goto(f"{served.address}/learn?step=layers")
    browser.settled(page)
    svg = page.locator("svg[role=group]")
    svg.scroll_into_view_if_needed()
    box = svg.bounding_box()
    scrolled = page.evaluate("document.querySelector('[data-testid=stMain]').scrollTop")
    finger = context.new_cdp_session(page)
    stroke = [(60 + step * (box["width"] - 80) / 12, 40 + 12 * step) for step in range(13)]
    for kind, (x, y) in zip(["touchStart", *["touchMove"] * 12], stroke, strict=True):
        finger.send(
            "Input.dispatchTouchEvent",
            {"type": kind, "touchPoints": [{"x": box["x"] + x, "y": box["y"] + y}]},
        )
    finger.send("Input.dispatchTouchEvent", {"type": "touchEnd", "touchPoints": []})
    expect(page.locator("[class*=st-key-drawing-] .said")).to_contain_text("of 30 drawn")
    assert (
        int(
            page.locator("[class*=st-key-drawing-] .said")
            .inner_text()
            .split(" of 30")[0]
            .split()[-1]
        )
        >= 12
    )
    assert page.evaluate("document.querySelector('[data-testid=stMain]').scrollTop") == scrolled, (
        "the page stays while drawing"
    )
    assert_nothing_sticks_out(page)
    page.get_by_role("button", name="Lock in and reveal").click()
    expect(page.get_by_test_id("stAlert")).to_contain_text("Your drawing is")
    assert_nothing_sticks_out(page)
    browser.screenshot(page, "learn-phone")
    context.close()
