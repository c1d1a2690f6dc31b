"""The strip of layers by itself, without a server: a model of many layers, a finger, the keyboard,
and axe.
"""

import json
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from pages.components.explore import layer_choice
from tests.support import axe, browser
from tests.support.on_strip import drag, place

pytestmark = [pytest.mark.browser, pytest.mark.timeout(120)]

L = 126
# Mounts the strip as a page of the dashboard does; its messages to the server are in `told`.
MOUNT = """
async ([html, css, js, data]) => {
  document.body.innerHTML = '<main><h1>A strip</h1><div id="host"></div></main>';
  const root = document.querySelector('#host').attachShadow({mode: 'open'});
  root.innerHTML = html + '<style>' + css + '</style>';
  const {default: start} = await import(URL.createObjectURL(new Blob([js], {type: 'text/javascript'})));
  window.told = [];
  window.give = data => start({parentElement: root, data, setTriggerValue: (_, said) => window.told.push(said)});
  window.give(data);
}
"""
THEME = (
    "--st-primary-color: #0f6b66;--st-background-color: #ffffff;--st-secondary-background-color:"
    " #f3f5f6;--st-text-color: #0d141b;--st-border-color: #d5dade;--st-font:"
    " sans-serif;--st-base-radius: 4px"
)
CUT = (
    "() =>"
    " [...document.querySelector('#host').shadowRoot.querySelectorAll('[aria-pressed=true]')].map(c"
    " => +c.dataset.layer)"
)


def data(n_layers: int = L, **changes) -> dict:
    """Return the data that the server sends for a model of so many layers; ten of them are
    removed.
    """
    rows = [
        [0.05 + 0.001 * n + 0.0005 * start for start in range(n_layers - n + 1)]
        for n in range(1, n_layers + 1)
    ]
    distance = {
        "name": "angle",
        "unit": "",
        "values": rows,
        "halves": [[0.01] * len(row) for row in rows],
        "on": "32 texts",
    }
    look = {"pruned": "#1f6fb5", "kept": "#c9d1d8"}
    values = {
        "n_layers": n_layers,
        "shares": [1 / n_layers] * n_layers,
        "distance": distance,
        "damage": None,
    }
    told = {
        "cut": removed(n_layers),
        "parts": {},
        "kept": [0, n_layers - 1],
        "heard": None,
        "look": look,
        **changes,
    }
    return {"values": json.dumps(values), **told}


def removed(n_layers: int) -> list[int]:
    """Ten in the middle."""
    return list(range(n_layers // 2 - 3, n_layers // 2 + 7))


@pytest.fixture(scope="module")
def chromium() -> Iterator:
    with browser.chromium() as one:
        yield one


def mounted(chromium, *, width: int = 390, n_layers: int = L, **context) -> Page:
    """Open a page with nothing but the strip of a model."""
    page = chromium.new_context(viewport={"width": width, "height": 600}, **context).new_page()
    files = [
        Path(layer_choice.__file__).with_name(f"layer_strip.{end}").read_text()
        for end in ("html", "css", "js")
    ]
    page.set_content(
        f"<html lang=en><title>A strip</title><style>body {{ margin: 0; {THEME} }}</style></html>"
    )
    page.evaluate(MOUNT, [*files, data(n_layers)])
    expect_cut(page, removed(n_layers))
    return page


def expect_cut(page: Page, layers: Sequence[int]) -> None:
    page.wait_for_function(
        f"wanted => JSON.stringify(({CUT})()) === wanted",
        arg=json.dumps([*layers], separators=(",", ":")),
    )


def expect_told(page: Page, **said: str) -> None:
    """Wait for the last message that the server receives."""
    page.wait_for_function(
        "said => window.told.length && Object.entries(said).every(([name, text]) =>"
        " window.told.at(-1)[name] === text)",
        arg=said,
    )


def test_finger_drags_the_block_and_a_scroll_restores_it(chromium):
    page = mounted(chromium, has_touch=True)
    touch = page.context.new_cdp_session(page)
    finger = lambda kind, *at: touch.send(  # noqa: E731
        "Input.dispatchTouchEvent", {"type": kind, "touchPoints": [{"x": x, "y": y} for x, y in at]}
    )
    (x, y), (to, _) = place(page, 66), place(page, 75)
    finger("touchStart", (x, y))
    for part in range(1, 9):
        finger("touchMove", (x + (to - x) * part / 8, y))
    expect_cut(page, range(69, 79))
    finger("touchEnd")
    expect_told(page, cut="69:10")
    x, y = place(page, 73)
    finger("touchStart", (x, y))
    finger("touchCancel")
    expect_cut(page, range(69, 79))


def test_answer_of_the_server_is_awaited_and_then_holds(chromium):
    page = mounted(chromium)
    drag(page, place(page, 65), place(page, 75))
    page.mouse.up()
    expect_told(page, cut="70:10")
    page.evaluate("data => window.give(data)", data())  # a redraw from before the server heard
    page.wait_for_timeout(100)
    expect_cut(page, range(70, 80))
    answer = "data => window.give({...data, heard: window.told.at(-1).number})"
    page.evaluate(answer, data(cut=list(range(80, 90))))  # it made something else of it
    expect_cut(page, range(80, 90))


def test_single_parts_are_drawn_until_the_cut_is_changed(chromium):
    page = mounted(chromium)
    page.evaluate(
        "data => window.give(data)", data(cut=[3], parts={"12": "attention", "15": "feed-forward"})
    )
    expect_cut(page, [3])
    label = "cell => [cell.dataset.part, cell.ariaLabel, cell.ariaPressed]"
    seen = [page.locator(f".cell[data-layer='{layer}']").evaluate(label) for layer in (3, 12, 15)]
    assert seen == [
        ["", "Layer 3, removed", "true"],
        ["attention", "Layer 12, attention removed", "false"],
        ["feed-forward", "Layer 15, feed-forward removed", "false"],
    ]
    drag(page, place(page, 3), place(page, 5))
    expect_cut(page, [5])
    assert page.locator(".cell[data-part=attention], .cell[data-part=feed-forward]").count() == 0
    page.mouse.up()
    expect_told(page, cut="5:1")


def test_tab_key_reaches_all_controls_and_shows_the_focus(chromium):
    page = mounted(chromium)
    ring = (
        "([name, before]) => getComputedStyle(host.shadowRoot.querySelector(name), before).outline"
    )
    for name, before, focused in (
        (".part", None, page.get_by_role("slider", name="Removed block")),
        (".cell", "::before", page.locator(".cell[data-layer='0']")),
        ("input[value=block] + span", None, page.get_by_role("radio", name="Block")),
    ):
        assert "solid" not in page.evaluate(ring, [name, before])
        page.keyboard.press("Tab")
        expect(focused).to_be_focused()
        assert "solid" in page.evaluate(ring, [name, before])


def test_axe_finds_nothing(chromium):
    page = mounted(
        chromium, n_layers=34
    )  # two rows: it looks at every cell, and one is like another
    for mode in ("Block", "Layers", "Protect"):
        page.get_by_role("radio", name=mode).check(force=True)
        page.mouse.move(*place(page, 20))
        expect(page.locator(".facts")).to_be_visible()
        assert axe.found(page, also_minor=True) == [], mode
