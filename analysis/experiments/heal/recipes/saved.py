"""Recipes that the user has saved in the cache folder."""

import contextlib
import json
import re
from pathlib import Path

from analysis.core import input_files, store
from analysis.core.errors import LayerscopeError, RecipeError
from analysis.experiments.heal.heal_spec import HealSpec
from analysis.experiments.heal.recipes.recipe import NAMES, SETTINGS, Recipe

_NAME = re.compile(r"[\w][\w .,()+-]{0,39}")
_FORMAT = 1


def save(name: str, spec: HealSpec) -> None:
    """Save the settings of a healing run under a name, replacing those of the same name.

    Args:
        name: Up to 40 letters, digits, spaces and .,()+-_; not a built-in recipe.
        spec: The request, whose model and block are ignored.

    Raises:
        RecipeError: If the name is invalid.
        StorageError: If the file cannot be written.
    """
    if not _NAME.fullmatch(name) or name != name.strip():
        raise RecipeError(
            f"The recipe name {name[:60]!r} is not valid. Use up to 40 letters, digits, spaces,"
            " .,()+-_, and begin with a letter."
        )
    if name in NAMES:
        raise RecipeError(f"{name} is a built-in recipe. Choose another name.")
    content = {"format": _FORMAT, "name": name, "heal": spec.to_json() | {"recipe": name}}
    store.write_atomic(_folder() / f"{name}.json", json.dumps(content, indent=1).encode())


def names() -> list[str]:
    """Return the names of readable recipes in alphabetical order."""
    return sorted(_read_all())


def is_saved(name: str) -> bool:
    """Return whether a recipe was saved under a name, even if its file is unreadable."""
    # Built-in names first, since pages call this often and file access is slow.
    return (
        name not in NAMES
        and _NAME.fullmatch(name) is not None
        and (_folder() / f"{name}.json").is_file()
    )


def get(name: str) -> Recipe:
    """Return a saved recipe, which has a value for every setting.

    Raises:
        RecipeError: If there is none, or its file is unreadable.
    """
    if not is_saved(name):
        saved = ", ".join(_read_all()) or "none yet"
        raise RecipeError(
            f"There is no saved recipe {name!r}. Saved: {saved}. Built in: {', '.join(NAMES)}."
        )
    return _read(_folder() / f"{name}.json")


def delete(name: str) -> None:
    """Delete a saved recipe, but not the healing runs that used it."""
    if name in _read_all():
        (_folder() / f"{name}.json").unlink(missing_ok=True)


def _folder() -> Path:
    return store.cache_dir() / "recipes"


def _read_all() -> dict[str, Recipe]:
    recipes = {}
    for path in sorted(_folder().glob("*.json")):
        with contextlib.suppress(RecipeError):
            recipes[path.stem] = _read(path)
    return recipes


def _read(path: Path) -> Recipe:
    try:
        content = input_files.parsed(path.read_bytes())
        if (content["format"], content["name"]) != (_FORMAT, path.stem):
            raise ValueError("it was stored by another version, or under another name")
        spec = HealSpec.from_json(content["heal"])
        return Recipe(
            path.stem,
            "",
            "Your saved recipe.",
            {setting: getattr(spec, setting) for setting in SETTINGS},
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError, LayerscopeError) as error:
        reason = (
            f"it has no {error.args[0]}" if isinstance(error, KeyError) else str(error).rstrip(".")
        )
        raise RecipeError(
            f"The saved recipe {path.stem!r} cannot be used: {reason}. Save it again, or choose"
            " another one."
        ) from error
