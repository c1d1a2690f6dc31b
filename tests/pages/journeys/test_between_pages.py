"""Actions of visitors between pages, windows and machines, in a real browser on precomputed
results.
"""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from playwright.sync_api import Page, expect

from tests.support import browser

pytestmark = [pytest.mark.browser, pytest.mark.starter, pytest.mark.timeout(300)]


@pytest.fixture
def visitors(served) -> Iterator:
    """A function that brings somebody new; all of them leave at the end."""
    pages: list[Page] = []

    def come(**looks: str | int) -> Page:
        pages.append(served.visitor(**looks))
        return pages[-1]

    yield come
    for page in pages:
        page.context.close()


def cut_is(page: Page, block: str) -> None:
    expect(page.get_by_text(block).first).to_be_visible(timeout=30_000)


def slide(page: Page, key: str) -> None:
    page.get_by_role("slider", name="Layers removed, n").focus()
    page.keyboard.press(key)


@pytest.mark.long
def test_two_visitors_do_not_move_each_others_slider(served, visitors):
    one, other = visitors(), visitors()
    for page in (one, other):
        browser.visit(page, served.address, "explore")
    slide(one, "ArrowRight")
    cut_is(one, "layers 13-18")
    slide(other, "ArrowLeft")
    cut_is(other, "layers 12-15")
    cut_is(one, "layers 13-18")
    one.get_by_role("link", name="Compare").click()
    expect(one.get_by_text(re.compile(r"Without layers 13-18"))).to_be_visible()


def saved(page: Page, button: str):
    """The file that a download button brings."""
    with page.expect_download() as download:
        page.get_by_role("button", name=button).first.click()
    return download.value.path()


def picture(page: Page) -> Path:
    """The image that the camera over the accuracy chart saves."""
    chart = page.locator(".st-key-accuracy .js-plotly-plot")
    chart.hover()
    with page.expect_download() as download:
        chart.locator(".modebar-btn[data-title*='Download']").click()
    return download.value.path()


@pytest.mark.long
def test_the_camera_over_a_chart_saves_png_and_svg(served, visitors):
    page = visitors()
    browser.visit(page, served.address, "explore")
    assert picture(page).read_bytes().startswith(b"\x89PNG")
    page.locator(".st-key-accuracy-download").get_by_role("button").first.click()
    page.get_by_role("radio", name="SVG").click()
    page.get_by_text("saves it as SVG").wait_for()
    page.keyboard.press("Escape")
    browser.drawn(page)
    image = picture(page).read_text()
    assert image.startswith("<svg")
    assert "accuracy" in image


@pytest.mark.long
def test_all_that_can_be_taken_away_can_be_opened(served, visitors):
    page = visitors()
    browser.visit(page, served.address, "export", "?n=5")
    page.get_by_role("radio", name="Report").click()
    summary = saved(page, "Markdown summary").read_text()
    assert summary.startswith("# ")
    assert "layers 11-15" in summary
    report_opens_without_a_network(served, saved(page, "HTML page").read_bytes())
    page.get_by_role("radio", name="mergekit").click()
    merge = yaml.safe_load(saved(page, "Download mergekit.yaml").read_text())
    assert [slice_["sources"][0]["layer_range"] for slice_ in merge["slices"]] == [
        [0, 11],
        [16, 30],
    ]
    page.get_by_role("radio", name="Model card").click()
    assert saved(page, "Download README.md").read_text().startswith("---")


def report_opens_without_a_network(served, content: bytes) -> None:
    file = served.cache / "report.html"
    file.write_bytes(content)
    context = served.chromium.new_context(offline=True)
    page = context.new_page()
    asked, wrong = [], []
    page.on("request", lambda request: asked.append(request.url))
    page.on("pageerror", lambda error: wrong.append(str(error)))
    page.goto(file.as_uri())
    page.locator(".js-plotly-plot .main-svg").first.wait_for()
    assert page.locator(".js-plotly-plot").count() >= 3
    assert [url for url in asked if not url.startswith(("file:", "data:", "blob:"))] == []
    assert wrong == []
    context.close()
