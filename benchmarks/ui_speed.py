"""`make bench-ui`: how fast the pages answer in Chromium, on the results of the gallery.

    python benchmarks/ui_speed.py                         everything
    python benchmarks/ui_speed.py --moves 40              more moves of the slider
    python benchmarks/ui_speed.py --baseline FOLDER       another checkout beside it, in turns
    python benchmarks/ui_speed.py --only slider           one of its parts
    python benchmarks/ui_speed.py --only first --watched  first charts as Playwright sees them, too

It prints median and 95 % of these times, and of the server's CPU time for the rerun:
- from the start of the server until it listens;
- from asking for Explore to its first chart. A new server just started on an empty cache folder. A new visitor comes to a
  running one with an empty browser cache, and then again. No debugger is attached (`unwatched`). A page of Streamlit with one
  small map and nothing else is asked for in turns with it, since no page can be sooner there;
- from the release of the slider to the new cut in words, on the strip and on all charts in the window;
- from a click on each tab of Explore, and on each page in the menu, to the finished part;
- from a move of the pointer that drags the block on the strip of layers to the frame that shows it.

The marks on maps and curves follow slider and strip at once, in the browser. The words come from the server. Content of other
tabs waits until somebody looks. With a baseline, every action is done on both checkouts before the next one. Ratios then hold
on a busy machine too, where times do not.
"""

import argparse
import contextlib
import itertools
import json
import os
import statistics
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from playwright.sync_api import Browser, Page

from analysis.core import host
from benchmarks import unwatched
from tests.support import browser

SIZE = {"width": 1280, "height": 800}
SETTLE_MS = 1200
"""Rest between two moves, so that each is measured by itself."""
_REST_S = 4.0
"""Rest behind a first chart: the server makes other tabs ready, and the browser keeps the scripts that it has read."""
TABS = ("questions", "cost", "trade-off", "generation", "damage", "data", "map")
"""The tabs of Explore by their names in the address, in the order of the clicks."""
PAGES = ("Heal", "Compare", "Export", "Learn", "Model", "Explore")
N = (4, 9, 6, 12, 7, 2, 10, 5)
"""Where the slider goes."""
PARTS = ("first", "slider", "tabs", "pages", "strip")
SERVER = ROOT / "benchmarks" / "sampled_server.py"
BARE = ("-m", "streamlit", "run", str(ROOT / "benchmarks" / "bare_page.py"))
"""Arguments of Python that serve a page with one small map."""

# Milliseconds from the next click to the frame in which a condition holds and nothing runs any more.
CLICKED = """
({condition}) => new Promise(done => {
  let began = null;
  window.addEventListener('click', event => { began = event.timeStamp; }, {once: true, capture: true});
  const holds = new Function(`return ${condition}`), drawn = DRAWN;
  const look = () => {
    const now = began === null ? 0 : performance.now() - began;
    if (began !== null && holds() && drawn()) return done(now);
    if (now > 60000) return done(null);
    requestAnimationFrame(look);
  };
  look();
})
""".replace("DRAWN", browser.DRAWN.strip())

# The n that a chart is drawn for: marks laid over it, or a ringed cell. Charts of another kind have none.
WATCH = """
() => {
  const shown = chart => {
    if (!chart.data || !chart.querySelector('.main-svg')) return null;
    const mark = chart.querySelector('.cut-mark');
    if (mark) return mark.dataset.at ? Number(mark.dataset.at.split(':').at(-1)) : null;
    const ring = chart.data.find(trace => trace.name === 'selected');
    return ring && ring.y[0] > 0 ? ring.y[0] : null;
  };
  const strip = document.querySelector('.st-key-layer-strip [data-testid=stBidiComponentIsolated]').shadowRoot;
  const inWindow = item => item.getBoundingClientRect().top < window.innerHeight;
  window.charts = () => [
    {n: strip.querySelectorAll('[aria-pressed=true]').length, seen: inWindow(strip.host)},
    ...[...document.querySelectorAll('.js-plotly-plot')].map(chart => ({n: shown(chart), seen: inWindow(chart)})),
  ];
  window.released = (n, count) => new Promise(done => {
    let began = null;
    window.addEventListener('pointerup', event => { began = event.timeStamp; }, {once: true, capture: true});
    const look = () => {
      if (began !== null) {
        const now = performance.now() - began;
        const visible = window.charts().filter(chart => chart.n !== null && chart.seen);
        const words = [...document.querySelectorAll('[data-testid=stMain] strong')].map(item => item.textContent);
        const told = words.some(text => text.includes(`(${n} layer`));
        if (told && visible.length >= count && visible.every(chart => chart.n === n)) return done(now);
        if (now > 20000) return done(null);
      }
      requestAnimationFrame(look);
    };
    look();
  });
}
"""


def say(*words: object) -> None:
    print(*words, flush=True)


