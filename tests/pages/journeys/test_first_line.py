"""The first line of a page takes clicks, help buttons are large enough, and a load has no error."""

import pytest
from playwright.sync_api import Page, expect

from tests.support import browser

pytestmark = [pytest.mark.browser, pytest.mark.timeout(300)]

HELP = """
() => [...document.querySelectorAll('button[aria-label="Help"], button[aria-label^="Help for"]')]
  .filter(one => one.checkVisibility({visibilityProperty: true}))
  .map(one => [one.ariaLabel, one.getBoundingClientRect().width, one.getBoundingClientRect().height])
"""
COVERED = """
() => [...document.querySelectorAll('[data-testid=stMain] :is(button, input, a[href], label)')]
  .filter(one => one.checkVisibility({visibilityProperty: true}) && one.getBoundingClientRect().width > 1)
  .filter(one => {
    const {left, top, width, height} = one.getBoundingClientRect();
    return [0.05, 0.5, 0.95].some(share =>
      document.elementFromPoint(left + share * width, top + height / 2)?.closest('[data-testid=stHeader]'));
  })
  .map(one => one.innerText || one.ariaLabel)
"""


def visit(served, name: str, *, width: int = 1280, height: int = 800) -> Page:
    page = served.visitor(width=width)
    page.set_viewport_size({"width": width, "height": height})
    browser.visit(page, served.address, name)
    return page


def close_popover(page: Page) -> None:
    """Press Escape until the popover is gone: one that is still being filled does not hear the first one."""
    body = page.get_by_test_id("stPopoverBody")
    for _ in range(30):
        page.keyboard.press("Escape")
        page.wait_for_timeout(500)
        if not body.is_visible():
            break
    expect(body).to_be_hidden()


@pytest.mark.long
@pytest.mark.parametrize(("width", "height"), [(1280, 800), (1920, 1080)])
def test_the_controls_beside_learns_title_take_clicks(served, width, height):
    page = visit(served, "learn", width=width, height=height)
    beside = page.locator(".st-key-beside-learn")
    for name in ("Glossary", "Teach"):
        beside.get_by_role("button", name=name).click(timeout=30_000)
        expect(page.get_by_test_id("stPopoverBody")).to_be_visible(timeout=30_000)
        close_popover(page)
    page.get_by_role("button", name="Next").click()
    expect(page.locator("[data-testid=stMain]")).to_contain_text("step 2 of 8", timeout=30_000)
    beside.get_by_role("button", name="Start over").click(timeout=30_000)
    expect(page.locator("[data-testid=stMain]")).to_contain_text("step 1 of 8", timeout=30_000)
    page.mouse.move(640, 700)  # away from the button, whose help would lie over the switch below it
    expect(page.get_by_text("Clears your guesses and answers.")).to_be_hidden(timeout=30_000)
    beside.get_by_text("Presenter mode").click(timeout=30_000)
    expect(page.locator(".st-key-leave-presenter")).to_be_visible(timeout=30_000)
    page.context.close()


@pytest.mark.long
@pytest.mark.parametrize("name", browser.PAGES)
def test_help_buttons_have_24_pixels_and_nothing_covers_a_control(served, name):
    page = visit(served, name)
    sizes = page.evaluate(HELP)
    assert len(sizes) > 1
    assert [one for one in sizes if min(one[1:]) < 24] == []
    assert page.evaluate(COVERED) == []
    page.context.close()


@pytest.mark.long
def test_no_page_loads_with_a_404_or_an_error(tmp_path, served, monkeypatch):
    monkeypatch.setenv("LAYERSCOPE_CACHE", str(tmp_path))
    faults: list[str] = []
    with browser.dashboard(tmp_path) as address:  # a new server: its first visit is drawn before Streamlit has the menu
        for name in browser.PAGES:
            page = served.visitor()
            page.on("console", lambda said: said.type == "error" and faults.append(said.text))
            page.on("pageerror", lambda error: faults.append(str(error)))
            page.on("response", lambda answer: answer.status >= 400 and faults.append(f"{answer.status} {answer.url}"))
            browser.visit(page, address, name)
            page.context.close()
            assert faults == [], name
