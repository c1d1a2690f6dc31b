"""The golden files that follow from the code: options, fields, fingerprints, figures, addresses and
the report.
"""

import argparse
import dataclasses
import enum
import json
import types
import typing
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from analysis.core.experiment import EXPERIMENTS
from analysis.models.source.model_spec import ModelSpec
from docs import generate
from tests.golden import pages
from tests.support.usual import usual

FOLDER = Path(__file__).resolve().parent
PRECOMPUTED = FOLDER.parents[1] / "cache" / "precomputed"


def stored(name: str) -> Any:
    """Return the content of a golden file; None where there is none yet."""
    path = FOLDER / f"{name}.json"
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else None


def differences(old: Any, new: Any, name: str = "") -> list[str]:
    """Return where two contents differ, by the names on the way."""
    if isinstance(old, dict) and isinstance(new, dict):
        keys = sorted({*old, *new})
        return [
            line
            for key in keys
            for line in differences(old.get(key), new.get(key), f"{name}.{key}".strip("."))
        ]
    if isinstance(old, list) and isinstance(new, list) and len(old) == len(new):
        pairs = enumerate(zip(old, new, strict=True))
        return [
            line
            for place, (one, other) in pairs
            for line in differences(one, other, f"{name}[{place}]")
        ]
    return [] if old == new else [f"{name}: {old!r} -> {new!r}"]


def options() -> dict[str, Any]:
    """Return the options of every command: names, number of values, default and choices."""
    return {name: dict(sorted(_options(command))) for name, command in generate.commands().items()}


def _options(command: argparse.ArgumentParser) -> Iterator[tuple[str, Any]]:
    for action in generate.options(command):
        default = (
            action.default
            if isinstance(action.default, str | int | float | None)
            else repr(action.default)
        )
        row = {
            "nargs": action.nargs,
            "default": default,
            "choices": generate.possible_values(action),
            "required": action.required,
        }
        yield " ".join(action.option_strings) or action.dest, row


def fields() -> dict[str, Any]:
    """Return the fields of every request and result with their types, down to the classes that they
    hold.
    """
    classes = {f"request {kind}": entry.spec for kind, entry in EXPERIMENTS.items()}
    classes |= {f"result {kind}": entry.result for kind, entry in EXPERIMENTS.items()}
    return {name: _fields(cls) for name, cls in classes.items()}


def _fields(cls: type, above: tuple[type, ...] = ()) -> dict[str, Any]:
    hints = typing.get_type_hints(cls)
    return {one.name: _type(hints[one.name], (*above, cls)) for one in dataclasses.fields(cls)}


def _type(hint: Any, above: tuple[type, ...]) -> Any:
    """Return a type in words that hold no name of a class, so that a class may be renamed."""
    if dataclasses.is_dataclass(hint) and isinstance(hint, type):
        return "itself" if hint in above else _fields(hint, above)
    parts = typing.get_args(hint)
    if isinstance(hint, types.UnionType) or typing.get_origin(hint) is typing.Union:
        found = [_type(part, above) for part in parts]
        return found[0] if len(found) == 1 else {"any of": sorted(found, key=str)}
    if parts and typing.get_origin(hint) is not typing.Literal:
        return {
            typing.get_origin(hint).__name__: [
                _type(part, above) for part in parts if part is not Ellipsis
            ]
        }
    if isinstance(hint, type) and issubclass(hint, enum.Enum):
        return sorted(str(one.value) for one in hint)
    return getattr(hint, "__name__", str(hint)) if not parts else sorted(map(str, parts))


def fingerprints() -> dict[str, str]:
    """Return the fingerprint of each kind's usual request, and of the request of each committed
    result.
    """
    found = {}
    for kind, experiment in EXPERIMENTS.items():
        spec = usual(
            experiment, ModelSpec("lab/model", dtype="float32", identity="files:0123456789abcdef")
        )
        if spec is not None:
            found[f"usual {kind}"] = spec.fingerprint()
    for path in sorted(PRECOMPUTED.glob("*/*/result.json")):
        kind, key = path.parts[-3:-1]
        request = json.loads(path.read_text(encoding="utf-8"))["data"]["spec"]
        found[f"committed {kind} {key}"] = EXPERIMENTS[kind].spec.from_json(request).fingerprint()
    return found


def figures(model: Any) -> dict[str, list[float]]:
    """Return the figures of short runs of a model of six layers, by their names; a healing run in
    float32 alone.
    """
    texts = {"samples": 3, "seq_len": 32, "progress": False}
    questions = {"task": "arc_easy", "limit": 4, "progress": False}
    distances = model.distances(**texts).result
    damage = model.damage(max_size=2, **texts).result
    curve = model.sweep(max_n=2, **questions).result
    alone = model.evaluate("2:2", **questions).result
    found = {
        "distances": [value for row in distances.mean for value in row],
        "loss increase": [value for row in damage.increase for value in row if value is not None],
        "sweep": [value for point in curve.points for value in (point.acc, point.loss)],
        "evaluate": [alone.point.acc, alone.point.loss],
    }
    if model.spec.dtype == "float32":
        short = {"recipe": "instant", "seq_len": 32, "generation": None, "corpus.n_texts": 40}
        healed = model.heal("2:2", **short, **questions).result
        found["heal"] = [point.loss for point in (healed.unpruned, healed.pruned, healed.healed)]
    return found


MADE: dict[str, Callable[[], Any]] = {
    "options": options,
    "fields": fields,
    "fingerprints": fingerprints,
    "addresses": pages.addresses,
    "report": pages.documents,
}
"""Content of each golden file by its name."""
