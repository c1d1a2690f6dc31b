"""`make screenshots`: pictures of every page on the precomputed results, and the README's pictures.

    python benchmarks/screenshots.py                       the gallery in tests/artifacts/gallery, and docs/assets/*.png
    python benchmarks/screenshots.py --only explore        one view, and no picture of the README
    python benchmarks/screenshots.py --also ../former      the views of another checkout as well, as VIEW-THEME-WIDTH-also.png

The gallery has every view in both themes.
"""

import argparse
import contextlib
import os
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from PIL import Image
from playwright.sync_api import Browser, Page

from tests.support import browser, pictured

ASSETS = ROOT / "docs" / "assets"
GALLERY = browser.ARTIFACTS / "gallery"
SIZES = {390: 844, 768: 1024, 1280: 800, 1920: 1080}
"""Of a phone, a tablet and two screens: how high by how wide."""
REST_MS = 800
"""For elements that fade in or grow into their place."""

VIEWS = {
    "model": ("model", ""),
    "explore": ("explore", ""),
    "explore-questions": ("explore", "?n=5&tab=questions"),
    "explore-trade-off": ("explore", "?n=5&tab=trade-off"),
    "explore-generation": ("explore", "?n=5&tab=generation"),
    "heal": ("heal", ""),
    "compare": ("compare", ""),
    "export": ("export", ""),
    "learn": ("learn", ""),
    "presenting-explore": ("explore", "?present=1"),
    "presenting-learn": ("learn", "?present=1"),
    "lesson": ("learn", ""),
}
"""Views of the gallery: a name, the page and the rest of its address."""

README = {
    "explore": ("explore", "light", 980),
    "heal": ("heal", "dark", 800),
    "learn": ("lesson", "light", 800),
    "trade-off": ("explore-trade-off", "light", 1320),
}
"""Pictures of the README and the docs by the name of their file: their view, theme and height."""
PICTURE_BYTES = 250_000


def taken(page: Page, address: str, view: str, path: Path, *, is_whole_page: bool = False) -> None:
    """Open a view and keep its picture; a whole page is made as tall as its content."""
    name, query = VIEWS[view]
    browser.visit(page, address, name, query)
    if view == "lesson":
        page.get_by_role("radio", name="2 Angle").click()
        page.get_by_text("step 2 of").wait_for()
    page.wait_for_timeout(REST_MS)
    if is_whole_page:
        width = page.viewport_size["width"]
        tall = page.evaluate("() => document.querySelector('[data-testid=stMain]').scrollHeight")
        page.set_viewport_size({"width": width, "height": max(tall, page.viewport_size["height"])})
        page.wait_for_timeout(2 * REST_MS)
        browser.settled(page)
    page.screenshot(path=path)


def gallery(chromium: Browser, served: dict[str, str], views: list[str], widths: list[int], *, is_whole_page: bool) -> None:
    """Take every view in both themes.

    Args:
        chromium: the browser.
        served: addresses of dashboards by the suffix of their pictures' names.
        views: names of `VIEWS`.
        widths: of `SIZES`.
        is_whole_page: pages from top to bottom.
    """
    for theme in ("light", "dark"):
        for width in widths:
            context = chromium.new_context(viewport={"width": width, "height": SIZES[width]}, color_scheme=theme)
            for view in views:
                for added, address in served.items():
                    page = context.new_page()
                    page.set_default_timeout(60_000)
                    taken(page, address, view, GALLERY / f"{view}-{theme}-{width}{added}.png", is_whole_page=is_whole_page)
                    page.close()
                print(f"{view}, {theme}, {width} wide", flush=True)
            context.close()


def readme(chromium: Browser, address: str) -> None:
    """Take the pictures of the README in 256 colours: more make no visible difference, and weigh three times as much."""
    for name, (view, theme, height) in README.items():
        page = chromium.new_context(viewport={"width": 1280, "height": height}, color_scheme=theme).new_page()
        page.set_default_timeout(60_000)
        path = ASSETS / f"{name}.png"
        taken(page, address, view, path)
        page.context.close()
        Image.open(path).convert("RGB").quantize(256).save(path, optimize=True)
        size = path.stat().st_size
        if size > PICTURE_BYTES:
            raise SystemExit(f"{path.name} has {size:,} bytes. A picture of the README may have {PICTURE_BYTES:,}.")
        print(f"{path.relative_to(ROOT)}, {size / 1000:.0f} kB", flush=True)


def main() -> int:
    parser = argparse.ArgumentParser(description="Pictures of every page, light and dark, from a phone to a large screen.")
    parser.add_argument("--only", choices=list(VIEWS), action="append", help="just this view, as often as needed")
    parser.add_argument("--width", choices=list(SIZES), type=int, action="append", help="just this width, as often as needed")
    parser.add_argument("--whole", action="store_true", help="pages from top to bottom, not just the first screen")
    parser.add_argument("--also", type=Path, help="another checkout of the repository, for before and after")
    options = parser.parse_args()
    GALLERY.mkdir(parents=True, exist_ok=True)
    checkouts = {"": ROOT} | ({"-also": options.also.resolve()} if options.also else {})
    with tempfile.TemporaryDirectory(prefix="layerscope-pictures-") as scratch, contextlib.ExitStack() as stack:
        served = {}
        for added, root in checkouts.items():
            cache = Path(scratch) / f"cache{added}"
            cache.mkdir()
            os.environ["LAYERSCOPE_CACHE"] = str(cache)
            served[added] = stack.enter_context(browser.dashboard(cache, root))
        chromium = stack.enter_context(browser.chromium())
        if not (options.only or options.width or options.also):
            readme(chromium, served[""])
            pictured.write()
        gallery(chromium, served, options.only or list(VIEWS), options.width or list(SIZES), is_whole_page=options.whole)
    print(f"The gallery is in {GALLERY.relative_to(ROOT)}.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
