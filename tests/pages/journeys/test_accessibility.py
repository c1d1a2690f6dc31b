"""Nobody is shut out: axe-core finds nothing serious on any page, and the keyboard reaches everything."""

import contextlib
import re

import pytest
from playwright.sync_api import Page, expect

from tests.support import axe, browser

pytestmark = [pytest.mark.browser, pytest.mark.starter, pytest.mark.timeout(300)]

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
    page.set_content("<html lang=en><title>t</title><main><h1>h</h1><p style='color:#aaa'>faint</p><button></button></main>")
    assert {line.split(":")[0] for line in axe.found(page)} == {"color-contrast", "button-name"}
    assert {line.split(":")[0] for line in axe.found(page, axe.COLORS)} == {"color-contrast"}
    page.context.close()


def test_keyboard_alone_chooses_a_block_and_opens_a_menu(served):
    page = served.visitor()
    browser.visit(page, served.address, "explore")
    expect(page.get_by_text("block [11, 16)").first).to_be_visible()
    reach(page, page.get_by_role("slider", name="Layers removed, n"))
    page.keyboard.press("ArrowRight")
    expect(page.get_by_text("block [13, 19)").first).to_be_visible()
    expect(page).to_have_url(re.compile("n=6"))
    browser.drawn(page)

    menu = page.locator(".st-key-map-popover").get_by_role("button").first
    reach(page, menu, backwards=True)
    page.keyboard.press("Enter")
    compute = page.get_by_role("button", name="Compute map")
    expect(compute).to_be_visible()
    browser.drawn(page)
    for _ in range(3):  # a key that comes while a busy browser still draws the menu is lost
        page.keyboard.press("Escape")
        with contextlib.suppress(AssertionError):
            expect(compute).to_be_hidden(timeout=5_000)
            break
    expect(compute).to_be_hidden()
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
