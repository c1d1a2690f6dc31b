"""Command-line options of the kinds of requests, derived from the annotations of their fields.

A field with an `Option` annotation has an option. A nested request adds its options to those of the
outer one (see `Part`), so one option may set fields of several nested requests. The docstring of
the field is the help, and its default the default. Values become a nested dictionary, which the
request validates (`requests`). The module is independent of the kinds.
"""

import argparse
import ast
import functools
import inspect
import operator
import os
import textwrap
import types
import typing
from collections.abc import Callable, Iterator, Mapping
from dataclasses import MISSING, dataclass
from pkgutil import resolve_name
from typing import Any, NoReturn, TypeVar

from analysis.core import input_files
from analysis.core.blocks import Block, Removal, parse_removal, written
from analysis.core.bounds import FieldError, one_of, shown
from analysis.core.errors import SpecError
from analysis.core.options import Option, Part
from analysis.core.record import Spec

NONE = "none"
"""Value of the first option of a nested request that leaves the request out."""
Path = tuple[str, ...]
T = TypeVar("T")
Extra = tuple[str, dict[str, Any]]
"""Option that is not a field of the request: its name and the arguments of `add_argument`."""
_METAVARS = {int: "N", float: "X", str: "TEXT"}
_EXAMPLES = {Block: "11:5", Removal: "11:5, or 3:1+7:2, or a12+m15 for sublayers"}


class Misuse(SpecError):
    """Error for arguments that no subcommand takes."""


class Parser(argparse.ArgumentParser):
    """Argument parser that raises one-line errors, and makes the help of its options when it is
    shown.
    """

    def __init__(self, **settings: Any) -> None:
        """Create a parser without options."""
        self.names: list[str] = []
        """Names of its options."""
        super().__init__(formatter_class=argparse.RawDescriptionHelpFormatter, **settings)
        self.commands: dict[str, Parser] = {}
        """Parsers of its subcommands."""
        self.helps: list[tuple[argparse.Action, Callable[[], str]]] = []
        """Functions that return the help of its options."""
        self.end: Callable[[], str] | None = None
        """Function that returns a text to show before the epilog."""

    def add_argument(self, *names: Any, **settings: Any) -> argparse.Action:
        """Add an option or a positional argument."""
        self.names += names
        return super().add_argument(*names, **settings)

    def error(self, message: str) -> NoReturn:
        """Raise `Misuse` with the message."""
        raise Misuse(f"{message[0].upper()}{message[1:].rstrip('.')}. See `{self.prog} --help`.")

    def format_help(self) -> str:
        """Return the help of the subcommand."""
        for action, help_text in self.helps:
            action.help = help_text().replace("%", "%%")
        if self.end is not None:
            self.epilog = f"{self.end()}\n\n{self.epilog}".replace("%", "%%")
            self.end = None
        return super().format_help()


@dataclass(frozen=True)
class Subcommand:
    """Subcommand of a kind of request."""

    name: str
    """Name on the command line."""
    spec: type[Spec]
    """Class of the request."""
    extras: tuple[Extra, ...] = ()
    """Options that are not fields of the request."""
    optional: tuple[str, ...] = ()
    """Required options that one of the extras may replace."""


@dataclass(frozen=True)
class OptionField:
    """Field of a request that an option sets."""

    path: Path
    """Names of the nested fields."""
    owner: type[Spec]
    """Class of the request that has the field."""
    option: Option
    """Annotation of the field."""
    hint: Any
    """Type of the values; None for a switch."""
    on: Any
    """Value that a switch sets: the opposite of the default, or a nested request with its
    defaults."""
    default: Any
    """Default of the field."""
    is_needed: bool
    """Whether the option is required."""
    is_always_said: bool
    """Whether a written command always contains the option."""
    left_out: Path | None
    """Path of the nested request that the value `none` leaves out, if this is its first option."""
    switched_by: Path | None
    """Path of the nested request that a switch must enable before the option has an effect."""


