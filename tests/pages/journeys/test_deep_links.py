"""A link to any page asks the server for nothing that is not there."""

import pytest
from playwright.sync_api import expect

from pages.components.shared import frame
from tests.support import browser

pytestmark = [pytest.mark.browser, pytest.mark.starter, pytest.mark.timeout(300)]


@pytest.mark.parametrize("title", ["Model", "Learn"])
def test_a_deep_link_opens_its_page_without_a_failed_request(served, title):
    page = served.visitor()
    failed = []
    errors = []
    page.on(
        "response",
        lambda answer: failed.append(answer.url) if answer.status >= 400 else None,
    )
    page.on(
        "console",
        lambda message: errors.append(message.text) if message.type == "error" else None,
    )
    page.goto(f"{served.address}/{title.lower()}?keep=0")
    expect(page.get_by_role("heading", name=title, exact=True)).to_be_visible()
    browser.drawn(page)
    page.get_by_role("link", name="Export").click()
    expect(page.get_by_role("heading", name="Export", exact=True)).to_be_visible()
    assert page.url.startswith(f"{served.address}/export")
    browser.drawn(page)  # a page that still draws writes its address once more
    page.go_back()
    expect(page.get_by_role("heading", name=title, exact=True)).to_be_visible()
    page.context.close()
    assert not failed
    assert not errors


def test_every_page_has_a_document_of_its_own(served):
    page = served.visitor()
    for title in frame.PAGES:
        answer = page.request.get(f"{served.address}/{title.lower()}")
        assert answer.ok
        assert "BACKEND_BASE_URL" in answer.text()
        assert answer.headers["cache-control"] == "no-cache"
        assert "default-src 'none'" in answer.headers["content-security-policy"]
    page.context.close()


def test_an_address_of_no_page_says_so_and_leads_to_the_pages(served):
    page = served.visitor()
    page.goto(f"{served.address}/foo")
    expect(page.get_by_role("dialog").get_by_text("Page not found")).to_be_visible()
    page.get_by_role("dialog").get_by_role(
        "button", name="Close"
    ).click()  # Streamlit's own dialog, which ends with its main page
    expect(page.get_by_text("This dashboard has no page foo.")).to_be_visible()
    page.get_by_role("link", name="Open Explore").click()
    expect(page.get_by_role("heading", name="Explore", exact=True)).to_be_visible()
    page.goto(f"{served.address}/")
    expect(page.get_by_role("heading", name="Explore", exact=True)).to_be_visible()
    page.context.close()
