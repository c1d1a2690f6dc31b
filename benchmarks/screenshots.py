"""`make screenshots`: what every page looks like on the precomputed results, and the README's pictures.

python benchmarks/screenshots.py                    the gallery in tests/artifacts/gallery, and pages/assets/*.png
python benchmarks/screenshots.py --only explore     one page, and no picture of the README
"""

import argparse
import os
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from PIL import Image
from playwright.sync_api import Browser, Page

from tests.support import browser

ASSETS = ROOT / "pages" / "assets"
GALLERY = browser.ARTIFACTS / "gallery"
SIZES = ((1280, 800), (1920, 1080))
REST_MS = 800
"""For what fades in or grows into its place."""

VIEWS = {
    "model": ("model", ""),
    "explore": ("explore", ""),
    "heal": ("heal", ""),
    "compare": ("compare", ""),
    "export": ("export", ""),
    "learn": ("learn", ""),
    "presenting-explore": ("explore", "?present=1"),
    "presenting-learn": ("learn", "?present=1"),
    "lesson": ("learn", ""),
}
"""What is in the gallery: a name, the page and the rest of its address."""

README = {"explore": ("explore", "light", 980), "heal": ("heal", "dark", 800), "learn": ("lesson", "light", 800)}
"""The README's pictures by the name of their file: what is on them, in which theme, and how high they are."""
PICTURE_BYTES = 250_000


def taken(page: Page, address: str, view: str, path: Path, *, whole: bool = False) -> None:
    """Open a view and keep its picture; a whole page is made as tall as what is on it."""
    name, query = VIEWS[view]
    browser.visit(page, address, name, query)
    if view == "lesson":
        page.get_by_role("radio", name="2 Angle").click()
        page.get_by_text("step 2 of").wait_for()
    page.wait_for_timeout(REST_MS)
    if whole:
        width = page.viewport_size["width"]
        tall = page.evaluate("() => document.querySelector('[data-testid=stMain]').scrollHeight")
        page.set_viewport_size({"width": width, "height": max(tall, page.viewport_size["height"])})
        page.wait_for_timeout(2 * REST_MS)
        browser.settled(page)
    page.screenshot(path=path)


def gallery(chromium: Browser, address: str, views: list[str], *, whole: bool) -> None:
    for theme in ("light", "dark"):
        for width, height in SIZES:
            context = chromium.new_context(viewport={"width": width, "height": height}, color_scheme=theme)
            for view in views:
                page = context.new_page()
                page.set_default_timeout(60_000)
                taken(page, address, view, GALLERY / f"{view}-{theme}-{width}.png", whole=whole)
                page.close()
                print(f"{view}, {theme}, {width} wide", flush=True)
            context.close()


def readme(chromium: Browser, address: str) -> None:
    """The pictures that the README shows, in 256 colours: more are not told apart, and weigh three times as much."""
    for name, (view, theme, height) in README.items():
        page = chromium.new_context(viewport={"width": 1280, "height": height}, color_scheme=theme).new_page()
        page.set_default_timeout(60_000)
        path = ASSETS / f"{name}.png"
        taken(page, address, view, path)
        page.context.close()
        Image.open(path).convert("RGB").quantize(256).save(path, optimize=True)
        size = path.stat().st_size
        if size > PICTURE_BYTES:
            raise SystemExit(f"{path.name} has {size:,} bytes; a picture of the README may have {PICTURE_BYTES:,}.")
        print(f"{path.relative_to(ROOT)}, {size / 1000:.0f} kB", flush=True)


def main() -> int:
    parser = argparse.ArgumentParser(description="Pictures of every page, light and dark, on two screens.")
    parser.add_argument("--only", choices=list(VIEWS), action="append", help="just this view, as often as needed")
    parser.add_argument("--whole", action="store_true", help="pages from top to bottom, not just the first screen")
    asked = parser.parse_args()
    GALLERY.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="layerscope-pictures-") as scratch:
        os.environ["LAYERSCOPE_CACHE"] = scratch
        with browser.dashboard(Path(scratch)) as address, browser.chromium() as chromium:
            if not asked.only:
                readme(chromium, address)
            gallery(chromium, address, asked.only or list(VIEWS), whole=asked.whole)
    print(f"The gallery is in {GALLERY.relative_to(ROOT)}.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
