"""Recipes of one's own: heals whose numbers were kept under a name, in the cache folder."""

import contextlib
import json
import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from analysis.core import store
from analysis.core.errors import RecipeError, SpecError
from analysis.core.options import imported
from analysis.data.spec import GenerationSpec
from analysis.experiments.heal import recipes
from analysis.experiments.heal.spec import HealSpec
from analysis.models.spec import ModelSpec

_NAME = re.compile(r"[\w][\w .,()+-]{0,39}")
_FORMAT = 1


def save(name: str, spec: HealSpec) -> None:
    """Keep the numbers of a heal under a name, over older ones of the same name.

    Args:
        name: up to 40 letters, digits, spaces and .,()+-_; not one of the built-in recipes.
        spec: the heal; its model and block are only an example of what it may be used on.

    Raises:
        RecipeError: for a name that cannot be used.
        StorageError: when it cannot be written.
    """
    if not _NAME.fullmatch(name) or name != name.strip():
        raise RecipeError(
            f"A recipe cannot be called {name[:60]!r}; use up to 40 letters, digits, spaces, .,()+-_, and begin with a letter."
        )
    if name in recipes.NAMES:
        raise RecipeError(f"{name} is a built-in recipe; choose another name.")
    content = {"format": _FORMAT, "name": name, "heal": spec.to_json() | {"recipe": name}}
    store.write_atomic(_folder() / f"{name}.json", json.dumps(content, indent=1).encode())


def names() -> list[str]:
    """The names of all that can be read, in alphabetical order."""
    return sorted(_read_all())


def get(name: str) -> HealSpec:
    """The heal that was kept under a name; `recipes.like` makes it one of another model and block.

    Raises:
        RecipeError: when there is none, or it was written by another version.
    """
    found = _read_all()
    if name not in found:
        known = ", ".join(found) or "none yet"
        raise RecipeError(f"There is no saved recipe {name!r}; saved are {known}, built in are {', '.join(recipes.NAMES)}.")
    return found[name]


def delete(name: str) -> None:
    """Forget a saved recipe; heals that were made with it stay."""
    if name in _read_all():
        (_folder() / f"{name}.json").unlink(missing_ok=True)


def asked(given: Mapping[str, Any], settings: Mapping[str, Any]) -> HealSpec:
    """The heal that a command line asks for: a built-in or a saved recipe, with what is given instead of its numbers.

    Args:
        given: values of options, nested as the fields of `HealSpec`; `recipe` is the name of one.
        settings: other fields of `HealSpec` by name.

    Raises:
        RecipeError: for an unknown recipe or field.
        SpecError: for a value out of range.
    """
    model, text = ModelSpec(**given["model"]), given.get("corpus", {})
    changes = {name: given[name] for name in ("steps", "minutes", "seed") if name in given} | dict(settings)
    if "generation" in given:
        changes.setdefault("generation", GenerationSpec(**given["generation"]))
    name, quantization = given.get("recipe", recipes.DEFAULT), given["model"].get("quantization")
    if name in names():
        spec = recipes.like(get(name), model=model, block=given["block"], **changes)
        if quantization is not None:
            spec = replace(spec, model=replace(spec.model, quantization=quantization))
    else:
        changes |= {"quantization": quantization, "n_parameters": None if quantization else _size(model)}
        spec = recipes.heal_spec(name, model=model, block=given["block"], **changes)
    if "seq_len" in text:
        spec = replace(spec, corpus=replace(spec.corpus, seq_len=text["seq_len"]))
    if "source" in text:
        corpus = replace(spec.corpus, source=text["source"], identity="")
        held_out = replace(spec.validation, source=recipes.held_out(text["source"]), identity="")
        spec = replace(spec, corpus=corpus, validation=held_out)
    return replace(spec, control=True, instant=False, distill=0.0, junction=0.0) if given.get("control") else spec


def _size(model: ModelSpec) -> int:
    """Parameters of the model, on which the precision of some recipes depends."""
    return int(imported("analysis.models.load:plan")(model).facts.n_parameters)


def _folder() -> Path:
    return store.cache_dir() / "recipes"


def _read_all() -> dict[str, HealSpec]:
    found = {}
    for path in sorted(_folder().glob("*.json")):
        with contextlib.suppress(OSError, ValueError, KeyError, TypeError, SpecError):
            content = json.loads(path.read_text())
            if content["format"] == _FORMAT and content["name"] == path.stem:
                found[path.stem] = HealSpec.from_json(content["heal"])
    return found
