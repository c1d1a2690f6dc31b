"""Compare in a browser: results belong to the form above them, and every view fits a phone of 390 pixels."""

import re

import pytest
from playwright.sync_api import expect

from tests.support import browser

pytestmark = [pytest.mark.browser, pytest.mark.long, pytest.mark.timeout(300)]

WIDTH = 390
VIEWS = ("Prompt", "Microscope", "Runs", "Methods")
OVERFLOW = """
() => Math.max(...['html', '[data-testid=stMain]'].map(name => document.querySelector(name).scrollWidth))
"""


@pytest.fixture
def page(served):
    page = served.visitor()
    browser.visit(page, served.address, "compare", "?n=5")
    yield page
    page.context.close()


def test_the_stored_example_answers_the_form_that_is_on_screen(page):
    expect(page.get_by_role("textbox", name="Prompt")).to_have_value("The capital of France is")
    column = page.locator(".st-key-written-1")
    expect(column).to_contain_text("The capital of France is")
    expect(page.get_by_text("Not generated yet")).to_have_count(0)
    page.get_by_role("slider").first.focus()
    page.keyboard.press("ArrowLeft")
    expect(page.get_by_text(re.compile("Not generated yet for this prompt and block"))).to_be_visible()
    expect(column).to_have_count(0)


@pytest.fixture(scope="module")
def phone(served):
    page = served.visitor(width=WIDTH)
    browser.visit(page, served.address, "compare", "?n=5")
    yield page
    page.context.close()


def choice(page, name):
    return page.get_by_role("radiogroup", name="View").get_by_role("radio", name=name)


def test_every_view_is_on_screen_on_a_phone(phone):
    for name in VIEWS:
        box = choice(phone, name).bounding_box()
        assert box["x"] >= 0, name
        assert box["x"] + box["width"] <= WIDTH, name


@pytest.mark.parametrize("view", VIEWS)
def test_no_view_is_wider_than_a_phone(phone, view):
    choice(phone, view).click()
    expect(choice(phone, view)).to_be_checked()
    browser.drawn(phone)
    assert phone.evaluate(OVERFLOW) <= WIDTH
    for table in phone.locator("[data-testid=stDataFrame], [data-testid=stTable]").all():
        box = table.bounding_box()
        assert box is None or box["x"] + box["width"] <= WIDTH, view


def test_methods_keep_their_names_while_the_table_scrolls(phone):
    choice(phone, "Methods").click()
    browser.drawn(phone)
    scroller = phone.locator("[data-testid=stDataFrame] .dvn-scroller").first
    assert scroller.evaluate("one => { one.scrollLeft = 80; return one.scrollLeft; }") == 80
    assert phone.evaluate(OVERFLOW) <= WIDTH
