"""Addresses that people type, in a real browser: those of pages, and those that name something that does not exist."""

import re

import pytest
from playwright.sync_api import expect

from analysis import jobs
from analysis.experiments.maps.distance_spec import DistanceSpec
from analysis.models.source.model_spec import ModelSpec
from tests.support import browser

pytestmark = [pytest.mark.browser, pytest.mark.starter, pytest.mark.timeout(300)]


@pytest.mark.long
@pytest.mark.parametrize("path", ["explore", ""])
def test_explore_has_its_own_address_and_opens_first(served, path):
    page = served.visitor()
    page.goto(f"{served.address}/{path}?n=7")
    browser.settled(page)
    expect(page.get_by_role("heading", level=1)).to_have_text("Explore")
    expect(page.get_by_text("Page not found")).to_have_count(0)
    expect(page).to_have_url(re.compile("/explore.*n=7"))
    expect(page.get_by_role("slider", name="Layers removed, n")).to_have_value("7")
    expect(page.get_by_test_id("stSidebarNavLink")).to_have_count(len(browser.PAGES))
    page.context.close()


@pytest.mark.long
def test_unknown_name_in_address_lists_existing_names_and_keeps_rest(served):
    page = served.visitor()
    page.goto(f"{served.address}/?n=7&strategy=![x](http://127.0.0.1:1/y)")
    browser.settled(page)
    expect(page.get_by_text("which does not exist. Use one of similarity")).to_be_visible()
    expect(page.get_by_role("slider", name="Layers removed, n")).to_have_value("7")
    expect(page.locator("[data-testid=stMain] img[src*='127.0.0.1:1']")).to_have_count(0)
    page.context.close()


@pytest.mark.long
def test_the_main_button_is_filled_and_readable_in_both_themes(served):
    for theme in ("light", "dark"):
        page = served.visitor(theme=theme)
        browser.visit(page, served.address, "heal")
        button = page.locator("[data-testid^=stBaseButton-primary]:not([disabled])").first
        words, fill = button.evaluate(
            "one => { const said = one.querySelector('p') ?? one;"
            " return [getComputedStyle(said).color, getComputedStyle(one).backgroundColor]; }"
        )
        assert contrast(words, fill) >= 4.5, theme
        page.context.close()


@pytest.mark.long
def test_the_tab_says_that_a_job_ended_while_nobody_looked(served):
    page = served.visitor()
    page.add_init_script("Object.defineProperty(document, 'hidden', {get: () => window.away ?? false})")
    browser.visit(page, served.address, "explore")
    page.evaluate("window.away = true")
    job = jobs.submit(DistanceSpec(ModelSpec("/no/such/model")), "A map that cannot be")
    page.reload()  # a tab that is away looks for jobs of its own only, and this one came from elsewhere
    page.evaluate("window.away = true")
    expect(page).to_have_title(re.compile(r"^\(1\) "), timeout=60_000)
    page.evaluate("window.away = false; document.dispatchEvent(new Event('visibilitychange'))")
    expect(page).to_have_title(re.compile("^[^(]"))
    assert jobs.get(job.id).state == jobs.FAILED
    page.context.close()


def contrast(one: str, other: str) -> float:
    """Of two colours as browsers write them, by WCAG 2."""

    def luminance(colour: str) -> float:
        parts = [int(part) / 255 for part in colour.removeprefix("rgb(").removesuffix(")").split(",")]
        linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    low, high = sorted((luminance(one), luminance(other)))
    return (high + 0.05) / (low + 0.05)
