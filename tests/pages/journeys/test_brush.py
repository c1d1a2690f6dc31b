"""In a real browser: a range dragged across a curve holds on every chart; a clicked point leads to its questions."""

import re

import pytest
from playwright.sync_api import Page, expect

from tests.support import browser

pytestmark = [pytest.mark.browser, pytest.mark.starter, pytest.mark.timeout(300)]

# Where n = x of the curve in this chart is on the page.
PLACE = """
([label, n]) => {
  const chart = document.querySelector(`[role=figure][aria-label^="${label}"] .js-plotly-plot`);
  const curve = chart?.data?.find(trace => trace.name === 'pruned');
  if (!curve || !chart._fullLayout?.xaxis?._length) return null;
  const list = values => values._inputArray ?? values, at = list(curve.x).indexOf(n);
  const {xaxis, yaxis} = chart._fullLayout, box = chart.getBoundingClientRect();
  return {x: box.x + xaxis._offset + xaxis.l2p(n), y: box.y + yaxis._offset + yaxis.l2p(list(curve.y)[at])};
}
"""
RANGE = '([label, side]) => document.querySelector(`[role=figure][aria-label^="${label}"] .js-plotly-plot`)?.layout[side].range'


def place(page: Page, label: str, n: int) -> dict[str, float]:
    """Where it is once the page has stood still for half a second: charts are drawn once more when their width is known."""
    page.wait_for_function(
        f"""which => {{ const said = JSON.stringify(({PLACE})(which)), now = performance.now(), last = window.lastPlace;
        if (said === 'null' || last?.said !== said) window.lastPlace = {{said, since: now}};
        return said !== 'null' && now - window.lastPlace.since > 500; }}""",
        arg=[label, n],
    )
    return page.evaluate(PLACE, [label, n])


def expect_range(page: Page, label: str, side: str, wanted: list[float]) -> None:
    page.wait_for_function(
        f"([label, side, wanted]) => {{ const found = ({RANGE})([label, side]);"
        " return found && found.every((end, at) => Math.abs(end - wanted[at]) < 0.01); }",
        arg=[label, side, wanted],
    )


@pytest.mark.long
def test_range_is_dragged_and_lifted_and_point_is_clicked(served):
    page = served.visitor()
    browser.visit(page, served.address, "explore", "?n=5")
    expect(page.get_by_test_id("stSidebar")).to_be_visible()
    start, end = place(page, "Accuracy", 3), place(page, "Accuracy", 9)
    page.mouse.move(start["x"], start["y"])
    page.mouse.down()
    page.mouse.move(end["x"] - 2, end["y"], steps=6)
    expect(page.locator(".n-range")).to_have_count(1)
    page.mouse.up()
    expect(page.locator(".n-range")).to_have_count(0)
    expect(page).to_have_url(re.compile("range=3-9"))
    expect_range(page, "Accuracy", "xaxis", [2.5, 9.5])
    expect_range(page, "Loss", "xaxis", [2.5, 9.5])
    expect_range(page, "Heat map by", "yaxis", [2.4, 9.6])
    expect(page.get_by_role("slider", name="Layers removed, n")).to_have_value("5")
    browser.screenshot(page, "brush")

    point = place(page, "Accuracy", 7)
    page.mouse.move(point["x"] - 1, point["y"])
    page.mouse.move(point["x"], point["y"])
    page.mouse.click(point["x"], point["y"])
    expect(page.get_by_role("slider", name="Layers removed, n")).to_have_value("7")
    page.get_by_role("button", name="Show changed answers").click()
    expect(page).to_have_url(re.compile("tab=questions"))
    expect(page.get_by_text("questions at n = 7")).to_be_visible()
    browser.screenshot(page, "brush-questions")
    page.get_by_role("button", name="Only n = 3 to 9").click()
    expect(page).not_to_have_url(re.compile("range="))
    page.context.close()
