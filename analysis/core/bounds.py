"""Values that a field of a request can hold: of its type and, where it is a number, within its bounds."""

import dataclasses
import json
import math
from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Any

import pydantic
from pydantic_core import ErrorDetails, PydanticCustomError, core_schema

from analysis.core.errors import LayerscopeError, SpecError, did_you_mean

MOST_LAYERS = 1_000
"""Decoder layers of a model; the deepest that are published have not a fifth of it."""
MOST_WHOLE = 2**63 - 1
"""The largest whole number that a database or an array holds."""
LONGEST_SHOWN = 60
"""Characters of a wrong value that a sentence repeats."""
_NAMES = {
    "int_type": "a whole number",
    "int_from_float": "a whole number",
    "int_parsing_size": "a whole number",
    "float_type": "a number",
    "string_type": "text",
    "bool_type": "true or false",
    "tuple_type": "a list",
}
"""Possible values by pydantic's type of error."""


@dataclass(frozen=True, eq=False)
class Bound:
    """Annotation of a number in a request, of one that may be None, or of several: the least and the most that it can be."""

    least: float
    most: float
    above: bool = False
    """Whether it must be more than the least."""
    below: bool = False
    """Whether it must be less than the most."""

    def holds(self, value: float) -> bool:
        """Return whether a number lies within; NaN lies nowhere."""
        return (self.least < value if self.above else self.least <= value) and (
            value < self.most if self.below else value <= self.most
        )

    def __get_pydantic_core_schema__(self, source: Any, handler: pydantic.GetCoreSchemaHandler) -> core_schema.CoreSchema:
        """Validate the type first, and then every number."""

        def check(value: Any) -> Any:
            for number in value if isinstance(value, tuple) else (value,):
                if number is not None and not self.holds(number):
                    context = {"possible": self.describe(), "value": shown(number)}
                    raise PydanticCustomError("bound", "must be {possible}, not {value}", context)
            return value

        return core_schema.no_info_after_validator_function(check, handler(source))

    def describe(self) -> str:
        """Describe the possible values, to stand behind "must be"."""
        if self.above or self.below:
            lower, upper = "above" if self.above else "at least", "below" if self.below else "at most"
            return f"{lower} {self.least:,} and {upper} {self.most:,}"
        return f"{self.least:,}..{self.most:,}" if self.most < MOST_WHOLE else f"at least {self.least:,}"


SEED = Bound(0, MOST_WHOLE)
"""Seeds that can start a draw."""
WHOLE = Bound(-MOST_WHOLE, MOST_WHOLE)
"""A whole number without a bound of its own."""


class FieldError(SpecError):
    """A field of a request that holds an impossible value."""

    def __init__(self, name: str, message: str) -> None:
        """Take the field, with those around it joined by dots, and the problem, to stand behind its name."""
        super().__init__(f"{name} {message}{'' if message.endswith('?') else '.'}")
        self.name = name
        self.message = message


def captured(value: Any, validate: Callable[[Any], Any]) -> Any:
    """Validate a request; its own refusal becomes a fault for pydantic, which then tries the next member of a union."""
    try:
        return validate(value)
    except LayerscopeError as error:
        raise PydanticCustomError("refused", "refused", {"error": error}) from error


MISSING = ("missing", "missing_argument")
"""Types of pydantic's errors on a field that is not there."""


def field_error(kind: type[Any], error: pydantic.ValidationError) -> SpecError:
    """Return the error of a request that pydantic refused: its first fault, in a sentence.

    Args:
        kind: of the request.
        error: of pydantic.
    """
    faults = error.errors(include_url=False)
    # Each member of a union has its faults: that of a value tells more than that of another member's fields.
    faults.sort(key=lambda fault: (fault["type"] != "refused", fault["type"] in MISSING))
    fault = faults[0]
    path = _path(fault)
    if fault["type"] in MISSING:
        lacking = [_path(other) for other in faults]
        return SpecError(f"This {kind.__name__} is incomplete: it lacks {', '.join(lacking)}.")
    if fault["type"] in ("dataclass_type", "dataclass_exact_type"):
        return SpecError(f"A {fault['ctx']['class_name']} must be an object with fields by name, not {shown(fault['input'])}.")
    if fault["type"] in ("unexpected_keyword_argument", "no_such_attribute"):
        names = ", ".join(sorted(field.name for field in dataclasses.fields(kind)))
        return SpecError(f"A {kind.__name__} has no field {path}. Its fields are {names}.")
    if fault["type"] == "refused":
        cause = fault["ctx"]["error"]
        return FieldError(".".join(filter(None, (path, cause.name))), cause.message) if isinstance(cause, FieldError) else cause
    if fault["type"] == "bound":
        return FieldError(path, fault["msg"])
    return FieldError(path, f"must be {_NAMES.get(fault['type'], fault['msg'])}, not {shown(fault['input'])}")


def _path(fault: ErrorDetails) -> str:
    """Return the field, with those around it joined by dots; positions in lists and members of unions are left out."""
    return ".".join(part for part in fault["loc"] if isinstance(part, str) and part.isidentifier() and part[0].islower())


def one_of(name: str, value: str, choices: Collection[str]) -> None:
    """Raise `SpecError` unless a field holds one of these."""
    if value not in choices:
        message = f"must be one of {', '.join(choices)}, not {value[:LONGEST_SHOWN]!r}. {did_you_mean(value, choices)}"
        raise FieldError(name, message.rstrip(" ."))


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
