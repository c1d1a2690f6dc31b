"""The whole way of a first visitor, in a real browser on the real starter model."""

import os
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from analysis import jobs
from analysis.core import extensions
from tests.support import browser

pytestmark = [pytest.mark.browser, pytest.mark.starter, pytest.mark.timeout(1500)]

SECOND = 1000
LONG = 300 * SECOND
"""For steps that compute: generous, since the machine may be busy with other things."""


@pytest.fixture
def quick_heals(short_texts: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """Losses on short texts, and heals that fit on little and write nothing."""
    quick = Path(browser.__file__).parent / "quick_heals.py"
    monkeypatch.setenv(
        extensions.VARIABLE, os.pathsep.join([os.environ[extensions.VARIABLE], str(quick)])
    )


@pytest.fixture
def page(cache: Path, quick_heals: None) -> Iterator[Page]:
    """The dashboard in a window of a laptop; its server may log no traceback."""
    with browser.dashboard(cache) as address, browser.chromium() as chromium:
        context = chromium.new_context(
            viewport={"width": 1280, "height": 800}, reduced_motion="reduce", base_url=address
        )
        page = context.new_page()
        page.set_default_timeout(60 * SECOND)
        yield page
        assert "Traceback" not in page.content()
        assert "Traceback" not in (cache / "server.log").read_text()


def test_first_look_fresh_map_and_slider(page: Page):
    first_look(page)
    fresh_map(page)
    move_the_slider(page)


@pytest.mark.long
def test_from_first_look_to_healed_accuracy(page: Page):
    first_look(page)
    fresh_map(page)
    move_the_slider(page)
    small_sweep(page)
    heal_with_a_reload(page)


def first_look(page: Page) -> None:
    """Precomputed results are on screen before anything was asked for."""
    page.goto("/")
    browser.settled(page)
    expect(page.get_by_text("precomputed").first).to_be_visible()
    expect(page.locator(".js-plotly-plot")).to_have_count(3, timeout=LONG)
    browser.screenshot(page, "journey-1-first-look")
    assert not jobs.list_jobs()


def fresh_map(page: Page) -> None:
    page.get_by_role("button", name="Details").click()
    browser.drawn(page)  # a click on what a busy browser still draws is lost
    page.get_by_text("New map").click()
    page.get_by_role("spinbutton", name="Number of texts").fill("8")
    page.get_by_role("spinbutton", name="Tokens per text").fill("64")
    page.get_by_role("button", name="Compute map").click()
    ended(page, "Distance map, C4 8 × 64")
    pick(page, "Distance map", "C4 32 × 256", "C4 8 × 64")
    browser.screenshot(page, "journey-2-fresh-map")


def move_the_slider(page: Page) -> None:
    browser.settled(
        page
    )  # another map may put another slider in place of the one that a key was meant for
    slider = page.get_by_role("slider", name="Layers removed, n")
    before = int(slider.input_value())
    for _ in range(2):
        slider.focus()  # a menu that has just closed may take it back
        expect(slider).to_be_focused()
        page.keyboard.press("ArrowRight")
    expect(slider).to_have_value(str(before + 2))
    expect(page).to_have_url(re.compile(f"n={before + 2}"))


def small_sweep(page: Page) -> None:
    page.get_by_role("button", name="Details").click()
    browser.drawn(page)  # a click on what a busy browser still draws is lost
    page.get_by_text("Run a sweep").click()
    page.get_by_role("spinbutton", name="Number of questions").fill("12")
    page.get_by_role("spinbutton", name="Up to n removed layers").fill("1")
    page.get_by_role("button", name="Run sweep").click()
    ended(page, "Sweep, ARC-Easy 12, n ≤ 1")
    pick(page, "Dataset and curve", "ARC-Easy × 200", "ARC-Easy × 12 ")
    browser.screenshot(page, "journey-3-sweep")


def pick(page: Page, menu: str, stronger: str, picked: str) -> None:
    """See that the stronger result stayed on screen, and show the new one instead."""
    page.get_by_role("button", name="Details").click()
    browser.drawn(page)  # a click on what a busy browser still draws is lost
    box = page.get_by_role("combobox", name=re.compile(menu)).first
    expect(box).to_have_value(re.compile(stronger))
    box.click()
    page.get_by_role("option", name=re.compile(picked)).click()
    expect(box).to_have_value(re.compile(picked))
    page.keyboard.press("Escape")
    browser.settled(page)


def heal_with_a_reload(page: Page) -> None:
    page.get_by_role("link", name="Heal").click()
    expect(page.get_by_role("heading", name="Heal", exact=True)).to_be_visible()
    page.get_by_role("radio", name="Own").click()
    page.get_by_role("radio", name="steps").click()
    fill(page, "Optimizer steps", "6")
    page.get_by_text("Recipe settings", exact=True).click()
    fill(page, "Batch size", "1")
    fill(page, "Sequence length", "64")
    page.get_by_role("button", name="Start healing").click()
    step = page.get_by_text(re.compile(r"^[1-6] of 6$"))
    expect(step).to_be_visible(timeout=LONG)
    browser.screenshot(page, "journey-4-healing")
    page.reload()
    browser.settled(page)
    expect(page.get_by_role("combobox", name=re.compile("Run"))).to_have_value(
        re.compile("6 steps")
    )
    ended(page, re.compile("Heal .*, 6 steps"))
    table = page.locator("[data-testid=stTable]").first
    row = table.get_by_role("row", name=re.compile("^healed"))
    expect(row).to_contain_text(re.compile(r"\d+\.\d% \(\d+‑\d+\)"), timeout=60 * SECOND)
    browser.settled(page)
    browser.screenshot(page, "journey-5-healed")


def fill(page: Page, name: str, value: str) -> None:
    page.get_by_role("spinbutton", name=name).fill(value)
    page.keyboard.press("Enter")
    browser.settled(page)


def ended(page: Page, label: str | re.Pattern) -> None:
    """Wait until the job strip says that this job is done; any other end is shown in full."""
    card = page.locator("[data-testid=stSidebar] [data-testid=stMarkdown]").filter(has_text=label)
    expect(
        card.filter(has_text=re.compile("done|failed|interrupted|cancelled")).first
    ).to_be_visible(timeout=LONG)
    ended_badly = [
        job.error for job in jobs.list_jobs() if job.state in (jobs.FAILED, jobs.INTERRUPTED)
    ]
    assert not ended_badly
