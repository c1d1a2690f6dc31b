"""`make bench-ui`: how fast the Explore page answers in Chromium, on precomputed results of the starter model.

    python benchmarks/ui_speed.py                 everything
    python benchmarks/ui_speed.py --moves 40      more moves of the slider

It prints the times of three things:
- from asking for the page to its first chart, cold (server just started, empty browser cache) and warm;
- from the release of the slider to the new cut in words, on the strip and on all charts in the window;
- from a move of the pointer that drags the block on the strip of layers to the frame that shows it.

The marks on maps and curves follow slider and strip at once, in the browser. The words come from the server. Content of other
tabs waits until somebody looks.
"""

import argparse
import os
import statistics
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from playwright.sync_api import Page

from tests.support import browser

SIZE = {"width": 1280, "height": 800}
SETTLE_MS = 1200
"""Rest between two moves, so that each is measured by itself."""

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


def first_chart(page: Page, address: str) -> float:
    """Seconds from asking for the page to the first frame with a drawn map on it."""
    started = time.perf_counter()
    page.goto(address, wait_until="commit")
    page.wait_for_function(
        "() => [...document.querySelectorAll('.js-plotly-plot')].some(c => c.data && c.querySelector('.hm'))"
    )
    return time.perf_counter() - started


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


def told(name: str, times: list[float]) -> str:
    ordered = sorted(times)
    p95 = ordered[min(len(ordered) - 1, round(0.95 * (len(ordered) - 1)))]
    return f"{name}: median {statistics.median(ordered):.0f} ms, p95 {p95:.0f} ms, fastest {ordered[0]:.0f} ms"


def main() -> int:
    parser = argparse.ArgumentParser(description="How fast the Explore page answers in Chromium.")
    parser.add_argument("--moves", type=int, default=24, help="moves of the slider, at least 20")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="layerscope-bench-") as scratch:
        os.environ["LAYERSCOPE_CACHE"] = scratch
        with browser.dashboard(Path(scratch)) as address, browser.chromium() as chromium:
            context = chromium.new_context(viewport=SIZE)
            page = context.new_page()
            page.set_default_timeout(60_000)
            cold = first_chart(page, address)
            warm = [first_chart(page, address) for _ in range(5)]
            say(f"first chart: cold {cold:.2f} s, warm {statistics.median(warm):.2f} s (median of {len(warm)})")
            browser.settled(page)
            page.wait_for_timeout(2 * SETTLE_MS)
            page.evaluate(WATCH)
            count = charts_in_window(page)
            move(page, 3, count)
            times = []
            for index in range(max(20, options.moves)):
                page.wait_for_timeout(SETTLE_MS)
                times.append(move(page, (4, 9, 6, 12, 7, 2, 10, 5)[index % 8], count))
            say(f"slider: {len(times)} moves, {count} charts in a window of {SIZE['width']} x {SIZE['height']}")
            say(f"  {told('release to new words and charts', times)}")
            removed = page.evaluate("window.charts()[0].n")
            first = int(page.locator(".cell[aria-pressed=true]").first.get_attribute("data-layer") or 0)
            times = drag(page, [first, 2, 27, 5, 24, first])
            say(f"strip: {len(times)} moves of the pointer, {removed} layers dragged")
            say(f"  {told('move to paint', times)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
