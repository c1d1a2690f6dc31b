"""Response times of the pages in Chromium.

    python benchmarks/ui_speed.py                        on the results of the gallery python
    benchmarks/ui_speed.py --results 2000         with 2,000 more results of one model, which is
    shown

Prints median and 95th percentile of the time
- from opening Explore in a new browser, and again in the same one, to its last chart,
- from the release of the slider to the selected block in words and on all charts of the window,
- from a click on a tab of Explore or on a page in the menu to the finished page.
"""

import argparse
import contextlib
import os
import statistics
import sys
import tempfile
from collections import defaultdict
from dataclasses import dataclass, field, replace
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from playwright.sync_api import Browser, Page

from analysis.core import host
from benchmarks.work import say
from tests.support import browser

WINDOW = {"width": 1280, "height": 800}
REST_MS = 1200
"""Pause between two actions, so that each is measured alone."""
TABS = ("questions", "cost", "trade-off", "data", "map")
PAGES = ("Heal", "Compare", "Export", "Learn", "Model", "Explore")
N = (4, 9, 6, 12, 7, 2, 10, 5)
MODEL = "lab/model-0"
"""Source of the model whose results are made up for `--results`."""

# Milliseconds from the next event of a type to the frame in which a condition holds and the page is
# finished.
TIMED = """
([type, condition]) => {
  window.timed = new Promise(done => {
    let began = null;
    window.addEventListener(
      type, event => { began = event.timeStamp; }, {once: true, capture: true});
    const holds = new Function(`return ${condition.trim()}`), drawn = DRAWN;
    const look = () => {
      const now = began === null ? 0 : performance.now() - began;
      if (began !== null && holds() && drawn()) return done(now);
      if (now > 60000) return done(null);
      requestAnimationFrame(look);
    };
    look();
  });
}
""".replace("DRAWN", browser.DRAWN.strip())
SELECTED = """
[...document.querySelectorAll('[data-testid=stMain] strong')].some(item => {
  const found = item.textContent.match(/^layers? (\\d+)(?:-(\\d+))?$/);
  return found && Number(found[2] ?? found[1]) - Number(found[1]) + 1 === {n};
})
"""


@dataclass
class Window:
    """A browser window, and the times of the actions in it."""

    address: str
    """Address of the server."""
    page: Page | None = None
    times_ms: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))

    def open_explore(self, chromium: Browser, query: str) -> None:
        """Open Explore in a new browser and once more in the same one, and time each first finished
        state.
        """
        page = chromium.new_context(viewport=WINDOW).new_page()
        page.set_default_timeout(120_000)
        page.goto(f"{self.address}/explore{query}")
        page.get_by_role("heading", level=1).first.wait_for()
        page.wait_for_function(browser.DRAWN)
        self.times_ms["open Explore"].append(page.evaluate("performance.now()"))
        page.wait_for_timeout(REST_MS)
        page.reload()
        page.get_by_role("heading", level=1).first.wait_for()
        page.wait_for_function(browser.DRAWN)
        self.times_ms["open Explore again"].append(page.evaluate("performance.now()"))
        if self.page is not None:
            self.page.context.close()
        self.page = page
        page.wait_for_timeout(REST_MS)

    def record(self, name: str, took: float | None) -> None:
        """Note the time of an action and rest."""
        if took is None:
            raise SystemExit(f"{name}: the page was not finished after a minute.")
        self.times_ms[name].append(took)
        self.page.wait_for_timeout(REST_MS)

    def move_slider(self, n: int) -> None:
        """Press on the slider's track at n and release."""
        thumb = 6.0
        slider = self.page.locator("[data-testid=stSlider]").first
        last = int(slider.locator("input[type=range]").get_attribute("max") or 0)
        rail = slider.locator("[role=group]").bounding_box()
        self.page.mouse.move(
            rail["x"] + thumb + (rail["width"] - 2 * thumb) * n / last,
            rail["y"] + rail["height"] / 2,
        )
        self.page.mouse.down()
        self.page.evaluate(TIMED, ["pointerup", SELECTED.replace("{n}", str(n))])
        self.page.mouse.up()
        self.record("slider", self.page.evaluate("window.timed"))

    def click(self, name: str, target: str, condition: str) -> None:
        """Click on an element until a condition in JavaScript holds and the page is finished."""
        element = self.page.locator(target).first
        element.scroll_into_view_if_needed()
        self.page.evaluate(TIMED, ["click", condition])
        element.click()
        self.record(name, self.page.evaluate("window.timed"))

    def open_tab(self, name: str) -> None:
        """Open a tab of Explore by its name in the address."""
        position = ("map", *TABS[:-1]).index(name) + 1
        self.click(
            "tabs",
            f"[role=tab]:nth-of-type({position})",
            f"document.querySelector('.st-key-tab-{name}')",
        )

    def open_page(self, name: str) -> None:
        """Open a page by the menu."""
        has_title = (
            "[...document.querySelectorAll('h1')].some(item => item.textContent.trim() ==="
            f" '{name}')"
        )
        self.click("pages", f"[data-testid=stSidebarNav] a:has-text('{name}')", has_title)


