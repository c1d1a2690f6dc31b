"""Requests from options, Python values or settings, and the command line of a request.

A setting is written NAME=VALUE and can set every field of a request. NAME is a path of field names
joined by dots. VALUE is parsed as JSON, or is the text itself if it is not JSON.
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

from analysis.cli.options import (
    NONE,
    Flag,
    OptionField,
    default_of,
    field_types,
    flags_of,
    value_of,
)
from analysis.core import escapes
from analysis.core.bounds import FieldError, named, shown
from analysis.core.errors import LayerscopeError, SpecError, did_you_mean
from analysis.core.experiment import EXPERIMENTS
from analysis.core.options import Option, Part
from analysis.core.record import Spec

PROGRAM = ("python", "-m", "analysis")
SpecT = TypeVar("SpecT", bound=Spec)
Settings = Sequence[tuple[str, Any]]

_ABSENT = object()
"""Marker for a field whose nested request is left out."""


def of(options: argparse.Namespace) -> Any:
    """Return the request of parsed options: by the options of its kind, or for `run KIND` by
    settings alone.

    Raises:
        LayerscopeError: if the options are not valid.
    """
    return (
        request(options.asks.spec, options)
        if options.asks
        else built(EXPERIMENTS[options.kind].spec, {}, settings(options))
    )


def request(kind: type[SpecT], options: argparse.Namespace) -> SpecT:
    """Return the request of a kind from parsed options, including the `--set` settings.

    Raises:
        LayerscopeError: if the options are not valid.
    """
    names = {flag: flag.name for flag in flags_of(kind)}
    asked = settings(options)
    with _errors_by_option(names, vars(options), asked):
        return built(kind, vars(options), asked)


@contextlib.contextmanager
def _errors_by_option(
    names: Mapping[Flag, str], values: Mapping[str, Any], settings: Settings
) -> Iterator[None]:
    """Let errors name a field by the option that sets it.

    Args:
        names: name of each option in an error.
        values: values of options by `Flag.dest`.
        settings: paths of fields that are set by themselves; their errors name the path.
    """
    try:
        yield
    except FieldError as error:
        paths = {path for path, _ in settings}
        for flag, name in names.items():
            fields = {flag.dest, *(".".join(field.path) for field in flag.fields)}
            if flag.dest in values and error.name in fields and not fields & paths:
                raise FieldError(name, error.message) from None
        raise


def settings(options: argparse.Namespace) -> Settings:
    """Return the `--set` settings of parsed options."""
    return [read_setting(text) for text in options.set or []]


def request_of_values(
    kind: type[SpecT], part: Mapping[str, Spec], values: Mapping[str, Any]
) -> SpecT:
    """Return a request from Python values.

    Args:
        kind: class of the request.
        part: nested requests by field, such as the model, whose options take their values.
        values: values by the name of an option (`max_n`), a field, a field of a nested request, or
            a path with dots. A value may be a string as on the command line ("11:5").

    Raises:
        LayerscopeError: if the values are not valid.
    """
    flags = {flag.dest: flag for flag in flags_of(kind)}
    option_values = {name: value for flag in flags.values() for name, value in _of_part(flag, part)}
    for name, value in values.items():
        if name in flags and (
            value is not None or flags[name].takes_none or flags[name].first.default is not None
        ):
            option_values[name] = value
    for name, flag in flags.items():
        if flag.first.is_needed and name not in option_values:
            argument = name.lower()  # a positional argument of the command line is in capitals
            raise SpecError(f"{named(kind)} needs {argument}. Pass it as {argument}=….")
    others = [
        (path, _as_json(value))
        for name, value in values.items()
        if name not in flags
        for path in _paths(kind, name)
    ]
    names = {flag: name.lower() for name, flag in flags.items()}
    with _errors_by_option(names, option_values, others):
        return built(kind, option_values, others)


def _of_part(flag: Flag, parts: Mapping[str, Spec]) -> Iterator[tuple[str, Any]]:
    """Yield name and value of an option of a nested request, unless the value is the default."""
    field = flag.first
    if len(field.path) == 2 and field.path[0] in parts:
        value = getattr(parts[field.path[0]], field.path[1])
        if field.option.required or value != default_of(field.owner, field.path[1]):
            yield flag.dest, value


def _paths(kind: type[Spec], name: str) -> list[str]:
    """Return the path of the field with a name, or else its paths in the nested requests."""
    defaults = {field: default_of(kind, field) for field in field_types(kind)}
    if "." in name or name in defaults:
        return [name]
    matches = [
        f"{part}.{name}"
        for part, default in defaults.items()
        if isinstance(default, Spec) and hasattr(default, name)
    ]
    if not matches:
        names = sorted({flag.dest for flag in flags_of(kind)} | set(defaults))
        raise SpecError(
            f"{named(kind)} has no setting {name!r}. It has {', '.join(names)}."
            f" {did_you_mean(name, names)}"
        )
    return matches


def built(kind: type[SpecT], values: Mapping[str, Any], settings: Settings = ()) -> SpecT:
    """Return a request from values of options and settings. Other fields have their defaults.

    Args:
        kind: class of the request.
        values: values of options by `Flag.dest`, as `Flag.read` takes them. Other names are
            ignored.
        settings: paths of fields with JSON values, applied in order.

    Raises:
        LayerscopeError: for an unknown or missing field, or an invalid value.
    """
    field_values = _set_fields(kind, values)
    if kind.asked_by and field_values:  # not `run`, which has settings alone
        plain = {
            name: value
            for name, value in settings
            if "." not in name and not isinstance(value, dict)
        }
        nested: dict[str, Any] = {}
        for field, value in field_values:
            level = nested
            for name in field.path[:-1]:
                level = level.setdefault(name, {})
            level[field.path[-1]] = {} if isinstance(value, type) else value
        for name, value in settings:
            part, _, last = name.partition(".")
            if part == "model" and last in ("dtype", "quantization") and isinstance(value, str):
                nested.setdefault(part, {})[last] = (
                    value  # the precision of a recipe depends on them
                )
        _check_fields(kind, nested | plain)  # before other fields are derived from them
        data = resolve_name(kind.asked_by)(nested, plain).to_json()
    else:
        data = _defaults(kind)
        for field, value in field_values:
            _put(data, field, value)
    for name, value in settings:
        _set(data, name, value, named(kind))
    needed = {name for name in field_types(kind) if default_of(kind, name) is MISSING}
    return kind.from_json(
        {name: value for name, value in data.items() if value is not None or name not in needed}
    )


def _check_fields(kind: type[Spec], values: Mapping[str, Any]) -> None:
    """Validate fields by name, apart from those of the items of a list, which is made from them."""
    types = field_types(kind)
    lists = [
        name for name in values if name in types and typing.get_origin(types[name][0]) is tuple
    ]
    kind.check_fields({name: value for name, value in values.items() if name not in lists})


def _set_fields(kind: type[Spec], values: Mapping[str, Any]) -> list[tuple[OptionField, Any]]:
    """Return the fields that options set, outer ones first, without those of nested requests that
    are left out.
    """
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
    """Return the JSON of the nested request at a path, or of each request of a list."""
    if isinstance(data, list):
        return [level for item in data for level in _levels(item, path)]
    if not path:
        return [data]
    levels = _levels(data[path[0]], path[1:])
    for level in levels:
        if not isinstance(level, dict):
            raise FieldError(path[0], f"must be a name or a list of names, not {shown(level)}")
    return levels


def _set(data: dict[str, Any], name: str, value: Any, kind: str) -> None:
    """Write the value of a setting into the JSON of a request."""
    *path, last = name.split(".")
    if last == "identity" or _gives_identity(value):
        raise SpecError(
            f"{name} cannot set an identity, which is computed from the files. Leave it out."
        )
    level: Any = data
    for index, part in enumerate([*path, last]):
        if level is None:
            above = ".".join(path[:index])
            raise SpecError(
                f"{name} cannot be set because {above} is not set. Set all of it, as {above}={{…}}."
            )
        if not isinstance(level, dict) or part not in level:
            owner = ".".join(path[:index]) or kind
            if not isinstance(level, dict):
                raise SpecError(f"{name} cannot be set because {owner} is {shown(level)}.")
            raise SpecError(
                f"{owner} has no setting {part!r}. It has {', '.join(level)}."
                f" {did_you_mean(part, level)}".rstrip()
            )
        if index < len(path):
            level = level[part]
    if isinstance(level[last], dict) and not (value is None or isinstance(value, dict)):
        raise SpecError(
            f"{name} must be written with all of its fields, as {name}={{…}}, not"
            f" {json.dumps(value)}."
        )
    level[last] = value


def _gives_identity(value: Any) -> bool:
    """Return whether a JSON value sets the identity of files; an empty identity is allowed."""
    if isinstance(value, list):
        return any(map(_gives_identity, value))
    return isinstance(value, dict) and any(
        (key == "identity" and item) or _gives_identity(item) for key, item in value.items()
    )


def read_setting(text: str) -> tuple[str, Any]:
    """Return the name and the value of a setting.

    Raises:
        SpecError: if the name or the value is missing.
    """
    name, equals, value = text.partition("=")
    if not equals or not name:
        raise SpecError(
            f"A setting is written NAME=VALUE, for example corpus.seed=3, not {text!r}."
        )
    return name, value_of(value)


def written_setting(name: str, value: Any) -> str:
    """Return a setting on one line, the inverse of `read_setting`."""
    is_plain = (
        isinstance(value, str)
        and value_of(value) == value
        and len(value.splitlines()) < 2
        and not value.endswith("\n")
    )
    return f"{name}={value if is_plain else json.dumps(value, ensure_ascii=False)}"


def _defaults(kind: type[Spec]) -> dict[str, Any]:
    """Return the default of each field as JSON; None if there is none."""
    values = {name: default_of(kind, name) for name in field_types(kind)}
    return {name: None if value is MISSING else _as_json(value) for name, value in values.items()}


def _as_json(value: Any) -> Any:
    """Return the value of a field as in the JSON of its request."""
    if isinstance(value, Spec):
        return value.to_json()
    return [_as_json(entry) for entry in value] if isinstance(value, tuple | list) else value


def as_requested(spec: SpecT) -> SpecT:
    """Return the request as a user would write it: without the identities of files and without
    derived values.
    """
    return typing.cast(SpecT, _without_derived(spec.request))


def _without_derived(value: Any) -> Any:
    if isinstance(value, tuple):
        return tuple(map(_without_derived, value))
    if not isinstance(value, Spec):
        return value
    spec = replace(
        value,
        **{field.name: _without_derived(getattr(value, field.name)) for field in fields(value)},
    )
    types = field_types(type(spec)).items()
    notes = [
        (name, note.usual)
        for name, (_, _, notes) in types
        for note in notes
        if isinstance(note, Option | Part)
    ]
    return replace(
        spec,
        **{
            name: None
            for name, usual in notes
            if usual and getattr(spec, name) == resolve_name(usual)(spec)
        },
    )


def line(words: Sequence[str]) -> str:
    """Return the words of a request as a shell command."""
    return escapes.command([*PROGRAM, *words])


def words(spec: Spec, name: str | None) -> list[str]:
    """Return the arguments of a request that differ from the defaults.

    The request that they make has the fingerprint of `as_requested(spec)`.

    Args:
        spec: any request, resolved or not.
        name: subcommand of its kind; None to use `run`.
    """
    wanted = as_requested(spec)
    if name is not None:
        with contextlib.suppress(LayerscopeError):  # the options cannot express the request
            return [name, *_options(wanted)]
    return [
        "run",
        spec.kind,
        *_set_words(_differences(_defaults(type(wanted)), wanted.to_json(), "")),
    ]


def _options(spec: Spec) -> list[str]:
    """Return the shortest options and settings of a request that a local search from all differing
    options finds.

    Raises:
        LayerscopeError: if the options that are always written are not valid by themselves.
    """
    flags = {flag.dest: flag for flag in flags_of(type(spec))}
    texts = {
        dest: text
        for dest, flag in flags.items()
        if (text := flag.text(_value_at(spec, flag))) is not None
    }
    always = frozenset(
        dest for dest, flag in flags.items() if flag.first.is_always_said and dest in texts
    )

    def words(chosen: Mapping[str, Any]) -> list[str]:
        settings: dict[str, Any] = {}
        while missing := dict(
            _differences(
                built(type(spec), chosen, [*settings.items()]).to_json(), spec.to_json(), ""
            )
        ):
            if missing.items() <= settings.items():
                raise SpecError(f"{spec.kind} cannot be asked for by its options.")
            settings |= missing  # a setting may change the default of another field
        options = [
            word
            for dest, flag in flags.items()
            if dest in chosen
            for word in flag.words(chosen[dest])
        ]
        return [*options, *_set_words(settings.items())]

    @functools.cache
    def length(chosen: frozenset[str]) -> float:
        try:
            return len(" ".join(words({dest: texts[dest] for dest in chosen})))
        except LayerscopeError:
            return math.inf

    base = built(type(spec), {dest: texts[dest] for dest in always})
    differing = {
        dest for dest in texts if _value_at(base, flags[dest]) != _value_at(spec, flags[dest])
    }
    chosen = min(always | differing, always, key=length)
    while (
        best := min((chosen ^ {dest} for dest in texts.keys() - always), key=length, default=chosen)
    ) != chosen:
        if length(best) >= length(chosen):
            break
        chosen = best
    return words({dest: texts[dest] for dest in chosen})


def _set_words(settings: Iterable[tuple[str, Any]]) -> list[str]:
    return [word for name, value in settings for word in ("--set", written_setting(name, value))]


def _value_at(spec: Spec, flag: Flag) -> Any:
    """Return the value of the first field of an option that the request has; None if it has
    none.
    """
    return next(
        (value for field in flag.fields if (value := _field_at(spec, field)) is not _ABSENT), None
    )


def _field_at(spec: Spec, field: OptionField) -> Any:
    """Return the value of a field; for a tuple of nested requests the first one that is not
    None.
    """
    current: Any = spec
    for depth, name in enumerate(field.path):
        if current is None:
            return NONE if field.left_out == field.path[:depth] else _ABSENT
        if isinstance(current, tuple):
            current = next(
                (value for part in current if (value := getattr(part, name)) is not None), None
            )
        else:
            current = getattr(current, name)
    return current


def _differences(has: dict[str, Any], want: dict[str, Any], path: str) -> Iterator[tuple[str, Any]]:
    """Yield the paths and values of the fields that differ, except identities."""
    for name, value in want.items():
        if name == "identity" or (name in has and has[name] == value):
            continue
        if (
            isinstance(value, dict)
            and isinstance(has.get(name), dict)
            and has[name].keys() == value.keys()
        ):
            yield from _differences(has[name], value, f"{path}{name}.")
        else:
            yield f"{path}{name}", _without_identities(value)


def _without_identities(value: Any) -> Any:
    """Return the JSON of a request without the identities of files, which are computed."""
    if isinstance(value, dict):
        return {
            name: _without_identities(entry) for name, entry in value.items() if name != "identity"
        }
    return [_without_identities(entry) for entry in value] if isinstance(value, list) else value