@dataclass(frozen=True)
class Flag:
    """Option with all fields that it sets; the first field defines it."""

    name: str
    fields: tuple[OptionField, ...]

    @property
    def first(self) -> OptionField:
        """Return the field that defines the option."""
        return self.fields[0]

    @property
    def dest(self) -> str:
        """Return the name of its attribute of the parsed options."""
        return self.name.lstrip("-").replace("-", "_")

    @property
    def takes_none(self) -> bool:
        """Return whether the value `none` leaves out a nested request."""
        return any(field.left_out for field in self.fields)

    @property
    def metavar(self) -> str:
        """Return the name of its value in the help."""
        option = self.first.option
        return option.metavar or (
            _metavar(self.first.hint)
            if option.choices is None
            else f"{{{','.join(option.choices)}}}"
        )

    def add_to(self, parser: Parser, *, is_needed: bool) -> argparse.Action:
        """Add it to a parser; the parsed options have it only if it is given, as a string."""
        settings: dict[str, Any] = {"metavar": self.metavar, "required": is_needed}
        if self.first.hint is None:
            settings = {"action": "store_true"}
        elif not self.name.startswith("-"):
            settings = {} if is_needed else {"nargs": "?"}
        return parser.add_argument(self.name, default=argparse.SUPPRESS, **settings)

    def read(self, value: Any) -> Any:
        """Return the value of its fields for a string of the command line, or for a value of Python
        or JSON.

        Raises:
            LayerscopeError: if a string cannot be parsed. The request checks other values.
        """
        option = self.first.option
        if option.none and str(value) == option.none:
            return None
        if self.takes_none and (value is None or value == NONE):
            return NONE
        if self.first.hint is None and isinstance(value, bool):
            if value:
                return self.first.on
            return None if isinstance(self.first.on, type) else not self.first.on
        if self.first.hint is None and not isinstance(value, Spec | Mapping | None):
            raise FieldError(self.dest, f"must be true or false, not {shown(value)}")
        if isinstance(value, os.PathLike):
            value = os.fspath(value)
        if option.parse is not None:
            if isinstance(value, list | tuple) and all(isinstance(item, str) for item in value):
                value = ",".join(value)
            return option.parse(value) if isinstance(value, str) else value
        value = _read(self.first.hint, value)
        if option.choices is not None and isinstance(value, str):
            one_of(self.dest, value, option.choices)
        return value

    def text(self, value: Any) -> Any:
        """Return the string of a value, or True for a switch that is on; None if the value cannot
        be written.
        """
        field = self.first
        if field.hint is None:
            is_on = isinstance(value, field.on) if isinstance(field.on, type) else value is field.on
            return is_on or None
        text = self._text(value)
        if field.is_always_said and "\n" in text:
            return (text.strip().splitlines() or [text])[
                0
            ]  # a command is one line: `--set` gives the full text
        return text if text and len(text.splitlines()) == 1 else None

    def words(self, text: Any) -> list[str]:
        """Return the words of a command for a result of `text`."""
        if self.first.hint is None:
            return [self.name]
        if not self.name.startswith("-"):
            return [text]
        return [f"{self.name}={text}"] if text.startswith("-") else [self.name, text]

    def _text(self, value: Any) -> str:
        option = self.first.option
        if value == NONE and self.takes_none:
            return NONE
        if option.write and value is not None:
            value = resolve_name(option.write)(value)
        return option.none if value is None else _written(value)

    def help(self, defaults: Mapping[str, str] | None = None) -> str:
        """Return the help with the default: that in `defaults` by the name without dashes, or else
        the field's.
        """
        field = self.first
        doc = next(
            (
                doc
                for kind in field.owner.__mro__
                if (doc := docs_of_fields(kind).get(field.path[-1]))
            ),
            "",
        )
        if choices := field.option.known:
            doc += (
                " One of:"
                f" {', '.join(resolve_name(choices) if isinstance(choices, str) else choices)}."
            )
        is_list = typing.get_origin(field.hint) is tuple
        example = _EXAMPLES.get(typing.get_args(field.hint)[0] if is_list else field.hint)
        notes = [example] if example else []
        notes += ["joined by commas"] * is_list
        notes += [f"{NONE} = off"] * self.takes_none
        if in_words := (defaults or {}).get(self.name.lstrip("-")):
            notes.append(f"default: {in_words}")
        elif (
            "(default: " not in doc
            and field.hint
            and not field.is_needed
            and field.default not in (MISSING, None, "", ())
        ):
            notes.append(f"default: {self._text(field.default)}")
        return f"{doc.rstrip('.')} ({', '.join(notes)})." if notes else doc


def _metavar(hint: Any) -> str:
    if typing.get_origin(hint) is tuple:
        return f"{_metavar(typing.get_args(hint)[0])},…"
    return _METAVARS.get(hint, "START:SIZE")


def _read(hint: Any, value: Any) -> Any:
    """Return the value of a type that a string represents; the string itself if it cannot be
    parsed.
    """
    if typing.get_origin(hint) is tuple:
        parts = value.split(",") if isinstance(value, str) else value
        if not isinstance(parts, list | tuple):
            return value
        parts = (part.strip() if isinstance(part, str) else part for part in parts)
        return tuple(_read(typing.get_args(hint)[0], part) for part in parts if part != "")
    if hint in (Block, Removal) and not isinstance(value, Spec | Mapping | None):
        return parse_removal(value if isinstance(value, str) else shown(value))
    if not isinstance(value, str) or hint is str:
        return value
    return value_of(value)


def value_of(text: str) -> Any:
    """Return the value of a JSON string, or the string itself if it is not JSON."""
    try:
        return input_files.parsed(text)
    except ValueError:
        return text


def _written(value: Any) -> str:
    if isinstance(value, tuple):
        return ",".join(map(_written, value))
    return written(value) if isinstance(value, Removal) else str(value)


def _once(read: Callable[[type[Spec]], T]) -> Callable[[type[Spec]], T]:
    """Cache a function of a class; the cast is for mypy, which considers classes of dataclasses not
    hashable.
    """
    return typing.cast(Callable[[type[Spec]], T], functools.cache(read))


