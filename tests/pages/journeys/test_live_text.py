"""Generated text follows slider and strip in a real browser, before the server hears of the block."""

import re

import pytest
from playwright.sync_api import Page, expect

from tests.support import browser
from tests.support.on_strip import drag, place

pytestmark = [pytest.mark.browser, pytest.mark.timeout(300)]

COLUMNS = """
() => {
  const root = document.querySelector('.st-key-generated-text [data-testid=stBidiComponentIsolated]')?.shadowRoot;
  return Object.fromEntries([...root?.querySelectorAll('.column') ?? []].map(column => [column.classList[1],
    [column.querySelector('.title').textContent, column.querySelector('.text').textContent]]));
}
"""
RINGS = """
label => {
  const chart = [...document.querySelectorAll('[role=figure]')].find(item => item.ariaLabel.startsWith(label));
  const mark = chart?.querySelector('.cut-mark');
  return mark && {ring: mark.dataset.ring, at: mark.dataset.at, note: mark.textContent,
    lines: mark.querySelectorAll('line').length};
}
"""


def columns(page: Page) -> dict[str, tuple[str, str]]:
    return {name: tuple(said) for name, said in page.evaluate(COLUMNS).items()}


def expect_selected(page: Page, title: str) -> None:
    page.wait_for_function(f"title => ({COLUMNS})().selected?.[0] === title", arg=title)


def expect_rings(page: Page, label: str, **wanted) -> None:
    page.wait_for_function(
        f"([label, wanted]) => {{ const shown = ({RINGS})(label);"
        " return shown && Object.keys(wanted).every(key => shown[key] === wanted[key]); }",
        arg=[label, wanted],
    )


@pytest.mark.long
def test_text_follows_dragged_strip_and_blocks_without_text_say_so(served):
    page = served.visitor()
    browser.visit(page, served.address, "explore", "?n=5&tab=generation")
    expect_selected(page, "Selected: layers 11-15")
    own = columns(page)
    assert own["own"] == ("similarity's block: layers 11-15", "Same as the selected block.")
    assert own["selected"][1].startswith("Dennis M. O'Brien"), "an English prompt"
    drag(page, place(page, 13), place(page, 15))
    expect_selected(page, "Selected: layers 13-17")
    shown = columns(page)
    assert shown["selected"][1] == "Not measured for this selection"
    assert shown["own"][0] == "similarity's block: layers 11-15"
    assert shown["own"][1] == own["selected"][1]
    button = page.get_by_role("button", name="Measure generation")
    expect(button).to_have_count(0)  # the server has not heard of it
    page.mouse.up()
    expect(button).to_be_visible()
    expect(page).to_have_url(re.compile(r"block=13(:|%3A)5"))
    page.context.close()


@pytest.mark.long
def test_text_and_marker_follow_the_slider_before_release(served):
    page = served.visitor(theme="dark")
    browser.visit(page, served.address, "explore", "?n=5&tab=generation")
    expect_selected(page, "Selected: layers 11-15")
    before = columns(page)
    rail = page.locator(".st-key-n [role=group]").first.bounding_box()
    middle = rail["y"] + rail["height"] / 2
    page.mouse.move(rail["x"] + rail["width"] * 5 / 29, middle)
    page.mouse.down()
    page.mouse.move(rail["x"] + rail["width"] * 8 / 29, middle, steps=4)
    expect_selected(page, "Selected: layers 11-18")
    shown = columns(page)
    assert shown["selected"][1] != before["selected"][1]
    assert shown["unpruned"] == before["unpruned"]
    expect_rings(page, "Repetition", ring="11:8", at="8")
    page.mouse.up()
    page.context.close()


@pytest.mark.long
def test_marker_leaves_the_curve_where_block_is_not_measured(served):
    page = served.visitor()
    browser.visit(page, served.address, "explore", "?block=15:11")
    for label in ("Accuracy", "Loss"):
        expect_rings(page, label, ring="", at="11", note="Not measured for this selection", lines=0)
    expect_rings(page, "Heat map by", ring="15:11")
    browser.visit(page, served.address, "explore", "?block=14:5")
    for label in ("Accuracy", "Loss"):
        expect_rings(page, label, ring="14:5", at="5", note="", lines=0)
    drag(page, place(page, 16), place(page, 18))
    expect_rings(page, "Heat map by", ring="16:5")
    expect_rings(page, "Loss", ring="", at="5", note="Not measured for this selection")
    page.keyboard.press("Escape")
    page.mouse.up()
    expect_rings(page, "Loss", ring="14:5", note="")
    page.context.close()


@pytest.mark.long
def test_note_of_unknown_layers_leaves_the_color_bar_readable(served):
    page = served.visitor()
    browser.visit(page, served.address, "explore", "?n=8&strategy=greedy")
    expect_rings(page, "Heat map by", ring="", note="Not measured for this selection")
    chart = page.get_by_role("figure", name=re.compile("^Heat map by"))
    note, bar = (chart.locator(selector).first.bounding_box() for selector in (".cut-mark rect", ".colorbar"))
    assert note["y"] >= bar["y"] + bar["height"]
    page.context.close()
