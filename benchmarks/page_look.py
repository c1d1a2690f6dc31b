"""How the pages stand on a screen: jumps, height and number of controls, on precomputed results.

    python benchmarks/page_look.py                     all pages of this checkout
    python benchmarks/page_look.py --also ../former    those of another checkout as well, in turns on the same machine
    python benchmarks/page_look.py --only explore      one page

Printed for each page, as the median of several fresh windows of 1280 x 800:
- the cumulative layout shift until nothing moves any more, as browsers report it (0.1 is called good, 0.25 poor);
- the height of the page in pixels;
- the number of visible controls without opening anything, not counting the menu of pages and the toolbars of charts.

Controls are buttons, fields, menus, switches, sliders, tabs and links.
"""

import argparse
import contextlib
import os
import statistics
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from playwright.sync_api import Browser

from tests.support import browser

SIZE = {"width": 1280, "height": 800}
WINDOWS = 5
REST_MS = 2500
"""For movements after everything is drawn."""
CONTROLS = """
() => {
  const roles = ['slider', 'radio', 'tab', 'combobox', 'spinbutton'].map(role => `[role=${role}]`);
  const wanted = ['button', 'input', 'textarea', 'select', 'a[href]', ...roles].join();
  const seen = new Set();
  for (const item of document.querySelectorAll(`[data-testid=stMain] :is(${wanted})`)) {
    if (item.closest('.modebar, [data-testid=stDataFrame], [data-testid=stElementToolbar]')) continue;
    if (!item.checkVisibility({visibilityProperty: true, opacityProperty: true})) continue;
    const box = item.closest('[data-baseweb=select], [data-testid=stSlider], [data-testid=stNumberInput], label') ?? item;
    seen.add(box);
  }
  return seen.size;
}
"""


@dataclass(frozen=True)
class Look:
    """One window's measurements."""

    shift: float
    height: int
    controls: int


def look(chromium: Browser, address: str, name: str) -> Look:
    """Open one page in a new window of somebody who was not here before."""
    context = chromium.new_context(viewport=SIZE)
    page = context.new_page()
    page.set_default_timeout(60_000)
    page.add_init_script(browser.SHIFTS)
    browser.visit(page, address, name)
    page.wait_for_timeout(REST_MS)
    height = page.evaluate("() => document.querySelector('[data-testid=stMain]').scrollHeight")
    result = Look(page.evaluate("window.shifted"), height, page.evaluate(CONTROLS))
    context.close()
    return result


def main() -> int:
    parser = argparse.ArgumentParser(description="How the pages stand on a screen.")
    parser.add_argument("--also", type=Path, help="another checkout of the repository")
    parser.add_argument("--only", choices=browser.PAGES)
    parser.add_argument("--windows", type=int, default=WINDOWS)
    options = parser.parse_args()
    checkouts = {"here": ROOT} | ({"also": options.also.resolve()} if options.also else {})
    with tempfile.TemporaryDirectory(prefix="layerscope-look-") as scratch, contextlib.ExitStack() as stack:
        served = {}
        for name, root in checkouts.items():
            cache = Path(scratch) / name
            cache.mkdir()
            os.environ["LAYERSCOPE_CACHE"] = str(cache)
            served[name] = stack.enter_context(browser.dashboard(cache, root))
        chromium = stack.enter_context(browser.chromium())
        print(f"load {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores, {options.windows} windows of 1280 x 800 each")
        print(f"{'page':10}{'checkout':10}{'layout shift':>14}{'height':>8}{'controls':>10}")
        for page in [options.only] if options.only else browser.PAGES:
            looks: dict[str, list[Look]] = {name: [] for name in served}
            for address in served.values():
                look(chromium, address, page)  # the first window of a page also fills the server's caches
            for _ in range(options.windows):
                for name, address in served.items():
                    looks[name].append(look(chromium, address, page))
            for name, looks_of_page in looks.items():
                shift, height, controls = (
                    statistics.median(getattr(opened, field) for opened in looks_of_page)
                    for field in ("shift", "height", "controls")
                )
                print(f"{page:10}{name:10}{shift:14.3f}{height:8.0f}{controls:10.0f}", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
