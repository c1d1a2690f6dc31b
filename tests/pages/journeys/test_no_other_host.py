"""No page asks another host for anything, with any content of its address, and the policy that forbids it is in nobody's
way."""

from urllib.parse import quote, urlsplit

import pytest
from playwright.sync_api import Page, expect

from pages.web import server
from tests.support import browser

pytestmark = [pytest.mark.browser, pytest.mark.starter, pytest.mark.timeout(300)]

WATCH = """
window.refused = [];
document.addEventListener('securitypolicyviolation', event => {
  if (event.blockedURI.endsWith('eval')) return;
  window.refused.push(`${event.violatedDirective} ${event.blockedURI} ${event.sourceFile}:${event.lineNumber}`);
});
"""
"""Libraries of Streamlit try whether code may be made of text, and do without."""
PAYLOAD = (
    "![x](http://evil.test/a.png) <img src=http://evil.test/b.png> [a](http://evil.test) http://evil.test "
    "www.evil.test a@evil.test :material/skull: :smile: :red[x] $x^2$ ->"
)
CRAFTED = "&".join(
    f"{name}={quote(PAYLOAD)}" for name in ("model", "dtype", "strategy", "pin", "tab", "view", "metric", "texts", "step")
)


def watched(served) -> tuple[Page, list[str]]:
    """A window, and the hosts that it asks from now on."""
    page = served.visitor(theme="light")
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.on("requestfailed", lambda request: "csp" in (request.failure or "").lower() and asked.remove(request.url))
    page.add_init_script(WATCH)
    return page, asked


def elsewhere(asked: list[str], address: str) -> list[str]:
    """Return the requests to another host."""
    own = urlsplit(address).netloc
    return [url for url in asked if not url.startswith(("data:", "blob:")) and urlsplit(url).netloc != own]


def test_no_page_asks_another_host_or_breaks_the_policy(served):
    page, asked = watched(served)
    for name in browser.PAGES:
        browser.visit(page, served.address, name)
        assert page.evaluate("window.refused") == [], name
    assert elsewhere(asked, served.address) == []
    page.context.close()


@pytest.mark.long
@pytest.mark.parametrize("name", ["model", "explore", "learn"])
def test_a_crafted_address_shows_and_fetches_nothing_foreign(served, name):
    page, asked = watched(served)
    browser.visit(page, served.address, name, f"?{CRAFTED}")
    assert elsewhere(asked, served.address) == []
    assert page.evaluate("window.refused") == []
    expect(page.locator("[href*='evil.test'], [src*='evil.test']")).to_have_count(0)
    expect(page.locator(".katex").filter(has_text="x^2")).to_have_count(0)
    shown = page.locator("[data-testid=stMain]").inner_text()
    assert "evil.test" in shown, "it is said as it stands"
    assert ":red[x]" in shown or ":material/skull:" in shown or "…" in shown
    page.context.close()


@pytest.mark.long
def test_files_go_down_and_charts_are_saved_under_the_policy(served):
    page, _ = watched(served)
    browser.visit(page, served.address, "explore")
    chart = page.get_by_test_id("stPlotlyChart").first
    chart.hover()
    with page.expect_download() as saved:
        chart.locator("[data-title*='ownload']").first.click()
    assert saved.value.suggested_filename.endswith(".png")
    assert page.evaluate("window.refused") == []
    page.context.close()


@pytest.mark.long
def test_document_and_its_resources_carry_the_headers(served):
    page = served.visitor()
    answered: dict[str, dict] = {}
    page.on("response", lambda response: answered.setdefault(response.url, response.headers))
    browser.visit(page, served.address, "explore")
    own = {url: told for url, told in answered.items() if url.startswith(served.address)}
    assert len(own) > 5
    for url, told in own.items():
        assert told.get("x-content-type-options") == "nosniff", url
        assert told.get("content-security-policy") == server.HEADERS["Content-Security-Policy"], url
    page.context.close()
