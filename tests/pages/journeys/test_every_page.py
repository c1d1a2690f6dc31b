"""Every page asks no other host for anything, with any content of its address, and is accessible.

The policy that forbids other hosts is in nobody's way, axe-core finds no fault, and the keyboard
reaches everything.
"""

import contextlib
import re
from dataclasses import dataclass
from urllib.parse import quote, urlsplit

import pytest
from playwright.sync_api import Page, expect

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
    "![x](http://evil.test/a.png) <img src=http://evil.test/b.png> [a](http://evil.test)"
    " http://evil.test www.evil.test a@evil.test :material/skull: :smile: :red[x] $x^2$ ->"
)
CRAFTED = "&".join(
    f"{name}={quote(PAYLOAD)}"
    for name in ("model", "dtype", "strategy", "pin", "tab", "view", "metric", "texts", "step")
)


WITHIN = {
    "compare": ("Microscope", "Runs"),
    "export": ("llama.cpp", "Report"),
    "learn": ("3 Map", "5 Big models", "7 Limits", "8 Check"),
}
"""Views of a page that stand behind a choice on it."""
FOCUS_IS_SEEN = """
() => {
  const watched = ["outlineStyle", "outlineWidth", "boxShadow", "borderColor"];
  const look = item => watched.map(name => getComputedStyle(item)[name]);
  const focused = document.activeElement, box = focused.parentElement;
  const parts = [focused, box, box.parentElement, ...focused.querySelectorAll('*')];
  const looks = () => JSON.stringify(parts.map(look)), before = looks();
  focused.blur();
  const differs = looks() !== before;
  focused.focus({focusVisible: true});
  return differs;
}
"""
COLORED = ("explore", "learn")
"""Pages whose colours are checked in the dark theme."""


def watched(served, theme: str = "light") -> tuple[Page, list[str]]:
    """A window, and the hosts that it asks from now on."""
    page = served.visitor(theme=theme)
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.on(
        "requestfailed",
        lambda request: "csp" in (request.failure or "").lower() and asked.remove(request.url),
    )
    page.add_init_script(WATCH)
    return page, asked


@dataclass
class Walk:
    """All pages of a new server, visited one after another in the dark theme: requested addresses
    and faults.
    """

    asked: list[str]
    errors: list[str]
    """Uncaught errors of scripts."""
    refused: dict[str, list[str]]
    colors: dict[str, list[str]]


@pytest.fixture(scope="module")
def walk(served) -> Walk:
    page, asked = watched(served, "dark")
    refused, colors = {}, {}
    errors: list[str] = []
    page.on("pageerror", lambda error: errors.append(str(error)))
    for name in browser.PAGES:
        browser.visit(page, served.address, name)
        refused[name] = page.evaluate("window.refused")
        if name in COLORED:
            colors[name] = axe.found(page, axe.COLORS)
    page.context.close()
    return Walk(asked, errors, refused, colors)


def elsewhere(asked: list[str], address: str) -> list[str]:
    """Return the requests to another host."""
    own = urlsplit(address).netloc
    return [
        url
        for url in asked
        if not url.startswith(("data:", "blob:")) and urlsplit(url).netloc != own
    ]


def test_no_page_asks_another_host_or_breaks_the_policy(served, walk):
    assert elsewhere(walk.asked, served.address) == []
    assert walk.refused == {name: [] for name in browser.PAGES}


def test_no_page_loads_with_an_error(walk):
    assert walk.errors == []


def test_axe_finds_no_serious_fault_of_colors(walk):
    assert walk.colors == {name: [] for name in COLORED}


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
def test_axe_finds_nothing_serious_on_any_page(served):
    page = served.visitor()
    told = {}
    for name in browser.PAGES:
        browser.visit(page, served.address, name)
        told[name] = axe.found(page)
        for view in WITHIN.get(name, ()):
            page.get_by_role("radio", name=view).click()
            page.wait_for_timeout(300)
            browser.settled(page)
            browser.drawn(page)
            told[f"{name}, {view}"] = axe.found(page)
    page.context.close()
    assert not {name: held for name, held in told.items() if held}


def test_axe_finds_planted_errors(served):
    page = served.visitor()
    page.set_content(
        "<html lang=en><title>t</title><main><h1>h</h1><p"
        " style='color:#aaa'>faint</p><button></button></main>"
    )
    assert {line.split(":")[0] for line in axe.found(page)} == {"color-contrast", "button-name"}
    assert {line.split(":")[0] for line in axe.found(page, axe.COLORS)} == {"color-contrast"}
    page.context.close()


def test_keyboard_alone_chooses_a_block_and_opens_a_menu(served):
    page = served.visitor()
    browser.visit(page, served.address, "explore")
    expect(page.get_by_text("layers 11-15").first).to_be_visible()
    reach(page, page.get_by_role("slider", name="Layers removed, n"))
    page.keyboard.press("ArrowRight")
    expect(page.get_by_text("layers 13-18").first).to_be_visible()
    expect(page).to_have_url(re.compile("n=6"))
    browser.drawn(page)

    menu = page.get_by_role("button", name="Details")
    reach(page, menu, backwards=True)
    page.keyboard.press("Enter")
    choice = page.get_by_text("New map")
    expect(choice).to_be_visible()
    browser.drawn(page)
    for _ in range(3):  # a key that comes while a busy browser still draws the menu is lost
        page.keyboard.press("Escape")
        with contextlib.suppress(AssertionError):
            expect(choice).to_be_hidden(timeout=5_000)
            break
    expect(choice).to_be_hidden()
    expect(menu).to_be_focused()
    page.context.close()


def reach(page: Page, wanted, *, backwards: bool = False) -> None:
    """Press Tab until something has the focus, and see that one can see so."""
    for _ in range(60):
        page.keyboard.press("Shift+Tab" if backwards else "Tab")
        if wanted.evaluate("element => element === document.activeElement"):
            assert page.evaluate(FOCUS_IS_SEEN), "the focus cannot be seen"
            return
    pytest.fail(f"Tab does not reach {wanted}")
