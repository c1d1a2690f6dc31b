"""Draw docs/packages.svg, the map of the packages, from the import contracts, with arrows for the imports.

Run by `make map`. A row is a layer of a contract in pyproject.toml. A box is one of its packages, with the first sentence of
its docstring and its size. An arrow says that a package imports another one; those that follow from others are left out.
"""

import ast
import re
import textwrap
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from html import escape
from pathlib import Path

import grimp

REPOSITORY = Path(__file__).resolve().parent.parent
PICTURE = Path(__file__).with_name("packages.svg")

WIDTH, SIDE, LANE = 960, 76, 12
"""Of the picture, of the margins next to the boxes where arrows pass rows by, and between two of these; pixels."""
LINE, GAP, BETWEEN = 16, 30, 12
"""Height of a line of text, between rows, between boxes of a row."""
LETTER = 6.3
"""Mean width of a letter of the small print."""
NARROW = 200
"""Boxes up to this width have their size on two lines."""

STYLE = """
text { font: 12px system-ui, sans-serif; fill: #3a4551 }
.name { font-size: 15px; font-weight: 600; fill: #1c2530 }
.size { font-size: 11px; fill: #66727e }
rect { fill: #f4f7fa; stroke: #c3ccd5 }
path { fill: none; stroke: #1f6fb5; stroke-width: 1.5; marker-end: url(#end) }
#end path { fill: #1f6fb5; stroke: none; marker-end: none }
@media (prefers-color-scheme: dark) {
text { fill: #c3ccd5 } .name { fill: #eef2f5 } .size { fill: #97a3af }
rect { fill: #1b222a; stroke: #46525e }
path { stroke: #6bb1f2 } #end path { fill: #6bb1f2 }
}
"""


@dataclass(frozen=True)
class Package:
    """A package that a contract names."""

    name: str
    """Dotted."""
    about: str
    modules: int
    lines: int


@dataclass(frozen=True)
class PackageMap:
    """Content of the map."""

    rows: list[list[Package]]
    """The top one first."""
    arrows: list[tuple[str, str]]
    """From a package to one that it imports, by name, without those that follow from others."""


def package_map() -> PackageMap:
    """Return the packages of the contracts as they stand, and their imports."""
    linter = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["tool"]["importlinter"]
    rows = [[_package(name) for name in names] for names in _rows(linter)]
    boxes = [package.name for row in rows for package in row]
    imports: dict[str, set[str]] = {box: set() for box in boxes}
    graph = grimp.build_graph(*linter["root_packages"], cache_dir=None)
    for module in graph.modules:
        at = _package_of(module, boxes)
        for imported in graph.find_modules_directly_imported_by(module):
            to = _package_of(imported, boxes)
            if at and to and at != to:
                imports[at].add(to)
    return PackageMap(rows, sorted(_reduced(imports)))


def _rows(linter: dict) -> Iterator[list[str]]:
    """Yield names of the packages row by row; a root package without rows of its own is a box on top."""
    layered = [contract for contract in linter["contracts"] if contract["type"] == "layers"]
    inside = [(container, contract["layers"]) for contract in layered for container in contract.get("containers", [""])]
    # The picture shows packages. Contracts for the inside of one of them are not drawn.
    inside = [
        (name, layers) for name, layers in inside if not any(name.startswith(f"{other}.") for other, _ in inside if other)
    ]
    covered = {(container or _names(layers[0])[0]).partition(".")[0] for container, layers in inside}
    yield from ([package] for package in linter["root_packages"] if package not in covered)
    for container, layers in sorted(inside, key=lambda pair: pair[0], reverse=True):  # pages stand on analysis
        for layer in layers:
            yield [f"{container}.{name}" if container else name for name in _names(layer)]


def _names(layer: str) -> list[str]:
    return [name.strip(" ()") for name in re.split(r"[|:]", layer)]


def _package(name: str) -> Package:
    folder = REPOSITORY.joinpath(*name.split("."))
    files = sorted(folder.rglob("*.py"))
    doc = ast.get_docstring(ast.parse((folder / "__init__.py").read_text())) or ""
    about = " ".join(doc.partition("\n\n")[0].replace("`", "").split())
    return Package(name, about, len(files), sum(len(file.read_text().splitlines()) for file in files))


def _package_of(module: str, boxes: list[str]) -> str | None:
    return next((box for box in boxes if f"{module}.".startswith(f"{box}.")), None)


