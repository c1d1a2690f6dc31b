"""Options of the command line, read off the fields of a spec.

A field that is annotated with an `Option` has one, and a nested request gives its own to the outer one (`Part` names them). The
docstring of the field is the help, its default the default. An option is a short name for a setting (`field_settings`). A field
without one is set by `--set`. Nothing here knows any one kind.
"""

import argparse
import ast
import functools
import inspect
import operator
import os
import re
import textwrap
import types
import typing
from collections.abc import Callable, Iterator, Mapping
from dataclasses import MISSING, dataclass
from typing import Any, NoReturn, TypeVar

from analysis.cli import field_settings
from analysis.cli.forms import FORMS, ValueForm, form_of, plain_number
from analysis.core.errors import SpecError, did_you_mean
from analysis.core.imports import imported
from analysis.core.options import Option, Part
from analysis.core.record import Spec

NONE = "none"
"""Value of the first option of a nested request where the request is to be left out."""
Path = tuple[str, ...]
T = TypeVar("T")
_WRONG_CHOICE = re.compile(r"invalid choice: '(.*)' \(choose from '(.*)'\)")
"""The end of argparse's message on a word that is none of the choices."""


class Misuse(SpecError):
    """Arguments that no subcommand takes."""


class Parser(argparse.ArgumentParser):
    """A parser that complains in one sentence, and that looks for the help of its options only when it has to show it."""

    def __init__(self, **settings: Any) -> None:
        """A parser without options."""
        super().__init__(**settings)
        self.helps: dict[str, Callable[[], str]] = {}
        """Help of an option, by the place of its value."""
        self.end: Callable[[], str] | None = None
        """Text in front of the epilog that is made when the help is shown."""

    def error(self, message: str) -> NoReturn:
        """Raise the complaint."""
        text = f"{message[0].upper()}{message[1:]}"
        text = text if text.endswith((".", "?")) else f"{text}."
        if choice := _WRONG_CHOICE.search(message):
            nearest = did_you_mean(choice[1], choice[2].split("', '"))
            text = f"{text} {nearest}".rstrip()
        raise Misuse(f"{text} See `{self.prog} --help`.")

    def format_help(self) -> str:
        """The help of the subcommand."""
        for action in self._actions:
            if action.dest in self.helps:
                action.help = self.helps[action.dest]().replace("%", "%%")
        if self.end is not None:
            self.epilog, self.end = f"{self.end()}\n\n{self.epilog}".replace("%", "%%"), None
        return super().format_help()


@dataclass(frozen=True)
class Extra:
    """An option that is no part of a request, but of how it is answered."""

    flag: str
    help: str
    formerly: str = ""
    """A former name that still works and is not shown in the help."""
    metavar: str | None = None
    type: Callable[[str], Any] = str
    default: Any = None
    is_switch: bool = False
    is_needed: bool = False
    instead_of: str = ""
    """The option of the request whose place it takes."""


@dataclass(frozen=True)
class Subcommand:
    """A kind of request that is asked for by its fields' options."""

    name: str
    spec: type[Spec]
    extras: tuple[Extra, ...] = ()


@dataclass(frozen=True)
class OptionField:
    """A field of a request that an option sets."""

    path: Path
    owner: type[Spec]
    option: Option
    form: ValueForm | None
    """None for a switch; that of a text where the option itself reads its value."""
    on: Any
    """Value that the switch sets: the opposite of the default, or a nested request of this kind with its defaults."""
    default: Any
    is_needed: bool
    """Whether a command without it is refused."""
    is_always_said: bool
    left_out: Path | None
    """The nested request that `none` leaves out, where this is its first option."""
    switched_by: Path | None
    """The nested request that a switch must ask for before this has a meaning."""


