"""Pictures of every page on the stored results: those of the README, and a gallery in light and
dark.

python -m docs.screenshots                       the gallery in tests/artifacts/gallery, and
docs/assets/*.png python -m docs.screenshots --only explore        one view, and no picture of the
README
"""

import argparse
import os
import tempfile
from pathlib import Path

from PIL import Image
from playwright.sync_api import Browser

from tests.support import browser

ASSETS = Path(__file__).resolve().parent / "assets"
GALLERY = browser.ARTIFACTS / "gallery"
SIZES = {390: 844, 1280: 800, 1920: 1080}
"""Heights of windows by their widths."""
REST_MS = 800
"""Pause for elements that fade in."""
VIEWS = {
    "model": "model",
    "explore": "explore?n=5&block=14:5",
    "explore-questions": "explore?n=5&tab=questions",
    "explore-trade-off": "explore?n=5&tab=trade-off",
    "heal": "heal",
    "compare": "compare",
    "export": "export",
    "learn": "learn?step=map",
    "presenting": "explore?present=1",
}
"""Addresses by the name of the view."""
README = {
    "explore": ("light", 980),
    "heal": ("dark", 800),
    "learn": ("light", 800),
    "explore-trade-off": ("light", 1180),
}
"""Theme and height of the pictures in README and documentation."""


def take(
    chromium: Browser, address: str, view: str, theme: str, size: tuple[int, int], path: Path
) -> None:
    """Save a picture of a view in a new window."""
    page = chromium.new_page(viewport={"width": size[0], "height": size[1]}, color_scheme=theme)
    page.set_default_timeout(60_000)
    name, _, query = VIEWS[view].partition("?")
    browser.visit(page, address, name, f"?{query}" if query else "")
    page.wait_for_timeout(REST_MS)
    page.screenshot(path=path)
    page.close()
    print(path.name, flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(
        description="Pictures of every page, light and dark, from a phone to a large screen."
    )
    parser.add_argument(
        "--only", choices=list(VIEWS), action="append", help="this view alone, may be repeated"
    )
    options = parser.parse_args()
    GALLERY.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="layerscope-pictures-") as cache:
        os.environ["LAYERSCOPE_CACHE"] = cache
        with browser.dashboard(Path(cache)) as address, browser.chromium() as chromium:
            for view, (theme, height) in {} if options.only else README.items():
                path = ASSETS / f"{view.removeprefix('explore-')}.png"
                take(chromium, address, view, theme, (1280, height), path)
                # 256 colours make no visible difference and a third of the size.
                Image.open(path).convert("RGB").quantize(256).save(path, optimize=True)
            for view in options.only or VIEWS:
                for theme in ("light", "dark"):
                    for size in SIZES.items():
                        take(
                            chromium,
                            address,
                            view,
                            theme,
                            size,
                            GALLERY / f"{view}-{theme}-{size[0]}.png",
                        )


if __name__ == "__main__":
    main()
