"""Settings written NAME=VALUE that reach every field of a request, however deep: `corpus.seed=3`, `learning_rate=0.001`.

A name is a path of field names joined by dots. A value is JSON where it reads as JSON, and the text itself where it does not.
"""

import json
from collections.abc import Sequence
from dataclasses import MISSING, fields
from typing import Any, TypeVar

from analysis.core import input_files
from analysis.core.errors import SpecError
from analysis.core.record import Spec

SpecT = TypeVar("SpecT", bound=Spec)


def read(text: str) -> tuple[str, Any]:
    """The name and the value of a setting.

    Raises:
        SpecError: when there is no name or no value.
    """
    name, equals, value = text.partition("=")
    if not equals or not name:
        raise SpecError(f"A setting is written NAME=VALUE, for example corpus.seed=3, not {text!r}.")
    return name, _value(value)


def write(name: str, value: Any) -> str:
    """The inverse of `read`, on one line."""
    plain = isinstance(value, str) and _value(value) == value and len(value.splitlines()) < 2 and not value.endswith("\n")
    return f"{name}={value if plain else json.dumps(value, ensure_ascii=False)}"


def applied(spec: SpecT, texts: Sequence[str]) -> SpecT:
    """The request with settings on top; the last one of a name counts.

    Raises:
        SpecError: when a name is not that of a field, or a value is none that the field can take.
    """
    return settled(type(spec), spec.to_json(), texts) if texts else spec


def settled(kind: type[SpecT], data: dict[str, Any], texts: Sequence[str]) -> SpecT:
    """Return the request of JSON and settings on top of it. None in the place of a field that must be set counts as missing.

    Raises:
        SpecError: as `applied`, and when a field without a default is missing.
    """
    for text in texts:
        name, value = read(text)
        _put(data, name, value, kind.__name__)
    needed = {field.name for field in fields(kind) if field.default is MISSING and field.default_factory is MISSING}
    return kind.from_json({name: value for name, value in data.items() if value is not None or name not in needed})


def defaults(kind: type[Spec]) -> dict[str, Any]:
    """Every field of a request as JSON, None where it has no default."""
    data = {}
    for field in fields(kind):
        default = field.default_factory() if field.default_factory is not MISSING else field.default
        data[field.name] = None if default is MISSING else as_json(default)
    return data


def as_json(value: Any) -> Any:
    """The value of a field as it stands in the JSON of its request."""
    if isinstance(value, Spec):
        return value.to_json()
    return [as_json(entry) for entry in value] if isinstance(value, tuple) else value


def built(kind: type[SpecT], texts: Sequence[str]) -> SpecT:
    """A request from settings alone, on top of the defaults of its kind.

    Raises:
        SpecError: as `applied`, and when a field without a default is missing.
    """
    return settled(kind, defaults(kind), texts)


def differences(spec: Spec, request: Spec) -> list[str]:
    """The settings that make `request` of `spec`, both of one kind; `identity` is never asked for and so left out."""
    return [write(name, value) for name, value in _differences(spec.to_json(), request.to_json(), "")]


def _value(text: str) -> Any:
    try:
        return input_files.parsed(text)
    except ValueError:
        return text


def _gives_identity(value: Any) -> bool:
    """Return whether a part that was given whole identifies its files; one that leaves it open has an empty identity."""
    if isinstance(value, list):
        return any(map(_gives_identity, value))
    return isinstance(value, dict) and any((key == "identity" and item) or _gives_identity(item) for key, item in value.items())


def _put(data: dict[str, Any], name: str, value: Any, kind: str) -> None:
    *path, last = name.split(".")
    if last == "identity" or _gives_identity(value):
        raise SpecError(f"{name} cannot set an identity, which is computed from the files. Leave it out.")
    level: Any = data
    for index, part in enumerate([*path, last]):
        if level is None:
            above = ".".join(path[:index])
            raise SpecError(f"{name} cannot be set because {above} is not set. Set all of it, as {above}={{…}}.")
        if not isinstance(level, dict) or part not in level:
            names = f". It has {', '.join(level)}" if isinstance(level, dict) else ""
            raise SpecError(f"{kind} has no setting {name!r}{names}.")
        if index < len(path):
            level = level[part]
    if isinstance(level[last], dict) and not (value is None or isinstance(value, dict)):
        raise SpecError(f"{name} must be written with all of its fields, as {name}={{…}}, not {json.dumps(value)}.")
    level[last] = value


def _differences(defaults: dict[str, Any], want: dict[str, Any], path: str) -> list[tuple[str, Any]]:
    changed: list[tuple[str, Any]] = []
    for name, value in want.items():
        if name == "identity" or defaults.get(name) == value and name in defaults:
            continue
        if isinstance(value, dict) and isinstance(defaults.get(name), dict) and defaults[name].keys() == value.keys():
            changed += _differences(defaults[name], value, f"{path}{name}.")
        else:
            changed.append((f"{path}{name}", plain(value)))
    return changed


def plain(value: Any) -> Any:
    """JSON of a request without the identities of files, which are found out and never asked for."""
    if isinstance(value, dict):
        return {name: plain(entry) for name, entry in value.items() if name != "identity"}
    return [plain(entry) for entry in value] if isinstance(value, list) else value