def fill(n: int) -> None:
    """Store results of one model: evaluations of different blocks, curves on several draws of
    questions, maps and others.
    """
    from analysis.core.blocks import Block, removal
    from analysis.experiments.accuracy.points import place
    from tests.support import fakes

    evaluation = fakes.evaluate(Block(11, 5))
    others = (fakes.sweep(), fakes.distances(), fakes.heal(), fakes.damage(), fakes.speed())
    for index in range(n):
        result = evaluation if index % 2 else others[index // 2 % len(others)]
        model = replace(result.spec.model, source=MODEL, identity="files:0")
        spec = replace(result.spec, model=model)
        for name in ("corpus", "benchmark"):
            if hasattr(spec, name):
                spec = replace(spec, **{name: replace(getattr(spec, name), seed=index)})
        if hasattr(spec, "seed"):
            spec = replace(spec, seed=index)
        if index % 2:
            bits = index * 2654435761 % 2**28  # different removed layers for every number
            removed = removal([1, *(layer + 1 for layer in range(1, 28) if bits >> layer & 1)])
            benchmark = replace(spec.benchmark, seed=index % 20 // 2)
            spec = replace(spec, block=removed, benchmark=benchmark)
            result = replace(result, point=replace(result.point, **place(removed)))
        replace(result, spec=spec).save()


def main() -> None:
    parser = argparse.ArgumentParser(description="Response times of the pages in Chromium.")
    parser.add_argument(
        "--rounds", type=int, default=6, help="rounds of all actions; the first one is not counted"
    )
    parser.add_argument(
        "--results", type=int, default=0, help="number of further stored results (default: 0)"
    )
    options = parser.parse_args()
    query = f"?model={MODEL}&n=5" if options.results else ""
    say(
        f"load {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores of {host.processor()}, median and"
        " 95th percentile"
    )
    with contextlib.ExitStack() as stack:
        cache = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="layerscope-bench-")))
        os.environ["LAYERSCOPE_CACHE"] = str(cache)
        fill(options.results)
        window = Window(stack.enter_context(browser.dashboard(cache)))
        chromium = stack.enter_context(browser.chromium())
        for round_number in range(options.rounds + 1):
            window.open_explore(chromium, query)
            for action, values in (("move_slider", N), ("open_tab", TABS), ("open_page", PAGES)):
                for value in values:
                    getattr(window, action)(value)
            if round_number == 0:  # fills the caches of server and browser
                window.times_ms.clear()
        for name, times_ms in window.times_ms.items():
            ordered = sorted(times_ms)
            high = ordered[round(0.95 * (len(ordered) - 1))]
            say(f"{name} (n = {len(ordered)}): {statistics.median(ordered):.0f} and {high:.0f} ms")
    say(f"load {os.getloadavg()[0]:.1f} at the end")


if __name__ == "__main__":
    main()
