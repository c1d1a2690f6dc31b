"""Requests from options, Python values or settings, and the command line that asks for a request.

A setting is written NAME=VALUE and reaches every field of a request: its name is a path of field names joined by dots, its
value is JSON if it reads as JSON, and else the text itself.
"""

import argparse
import contextlib
import functools
import json
import math
import typing
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import MISSING, fields, replace
from pkgutil import resolve_name
from typing import Any, TypeVar

from analysis.cli.options import NONE, Flag, OptionField, default_of, field_types, flags_of, value_of
from analysis.core import escapes
from analysis.core.errors import LayerscopeError, SpecError, did_you_mean
from analysis.core.experiment import EXPERIMENTS
from analysis.core.options import Option, Part
from analysis.core.record import Spec

PROGRAM = ("python", "-m", "analysis")
SpecT = TypeVar("SpecT", bound=Spec)
Settings = Sequence[tuple[str, Any]]

_ABSENT = object()
"""The value of a field whose nested request is left out."""


def of(options: argparse.Namespace) -> Any:
    """Return the request that parsed arguments ask for: by the options of its kind, or as `run KIND` by its settings alone.

    Raises:
        LayerscopeError: when they make none.
    """
    return request(options.asks.spec, options) if options.asks else built(EXPERIMENTS[options.kind].spec, {}, settings(options))


def request(kind: type[SpecT], options: argparse.Namespace) -> SpecT:
    """The request that parsed options make, with the `--set` settings on top.

    Raises:
        LayerscopeError: when they make none.
    """
    return built(kind, vars(options), settings(options))


def settings(options: argparse.Namespace) -> Settings:
    """Return the settings that parsed options hold."""
    return [read_setting(text) for text in options.set or []]


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
    given = {name: value for flag in flags.values() for name, value in _of_part(flag, part)}
    for name, value in values.items():
        if name in flags and (value is not None or flags[name].takes_none or flags[name].first.default is not None):
            given[name] = value
    for name, flag in flags.items():
        if flag.first.is_needed and name not in given:
            raise SpecError(f"{kind.__name__} needs {name}. Pass it as {name}=….")
    others = [(path, _as_json(value)) for name, value in values.items() if name not in flags for path in _paths(kind, name)]
    return built(kind, given, others)


def _of_part(flag: Flag, parts: Mapping[str, Spec]) -> Iterator[tuple[str, Any]]:
    """Yield name and value of an option that a nested request sets, unless that is the default and need not be said."""
    field = flag.first
    if len(field.path) == 2 and field.path[0] in parts:
        value = getattr(parts[field.path[0]], field.path[1])
        if field.option.required or value != default_of(field.owner, field.path[1]):
            yield flag.dest, value


def _paths(kind: type[Spec], name: str) -> list[str]:
    """The field of a kind with this name, or else that of each of its parts, as settings call them."""
    defaults = {field: default_of(kind, field) for field in field_types(kind)}
    if "." in name or name in defaults:
        return [name]
    matches = [f"{part}.{name}" for part, default in defaults.items() if isinstance(default, Spec) and hasattr(default, name)]
    if not matches:
        names = sorted({flag.dest for flag in flags_of(kind)} | set(defaults))
        raise SpecError(f"{kind.__name__} has no setting {name!r}. It has {', '.join(names)}. {did_you_mean(name, names)}")
    return matches


def built(kind: type[SpecT], values: Mapping[str, Any], settings: Settings = ()) -> SpecT:
    """Return the request of values of options and of settings on top of the defaults of its kind.

    Args:
        kind: of the request.
        values: values of options, as `Flag.read` takes them, by `Flag.dest`. Other names are passed over.
        settings: paths of fields with their values as JSON; the last one of a path counts.

    Raises:
        LayerscopeError: for a name that is not that of a field, a value that its field cannot take, or a missing field.
    """
    given = _set_fields(kind, values)
    if kind.asked_by and given:  # not `run`, which has settings alone
        plain = {name: value for name, value in settings if "." not in name and not isinstance(value, dict)}
        nested: dict[str, Any] = {}
        for field, value in given:
            level = nested
            for name in field.path[:-1]:
                level = level.setdefault(name, {})
            level[field.path[-1]] = {} if isinstance(value, type) else value
        for name, value in settings:
            part, _, last = name.partition(".")
            if part == "model" and last in ("dtype", "quantization") and isinstance(value, str):
                nested.setdefault(part, {})[last] = value  # the precision of a recipe depends on them
        own = {field.path[0]: value for field, value in given if len(field.path) == 1 and not isinstance(value, type)}
        kind.check_fields(own | plain)  # before anything is worked out from them, not after
        data = resolve_name(kind.asked_by)(nested, plain).to_json()
    else:
        data = _defaults(kind)
        for field, value in given:
            _put(data, field, value)
    for name, value in settings:
        _set(data, name, value, kind.__name__)
    needed = {name for name in field_types(kind) if default_of(kind, name) is MISSING}
    return kind.from_json({name: value for name, value in data.items() if value is not None or name not in needed})