@functools.cache
def docs_of_fields(kind: type) -> dict[str, str]:
    """Return the docstrings of the fields of a class, each on one line; empty if the source cannot
    be read.
    """
    try:
        [tree] = ast.parse(textwrap.dedent(inspect.getsource(kind))).body
    except (OSError, TypeError, ValueError, SyntaxError):
        return {}
    body = tree.body if isinstance(tree, ast.ClassDef) else []
    return {
        field.target.id: " ".join(text.value.value.split())
        for field, text in zip(body, body[1:], strict=False)
        if isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name)
        if isinstance(text, ast.Expr)
        and isinstance(text.value, ast.Constant)
        and isinstance(text.value.value, str)
    }


@_once
def flags_of(kind: type[Any]) -> tuple[Flag, ...]:
    """Return the options of a kind: first those of the request with the positional argument, then
    the others.
    """
    fields_by_name: dict[str, list[OptionField]] = {}
    for field in sorted(_fields(kind), key=lambda field: len(field.path)):
        flag_name = f"{'--no-' if field.on is False else '--'}{field.path[-1].replace('_', '-')}"
        fields_by_name.setdefault(field.option.flag or flag_name, []).append(field)
    flags = [Flag(name, tuple(fields)) for name, fields in fields_by_name.items()]
    placed = {flag.first.path[:-1] for flag in flags if not flag.name.startswith("-")}
    return tuple(sorted(flags, key=lambda flag: flag.first.path[:-1] not in placed))


def _fields(
    kind: type[Spec],
    base: Spec | None = None,
    path: Path = (),
    part: Part | None = None,
    left_out: Path | None = None,
    switched_by: Path | None = None,
) -> Iterator[OptionField]:
    """Yield all fields with an option, including those of nested requests."""
    part = part or Part()
    for name, (hint, is_optional, annotations) in field_types(kind).items():
        if part.only is not None and name not in part.only:
            continue
        path_here = (*path, name)
        default = default_of(kind, name) if base is None else getattr(base, name)
        option = next(
            (annotation for annotation in annotations if isinstance(annotation, Option)), None
        )
        nested = _nested(hint)
        is_missing = is_optional and default is None
        if option is not None:
            is_switch = hint is bool or (nested is not None and not option.parse)
            is_required = option.required or (default is MISSING and not path)
            yield OptionField(
                path_here,
                kind,
                option,
                None if is_switch else str if nested else hint,
                nested or default is not True,
                default,
                is_required and name not in part.optional,
                is_required or name in part.always,
                left_out,
                switched_by,
            )
            left_out = None
        inner = next(
            (annotation for annotation in annotations if isinstance(annotation, Part)), None
        )
        # A missing nested request needs a switch that enables it, and a tuple of requests needs a
        # `Part`.
        can_take_part = (
            option is not None
            if is_missing
            else inner is not None or typing.get_origin(hint) is not tuple
        )
        if nested is not None and can_take_part:
            yield from _fields(
                nested,
                default if isinstance(default, Spec) else None,
                path_here,
                inner,
                path_here if is_optional and not is_missing else None,
                path_here if is_missing else switched_by,
            )


@_once
def field_types(kind: type[Any]) -> dict[str, tuple[Any, bool, tuple[Any, ...]]]:
    """Return for each field its type without None, whether it may be None, and its annotations."""
    types_by_name = {}
    for name, field in kind.__pydantic_fields__.items():
        options = (
            typing.get_args(field.annotation)
            if isinstance(field.annotation, types.UnionType)
            else (field.annotation,)
        )
        some_types = [option for option in options if option is not type(None)]
        types_by_name[name] = (
            functools.reduce(operator.or_, some_types),
            len(some_types) < len(options),
            (*field.metadata,),
        )
    return types_by_name


def _nested(hint: Any) -> type[Spec] | None:
    """Return the class of a nested request, or of a tuple of them; None for other types."""
    if typing.get_origin(hint) is tuple:
        hint = typing.get_args(hint)[0]
    return hint if isinstance(hint, type) and issubclass(hint, Spec) and hint is not Block else None


def default_of(kind: type[Spec], name: str) -> Any:
    """Return the default of a field; MISSING if it has none."""
    field = kind.__dataclass_fields__[name]
    return field.default if field.default_factory is MISSING else field.default_factory()


def fill(parser: Parser, subcommand: Subcommand) -> None:
    """Add the options of a subcommand to a parser."""
    flags = flags_of(subcommand.spec)
    for flag in flags:
        action = flag.add_to(
            parser, is_needed=flag.first.is_needed and flag.name not in subcommand.optional
        )
        parser.helps.append((action, functools.partial(flag.help, subcommand.spec.asked_defaults)))
    for name, settings in subcommand.extras:
        parser.add_argument(name, **settings)
    if all(flag.name != "--seed" for flag in flags):
        parser.add_argument("--seed", help=argparse.SUPPRESS)  # accepted by every command
    about = "Other field of the request by its path, such as corpus.seed=3. Repeatable."
    parser.add_argument("--set", action="append", metavar="NAME=VALUE", help=about)
