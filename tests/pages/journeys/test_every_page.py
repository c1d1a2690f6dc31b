"""Every page asks no other host for anything, with any content of its address, and has colours that everyone can read.

The policy that forbids other hosts is in nobody's way.
"""

from dataclasses import dataclass
from urllib.parse import quote, urlsplit

import pytest
from playwright.sync_api import Page, expect

from pages.web import server
from tests.support import axe, browser

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


def watched(served, theme: str = "light") -> tuple[Page, list[str]]:
    """A window, and the hosts that it asks from now on."""
    page = served.visitor(theme=theme)
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.on("requestfailed", lambda request: "csp" in (request.failure or "").lower() and asked.remove(request.url))
    page.add_init_script(WATCH)
    return page, asked


@dataclass
class Walk:
    """All pages, visited one after another in the dark theme: addresses that they asked, and by page their faults."""

    asked: list[str]
    refused: dict[str, list[str]]
    colors: dict[str, list[str]]


@pytest.fixture(scope="module")
def walk(served) -> Walk:
    page, asked = watched(served, "dark")
    refused, colors = {}, {}
    for name in browser.PAGES:
        browser.visit(page, served.address, name)
        refused[name] = page.evaluate("window.refused")
        colors[name] = axe.found(page, axe.COLORS)
    page.context.close()
    return Walk(asked, refused, colors)


def elsewhere(asked: list[str], address: str) -> list[str]:
    """Return the requests to another host."""
    own = urlsplit(address).netloc
    return [url for url in asked if not url.startswith(("data:", "blob:")) and urlsplit(url).netloc != own]


def test_no_page_asks_another_host_or_breaks_the_policy(served, walk):
    assert elsewhere(walk.asked, served.address) == []
    assert walk.refused == {name: [] for name in browser.PAGES}


def test_axe_finds_no_serious_fault_of_colors_on_any_page(walk):
    assert walk.colors == {name: [] for name in browser.PAGES}


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
