"""Compare at first open: everything below a form belongs to it, and a click on a token names the layer to restore."""

import re

import pytest
from playwright.sync_api import expect

from tests.support import browser

pytestmark = [pytest.mark.browser, pytest.mark.timeout(300)]


@pytest.fixture
def page(served):
    page = served.visitor()
    browser.visit(page, served.address, "compare", "?n=5")
    yield page
    page.context.close()


@pytest.mark.long
def test_the_stored_example_answers_the_form_that_is_on_screen(page):
    expect(page.get_by_role("textbox", name="Prompt")).to_have_value("The capital of France is")
    column = page.locator(".st-key-written-1")
    expect(column).to_contain_text("The capital of France is")
    expect(page.get_by_text("Not generated yet")).to_have_count(0)
    page.get_by_role("slider").first.focus()
    page.keyboard.press("ArrowLeft")
    expect(page.get_by_text(re.compile("Not generated yet for this prompt and block"))).to_be_visible()
    expect(column).to_have_count(0)


@pytest.mark.long
def test_a_click_on_a_token_names_the_layer_to_restore(page):
    page.get_by_role("radiogroup", name="View").get_by_role("radio", name="Microscope").click()
    page.get_by_role("radio", name="each layer put back").click()
    said = page.get_by_text(re.compile(r"^Token \d+ “.*nats pruned"))
    expect(said).to_be_visible()
    token = page.get_by_role("radio", name=re.compile("^capital")).or_(page.get_by_role("button", name=re.compile("^capital")))
    token.first.click()
    expect(page.get_by_text(re.compile("^Token 2 “capital”"))).to_be_visible()
