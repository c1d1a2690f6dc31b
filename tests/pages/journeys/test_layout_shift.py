"""Pages do not move under the reader's eyes while they load."""

import pytest

from pages.components.shared import frame
from tests.support import browser

pytestmark = [pytest.mark.browser, pytest.mark.starter, pytest.mark.timeout(300)]

OBSERVE = """
window.shift = 0;
new PerformanceObserver((list) => {
  for (const entry of list.getEntries())
    if (!entry.hadRecentInput) window.shift += entry.value;
}).observe({ type: "layout-shift", buffered: true });
"""
LARGEST = 0.1
"""Cumulative layout shift up to which web.dev calls a page good."""


@pytest.mark.parametrize("title", frame.PAGES)
def test_a_page_shifts_little_while_it_loads(served, title):
    page = served.visitor()
    page.add_init_script(OBSERVE)
    page.goto(f"{served.address}/{title.lower()}")
    browser.drawn(page)
    shift = page.evaluate("window.shift")
    page.context.close()
    assert 0 < shift <= LARGEST


@pytest.mark.parametrize("width", [1280, 390])
def test_no_place_is_kept_for_a_sidebar_that_is_not_there(served, width):
    page = served.visitor(width=width)
    page.goto(f"{served.address}/explore?present=1")
    browser.drawn(page)
    left = page.locator(".stMain").bounding_box()["x"]
    page.context.close()
    assert left == 0
