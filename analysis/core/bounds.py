"""Bounds of the numbers of requests and results, and error messages for invalid values."""

import dataclasses
import json
import math
import typing
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import Annotated, Any

import pydantic
from pydantic_core import ErrorDetails, PydanticCustomError, core_schema

from analysis.core.errors import LayerscopeError, SpecError, did_you_mean

MOST_LAYERS = 1_000
"""Maximum number of decoder layers, more than five times that of the deepest published model."""
MOST_WHOLE = 2**63 - 1
"""Largest integer of a database or an array."""
MAX_VALUE_LENGTH = 60
"""Maximum length of an invalid value in a message."""
_NAMES = {
    "int_type": "a whole number",
    "int_from_float": "a whole number",
    "int_parsing_size": "a whole number",
    "float_type": "a number",
    "string_type": "text",
    "bool_type": "true or false",
    "finite_number": "a finite number",
    "tuple_type": "a list",
}
"""Expected type by pydantic's type of error."""


@dataclass(frozen=True, eq=False)
class Bound:
    """Annotation of a numeric field, which may be None or a tuple, with its smallest and largest
    value.
    """

    least: float
    most: float
    above: bool = False
    """Whether the smallest value is excluded."""
    below: bool = False
    """Whether the largest value is excluded."""

    def holds(self, value: float) -> bool:
        """Return whether a number is within the bounds; False for NaN."""
        return (self.least < value if self.above else self.least <= value) and (
            value < self.most if self.below else value <= self.most
        )

    def __get_pydantic_core_schema__(
        self, source: Any, handler: pydantic.GetCoreSchemaHandler
    ) -> core_schema.CoreSchema:
        """Validate the type, then the bounds of each number."""

        def check(value: Any) -> Any:
            for number in value if isinstance(value, tuple) else (value,):
                if number is not None and not self.holds(number):
                    context = {"possible": self.describe(), "value": shown(number)}
                    raise PydanticCustomError("bound", "must be {possible}, not {value}", context)
            return value

        return core_schema.no_info_after_validator_function(check, handler(source))

    def describe(self) -> str:
        """Return the possible values in words, to follow "must be"."""
        if self.above or self.below:
            lower = "above" if self.above else "at least"
            upper = "below" if self.below else "at most"
            return f"{lower} {self.least:,} and {upper} {self.most:,}"
        return (
            f"{self.least:,}..{self.most:,}"
            if self.most < MOST_WHOLE
            else f"at least {self.least:,}"
        )


SEED = Bound(0, MOST_WHOLE)
"""Bounds of a seed."""
WHOLE = Bound(-MOST_WHOLE, MOST_WHOLE)
"""Bounds of an integer without a narrower range."""

MOST_EXACT = 2**53
"""Largest integer that JavaScript and a float represent exactly."""
Count = Annotated[int, pydantic.Field(ge=0, le=MOST_EXACT)]
"""Number of things, position or id, in a result."""
Whole = Annotated[int, pydantic.Field(ge=-MOST_EXACT, le=MOST_EXACT)]
"""Integer of a result."""
Figure = Annotated[float, pydantic.Field(ge=-1e12, le=1e12)]
"""Number of a result without a narrower range, such as a difference."""
NonNegative = Annotated[float, pydantic.Field(ge=0, le=1e12)]
"""Standard error, rate or other number of a result that is never negative."""
Seconds = Annotated[float, pydantic.Field(ge=0, le=1e10)]
"""Duration in a result, at most 300 years."""
Share = Annotated[float, pydantic.Field(ge=0, le=1)]
"""Share or probability in a result."""
Loss = Annotated[float, pydantic.Field(ge=-0.01, le=1e9)]
"""Loss in a result, in nats per token or bits per byte; rounding may give one slightly below 0."""
Perplexity = Annotated[float, pydantic.Field(ge=0)]
"""Exponential of a loss in a result, which may be as large as a float."""
_LIMITS = {"greater_than_equal": ("ge", "at least"), "less_than_equal": ("le", "at most")}
"""Key of the limit in pydantic's context, and its words, by pydantic's type of error."""


class FieldError(SpecError):
    """A field of a request has an invalid value."""

    def __init__(self, name: str, message: str) -> None:
        """Store the dotted name of the field and the problem, which follows the name in the
        message.
        """
        super().__init__(f"{name} {message}{'' if message.endswith('?') else '.'}")
        self.name = name
        self.message = message


def captured(value: Any, validate: Callable[[Any], Any]) -> Any:
    """Validate a request, converting a `LayerscopeError` for pydantic, so that it tries the next
    member of a union.
    """
    try:
        return validate(value)
    except LayerscopeError as error:
        raise PydanticCustomError("refused", "refused", {"error": error}) from error


MISSING = ("missing", "missing_argument")
"""Pydantic's error types for a missing field."""
UNKNOWN = ("unexpected_keyword_argument", "no_such_attribute")
"""Pydantic's error types for an unknown field."""


