"""Arguments of a tool: a JSON schema of the options of a request, and the request that they make.

Both follow from the fields of the request (`cli.options`), as the command line and the Python face do.
"""

import json
import typing
from collections.abc import Mapping, Sequence
from dataclasses import MISSING
from typing import Any, TypeVar

from analysis.cli import field_settings, requests
from analysis.cli.field_settings import as_json
from analysis.cli.options import Extra, Flag, OptionField, field_types, flags_of, setting_example
from analysis.core.bounds import MOST_WHOLE, Bound, shown
from analysis.core.errors import SpecError
from analysis.core.record import Spec

SpecT = TypeVar("SpecT", bound=Spec)
Json = dict[str, Any]
SET = "set"
"""Argument for the fields that have no option."""
_FILES = {"FILE", "DIR", "MODEL"}
_TYPES = {int: "integer", float: "number"}


def of(kinds: Sequence[type[Spec]], extras: Sequence[Extra] = (), *, settable: bool = False) -> Json:
    """Return the schema of the arguments of a tool.

    Args:
        kinds: requests whose options are arguments.
        extras: options that are no part of a request.
        settable: whether `set` reaches the fields without an option.
    """
    properties: Json = {}
    required: list[str] = []
    for kind in kinds:
        for flag in flags_of(kind):
            properties[_name(flag)] = _property(kind, flag)
            required += [_name(flag)] * flag.fields[0].is_needed
    properties |= {_dest(extra): _of_extra(extra) for extra in extras}
    if settable:
        name, value = field_settings.read(setting_example(kinds[0]))
        about = f"Other fields of the request by their path, such as {json.dumps({name: value})} (default: none)."
        properties[SET] = {"type": "object", "description": about}
    return {"type": "object", "properties": properties, "required": required, "additionalProperties": False}


def request(kind: type[SpecT], arguments: Mapping[str, Any]) -> SpecT:
    """Return the request that arguments make. An argument that is null counts as left out.

    Raises:
        LayerscopeError: when they make none.
    """
    flags = {_name(flag): flag for flag in flags_of(kind)}
    settings = arguments.get(SET) or {}
    if not isinstance(settings, Mapping):
        raise SpecError(f"set must be an object of fields by their path, not {shown(settings)}.")
    wanted = {name: value for name, value in arguments.items() if value is not None and name != SET}
    unknown = [name for name in wanted if name not in flags]
    if unknown:
        raise SpecError(f"There is no argument {unknown[0][:60]!r}. Use {', '.join(flags)}.")
    values = {flags[name].dest: _value(flags[name], value) for name, value in wanted.items()}
    return requests.request_of_values(kind, {}, {**values, **settings})


def files(kind: type[Spec], arguments: Mapping[str, Any]) -> list[str]:
    """Return the values of the arguments that may name a file, a folder or a model."""
    named = [_name(flag) for flag in flags_of(kind) if _FILES & set(_placeholder(flag).split("|"))]
    return [value for name in named if isinstance(value := arguments.get(name), str)]


def _placeholder(flag: Flag) -> str:
    return flag.fields[0].option.metavar or flag.name


def of_extras(extras: Sequence[Extra], arguments: Mapping[str, Any]) -> Json:
    """Return the values of options that are no part of a request, by the place where the command line has them.

    Raises:
        SpecError: when a value has another type.
    """
    values = {}
    for extra in extras:
        value = arguments.get(_dest(extra))
        if value is None:
            value = False if extra.is_switch else extra.default
        elif type(value) is not (bool if extra.is_switch else extra.type):
            raise SpecError(f"{_dest(extra)} must be of type {_type_of(extra)}, not {shown(value)}.")
        values[_dest(extra)] = value
    return values


def names(kind: type[Spec]) -> set[str]:
    """Return the names of the arguments that set the options of a request."""
    return {_name(flag) for flag in flags_of(kind)}


def _value(flag: Flag, value: Any) -> Any:
    """Return a value as Python has it: the number that stands for None, such as 0 for all questions, as it is written."""
    if isinstance(value, Mapping):
        raise SpecError(f"{_name(flag)} must be a value or a list, not {shown(value)}. Set its fields by {SET}.")
    return str(value) if type(value) is int and str(value) == flag.fields[0].option.none else value


def _name(flag: Flag) -> str:
    return flag.dest.lower()


def _dest(extra: Extra) -> str:
    return extra.flag.lstrip("-").replace("-", "_")


def _of_extra(extra: Extra) -> Json:
    default = False if extra.is_switch else extra.default
    return {"type": _type_of(extra), "description": extra.help} | ({} if default is None else {"default": default})


def _type_of(extra: Extra) -> str:
    return "boolean" if extra.is_switch else _TYPES.get(typing.cast(type, extra.type), "string")


def _property(kind: type[Spec], flag: Flag) -> Json:
    """Return the schema of one argument: its first field defines it, as on the command line."""
    field, option = flag.fields[0], flag.fields[0].option
    hint, _, notes = field_types(field.owner)[field.path[-1]]
    described = {"description": flag.help(kind.asked_defaults)}
    if field.form is None:
        return {"type": "boolean", **described}
    is_many = typing.get_origin(hint) is tuple
    item = _item(typing.get_args(hint)[0] if is_many else hint, notes)
    if option.none and item["type"] == "integer":
        item["minimum"] = int(option.none)
    if option.parse is not None and item["type"] != "string":
        item["type"] = [item["type"], "string"]
    if option.choices is not None and not flag.takes_none:
        item["enum"] = list(option.choices)
    argument = {"type": "array", "items": item} if is_many else item
    if flag.name.lstrip("-") not in kind.asked_defaults and (default := _default(field)) is not None:
        argument["default"] = default
    return argument | described


def _item(hint: Any, notes: Sequence[Any]) -> Json:
    """Return the schema of one value with its bounds."""
    item: Json = {"type": _TYPES.get(hint, "string")}
    bound = next((note for note in notes if isinstance(note, Bound)), None)
    if bound is not None and hint in _TYPES:
        item["exclusiveMinimum" if bound.above else "minimum"] = bound.least
        if bound.most < MOST_WHOLE:
            item["exclusiveMaximum" if bound.below else "maximum"] = bound.most
    return item


def _default(field: OptionField) -> Any:
    """Return the default as JSON; None where there is none, or where it is another form than the argument."""
    if field.is_needed or field.default is MISSING or field.default in ("", ()):
        return None
    value = as_json(field.default)
    return None if isinstance(value, dict) else value
