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
