"""JSON schema of the arguments of a tool, and the request that they make.

Both are derived from the fields of the request (`cli.options`), as on the command line and in
Python.
"""

import typing
from collections.abc import Collection, Mapping, Sequence
from dataclasses import MISSING
from typing import Any, TypeVar

from analysis.cli import requests
from analysis.cli.options import Flag, field_types, flags_of
from analysis.core.bounds import MOST_WHOLE, Bound, shown
from analysis.core.errors import SpecError
from analysis.core.record import Spec

SpecT = TypeVar("SpecT", bound=Spec)
Json = dict[str, Any]
SET = "set"
"""Argument for the fields without an option."""
_SETTABLE = {
    "type": "object",
    "description": (
        'Other fields of the request by their path, such as {"corpus.seed": 3} (default: none).'
    ),
}
_FILES = {"FILE", "DIR", "MODEL"}
_TYPES = {int: "integer", float: "number"}


def of(
    kinds: Sequence[type[Spec]], *, without: Collection[str] = (), settable: bool = False
) -> Json:
    """Return the schema of the arguments of a tool.

    Args:
        kinds: classes of the requests whose options are arguments.
        without: names of arguments to leave out.
        settable: whether the argument `set` sets fields without an option.
    """
    flags = {
        _name(flag): (kind, flag)
        for kind in kinds
        for flag in flags_of(kind)
        if _name(flag) not in without
    }
    properties = {name: _property(kind, flag) for name, (kind, flag) in flags.items()} | (
        {SET: _SETTABLE} if settable else {}
    )
    required = [name for name, (_, flag) in flags.items() if flag.first.is_needed]
    return {
        "type": "object",
        "properties": properties,
        "required": required,
        "additionalProperties": False,
    }


def request(kind: type[SpecT], arguments: Mapping[str, Any]) -> SpecT:
    """Return the request of the arguments. Null means that an argument is left out.

    Raises:
        LayerscopeError: if the arguments are not valid.
    """
    flags = {_name(flag): flag for flag in flags_of(kind)}
    settings = arguments.get(SET) or {}
    if not isinstance(settings, Mapping):
        raise SpecError(f"set must be an object of fields by their path, not {shown(settings)}.")
    values = {
        flags[name].dest: value
        for name, value in arguments.items()
        if name in flags and value is not None
    }
    for name, value in values.items():
        if isinstance(value, Mapping):
            raise SpecError(
                f"{name} must be a value or a list, not {shown(value)}. Set its fields by {SET}."
            )
    return requests.request_of_values(kind, {}, {**values, **settings})


def files(kind: type[Spec], arguments: Mapping[str, Any]) -> list[str]:
    """Return the values of the arguments that may name a file, a folder or a model."""
    flags = {_name(flag): flag.first.option.metavar or flag.name for flag in flags_of(kind)}
    named = [name for name, metavar in flags.items() if _FILES & set(metavar.split("|"))]
    return [value for name in named if isinstance(value := arguments.get(name), str)]


def _name(flag: Flag) -> str:
    return flag.dest.lower()


def _property(kind: type[Spec], flag: Flag) -> Json:
    """Return the schema of an argument, which its first field defines."""
    field = flag.first
    option = flag.first.option
    hint, _, notes = field_types(field.owner)[field.path[-1]]
    described = {"description": flag.help(kind.asked_defaults)}
    if field.hint is None:
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
    has_default = (
        field.default not in (MISSING, None, "", ())
        and not field.is_needed
        and not isinstance(field.default, Spec)
    )
    if has_default and not is_many and flag.name.lstrip("-") not in kind.asked_defaults:
        argument["default"] = field.default
    return argument | described


def _item(hint: Any, notes: Sequence[Any]) -> Json:
    """Return the schema of a value with its bounds."""
    item: Json = {"type": _TYPES.get(hint, "string")}
    bound = next((note for note in notes if isinstance(note, Bound)), None)
    if bound is not None and hint in _TYPES:
        item["exclusiveMinimum" if bound.above else "minimum"] = bound.least
        if bound.most < MOST_WHOLE:
            item["exclusiveMaximum" if bound.below else "maximum"] = bound.most
    return item
