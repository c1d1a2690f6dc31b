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
