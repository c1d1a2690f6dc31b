"""After each click, drag or key on Explore, all panels name the same block."""

import random
import re

import pytest
from playwright.sync_api import Page

from tests.pages.journeys.test_linked import PLACE
from tests.support import browser

pytestmark = [pytest.mark.browser, pytest.mark.starter, pytest.mark.timeout(900)]

N_LAYERS = 30
N_ACTIONS = 10
PANELS = """
() => {
  const root = key => document.querySelector(`.st-key-${key} [data-testid=stBidiComponentIsolated]`)?.shadowRoot;
  const mark = label => document.querySelector(`[role=figure][aria-label^="${label}"] .cut-mark`);
  const bars = [...root('layer-strip')?.querySelectorAll('[aria-pressed=true]') ?? []].map(bar => Number(bar.dataset.layer));
  const words = document.querySelector('.st-key-verdict')?.innerText ?? '';
  const [, first, last] = words.match(/layers? (\\d+)(?:-(\\d+))?/) ?? [];
  const headline = first === undefined ? '' : `${first}:${Number(last ?? first) - Number(first) + 1}`;
  const readout = root('readout');
  const value = name => readout?.querySelector(`.gauge.${name} em`)?.innerText;
  const [map, accuracy, loss] = ['Heat map by', 'Accuracy', 'Loss'].map(label => mark(label)?.dataset.at);
  return {
    n: document.querySelector('.st-key-n input[type=range]')?.value,
    strip: bars.length ? `${bars[0]}:${bars.length}` : '',
    headline,
    readout: readout?.querySelector('.texts')?.dataset.key,
    gauges: [value('accuracy'), value('loss')],
    map, accuracy, loss,
  };
}
"""
"""The block, or n, that each panel of Explore shows, and the numbers of the readout."""
AGREE = f"""
() => {{
  const shown = ({PANELS})();
  if (shown.map === undefined) return false;
  const size = shown.strip ? shown.strip.split(':')[1] : '0';
  return shown.n === size && shown.headline === shown.strip && shown.readout === shown.strip
    && shown.map === shown.strip && shown.accuracy === size && shown.loss === size;
}}
"""


def to_map(page: Page) -> None:
    page.get_by_role("tab", name="Map").click()


def key_on_slider(page: Page, draw: random.Random) -> None:
    page.get_by_role("slider", name="Layers removed, n").focus()
    page.keyboard.press(draw.choice(["ArrowLeft", "ArrowRight"]))


def drag_slider(page: Page, draw: random.Random) -> None:
    rail = page.locator(".st-key-n [role=group]").first.bounding_box()
    middle = rail["y"] + rail["height"] / 2
    now = int(page.get_by_role("slider", name="Layers removed, n").input_value())
    page.mouse.move(rail["x"] + rail["width"] * now / (N_LAYERS - 1), middle)
    page.mouse.down()
    wanted = draw.randint(1, N_LAYERS // 2)
    page.mouse.move(rail["x"] + rail["width"] * wanted / (N_LAYERS - 1), middle, steps=4)
    page.mouse.up()


def click_cell(page: Page, draw: random.Random) -> None:
    size = draw.randint(1, 12)
    block = f"{draw.randint(1, N_LAYERS - size - 1)}:{size}"
    page.wait_for_function(f"block => ({PLACE})(block) !== null", arg=block)
    place = page.evaluate(PLACE, block)
    page.mouse.move(place["x"] - 1, place["y"])
    page.mouse.move(place["x"], place["y"])
    page.locator(".hoverlayer .hovertext").first.wait_for()
    page.mouse.click(place["x"], place["y"])


def click_strip(page: Page, draw: random.Random) -> None:
    layer = draw.randint(1, N_LAYERS - 2)
    page.locator(f".st-key-layer-strip [data-layer='{layer}']").first.click()


def key_on_strip(page: Page, draw: random.Random) -> None:
    page.locator(".st-key-layer-strip [data-layer='9']").first.focus()
    page.keyboard.press("ArrowRight")
    page.keyboard.press(draw.choice(["Space", "Enter"]))


def click_curve(page: Page, draw: random.Random) -> None:
    label = draw.choice(["Accuracy", "Loss"])
    place = page.evaluate(
        """([label, n]) => {
          const chart = document.querySelector(`[role=figure][aria-label^="${label}"] .js-plotly-plot`);
          const {xaxis, yaxis} = chart._fullLayout, box = chart.getBoundingClientRect();
          const line = chart.data.find(trace => trace.name === 'pruned');
          const list = values => values._inputArray ?? values;
          const at = [...list(line.x)].indexOf(n);
          if (at < 0) return null;
          return {x: box.x + xaxis._offset + xaxis.d2p(n), y: box.y + yaxis._offset + yaxis.d2p(list(line.y)[at])};
        }""",
        [label, draw.randint(1, 14)],
    )
    if place is not None:
        page.mouse.move(place["x"] - 1, place["y"])
        page.mouse.move(place["x"], place["y"])
        page.mouse.click(place["x"], place["y"])


def other_tab_and_back(page: Page, draw: random.Random) -> None:
    page.get_by_role("tab", name=draw.choice(["Questions", "Cost", "Trade-off"])).click()
    browser.drawn(page)
    to_map(page)


def back(page: Page, draw: random.Random) -> None:
    page.go_back()
    page.wait_for_function("() => document.querySelector('.st-key-n')")


ACTIONS = (
    key_on_slider,
    drag_slider,
    click_cell,
    click_cell,
    click_strip,
    key_on_strip,
    click_curve,
    other_tab_and_back,
    back,
)


def play(served: browser.Served, seed: int) -> None:
    """Do ten actions of a seeded sequence, and compare the panels after each."""
    draw = random.Random(seed)
    page = served.visitor()
    browser.visit(page, served.address, "explore", "?n=5")
    done = []
    for number in range(N_ACTIONS):
        # The first two are those that showed the numbers of another block.
        action = (key_on_slider, click_cell)[number] if number < 2 else draw.choice(ACTIONS)
        done.append(action.__name__)
        action(page, draw)
        browser.drawn(page)
        if re.search("tab=(?!map)", page.url):
            to_map(page)
            browser.drawn(page)
        try:
            page.wait_for_function(AGREE, timeout=20_000)
        except Exception:
            pytest.fail(f"seed {seed}, after {', '.join(done)}: {page.evaluate(PANELS)}")
        browser.drawn(page)
    page.context.close()


@pytest.mark.parametrize("seed", range(3))
def test_all_panels_name_one_block_after_each_action(served, seed):
    play(served, seed)


@pytest.mark.long
@pytest.mark.parametrize("seed", range(3, 20))
def test_all_panels_name_one_block_after_each_action_of_more_sequences(served, seed):
    play(served, seed)
