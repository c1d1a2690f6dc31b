"""The base of all requests: a frozen dataclass with a JSON form and a fingerprint, the cache key of its result."""

import dataclasses
import hashlib
import json
import types
import typing
from dataclasses import dataclass
from typing import Any, ClassVar, Self

from analysis.errors import SpecError

CODE_VERSION = 3
"""Part of every fingerprint: raise it when the same spec would now give another result."""


def require(condition: bool, message: str) -> None:
    """Raise `SpecError` with `message` unless `condition` holds."""
    if not condition:
        raise SpecError(message)


@dataclass(frozen=True)
class Spec:
    """Base of all requests: conversion to and from JSON, and the fingerprint."""

    kind: ClassVar[str] = "spec"

    def to_json(self) -> dict[str, Any]:
        """The spec as plain JSON types, nested specs as objects."""
        return typing.cast(dict[str, Any], json.loads(json.dumps(dataclasses.asdict(self))))

    @classmethod
    def from_json(cls, data: typing.Mapping[str, Any]) -> Self:
        """The inverse of `to_json`.

        Raises:
            SpecError: on an unknown field, a missing one, or a value out of range.
        """
        hints = typing.get_type_hints(cls)
        names = {f.name for f in dataclasses.fields(cls)}
        unknown = sorted(set(data) - names)
        require(not unknown, f"A {cls.__name__} has no field {', '.join(unknown)}; its fields are {', '.join(sorted(names))}.")
        try:
            return cls(**{name: _from_json(hints[name], value) for name, value in data.items()})
        except TypeError as error:
            raise SpecError(f"This is not a complete {cls.__name__}: {error}.") from error

    def fingerprint(self) -> str:
        """Twenty hexadecimal digits that change with anything that changes the result, code version included."""
        content = {"kind": self.kind, "code_version": CODE_VERSION, "spec": self.to_json()}
        canonical = json.dumps(content, sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(canonical.encode()).hexdigest()[:20]


def _from_json(hint: Any, value: Any) -> Any:
    """Turn one JSON value into what the type hint of a field asks for."""
    if isinstance(hint, types.UnionType):
        options = [option for option in typing.get_args(hint) if option is not type(None)]
        return None if value is None else _from_json(_option_for(options, value), value)
    if isinstance(hint, type) and issubclass(hint, Spec):
        return hint.from_json(value)
    if typing.get_origin(hint) is tuple:
        item = typing.get_args(hint)[0]
        return tuple(_from_json(item, entry) for entry in value)
    if hint is float and isinstance(value, int):
        return float(value)
    return value


def _option_for(options: list[Any], value: Any) -> Any:
    """Which type of a union a JSON object is of: the one that has all its fields."""
    if isinstance(value, dict):
        for option in options:
            if {field.name for field in dataclasses.fields(option)} >= set(value):
                return option
    return options[0]
