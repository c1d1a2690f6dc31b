"""A pointer on the strip of layers of a page in Chromium."""

from playwright.sync_api import Page


def place(page: Page, layer: int, part: float = 0.5) -> tuple[float, float]:
    """A point on a layer, by its share of the cell's width."""
    box = page.locator(f".cell[data-layer='{layer}']").bounding_box()
    return box["x"] + part * box["width"], box["y"] + box["height"] / 2


def drag(
    page: Page, start: tuple[float, float], end: tuple[float, float], *, steps: int = 8
) -> None:
    """Press and move, without letting go."""
    page.mouse.move(*start)
    page.mouse.down()
    page.mouse.move(*end, steps=steps)
