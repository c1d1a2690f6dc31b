"""A block clicked in a real browser is the cut everywhere, and its address shows the same view to
somebody else.
"""

import re

import pytest
from playwright.sync_api import Page, expect

from tests.support import browser

pytestmark = [pytest.mark.browser, pytest.mark.starter, pytest.mark.timeout(300)]

PLACE = """
block => {
  const chart = document.querySelector('[role=figure][aria-label^="Heat map by"] .js-plotly-plot');
  const marks = chart?.data?.find(trace => trace.name === 'cells');
  const at = marks?.customdata.findIndex(fields => fields[0] === block);
  if (at === undefined || at < 0) return null;
  const {xaxis, yaxis} = chart._fullLayout, box = chart.getBoundingClientRect();
  const value = list => list._inputArray ? list._inputArray[at] : list[at];
  return {x: box.x + xaxis._offset + xaxis.l2p(value(marks.x)), y: box.y + yaxis._offset + yaxis.l2p(value(marks.y))};
}
"""
"""The position of a block on the map."""
SHOWN = """
() => {
  const mark = label => document.querySelector(`[role=figure][aria-label^="${label}"] .cut-mark`);
  const cells = document.querySelector('.st-key-layer-strip [data-testid=stBidiComponentIsolated]')?.shadowRoot;
  const bars = [...cells?.querySelectorAll('[aria-pressed=true]') ?? []].map(cell => Number(cell.dataset.layer));
  const [map, accuracy, loss] = ['Heat map by', 'Accuracy', 'Loss'].map(label => mark(label)?.dataset.at);
  return {strip: `${bars[0]}:${bars.length}`, map, accuracy, loss};
}
"""
"""The block on the strip and on the map, and the n that each curve marks."""
RING_LIES_ON = f"""
block => {{
  const ring = document.querySelector('[aria-label^="Heat map by"] .cut-mark circle')?.getBoundingClientRect();
  const place = ({PLACE})(block);
  return place && ring && Math.hypot(place.x - ring.x - ring.width / 2, place.y - ring.y - ring.height / 2) < 1;
}}
"""


def expect_shown(page: Page, **wanted: str) -> None:
    page.wait_for_function(
        f"wanted => {{ const shown = ({SHOWN})(); return Object.keys(wanted).every(key =>"
        " shown[key] === wanted[key]); }",
        arg=wanted,
    )


def expect_cut(page: Page, start: int, size: int) -> None:
    """Wait until slider, words, strip, map and curves all show this block."""
    block = f"{start}:{size}"
    expect_shown(page, strip=block, map=block, accuracy=str(size), loss=str(size))
    expect(page.get_by_role("slider", name="Layers removed, n")).to_have_value(str(size))
    expect(page.get_by_text(f"layers {start}-{start + size - 1}").first).to_be_visible()


def click(page: Page, block: str) -> None:
    page.wait_for_function(f"block => ({PLACE})(block) !== null", arg=block)
    place = page.evaluate(PLACE, block)
    page.mouse.move(place["x"] - 1, place["y"])
    page.mouse.move(place["x"], place["y"])
    expect(page.locator(".hoverlayer .hovertext").first).to_contain_text("parameters")
    page.mouse.click(place["x"], place["y"])


def test_clicked_block_is_selected_everywhere_and_by_its_address(served):
    page = served.visitor()
    browser.visit(page, served.address, "explore", "?n=5")
    click(page, "3:8")
    expect_cut(page, 3, 8)
    expect(page).to_have_url(re.compile(r"block=3(:|%3A)8"))

    elsewhere = served.visitor(theme="dark")
    elsewhere.goto(page.url)
    browser.settled(elsewhere)
    expect_cut(elsewhere, 3, 8)
    elsewhere.set_viewport_size({"width": 1600, "height": 900})
    elsewhere.wait_for_function(RING_LIES_ON, arg="3:8")
    elsewhere.context.close()

    page.get_by_role("button", name="Back to similarity").click()
    expect_cut(page, 11, 8)
    expect(page).not_to_have_url(re.compile("block="))
    click(page, "3:8")  # the same block once more: a browser that remembers it must not keep silent
    expect_cut(page, 3, 8)
    slider = page.get_by_role("slider", name="Layers removed, n")
    slider.focus()
    page.keyboard.press("ArrowLeft")
    expect_cut(page, 12, 7)
    page.keyboard.press("ArrowRight")
    expect_cut(page, 11, 8)
    rail = page.locator(".st-key-n [role=group]").first.bounding_box()
    middle = rail["y"] + rail["height"] / 2
    page.mouse.move(rail["x"] + rail["width"] * 8 / 29, middle)
    page.mouse.down()
    page.mouse.move(rail["x"] + rail["width"] * 3 / 29, middle, steps=4)
    expect_shown(page, map="13:3", accuracy="3", loss="3", strip="11:8")  # before it is let go
    page.mouse.move(rail["x"] + rail["width"] * 8 / 29, middle, steps=4)
    page.mouse.up()
    page.get_by_role("tab", name="Questions").click()
    expect_shown(page, strip="11:8")
    expect(page).to_have_url(re.compile("tab=questions"))
    page.get_by_role("tab", name="Map").click()
    expect_cut(page, 11, 8)
    page.context.close()
