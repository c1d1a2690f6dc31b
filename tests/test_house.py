"""The map of the packages: the committed picture shows the packages of the contracts and their imports."""

import re
import tomllib
from pathlib import Path

import pytest

from docs import house

REPOSITORY = Path(__file__).resolve().parent.parent
ARROW = re.compile(r'data-arrow="(\S+) (\S+)"')
ROOM = re.compile(r'data-room="(\S+)"')


@pytest.fixture(scope="module")
def now():
    return house.house()


def test_committed_picture_shows_the_packages_as_they_are(now):
    """Sizes may lag behind: they change with every line. Where this fails: `make map`."""
    committed, drawn = house.PICTURE.read_text(), house.drawn(now)
    assert ROOM.findall(committed) == ROOM.findall(drawn)
    assert ARROW.findall(committed) == ARROW.findall(drawn)


def test_every_package_of_analysis_is_on_the_map(now):
    rooms = {room.name for floor in now.floors for room in floor}
    folders = {folder.parent.name for folder in (REPOSITORY / "analysis").glob("*/__init__.py")}
    assert {f"analysis.{name}" for name in folders} <= rooms
    assert any(room.partition(".")[0] == "pages" for room in rooms)
    for floor in now.floors:
        for room in floor:
            assert room.about, room.name


def test_arrows_go_down_and_none_follows_from_others(now):
    floor_of = {room.name: depth for depth, floor in enumerate(now.floors) for room in floor}
    for above, below in now.arrows:
        assert floor_of[above] < floor_of[below]
    assert sorted(house._reduced({"a": {"b", "c"}, "b": {"c"}, "c": set()})) == [("a", "b"), ("b", "c")]


def test_floors_of_a_container_stand_on_those_of_another():
    contracts = """
    root_packages = ["analysis", "pages", "other"]
    contracts = [
      {type = "forbidden"},
      {type = "layers", containers = ["analysis"], layers = ["cli", "a | b"]},
      {type = "layers", containers = ["pages.components"], layers = ["heal : model", "(shared)"]},
    ]"""
    assert [*house._floors(tomllib.loads(contracts))] == [
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
