"""Explore on one screen: the decision and all that it rests on in one window."""

import pytest
from playwright.sync_api import expect

from tests.support import browser

pytestmark = [pytest.mark.browser, pytest.mark.timeout(300)]

BOTTOM = """
label => Math.max(...[...document.querySelectorAll('[role=figure]')].filter(one => one.ariaLabel.startsWith(label))
  .map(one => one.getBoundingClientRect().bottom))
"""


def test_decision_and_its_reasons_fit_1280_by_800_pixels(served):
    page = served.visitor(width=1280)
    page.set_viewport_size({"width": 1280, "height": 800})
    browser.visit(page, served.address, "explore", "?n=5")
    page.wait_for_timeout(500)
    verdict = page.locator(".st-key-verdict")
    expect(verdict).to_contain_text("Removing layers 11-15 makes the model 13 % smaller")
    assert verdict.bounding_box()["y"] < 200
    for label in ("Heat map by", "Accuracy", "Loss"):
        assert page.evaluate(BOTTOM, label) <= 800, label
    browser.screenshot(page, "one-screen")
    page.context.close()
