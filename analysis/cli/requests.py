"""Requests from the options of the command line, from the values of a Python call, or from settings alone."""

import argparse
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, TypeVar

from analysis.cli import field_settings
from analysis.cli.options import NONE, OptionField, default_of, field_types, flags_of
from analysis.core.errors import SpecError
from analysis.core.experiment import SPECS
from analysis.core.imports import imported
from analysis.core.options import Option
from analysis.core.record import Spec

SpecT = TypeVar("SpecT", bound=Spec)


def of(options: argparse.Namespace) -> Any:
    """Return the request that parsed arguments ask for: by the options of its kind, or as `run KIND` by its settings alone.

    Raises:
        LayerscopeError: when they make none.
    """
    return request(options.asks.spec, options) if options.asks else field_settings.built(SPECS[options.kind], options.set or [])


def request(kind: type[SpecT], options: argparse.Namespace) -> SpecT:
    """The request that parsed options make, with the `--set` settings on top.

    Raises:
        LayerscopeError: when they make none.
    """
    settings = options.set or []
    fields = _set_fields(kind, options)
    if kind.asked_by:
        plain = {name: value for name, value in map(field_settings.read, settings) if "." not in name}
        plain = {name: value for name, value in plain.items() if not isinstance(value, dict)}
        kind.check_fields(plain)  # before anything is worked out from them, not after
        values = _nested_values(fields)
        for name, value in map(field_settings.read, settings):
            part, _, last = name.partition(".")
            if part == "model" and last in ("dtype", "quantization") and isinstance(value, str):
                values.setdefault(part, {})[last] = value  # the precision of a recipe depends on them
        data = imported(kind.asked_by)(values, plain).to_json()
    else:
        data = field_settings.defaults(kind)
        for field, value in fields:
            _put(data, field, value)
    return field_settings.settled(kind, data, settings)


def request_of_values(kind: type[SpecT], part: Mapping[str, Spec], values: Mapping[str, Any]) -> SpecT:
    """Return the request that Python values make: options by their names, as `max_n`, others by their fields.

    Args:
        kind: of the request.
        part: a nested request whose options are given as it has them, by the name of its field: the model.
        values: a value as its field has it, or a text as the command line takes it ("11:5"). A name that is neither an option
            nor a field of the request is looked for in its parts. A name with dots reaches any field.

    Raises:
        LayerscopeError: when they make none.
    """
    flags = {flag.dest: flag for flag in flags_of(kind)}
    named_values = {flag.dest: value for flag in flags.values() for value in flag.said_by(part)}
    named_values |= {name: value for name, value in values.items() if name in flags}
    options = {name: word for name, value in named_values.items() for word in flags[name].given(value)}
    for name, flag in flags.items():
        if flag.fields[0].is_needed and name not in options:
            raise SpecError(f"{kind.__name__} needs {name}. Pass it as {name}=….")
    other_fields = [(path, value) for name, value in values.items() if name not in flags for path in _paths(kind, name)]
    try:
        plain = [(path, tuple(value) if isinstance(value, list) else value) for path, value in other_fields]
        settings = [field_settings.write(path, field_settings.as_json(value)) for path, value in plain]
        return request(kind, argparse.Namespace(set=settings, **options))
    except TypeError as error:
        raise SpecError(f"A value for {kind.__name__} has the wrong type: {error}.") from error


def _paths(kind: type[Spec], name: str) -> list[str]:
    """The field of a kind with this name, or else that of each of its parts, as settings call them."""
    if "." in name or name in field_types(kind):
        return [name]
    parts = {part: part_spec for part in field_types(kind) if isinstance(part_spec := default_of(kind, part), Spec)}
    matches = [f"{part}.{name}" for part, part_spec in parts.items() if name in field_types(type(part_spec))]
    if not matches:
        names = sorted({flag.dest for flag in flags_of(kind)} | set(field_types(kind)))
        raise SpecError(f"{kind.__name__} has no setting {name!r}. It has {', '.join(names)}.")
    return matches


def _set_fields(kind: type[Spec], options: argparse.Namespace) -> list[tuple[OptionField, Any]]:
    """The fields that options set, outer ones first, without those of a nested request that is not asked for."""
    parsed = vars(options)
    values = [(field, parsed[flag.dest]) for flag in flags_of(kind) if flag.dest in parsed for field in flag.fields]
    values = [
        (replace(field, path=field.left_out, option=Option()), None) if value == NONE and field.left_out else (field, value)
        for field, value in values
    ]
    paths = {field.path for field, _ in values}
    left_out = {field.path for field, value in values if value is None}
    asked_for = [
        (field, value)
        for field, value in values
        if (field.switched_by is None or field.switched_by in paths)
        and not any(field.path[:depth] in left_out for depth in range(1, len(field.path)))
    ]
    return sorted(asked_for, key=lambda pair: len(pair[0].path))


def _nested_values(field_values: Sequence[tuple[OptionField, Any]]) -> dict[str, Any]:
    values: dict[str, Any] = {}
    for field, value in field_values:
        level = values
        for name in field.path[:-1]:
            level = level.setdefault(name, {})
        level[field.path[-1]] = {} if isinstance(value, type) else value
    return values


def _put(data: dict[str, Any], field: OptionField, value: Any) -> None:
    """Write the value of an option into the JSON of a request."""
    *path, last = field.path
    for level in _places(data, path):
        if field.option.resets and level[last] != value:
            defaults = field_settings.defaults(field.owner)
            level.update({name: defaults[name] for name in field.option.resets})
        level[last] = field_settings.defaults(value) if isinstance(value, type) else field_settings.as_json(value)


def _places(data: Any, path: Sequence[str]) -> list[dict[str, Any]]:
    """The nested request at a path; where there are several at once, each of them."""
    if isinstance(data, list):
        return [level for item in data for level in _places(item, path)]
    return _places(data[path[0]], path[1:]) if path else [data]
