"""Values that a field of a request can hold: of its type and, where it is a number, within its bounds."""

import dataclasses
import functools
import json
import math
import types
import typing
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

from analysis.core.errors import SpecError

MOST_LAYERS = 1_000
"""Decoder layers of a model; the deepest that are published have not a fifth of it."""
MOST_WHOLE = 2**63 - 1
"""The largest whole number that a database or an array holds."""
LONGEST_SHOWN = 60
"""Characters of a wrong value that a sentence repeats."""
_NAMES = {int: "a whole number", float: "a number", str: "text", bool: "true or false"}


@dataclass(frozen=True, eq=False)
class Bound:
    """Annotation of a number in a request, of one that may be None, or of several: the least and the most that it can be."""

    least: float
    most: float
    above: bool = False
    """Whether it must be more than the least."""
    below: bool = False
    """Whether it must be less than the most."""
    instead: str = ""
    """What a user may give instead of a number, such as "--limit 0 for all"."""

    def holds(self, value: float) -> bool:
        """Return whether a number lies within; NaN lies nowhere."""
        return (self.least < value if self.above else self.least <= value) and (
            value < self.most if self.below else value <= self.most
        )

    def describe(self) -> str:
        """Describe the possible values, to stand behind "must be"."""
        if self.above or self.below:
            lower, upper = "above" if self.above else "at least", "below" if self.below else "at most"
            return f"{lower} {self.least:,} and {upper} {self.most:,}"
        limits = f"{self.least:,}..{self.most:,}" if self.most < MOST_WHOLE else f"at least {self.least:,}"
        return f"{limits}, or {self.instead}" if self.instead else limits


SEED = Bound(0, MOST_WHOLE)
"""Seeds that can start a draw."""
_ANY = {int: Bound(-MOST_WHOLE, MOST_WHOLE), float: Bound(-1e300, 1e300)}
"""Of a number that has no bound of its own."""


class FieldError(SpecError):
    """A field of a request that holds an impossible value."""

    def __init__(self, name: str, message: str) -> None:
        """Take the field, with those around it joined by dots, and the problem, to stand behind its name."""
        super().__init__(f"{name} {message}.")
        self.name = name
        self.message = message

    def within(self, outer: str) -> "FieldError":
        """Return the error for the request that has this one in its field `outer`."""
        return FieldError(f"{outer}.{self.name}", self.message)


@dataclass(frozen=True)
class _BoundedField:
    name: str
    kinds: tuple[Any, ...]
    """The types that it may be of; of several values the types of each."""
    is_many: bool
    bound: Bound | None


def check(spec: Any) -> None:
    """See to it that every field of a request holds a value of its type, and every number one within its bounds.

    Args:
        spec: a dataclass, nested requests within it already checked.

    Raises:
        FieldError: for the first one that does not.
    """
    check_values(spec.__class__, {field.name: getattr(spec, field.name) for field in _fields(spec.__class__)})


def check_values(kind: type, values: Mapping[str, Any]) -> None:
    """Check values for a request of a kind that is not made yet, by the names of their fields.

    Raises:
        FieldError: as `check`.
    """
    for field in _fields(kind):
        if field.name not in values:
            continue
        value = values[field.name]
        if not field.is_many:
            _check_value(field, value)
        elif type(value) is not tuple:
            raise FieldError(field.name, f"must be a list, not {shown(value)}")
        else:
            for item in value:
                _check_value(field, item)


@functools.lru_cache(maxsize=256)
def _fields(kind: type) -> tuple[_BoundedField, ...]:
    """Fields whose type says which values they can hold."""
    hints = typing.get_type_hints(kind, include_extras=True)
    bounded = []
    for field in dataclasses.fields(kind):
        hint, notes = hints[field.name], getattr(hints[field.name], "__metadata__", ())
        hint = hint.__origin__ if notes else hint
        is_many = typing.get_origin(hint) is tuple
        item = typing.get_args(hint)[0] if is_many else hint
        kinds = typing.get_args(item) if isinstance(item, types.UnionType) else (item,)
        if all(isinstance(member, type) and typing.get_origin(member) is None and member is not Any for member in kinds):
            bound = next((note for note in notes if isinstance(note, Bound)), None)
            bounded.append(_BoundedField(field.name, kinds, is_many, bound))
    return tuple(bounded)


def _check_value(field: _BoundedField, value: Any) -> None:
    kind = next((kind for kind in field.kinds if _is_of(value, kind)), None)
    if kind is None:
        names = [_NAMES.get(kind, f"a {kind.__name__}") for kind in field.kinds if kind is not types.NoneType]
        raise FieldError(field.name, f"must be {' or '.join(names)}, not {shown(value)}")
    bound = (field.bound or _ANY.get(kind)) if kind in _ANY else None
    if bound is not None and not bound.holds(value):
        raise FieldError(field.name, f"must be {bound.describe()}, not {shown(value)}")


def _is_of(value: Any, kind: type) -> bool:
    if isinstance(value, bool):
        return kind in (bool, object)
    return isinstance(value, (int, float) if kind is float else kind)


def one_of(name: str, value: str, choices: Collection[str]) -> None:
    """Raise `SpecError` unless a field holds one of these."""
    if value not in choices:
        raise FieldError(name, f"must be one of {', '.join(choices)}, not {value[:LONGEST_SHOWN]!r}")


def shown(value: Any) -> str:
    """A value that someone gave, as it would be written and no longer than can be read."""
    if isinstance(value, int) and abs(value) > 10**30:
        return f"a number of {math.ceil(value.bit_length() * math.log10(2))} digits"
    if isinstance(value, int) and not isinstance(value, bool):
        return f"{value:,}"
    try:
        text = json.dumps(value, ensure_ascii=False, default=repr)
    except (ValueError, RecursionError):
        text = repr(type(value))
    return text if len(text) <= LONGEST_SHOWN else f"{text[: LONGEST_SHOWN - 1]}…"
