"""No page loads with an error, in a real browser on a new server."""

import pytest

from tests.support import browser

pytestmark = [pytest.mark.browser, pytest.mark.timeout(300)]


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