def field_error(kind: type[Any], error: pydantic.ValidationError) -> SpecError:
    """Convert a validation error of pydantic to an error with a readable message.

    Args:
        kind: class of the request or result.
        error: error raised by pydantic.
    """
    faults = error.errors(include_url=False)
    # Each member of a union has errors. An invalid value is more informative than a missing field
    # of another member, and a field that another member has is no fault by itself.
    of_another_member = [fault for fault in faults if _is_known(kind, fault)]
    faults = [fault for fault in faults if fault not in of_another_member]
    if not faults:
        mixed = sorted({_path(fault) for fault in of_another_member})
        return SpecError(
            f"{', '.join(mixed)} cannot be given together. Give the fields of one form."
        )
    faults.sort(key=lambda fault: (fault["type"] != "refused", fault["type"] in MISSING))
    fault = faults[0]
    path = _path(fault)
    if fault["type"] in MISSING:
        missing = [_path(each) for each in faults]
        return SpecError(f"{named(kind)} is incomplete: it lacks {', '.join(missing)}.")
    if fault["type"] in ("dataclass_type", "dataclass_exact_type"):
        return FieldError(
            path or named(kind),
            f"must be an object with fields by name, not {shown(fault['input'])}",
        )
    if fault["type"] in UNKNOWN:
        *outer, name = path.split(".")
        names = sorted(_field_names(kind, outer))
        owner = ".".join(outer) or named(kind)
        return SpecError(
            f"{owner} has no field {name}. Its fields are {', '.join(names)}."
            f" {did_you_mean(name, names)}".rstrip()
        )
    if fault["type"] == "refused":
        cause = fault["ctx"]["error"]
        return (
            FieldError(".".join(filter(None, (path, cause.name))), cause.message)
            if isinstance(cause, FieldError)
            else cause
        )
    if fault["type"] == "bound":
        return FieldError(path, fault["msg"])
    if fault["type"] in _LIMITS:
        key, words = _LIMITS[fault["type"]]
        limit = fault["ctx"][key]
        limit = int(limit) if limit == int(limit) else limit
        return FieldError(path, f"must be {words} {limit:,}, not {shown(fault['input'])}")
    return FieldError(
        path, f"must be {_NAMES.get(fault['type'], fault['msg'])}, not {shown(fault['input'])}"
    )


def named(kind: type[Any]) -> str:
    """Return the name of a class of requests or results at the beginning of a sentence, such as
    "Heal".
    """
    name: str = getattr(kind, "kind", kind.__name__)
    return name.capitalize()


def _is_known(kind: type[Any], fault: ErrorDetails) -> bool:
    """Return whether a fault is an unknown field that another member of its union has."""
    *outer, name = _path(fault).split(".")
    return fault["type"] in UNKNOWN and name in _field_names(kind, outer)


def _field_names(kind: type[Any], path: Sequence[str]) -> set[str]:
    """Return the names of the fields of the nested object at a path.

    If several classes are possible there, these are the names of all of them.
    """
    owners = [kind]
    for name in path:
        inner = []
        for owner in owners:
            if name in _names_of_fields(owner):
                inner += _dataclasses_in(owner.__pydantic_fields__[name].annotation)
        owners = inner
    return set[str]().union(*map(_names_of_fields, owners))


def _names_of_fields(owner: type[Any]) -> list[str]:
    return [field.name for field in dataclasses.fields(owner)]


def _dataclasses_in(hint: Any) -> list[type[Any]]:
    """Return the dataclasses of a type, such as those of a union or of the items of a list."""
    if dataclasses.is_dataclass(hint):
        return [typing.cast(type[Any], hint)]
    found = []
    for inner in typing.get_args(hint):
        found += _dataclasses_in(inner)
    return found


def _path(fault: ErrorDetails) -> str:
    """Return the dotted name of a field, without list positions and members of unions."""
    return ".".join(
        part
        for part in fault["loc"]
        if isinstance(part, str) and part.isidentifier() and part[0].islower()
    )


def one_of(name: str, value: str, choices: Collection[str]) -> None:
    """Raise `SpecError` if the value of a field is not one of the choices."""
    if value not in choices:
        message = (
            f"must be one of {', '.join(choices)}, not {value[:MAX_VALUE_LENGTH]!r}."
            f" {did_you_mean(value, choices)}"
        )
        raise FieldError(name, message.rstrip(" ."))


def shown(value: Any) -> str:
    """Return an invalid value as text for a message, shortened to `MAX_VALUE_LENGTH` characters."""
    if isinstance(value, int) and abs(value) > 10**30:
        return f"a number of {math.ceil(value.bit_length() * math.log10(2))} digits"
    if isinstance(value, int) and not isinstance(value, bool):
        return f"{value:,}"
    try:
        text = json.dumps(value, ensure_ascii=False, default=repr)
    except (ValueError, RecursionError):
        text = repr(type(value))
    return text if len(text) <= MAX_VALUE_LENGTH else f"{text[: MAX_VALUE_LENGTH - 1]}…"
