"""Compare at 390 pixels: every view can be reached, and wide tables scroll inside their own box."""

import pytest
from playwright.sync_api import expect

from tests.support import browser

pytestmark = [pytest.mark.browser, pytest.mark.timeout(300)]

WIDTH = 390
VIEWS = ("Prompt", "Blind test", "Microscope", "Runs", "Methods", "Grid")
OVERFLOW = """
() => Math.max(...['html', '[data-testid=stMain]'].map(name => document.querySelector(name).scrollWidth))
"""


@pytest.fixture(scope="module")
def phone(served):
    page = served.visitor(width=WIDTH)
    browser.visit(page, served.address, "compare", "?n=5")
    yield page
    page.context.close()


def choice(page, name):
    return page.get_by_role("radiogroup", name="View").get_by_role("radio", name=name)


@pytest.mark.long
def test_every_view_is_on_screen_on_a_phone(phone):
    for name in VIEWS:
        box = choice(phone, name).bounding_box()
        assert box["x"] >= 0, name
        assert box["x"] + box["width"] <= WIDTH, name


@pytest.mark.long
@pytest.mark.parametrize("view", VIEWS)
def test_no_view_is_wider_than_a_phone(phone, view):
    choice(phone, view).click()
    expect(choice(phone, view)).to_be_checked()
    browser.drawn(phone)
    assert phone.evaluate(OVERFLOW) <= WIDTH
    for table in phone.locator("[data-testid=stDataFrame], [data-testid=stTable]").all():
        box = table.bounding_box()
        assert box is None or box["x"] + box["width"] <= WIDTH, view


@pytest.mark.long
def test_methods_keep_their_names_while_the_table_scrolls(phone):
    choice(phone, "Methods").click()
    browser.drawn(phone)
    scroller = phone.locator("[data-testid=stDataFrame] .dvn-scroller").first
    assert scroller.evaluate("one => { one.scrollLeft = 80; return one.scrollLeft; }") == 80
    assert phone.evaluate(OVERFLOW) <= WIDTH