def _reduced(imports: dict[str, set[str]]) -> Iterator[tuple[str, str]]:
    """The imports that do not follow from a longer way."""

    def reached(package: str) -> set[str]:
        return {package}.union(*map(reached, imports[package]))

    for package, those in imports.items():
        for other in those:
            if not any(other in reached(between) for between in those - {other}):
                yield package, other


def drawn(packages: PackageMap) -> str:
    """The picture as SVG, dark where the reader's screen is."""
    places: dict[str, tuple[float, float, float, float]] = {}
    parts, y, level, inside = [], 10.0, {}, ""
    for depth, row in enumerate(packages.rows):
        container = row[0].name.rpartition(".")[0]
        if container and container != inside:
            parts.append(f'<text class="size" x="{SIDE}" y="{y + 8:.0f}">{container.replace(".", "/")}/</text>')
            y += LINE
        inside = container
        width = (WIDTH - 2 * SIDE - BETWEEN * (len(row) - 1)) / len(row)
        texts = [textwrap.wrap(package.about, int((width - 24) / LETTER)) for package in row]
        height = LINE * (max(map(len, texts)) + len(_size(row[0], width))) + 38
        for place, (package, text) in enumerate(zip(row, texts, strict=True)):
            x = SIDE + place * (width + BETWEEN)
            places[package.name], level[package.name] = (x, y, width, height), depth
            parts += _box(package, text, x, y, width, height)
        y += height + GAP
    arrows = [_arrow(arrow, places, level, packages.arrows) for arrow in packages.arrows]
    title = "The packages and who imports whom, arrows down"
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {y - GAP + 10:.0f}" role="img">',
            f"<title>{title}</title>",
            f"<style>{STYLE}</style>",
            '<defs><marker id="end" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" markerHeight="7" orient="auto">'
            '<path d="M0 0 8 4 0 8z"/></marker></defs>',
            *parts,
            *arrows,
            "</svg>\n",
        ]
    )


def _size(package: Package, width: float) -> list[str]:
    modules, lines = f"{package.modules} module{'s' * (package.modules != 1)}", f"{package.lines:,} lines"
    return [f"{modules}, {lines}"] if width > NARROW else [modules, lines]


def _box(package: Package, text: list[str], x: float, y: float, width: float, height: float) -> Iterator[str]:
    yield f'<rect data-package="{package.name}" x="{x:.0f}" y="{y:.0f}" width="{width:.0f}" height="{height:.0f}" rx="8"/>'
    yield f'<text class="name" x="{x + 12:.0f}" y="{y + 22:.0f}">{escape(package.name.rpartition(".")[2])}</text>'
    small = [("size", line) for line in _size(package, width)] + [("about", line) for line in text]
    for line, (kind, words) in enumerate(small):
        yield f'<text class="{kind}" x="{x + 12:.0f}" y="{y + 39 + LINE * line:.0f}">{escape(words)}</text>'


def _arrow(arrow: tuple[str, str], places: dict, level: dict[str, int], arrows: list[tuple[str, str]]) -> str:
    """Draw straight down to the next row; past other rows next to the boxes, in one lane for each package that is arrived
    at."""
    (x, y, width, height), (to_x, to_y, to_width, _) = places[arrow[0]], places[arrow[1]]
    if level[arrow[1]] - level[arrow[0]] == 1:
        left, right = max(x, to_x), min(x + width, to_x + to_width)
        middle = (left + right) / 2
        path = f"M{middle:.0f} {y + height:.0f}V{to_y - 1:.0f}"
    else:
        targets = list(dict.fromkeys(other[1] for other in arrows if level[other[1]] - level[other[0]] != 1))
        beside = WIDTH - SIDE + LANE * (1 + targets.index(arrow[1]))
        if x + width >= WIDTH - SIDE - 1:
            way_out = f"M{x + width:.0f} {y + height / 2:.0f}H{beside}"
        else:  # below its neighbours
            way_out = f"M{x + width / 2:.0f} {y + height:.0f}v{GAP / 3:.0f}H{beside}"
        path = f"{way_out}V{to_y + 20:.0f}H{to_x + to_width + 1:.0f}"
    return f'<path data-arrow="{arrow[0]} {arrow[1]}" d="{path}"/>'


if __name__ == "__main__":
    PICTURE.write_text(drawn(package_map()))
