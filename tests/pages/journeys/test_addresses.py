"""Addresses that people type, and the title of a tab that nobody looks at, in a real browser."""

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
