"""The first line of a page takes clicks, help buttons are large enough, and a load has no error."""

import pytest
from playwright.sync_api import Page

from tests.support import browser

pytestmark = [pytest.mark.browser, pytest.mark.timeout(300)]


def visit(served, name: str, *, width: int = 1280, height: int = 800) -> Page:
    page = served.visitor(width=width)
    page.set_viewport_size({"width": width, "height": height})
    browser.visit(page, served.address, name)
    return page


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