def _set_fields(kind: type[Spec], values: Mapping[str, Any]) -> list[tuple[OptionField, Any]]:
    """The fields that options set, outer ones first, without those of a nested request that is not asked for."""
    pairs: list[tuple[OptionField, Any]] = []
    for flag in flags_of(kind):
        if flag.dest in values:
            value = flag.read(values[flag.dest])
            for field in flag.fields:
                if field.left_out and value == NONE:
                    pairs.append((replace(field, path=field.left_out, option=Option()), None))
                else:
                    pairs.append((field, value))
    paths = {field.path for field, _ in pairs}
    left_out = {field.path for field, value in pairs if value is None}
    asked_for = [
        (field, value)
        for field, value in pairs
        if (field.switched_by is None or field.switched_by in paths)
        and not any(field.path[:depth] in left_out for depth in range(1, len(field.path)))
    ]
    return sorted(asked_for, key=lambda pair: len(pair[0].path))


def _put(data: dict[str, Any], field: OptionField, value: Any) -> None:
    """Write the value of an option into the JSON of a request."""
    *path, last = field.path
    for level in _levels(data, path):
        if field.option.resets and level[last] != value:
            defaults = _defaults(field.owner)
            level.update({name: defaults[name] for name in field.option.resets})
        level[last] = _defaults(value) if isinstance(value, type) else _as_json(value)


def _levels(data: Any, path: Sequence[str]) -> list[dict[str, Any]]:
    """The nested request at a path; each of them if there are several at once."""
    if isinstance(data, list):
        return [level for item in data for level in _levels(item, path)]
    return _levels(data[path[0]], path[1:]) if path else [data]


def _set(data: dict[str, Any], name: str, value: Any, kind: str) -> None:
    """Write the value of a setting into the JSON of a request."""
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


def _gives_identity(value: Any) -> bool:
    """Return whether a part that was given whole identifies its files; one that leaves it open has an empty identity."""
    if isinstance(value, list):
        return any(map(_gives_identity, value))
    return isinstance(value, dict) and any((key == "identity" and item) or _gives_identity(item) for key, item in value.items())


def read_setting(text: str) -> tuple[str, Any]:
    """The name and the value of a setting.

    Raises:
        SpecError: when there is no name or no value.
    """
    name, equals, value = text.partition("=")
    if not equals or not name:
        raise SpecError(f"A setting is written NAME=VALUE, for example corpus.seed=3, not {text!r}.")
    return name, value_of(value)


def written_setting(name: str, value: Any) -> str:
    """The inverse of `read_setting`, on one line."""
    is_plain = isinstance(value, str) and value_of(value) == value and len(value.splitlines()) < 2 and not value.endswith("\n")
    return f"{name}={value if is_plain else json.dumps(value, ensure_ascii=False)}"


def _defaults(kind: type[Spec]) -> dict[str, Any]:
    """Every field of a request as JSON, None if it has no default."""
    values = {name: default_of(kind, name) for name in field_types(kind)}
    return {name: None if value is MISSING else _as_json(value) for name, value in values.items()}


def _as_json(value: Any) -> Any:
    """The value of a field as it stands in the JSON of its request."""
    if isinstance(value, Spec):
        return value.to_json()
    return [_as_json(entry) for entry in value] if isinstance(value, tuple | list) else value


def as_requested(spec: SpecT) -> SpecT:
    """Return the request as a user would ask for it: without the identities of files, and without derived values."""
    return typing.cast(SpecT, _without_derived(spec.request))


def _without_derived(value: Any) -> Any:
    if isinstance(value, tuple):
        return tuple(map(_without_derived, value))
    if not isinstance(value, Spec):
        return value
    spec = replace(value, **{field.name: _without_derived(getattr(value, field.name)) for field in fields(value)})
    types = field_types(type(spec)).items()
    notes = [(name, note.usual) for name, (_, _, notes) in types for note in notes if isinstance(note, Option | Part)]
    return replace(spec, **{name: None for name, usual in notes if usual and getattr(spec, name) == resolve_name(usual)(spec)})