def move(page: Page, n: int, count: int) -> float:
    """Press on the slider's track at n and release; milliseconds from there to the new charts in the window."""
    track = page.locator("[data-testid=stSlider] input[type=range]").first
    last = int(track.get_attribute("max") or 0)
    rail = page.locator("[data-testid=stSlider] [role=group]").first.bounding_box()
    thumb = 6.0
    x = rail["x"] + thumb + (rail["width"] - 2 * thumb) * n / last
    waiting = page.evaluate_handle("([n, count]) => ({done: window.released(n, count)})", [n, count])
    page.mouse.move(x, rail["y"] + rail["height"] / 2)
    page.mouse.down()
    page.wait_for_timeout(60)
    page.mouse.up()
    took = page.evaluate("waiting => waiting.done", waiting)
    if took is None:
        raise SystemExit(f"The charts did not follow the slider to n = {n}: {page.evaluate('window.charts()')}")
    return float(took)


def drag(page: Page, layers: list[int]) -> list[float]:
    """Drag the block over these layers without letting go; milliseconds from each move of the pointer to its frame."""
    boxes = [page.locator(f".cell[data-layer='{layer}']").bounding_box() for layer in layers]
    first, *later_positions = [(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2) for box in boxes]
    page.mouse.move(*first)
    page.mouse.down()
    page.evaluate(browser.WATCH_MOVES)
    for position in later_positions:
        page.mouse.move(*position, steps=40)
    times = page.evaluate("window.moves")
    page.keyboard.press("Escape")
    page.mouse.up()
    return times


def charts_in_window(page: Page) -> int:
    """How many of the charts in the window follow n."""
    return sum(chart["seen"] and chart["n"] is not None for chart in page.evaluate("window.charts()"))


def click(page: Page, where: str, condition: str) -> float:
    """Click on an element; milliseconds from there until a condition in JavaScript holds and the page is finished."""
    target = page.locator(where).first
    target.scroll_into_view_if_needed()
    waiting = page.evaluate_handle(f"condition => ({{done: ({CLICKED})({{condition}})}})", condition)
    target.click()
    took = page.evaluate("waiting => waiting.done", waiting)
    if took is None:
        raise SystemExit(f"The page was not finished a minute after a click on {where}.")
    return float(took)


def open_tab(page: Page, name: str) -> float:
    """Open a tab of Explore; milliseconds."""
    where = f"[role=tab]:nth-of-type({('map', *TABS[:-1]).index(name) + 1})"
    return click(page, where, f"document.querySelector('.st-key-tab-{name}')")


def open_page(page: Page, name: str) -> float:
    """Open a page by the menu; milliseconds."""
    where = f"[data-testid=stSidebarNav] a:has-text('{name}')"
    return click(page, where, f"[...document.querySelectorAll('h1')].some(item => item.textContent.trim() === '{name}')")


@dataclass
class Checkout:
    """A checkout with its server and its window."""

    name: str
    root: Path
    scratch: Path
    entry: tuple[str, ...] | None = None
    """Arguments of Python that serve another page instead."""
    page: Page | None = None
    ms: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))
    """Times by measurement, milliseconds."""
    cpu_ms: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))
    """The server's CPU time for the same, milliseconds."""

    @contextlib.contextmanager
    def served(self) -> Iterator[str]:
        """Run its server on an empty cache; its address."""
        with tempfile.TemporaryDirectory(dir=self.scratch) as cache:
            os.environ["LAYERSCOPE_CACHE"] = cache
            self._report = Path(cache, "runs.json")
            entry = self.entry or (str(SERVER), str(self._report), "--unsampled")
            with browser.dashboard(Path(cache), self.root, entry) as address:
                yield address

    def window(self, chromium: Browser) -> Page:
        """Open an empty window of somebody who was not here before."""
        page = chromium.new_context(viewport=SIZE).new_page()
        page.set_default_timeout(120_000)
        return page

    def measure(self, name: str, action: Callable[[Page], float]) -> None:
        """Note the time of an action, and the CPU time of the reruns that a visitor asked for until it is at rest."""
        assert self.page is not None
        before = len(self._runs())
        took = action(self.page)
        self.page.wait_for_timeout(SETTLE_MS)
        self.ms[name].append(took)
        self.cpu_ms[name].append(1000 * sum(cpu for _, _, cpu in self._runs()[before:]))

    def _runs(self) -> list[tuple[str, float, float]]:
        runs = json.loads(self._report.read_text())["runs"] if self._report.exists() else []
        return [run for run in runs if run[0] != "tick"]


def p95(times: list[float]) -> float:
    ordered = sorted(times)
    return ordered[min(len(ordered) - 1, round(0.95 * (len(ordered) - 1)))]


def told(name: str, checkouts: list[Checkout]) -> str:
    """One line: the times of each checkout, and how much of the baseline's the first one takes."""
    parts = []
    for checkout in checkouts:
        times, cpu = checkout.ms[name], checkout.cpu_ms.get(name, [])
        spent = f", CPU {statistics.median(cpu):.0f} and {p95(cpu):.0f}" if any(cpu) else ""
        parts.append(f"{checkout.name} {statistics.median(times):.0f} and {p95(times):.0f} ms{spent}")
    if len(checkouts) > 1:
        now, before = ([statistics.median(one.ms[name]), statistics.median(one.cpu_ms.get(name) or [0])] for one in checkouts)
        ratios = [f"{new / old:.2f}" for new, old in zip(now, before, strict=True) if old]
        parts.append(f"ratio {' and '.join(ratios)} of CPU" if len(ratios) > 1 else f"ratio {ratios[0]}")
    return f"{name} (n = {len(checkouts[0].ms[name])}): {'; '.join(parts)}"