@dataclass(frozen=True)
class Flag:
    """An option, with all the fields that it sets; the first one defines it."""

    name: str
    fields: tuple[OptionField, ...]

    @property
    def dest(self) -> str:
        """Where its value is among the parsed options."""
        return self.name.lstrip("-").replace("-", "_")

    @property
    def takes_none(self) -> bool:
        """Return whether it can leave out a nested request."""
        return any(field.left_out for field in self.fields)

    def add_to(self, parser: Any, *, has_rival: bool) -> None:
        """Make it an option of a parser, or of a group of rivals; the parsed values have it only when it is given."""
        field, option = self.fields[0], self.fields[0].option
        if field.form is None:
            parser.add_argument(self.name, action="store_const", const=field.on, default=argparse.SUPPRESS)
            return
        settings: dict[str, Any] = {"type": self.read, "choices": option.choices, "default": argparse.SUPPRESS}
        if not self.name.startswith("-"):
            parser.add_argument(self.name, nargs=None if field.is_needed else "?", **settings)
            return
        metavar = option.metavar or (field.form.metavar if option.choices is None else None)
        parser.add_argument(self.name, metavar=metavar, required=field.is_needed and not has_rival, **settings)

    def read(self, text: str) -> Any:
        """The value that a text stands for.

        Raises:
            argparse.ArgumentTypeError: when it stands for none.
            LayerscopeError: when it is of the right form and yet impossible.
        """
        form, option = self.fields[0].form or FORMS[str], self.fields[0].option
        if option.none and text == option.none:
            return None
        if text == NONE and self.takes_none:
            return NONE
        try:
            return (option.parse or form.parse)(text)
        except ValueError as error:
            raise argparse.ArgumentTypeError(f"expected {form.name}, not {text!r}") from error
        except SpecError as error:
            raise argparse.ArgumentTypeError(str(error)) from error

    def said_by(self, parts: Mapping[str, Spec]) -> list[Any]:
        """The value that a nested request has for it, unless that is the usual one and need not be said."""
        field = self.fields[0]
        if len(field.path) != 2 or field.path[0] not in parts:
            return []
        value = getattr(parts[field.path[0]], field.path[1])
        return [value] if field.option.required or value != default_of(field.owner, field.path[1]) else []

    def given(self, value: Any) -> list[Any]:
        """A Python value as it would have been parsed; none where it says nothing.

        Raises:
            SpecError: when a text stands for no value.
        """
        field = self.fields[0]
        if isinstance(value, os.PathLike):
            value = os.fspath(value)
        if isinstance(value, list | tuple):
            value = ",".join(value) if value and all(isinstance(entry, str) for entry in value) else tuple(value)
        if field.form is None and isinstance(value, bool):
            return [field.on] if value else [] if isinstance(field.on, type) else [not field.on]
        if value is None and self.takes_none:
            return [NONE]
        if value is None and field.default is None:
            return []
        try:
            return [self.read(value) if isinstance(value, str) else value]
        except argparse.ArgumentTypeError as error:
            raise SpecError(f"{self.dest}: {str(error).rstrip('.')}.") from error

    def words(self, value: Any) -> list[str]:
        """Return the words of a value: none where it cannot be written."""
        field = self.fields[0]
        if field.form is None:
            is_on = isinstance(value, field.on) if isinstance(field.on, type) else value is field.on
            return [self.name] if is_on else []
        text = self._text(value, field.form)
        if field.is_always_said and "\n" in text:
            text = (text.strip().splitlines() or [text])[0]  # a command is one line: `--set` has the rest
        elif not text or len(text.splitlines()) > 1:
            return []
        if not self.name.startswith("-"):
            return [text]
        return [f"{self.name}={text}"] if text.startswith("-") else [self.name, text]

    def _text(self, value: Any, form: ValueForm) -> str:
        option = self.fields[0].option
        if value == NONE and self.takes_none:
            return NONE
        if option.write and value is not None:
            value = imported(option.write)(value)
        return option.none if value is None else form.write(value)

    def help(self, defaults: Mapping[str, str] | None = None) -> str:
        """Return the help with the default: in words from `defaults`, by the name without dashes, or the field's own."""
        field = self.fields[0]
        doc = next((doc for kind in field.owner.__mro__ if (doc := docs_of_fields(kind).get(field.path[-1]))), "")
        if choices := field.option.known:
            doc += f" One of: {', '.join(imported(choices) if isinstance(choices, str) else choices)}."
        notes = [field.form.example] if field.form and field.form.example else []
        notes += [f"{NONE} = off"] * self.takes_none
        if in_words := (defaults or {}).get(self.name.lstrip("-")):
            notes.append(f"default: {in_words}")
        elif "(default: " not in doc and field.form and not field.is_needed and field.default not in (MISSING, None, "", ()):
            notes.append(f"default: {self._text(field.default, field.form)}")
        return f"{doc.rstrip('.')} ({', '.join(notes)})." if notes else doc


def _once(read: Callable[[type[Spec]], T]) -> Callable[[type[Spec]], T]:
    """Cache a function of a class: for mypy the class of a dataclass is not hashable."""
    return typing.cast(Callable[[type[Spec]], T], functools.cache(read))


@functools.cache
def docs_of_fields(kind: type) -> dict[str, str]:
    """Return the docstrings of the fields of a class, each on one line; none where its source cannot be read."""
    try:
        [tree] = ast.parse(textwrap.dedent(inspect.getsource(kind))).body
    except (OSError, TypeError, ValueError, SyntaxError):
        return {}
    body = tree.body if isinstance(tree, ast.ClassDef) else []
    return {
        field.target.id: " ".join(text.value.value.split())
        for field, text in zip(body, body[1:], strict=False)
        if isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name)
        if isinstance(text, ast.Expr) and isinstance(text.value, ast.Constant) and isinstance(text.value.value, str)
    }


@_once
def flags_of(kind: type[Spec]) -> tuple[Flag, ...]:
    """The options of a kind: those of the nested request that has a position, then its own, then those of the others."""
    fields_by_name: dict[str, list[OptionField]] = {}
    for field in sorted(_fields(kind), key=lambda field: len(field.path)):
        flag_name = f"{'--no-' if field.on is False else '--'}{field.path[-1].replace('_', '-')}"
        fields_by_name.setdefault(field.option.flag or flag_name, []).append(field)
    flags = [Flag(name, tuple(fields)) for name, fields in fields_by_name.items()]
    placed = {flag.fields[0].path[:-1] for flag in flags if not flag.name.startswith("-")}
    return tuple(sorted(flags, key=lambda flag: flag.fields[0].path[:-1] not in placed))