def line(words: Sequence[str]) -> str:
    """The words of a request as a line to paste into a shell."""
    return escapes.command([*PROGRAM, *words])


def words(spec: Spec, name: str | None) -> list[str]:
    """Return the arguments that ask for `spec`, only those that differ from the defaults.

    The request that they make has the fingerprint of `as_requested(spec)`.

    Args:
        spec: any request, resolved or not.
        name: the subcommand of its kind; None if it has none, and `run` takes its place.
    """
    wanted = as_requested(spec)
    if name is not None:
        with contextlib.suppress(LayerscopeError):  # its always written options alone make no request
            return [name, *_options(wanted)]
    return ["run", spec.kind, *_set_words(_differences(_defaults(type(wanted)), wanted.to_json(), ""))]


def _options(spec: Spec) -> list[str]:
    """Return the options and settings that make a request: starting with all options that differ, the shortest ones found.

    Raises:
        LayerscopeError: if the options that are always written make no request.
    """
    flags = {flag.dest: flag for flag in flags_of(type(spec))}
    texts = {dest: text for dest, flag in flags.items() if (text := flag.text(_value_at(spec, flag))) is not None}
    always = frozenset(dest for dest, flag in flags.items() if flag.first.is_always_said and dest in texts)

    def words(chosen: Mapping[str, Any]) -> list[str]:
        settings: dict[str, Any] = {}
        while missing := dict(_differences(built(type(spec), chosen, [*settings.items()]).to_json(), spec.to_json(), "")):
            if missing.items() <= settings.items():
                raise SpecError(f"{spec.kind} cannot be asked for by its options.")
            settings |= missing  # one may change the default of another
        options = [word for dest, flag in flags.items() if dest in chosen for word in flag.words(chosen[dest])]
        return [*options, *_set_words(settings.items())]

    @functools.cache
    def length(chosen: frozenset[str]) -> float:
        try:
            return len(" ".join(words({dest: texts[dest] for dest in chosen})))
        except LayerscopeError:
            return math.inf

    base = built(type(spec), {dest: texts[dest] for dest in always})
    differing = {dest for dest in texts if _value_at(base, flags[dest]) != _value_at(spec, flags[dest])}
    chosen = min(always | differing, always, key=length)
    while (best := min((chosen ^ {dest} for dest in texts.keys() - always), key=length, default=chosen)) != chosen:
        if length(best) >= length(chosen):
            break
        chosen = best
    return words({dest: texts[dest] for dest in chosen})


def _set_words(settings: Iterable[tuple[str, Any]]) -> list[str]:
    return [word for name, value in settings for word in ("--set", written_setting(name, value))]


def _value_at(spec: Spec, flag: Flag) -> Any:
    """Return the value of the first field of an option that a request has; None if it has none of them."""
    return next((value for field in flag.fields if (value := _field_at(spec, field)) is not _ABSENT), None)


def _field_at(spec: Spec, field: OptionField) -> Any:
    """The value of a field; of several nested requests that of the first which has one."""
    current: Any = spec
    for depth, name in enumerate(field.path):
        if current is None:
            return NONE if field.left_out == field.path[:depth] else _ABSENT
        if isinstance(current, tuple):
            current = next((value for part in current if (value := getattr(part, name)) is not None), None)
        else:
            current = getattr(current, name)
    return current


def _differences(has: dict[str, Any], want: dict[str, Any], path: str) -> Iterator[tuple[str, Any]]:
    """Yield the fields, by their paths, that differ; `identity` is never asked for and so left out."""
    for name, value in want.items():
        if name == "identity" or (name in has and has[name] == value):
            continue
        if isinstance(value, dict) and isinstance(has.get(name), dict) and has[name].keys() == value.keys():
            yield from _differences(has[name], value, f"{path}{name}.")
        else:
            yield f"{path}{name}", _without_identities(value)


def _without_identities(value: Any) -> Any:
    """JSON of a request without the identities of files, which are found out and never asked for."""
    if isinstance(value, dict):
        return {name: _without_identities(entry) for name, entry in value.items() if name != "identity"}
    return [_without_identities(entry) for entry in value] if isinstance(value, list) else value