def first_charts(checkouts: list[Checkout], rounds: int, *, is_watched: bool) -> None:
    """Time the first chart of a server that just started, of a new visitor, and of one who comes back; and of a bare page."""
    kinds = {"": False} | ({", watched": True} if is_watched else {})
    bare = Checkout("a page with one small map", ROOT, checkouts[0].scratch, BARE)
    with unwatched.chromium() as chromium:
        for _ in range(rounds):
            for checkout, (ending, watched) in itertools.product((*checkouts, bare), kinds.items()):
                began = time.perf_counter()
                with checkout.served() as address:
                    checkout.ms[f"start{ending}"].append(1000 * (time.perf_counter() - began))
                    for kind in ("new server", "new visitor"):
                        with chromium.window(**SIZE, is_watched=watched) as window:
                            checkout.ms[f"first chart, {kind}{ending}"].append(1000 * window.first_chart(address))
                            time.sleep(_REST_S)
                            if kind == "new visitor":
                                again = [1000 * window.first_chart(address) for _ in range(3)]
                                checkout.ms[f"first chart, again{ending}"] += again
    parts = ("start", *(f"first chart, {kind}" for kind in ("new server", "new visitor", "again")))
    for part, ending in itertools.product(parts, kinds):
        say(told(f"{part}{ending}", checkouts))
        say(told(f"{part}{ending}", [bare]))


def moved_to(page: Page, n: int) -> float:
    """Move the slider; milliseconds."""
    return move(page, n, charts_in_window(page))


def moves(checkouts: list[Checkout], count: int) -> None:
    """Move the sliders in turns."""
    for checkout in checkouts:
        assert checkout.page is not None
        checkout.page.evaluate(WATCH)
        move(checkout.page, 3, charts_in_window(checkout.page))
        checkout.page.wait_for_timeout(SETTLE_MS)
    for index in range(max(20, count)):
        for checkout in checkouts:
            checkout.measure("slider", partial(moved_to, n=N[index % len(N)]))


def main() -> int:
    parser = argparse.ArgumentParser(description="How fast the pages answer in Chromium.")
    parser.add_argument("--moves", type=int, default=24, help="moves of the slider, at least 20")
    parser.add_argument("--rounds", type=int, default=6, help="clicks on each tab and each page")
    parser.add_argument("--baseline", type=Path, help="another checkout, measured in turns with this one")
    parser.add_argument("--only", choices=PARTS, help="one part")
    parser.add_argument("--watched", action="store_true", help="first charts in a browser that reports exceptions, as well")
    options = parser.parse_args()
    wanted = (options.only,) if options.only else PARTS
    with tempfile.TemporaryDirectory(prefix="layerscope-bench-") as scratch, contextlib.ExitStack() as stack:
        checkouts = [Checkout("here", ROOT, Path(scratch))]
        if options.baseline:
            checkouts.append(Checkout("baseline", options.baseline.resolve(), Path(scratch)))
        say(f"load {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores of {host.processor()}, median and 95 % of each")
        if "first" in wanted:
            first_charts(checkouts, options.rounds, is_watched=options.watched)
        if wanted == ("first",):
            return 0
        chromium = stack.enter_context(browser.chromium())
        for checkout in checkouts:
            address = stack.enter_context(checkout.served())
            checkout.page = checkout.window(chromium)
            browser.visit(checkout.page, address, "explore")
            checkout.page.wait_for_timeout(2 * SETTLE_MS)
        if "slider" in wanted:
            moves(checkouts, options.moves)
            say(told("slider", checkouts))
        if "strip" in wanted:
            for checkout in checkouts:
                page = checkout.page
                first = int(page.locator(".cell[aria-pressed=true]").first.get_attribute("data-layer") or 0)
                checkout.ms["drag on the strip"] = drag(page, [first, 2, 27, 5, 24, first])
            say(told("drag on the strip", checkouts))
        for part, names, action in (("tabs", TABS, open_tab), ("pages", PAGES, open_page)):
            kind = part.rstrip("s")
            for round_number in range(options.rounds + 1 if part in wanted else 0):
                for name in names:
                    for checkout in checkouts:
                        # The first look at each also fills the server's caches and fetches the scripts that draw it.
                        label = f"first look, {kind} {name}" if round_number == 0 else f"{kind} {name}"
                        checkout.measure(label, partial(action, name=name))
            for name in names if part in wanted else ():
                say(told(f"{kind} {name}", checkouts))
                say(told(f"first look, {kind} {name}", checkouts))
        say(f"load {os.getloadavg()[0]:.1f} at the end")
    return 0


if __name__ == "__main__":
    sys.exit(main())