def _fields(
    kind: type[Spec],
    base: Spec | None = None,
    path: Path = (),
    part: Part | None = None,
    left_out: Path | None = None,
    switched_by: Path | None = None,
) -> Iterator[OptionField]:
    """Every field of a kind, however deep, that has an option."""
    part = part or Part()
    for name, (hint, is_optional, annotations) in field_types(kind).items():
        if part.only is not None and name not in part.only:
            continue
        path_here, default = (*path, name), default_of(kind, name) if base is None else getattr(base, name)
        option = next((annotation for annotation in annotations if isinstance(annotation, Option)), None)
        nested, is_missing = _nested(hint), is_optional and default is None
        if option is not None:
            if nested is None and hint is not bool and form_of(hint) is None:
                raise TypeError(f"No option can set {kind.__name__}.{name} because of its type. Use --set.")
            form = FORMS[str] if nested is not None and option.parse else form_of(hint)
            is_required = option.required or (default is MISSING and not path)
            yield OptionField(
                path_here,
                kind,
                option,
                form,
                nested or default is not True,
                default,
                is_required and name not in part.optional,
                is_required or name in part.always,
                left_out,
                switched_by,
            )
            left_out = None
        inner = next((annotation for annotation in annotations if isinstance(annotation, Part)), None)
        # A missing request has to be asked for by a switch first, and only the kind itself can make several at once.
        can_take_part = option is not None if is_missing else inner is not None or typing.get_origin(hint) is not tuple
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
def field_types(kind: type[Spec]) -> dict[str, tuple[Any, bool, tuple[Any, ...]]]:
    """By field: its type without None, whether it may be None, and its annotations."""
    types_by_name = {}
    for name, hint in typing.get_type_hints(kind, include_extras=True).items():
        if typing.get_origin(hint) is not typing.ClassVar:
            annotations = getattr(hint, "__metadata__", ())
            hint = hint.__origin__ if annotations else hint
            options = typing.get_args(hint) if isinstance(hint, types.UnionType) else (hint,)
            some_types = [option for option in options if option is not type(None)]
            types_by_name[name] = functools.reduce(operator.or_, some_types), len(some_types) < len(options), annotations
    return types_by_name


def _nested(hint: Any) -> type[Spec] | None:
    """The kind of a nested request, or of several of them."""
    if typing.get_origin(hint) is tuple:
        hint = typing.get_args(hint)[0]
    return hint if isinstance(hint, type) and issubclass(hint, Spec) and hint not in FORMS else None


def default_of(kind: type[Spec], name: str) -> Any:
    """Return the default of a field; MISSING where it has none."""
    field = kind.__dataclass_fields__[name]
    return field.default if field.default_factory is MISSING else field.default_factory()


def setting_example(kind: type[Spec]) -> str:
    """Return a setting that requests of a kind take, for help: a seed, else a field without an option."""
    leaves = list(_leaves(field_settings.defaults(kind)))
    has_option = {".".join(field.path) for flag in flags_of(kind) for field in flag.fields}
    seeds = [leaf for leaf in leaves if leaf[0].endswith(".seed")]
    others = [
        leaf for leaf in leaves if leaf[0] not in has_option and leaf[1] not in (None, "") and not isinstance(leaf[1], list)
    ]
    return field_settings.write(*[*seeds, *others, *leaves][0])


def _leaves(data: Mapping[str, Any], above: str = "") -> Iterator[tuple[str, Any]]:
    """Yield the fields of the JSON of a request by their path."""
    for name, value in data.items():
        if isinstance(value, dict):
            yield from _leaves(value, f"{above}{name}.")
        else:
            yield f"{above}{name}", value


def fill(parser: Parser, subcommand: Subcommand) -> None:
    """Give a parser the options of a subcommand."""
    places = {
        extra.instead_of: parser.add_mutually_exclusive_group(required=True) for extra in subcommand.extras if extra.instead_of
    }
    for flag in flags_of(subcommand.spec):
        flag.add_to(places.get(flag.name, parser), has_rival=flag.name in places)
        parser.helps[flag.dest] = functools.partial(flag.help, subcommand.spec.asked_defaults)
    for extra in subcommand.extras:
        settings: dict[str, Any] = {
            "metavar": extra.metavar,
            "type": extra.type,
            "default": extra.default,
            "required": extra.is_needed,
        }
        if extra.is_switch:
            settings = {"action": "store_true"}
        group = places.get(extra.instead_of, parser)
        added = group.add_argument(extra.flag, help=extra.help, **settings)
        if extra.formerly:
            hidden = {**settings, "default": argparse.SUPPRESS, "required": False}
            group.add_argument(extra.formerly, dest=added.dest, help=argparse.SUPPRESS, **hidden)
    if all(flag.name != "--seed" for flag in flags_of(subcommand.spec)):
        parser.add_argument("--seed", type=plain_number, help="Accepted by every command, without effect on this one.")
    about = f"Other field of the request, such as {setting_example(subcommand.spec)}."
    parser.add_argument("--set", action="append", metavar="NAME=VALUE", help=about)
