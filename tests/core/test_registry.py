"""One registry for every kind of extension: order, duplicates, and failed imports."""

from dataclasses import dataclass

import pytest

from analysis.core import registry
from analysis.core.errors import SpecError
from analysis.core.registry import Registry, first


@dataclass(frozen=True)
class Fruit:
    name: str
    colour: str = ""


def test_first_names_come_first_and_others_as_registered():
    fruits = Registry[Fruit]("fruit", order=first("pear", "apple"))
    for name in ("plum", "apple", "fig", "pear"):
        fruits.add(Fruit(name))
    assert list(fruits) == ["pear", "apple", "plum", "fig"]


def test_another_entry_of_the_same_name_is_refused():
    fruits = Registry[Fruit]("fruit")
    pear = fruits.add(Fruit("pear"))
    assert fruits.add(pear) is pear
    with pytest.raises(
        SpecError, match="The fruit 'pear' is registered twice. Rename one of the two."
    ):
        fruits.add(Fruit("pear", "green"))
    assert fruits["pear"] is pear
    fruits.remove("pear")
    assert fruits.add(Fruit("pear", "green")).colour == "green"


def test_modules_are_imported_at_the_first_look(tmp_path, monkeypatch):
    (tmp_path / "orchard").mkdir()
    (tmp_path / "orchard" / "__init__.py").write_text("")
    (tmp_path / "orchard" / "plums.py").write_text("looked = True")
    monkeypatch.syspath_prepend(str(tmp_path))
    asked = []
    fruits = Registry[Fruit](
        "fruit", modules=lambda: asked.append(1) or registry.modules_in("orchard")()
    )
    fruits.add(Fruit("fig"))
    assert not asked
    assert len(fruits) == len(fruits) == 1
    assert asked == [1]
