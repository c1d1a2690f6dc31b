"""The map of the packages: the committed picture shows the packages of the contracts and their imports."""

import re
import tomllib
from pathlib import Path

import pytest

from docs import packages

REPOSITORY = Path(__file__).resolve().parent.parent
ARROW = re.compile(r'data-arrow="(\S+) (\S+)"')
PACKAGE = re.compile(r'data-package="(\S+)"')


@pytest.fixture(scope="module")
def now():
    return packages.package_map()


def test_committed_picture_shows_the_packages_as_they_are(now):
    """Sizes may lag behind: they change with every line. Where this fails: `make map`."""
    committed, drawn = packages.PICTURE.read_text(), packages.drawn(now)
    assert PACKAGE.findall(committed) == PACKAGE.findall(drawn)
    assert ARROW.findall(committed) == ARROW.findall(drawn)


def test_every_package_of_analysis_is_on_the_map(now):
    boxes = {package.name for row in now.rows for package in row}
    folders = {folder.parent.name for folder in (REPOSITORY / "analysis").glob("*/__init__.py")}
    assert {f"analysis.{name}" for name in folders} <= boxes
    assert any(box.partition(".")[0] == "pages" for box in boxes)
    for row in now.rows:
        for package in row:
            assert package.about, package.name


def test_arrows_go_down_and_none_follows_from_others(now):
    row_of = {package.name: depth for depth, row in enumerate(now.rows) for package in row}
    for above, below in now.arrows:
        assert row_of[above] < row_of[below]
    assert sorted(packages._reduced({"a": {"b", "c"}, "b": {"c"}, "c": set()})) == [("a", "b"), ("b", "c")]


def test_packages_of_a_container_stand_on_those_of_another():
    contracts = """
    root_packages = ["analysis", "pages", "other"]
    contracts = [
      {type = "forbidden"},
      {type = "layers", containers = ["analysis"], layers = ["cli", "a | b"]},
      {type = "layers", containers = ["analysis.a"], layers = ["hidden | below"]},
      {type = "layers", containers = ["pages.components"], layers = ["heal : model", "(shared)"]},
    ]"""
    assert [*packages._rows(tomllib.loads(contracts))] == [
        ["other"],
        ["pages.components.heal", "pages.components.model"],
        ["pages.components.shared"],
        ["analysis.cli"],
        ["analysis.a", "analysis.b"],
    ]


def test_paths_named_in_contributing_exist():
    text = (REPOSITORY / "CONTRIBUTING.md").read_text()
    paths = re.findall(r"`((?:analysis|pages|tests|docs|benchmarks)/[\w./]*)`", text) + re.findall(r"\]\(([\w./]+)\)", text)
    assert len(paths) > 20
    for path in paths:
        assert (REPOSITORY / path).exists(), path
    for module in re.findall(r"`(analysis\.[\w.]+)`", text):
        path = REPOSITORY.joinpath(*module.split("."))
        assert path.is_dir() or path.with_suffix(".py").exists(), module
    targets = set(re.findall(r"^([\w-]+):", (REPOSITORY / "Makefile").read_text(), re.MULTILINE))
    assert set(re.findall(r"`make ([\w-]+)", text)) <= targets
