"""Recipes of one's own: kept, listed, used on another cut; bad names and broken files are
harmless.
"""

import pytest

from analysis.core.blocks import Block
from analysis.core.errors import RecipeError
from analysis.experiments.heal import recipes
from analysis.experiments.heal.recipes import saved as saved_recipes
from analysis.models.source.model_spec import ModelSpec


@pytest.fixture(autouse=True)
def _cache(tmp_path, monkeypatch):
    monkeypatch.setenv("LAYERSCOPE_CACHE", str(tmp_path))


def heal(**changes):
    return recipes.heal_spec(
        "quick", model=ModelSpec(), block=Block(11, 5), n_parameters=10**8, **changes
    )


def test_kept_numbers_come_back_for_another_cut():
    saved_recipes.save("mine, long (r 64)", heal(r=64, minutes=60.0))
    assert saved_recipes.names() == ["mine, long (r 64)"]
    again = recipes.with_settings_of(
        saved_recipes.get("mine, long (r 64)"), model=ModelSpec("other"), block=Block(3, 2)
    )
    assert (again.r, again.minutes, again.recipe, again.block) == (
        64,
        60.0,
        "mine, long (r 64)",
        Block(3, 2),
    )
    saved_recipes.save("mine, long (r 64)", heal(r=8))
    assert saved_recipes.get("mine, long (r 64)").r == 8
    saved_recipes.delete("mine, long (r 64)")
    saved_recipes.delete("../etc")
    assert saved_recipes.names() == []


@pytest.mark.parametrize(
    "name", ["", "../x", "a/b", ".hidden", "x" * 41, "new\nline", "quick", "ends "]
)
def test_names_that_cannot_be_are_refused(name, tmp_path):
    with pytest.raises(RecipeError, match=r"is not valid|built-in"):
        saved_recipes.save(name, heal())
    assert not (tmp_path / "recipes").exists()


def test_broken_and_foreign_files_are_passed_over(tmp_path):
    saved_recipes.save("good", heal())
    (tmp_path / "recipes" / "half.json").write_text('{"format": 1, "na')
    (tmp_path / "recipes" / "future.json").write_text('{"format": 9, "name": "future", "heal": {}}')
    assert saved_recipes.names() == ["good"]
    with pytest.raises(
        RecipeError, match=r"no saved recipe 'bad'\. Saved: good\. Built in: distill"
    ):
        saved_recipes.get("bad")
