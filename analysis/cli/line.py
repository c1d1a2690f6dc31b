"""Command line and requests, in both directions: from options to a request, and from a request to its command line.

Everything is read off the fields of a spec. A field that is annotated with an `Option` has one, and a nested request gives its
own to the outer one (`Part` names them). The docstring of the field is the help, its default the default. An option is a short
name for a setting (`field_settings`); a field without one is set by `--set`. Nothing here knows any one kind.
"""

import argparse
import ast
import functools
import inspect
import math
import operator
import os
import re
import textwrap
import types
import typing
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import MISSING, dataclass, fields, replace
from typing import Any, NoReturn, TypeVar

from analysis.cli import field_settings
from analysis.core import bounds, letters
from analysis.core.blocks import Block, Removal, parse_removal, written
from analysis.core.errors import LayerscopeError, SpecError
from analysis.core.experiment import SPECS
from analysis.core.options import Option, Part, imported
from analysis.core.record import Spec

PROGRAM = ("python", "-m", "analysis")
NONE = "none"
"""Value of the first option of a nested request where the request is to be left out."""
Path = tuple[str, ...]
Parse = Callable[[Sequence[str]], Spec]
"""The request that command-line arguments ask for."""
SpecT = TypeVar("SpecT", bound=Spec)
T = TypeVar("T")

_ROUNDS = 5
"""A setting may change the default of another one: after a few rounds each one is named."""
_ABSENT = object()
"""The value of a field whose nested request is left out."""


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
        raise Misuse(f"{message[0].upper()}{message[1:].rstrip('.')}. See `{self.prog} --help`.")

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
    help: str
    extras: tuple[Extra, ...] = ()


@dataclass(frozen=True)
class _Form:
    """How the values of a type are written."""

    parse: Callable[[str], Any]
    write: Callable[[Any], str]
    metavar: str
    name: str
    example: str = ""


def whole_number(text: str) -> int:
    """A number as everybody writes it: Python itself also takes 1_000 and the digits of other scripts.

    Raises:
        ValueError: when it is none, or has thousands of digits.
    """
    if not re.fullmatch(r"\s*[+-]?[0-9]+\s*", text):
        raise ValueError("not a whole number")
    return int(text)


def _number(text: str) -> float:
    number = float(text)
    if not math.isfinite(number) or "_" in text:
        raise ValueError("not a number")
    return number


_FORMS = {
    int: _Form(whole_number, str, "N", "a whole number"),
    float: _Form(_number, str, "X", "a number"),
    str: _Form(str, str, "TEXT", "text"),
    Block: _Form(Block.parse, written, "START:SIZE", "START:SIZE", "11:5"),
    Removal: _Form(parse_removal, written, "START:SIZE", "START:SIZE", "11:5, or 3:1+7:2, or a12+m15 for sublayers"),
}


def _list_form(item: _Form) -> _Form:
    """Several values of a type, joined by commas."""
    return _Form(
        lambda text: tuple(item.parse(part.strip()) for part in text.split(",") if part.strip()),
        lambda values: ",".join(map(item.write, values)),
        f"{item.metavar},…",
        f"{item.name}, several joined by commas",
        f"{item.example}, joined by commas" if item.example else "joined by commas",
    )


def _form(hint: Any) -> _Form | None:
    """Return the written form of values of this type; None for a nested request, and for an on-off switch."""
    if typing.get_origin(hint) is tuple:
        item = _form(typing.get_args(hint)[0])
        return None if item is None else _list_form(item)
    return _FORMS.get(hint)


@dataclass(frozen=True)
class _Field:
    """A field of a request that an option sets."""

    path: Path
    owner: type[Spec]
    option: Option
    form: _Form | None
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
class _Flag:
    """An option, with all the fields that it sets; the first one defines it."""

    name: str
    fields: tuple[_Field, ...]

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
        form, option = self.fields[0].form or _FORMS[str], self.fields[0].option
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
        return [value] if field.option.required or value != _default(field.owner, field.path[1]) else []

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

    def _text(self, value: Any, form: _Form) -> str:
        option = self.fields[0].option
        if value == NONE and self.takes_none:
            return NONE
        if option.write and value is not None:
            value = imported(option.write)(value)
        return option.none if value is None else form.write(value)

    def help(self, defaults: Mapping[str, str] | None = None) -> str:
        """Return the help with the default: in words from `defaults`, by the name without dashes, or the field's own."""
        field = self.fields[0]
        doc = next((doc for kind in field.owner.__mro__ if (doc := _docs(kind).get(field.path[-1]))), "")
        if known := field.option.known:
            doc += f" One of: {', '.join(imported(known) if isinstance(known, str) else known)}."
        notes = [field.form.example] if field.form and field.form.example else []
        notes += [f"{NONE} = off"] * self.takes_none
        if in_words := (defaults or {}).get(self.name.lstrip("-")):
            notes.append(f"default: {in_words}")
        elif "(default: " not in doc and field.form and not field.is_needed and field.default not in (MISSING, None, "", ()):
            notes.append(f"default: {self._text(field.default, field.form)}")
        return f"{doc.rstrip('.')} ({', '.join(notes)})." if notes else doc


def _once(read: Callable[[type[Spec]], T]) -> Callable[[type[Spec]], T]:
    """A function of a class that looks at each class once."""
    return typing.cast(Callable[[type[Spec]], T], functools.cache(read))


@functools.cache
def _docs(kind: type) -> dict[str, str]:
    """The docstrings of the fields of a class, each on one line; none where its source cannot be read."""
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
def _flags(kind: type[Spec]) -> tuple[_Flag, ...]:
    """The options of a kind: those of the nested request that has a position, then its own, then those of the others."""
    found: dict[str, list[_Field]] = {}
    for field in sorted(_fields(kind), key=lambda field: len(field.path)):
        own = f"{'--no-' if field.on is False else '--'}{field.path[-1].replace('_', '-')}"
        found.setdefault(field.option.flag or own, []).append(field)
    flags = [_Flag(name, tuple(those)) for name, those in found.items()]
    placed = {flag.fields[0].path[:-1] for flag in flags if not flag.name.startswith("-")}
    return tuple(sorted(flags, key=lambda flag: flag.fields[0].path[:-1] not in placed))


def _fields(
    kind: type[Spec],
    base: Spec | None = None,
    path: Path = (),
    part: Part | None = None,
    left_out: Path | None = None,
    switched_by: Path | None = None,
) -> Iterator[_Field]:
    """Every field of a kind, however deep, that has an option."""
    part = part or Part()
    for name, (hint, is_optional, annotations) in _types(kind).items():
        if part.only is not None and name not in part.only:
            continue
        here, default = (*path, name), _default(kind, name) if base is None else getattr(base, name)
        option = next((one for one in annotations if isinstance(one, Option)), None)
        nested, is_missing = _nested(hint), is_optional and default is None
        if option is not None:
            if nested is None and hint is not bool and _form(hint) is None:
                raise TypeError(f"No option can set {kind.__name__}.{name} because of its type. Use --set.")
            form = _FORMS[str] if nested is not None and option.parse else _form(hint)
            is_required = option.required or (default is MISSING and not path)
            yield _Field(
                here,
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
        inner = next((one for one in annotations if isinstance(one, Part)), None)
        # A missing request has to be asked for by a switch first, and only the kind itself can make several at once.
        can_take_part = option is not None if is_missing else inner is not None or typing.get_origin(hint) is not tuple
        if nested is not None and can_take_part:
            yield from _fields(
                nested,
                default if isinstance(default, Spec) else None,
                here,
                inner,
                here if is_optional and not is_missing else None,
                here if is_missing else switched_by,
            )


@_once
def _types(kind: type[Spec]) -> dict[str, tuple[Any, bool, tuple[Any, ...]]]:
    """By field: its type without None, whether it may be None, and its annotations."""
    found = {}
    for name, hint in typing.get_type_hints(kind, include_extras=True).items():
        if typing.get_origin(hint) is not typing.ClassVar:
            annotations = getattr(hint, "__metadata__", ())
            hint = hint.__origin__ if annotations else hint
            options = typing.get_args(hint) if isinstance(hint, types.UnionType) else (hint,)
            some = [option for option in options if option is not type(None)]
            found[name] = functools.reduce(operator.or_, some), len(some) < len(options), annotations
    return found


def _nested(hint: Any) -> type[Spec] | None:
    """The kind of a nested request, or of several of them."""
    if typing.get_origin(hint) is tuple:
        hint = typing.get_args(hint)[0]
    return hint if isinstance(hint, type) and issubclass(hint, Spec) and hint not in _FORMS else None


def _default(kind: type[Spec], name: str) -> Any:
    field = kind.__dataclass_fields__[name]
    return field.default if field.default_factory is MISSING else field.default_factory()


def plain_number(text: str) -> int:
    """The whole number that the text of an option which is no field of a request stands for.

    Raises:
        argparse.ArgumentTypeError: when it stands for none.
    """
    try:
        return whole_number(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"expected a whole number, not {text!r}") from error


def fill(parser: Parser, subcommand: Subcommand) -> None:
    """Give a parser the options of a subcommand."""
    places = {
        extra.instead_of: parser.add_mutually_exclusive_group(required=True) for extra in subcommand.extras if extra.instead_of
    }
    for flag in _flags(subcommand.spec):
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
        place = places.get(extra.instead_of, parser)
        added = place.add_argument(extra.flag, help=extra.help, **settings)
        if extra.formerly:
            hidden = {**settings, "default": argparse.SUPPRESS, "required": False}
            place.add_argument(extra.formerly, dest=added.dest, help=argparse.SUPPRESS, **hidden)
    if all(flag.name != "--seed" for flag in _flags(subcommand.spec)):
        parser.add_argument("--seed", type=plain_number, help="Accepted by every command, without effect on this one.")
    parser.add_argument("--set", action="append", metavar="NAME=VALUE", help="Other field of the request, as corpus.seed=3.")


def request(kind: type[SpecT], options: argparse.Namespace) -> SpecT:
    """The request that parsed options make, with the `--set` settings on top.

    Raises:
        LayerscopeError: when they make none.
    """
    settings = options.set or []
    given = _given(kind, options)
    if kind.asked_by:
        plain = {name: value for name, value in map(field_settings.read, settings) if "." not in name}
        plain = {name: value for name, value in plain.items() if not isinstance(value, dict)}
        # Before anything is worked out from them, not after; requests within a list are checked as they are made.
        flat = {name: tuple(value) if isinstance(value, list) else value for name, value in plain.items()}
        parts = {
            name for name, value in flat.items() if isinstance(value, tuple) and any(isinstance(one, dict) for one in value)
        }
        bounds.check_values(kind, {name: value for name, value in flat.items() if name not in parts})
        values = _nested_values(given)
        for name, value in map(field_settings.read, settings):
            part, _, last = name.partition(".")
            if part == "model" and last in ("dtype", "quantization") and isinstance(value, str):
                values.setdefault(part, {})[last] = value  # the precision of a recipe depends on them
        data = imported(kind.asked_by)(values, plain).to_json()
    else:
        data = field_settings.defaults(kind)
        for field, value in given:
            _put(data, field, value)
    return field_settings.settled(kind, data, settings)


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
    flags = {flag.dest: flag for flag in _flags(kind)}
    wanted = {flag.dest: value for flag in flags.values() for value in flag.said_by(part)}
    wanted |= {name: value for name, value in values.items() if name in flags}
    options = {name: said for name, value in wanted.items() for said in flags[name].given(value)}
    for name, flag in flags.items():
        if flag.fields[0].is_needed and name not in options:
            raise SpecError(f"{kind.__name__} needs {name}. Pass it as {name}=….")
    others = [(path, value) for name, value in values.items() if name not in flags for path in _paths(kind, name)]
    try:
        plain = [(path, tuple(value) if isinstance(value, list) else value) for path, value in others]
        settings = [field_settings.write(path, field_settings.as_json(value)) for path, value in plain]
        return request(kind, argparse.Namespace(set=settings, **options))
    except TypeError as error:
        raise SpecError(f"A value for {kind.__name__} has the wrong type: {error}.") from error


def _paths(kind: type[Spec], name: str) -> list[str]:
    """The field of a kind with this name, or else that of each of its parts, as settings call them."""
    if "." in name or name in _types(kind):
        return [name]
    parts = {part: made for part in _types(kind) if isinstance(made := _default(kind, part), Spec)}
    found = [f"{part}.{name}" for part, made in parts.items() if name in _types(type(made))]
    if not found:
        known = sorted({flag.dest for flag in _flags(kind)} | set(_types(kind)))
        raise SpecError(f"{kind.__name__} has no setting {name!r}. It has {', '.join(known)}.")
    return found


def request_of_settings(options: argparse.Namespace) -> Spec:
    """The request that `run KIND` makes, of its settings alone.

    Raises:
        LayerscopeError: when they make none.
    """
    return field_settings.built(SPECS[options.kind], options.set or [])


def _given(kind: type[Spec], options: argparse.Namespace) -> list[tuple[_Field, Any]]:
    """The fields that options set, outer ones first, without those of a nested request that is not asked for."""
    parsed = vars(options)
    given = [(field, parsed[flag.dest]) for flag in _flags(kind) if flag.dest in parsed for field in flag.fields]
    given = [
        (replace(field, path=field.left_out, option=Option()), None) if value == NONE and field.left_out else (field, value)
        for field, value in given
    ]
    paths = {field.path for field, _ in given}
    left_out = {field.path for field, value in given if value is None}
    asked_for = [
        (field, value)
        for field, value in given
        if (field.switched_by is None or field.switched_by in paths)
        and not any(field.path[:depth] in left_out for depth in range(1, len(field.path)))
    ]
    return sorted(asked_for, key=lambda pair: len(pair[0].path))


def _nested_values(given: Sequence[tuple[_Field, Any]]) -> dict[str, Any]:
    values: dict[str, Any] = {}
    for field, value in given:
        place = values
        for name in field.path[:-1]:
            place = place.setdefault(name, {})
        place[field.path[-1]] = {} if isinstance(value, type) else value
    return values


def _put(data: dict[str, Any], field: _Field, value: Any) -> None:
    """Write the value of an option into the JSON of a request."""
    *path, last = field.path
    for place in _places(data, path):
        if field.option.resets and place[last] != value:
            usual = field_settings.defaults(field.owner)
            place.update({name: usual[name] for name in field.option.resets})
        place[last] = field_settings.defaults(value) if isinstance(value, type) else field_settings.as_json(value)


def _places(data: Any, path: Sequence[str]) -> list[dict[str, Any]]:
    """The nested request at a path; where there are several at once, each of them."""
    if isinstance(data, list):
        return [place for one in data for place in _places(one, path)]
    return _places(data[path[0]], path[1:]) if path else [data]


def asked(spec: SpecT) -> SpecT:
    """Return the request as a user would ask for it: without the identities of files, and without derived values."""
    changes: dict[str, Any] = {}
    for field in fields(spec):
        value = getattr(spec, field.name)
        if field.name == "identity":
            changes["identity"] = ""
        elif isinstance(value, Spec):
            changes[field.name] = asked(value)
        elif isinstance(value, tuple):
            changes[field.name] = tuple(asked(part) if isinstance(part, Spec) else part for part in value)
    plain = replace(spec, **changes) if changes else spec
    usual = {
        name: imported(note.usual)(plain)
        for name, (_, _, annotations) in _types(type(spec)).items()
        for note in annotations
        if isinstance(note, Option | Part) and note.usual
    }
    following = {name: None for name, value in usual.items() if getattr(plain, name) == value}
    return replace(plain, **following) if following else plain


def line(words: Sequence[str]) -> str:
    """The words of a request as a line to paste into a shell."""
    return letters.command([*PROGRAM, *words])


def words(spec: Spec, subcommand: Subcommand | None, parse: Parse) -> list[str]:
    """Return the arguments that ask for `spec`, only those that differ from the defaults.

    The request that `parse` makes of them has the fingerprint of `asked(spec)`.

    Args:
        spec: any request, resolved or not.
        subcommand: that of its kind; None where it has none, and `run` takes its place.
        parse: the command line's own reading of arguments, which gives the defaults.
    """
    wanted = asked(spec)
    if subcommand is not None:
        try:
            return _Saying(wanted, subcommand, parse).words()
        except LayerscopeError:  # its options so far make no request: only all of them do
            pass
    return _whole(wanted)


class _Saying:
    """A request that is being put into words."""

    def __init__(self, wanted: Spec, subcommand: Subcommand, parse: Parse) -> None:
        self._wanted = wanted
        self._name = subcommand.name
        self._parse = parse
        self._flags = _flags(subcommand.spec)
        self._said: dict[str, list[str]] = {}
        self._set: list[str] = []

    def words(self) -> list[str]:
        """All the words there have to be."""
        for flag in self._flags:
            if flag.fields[0].is_always_said:
                self._said[flag.name] = flag.words(_value(self._wanted, flag.fields[0]))
        for _ in range(_ROUNDS):
            have = self._parse(self._joined())
            unsaid = [flag for flag in self._flags if flag.name not in self._said]
            new = {flag.name: said for flag in unsaid if (said := self._differing(flag, have))}
            self._said |= new
            if not new:
                missing = field_settings.differences(have, self._wanted)
                self._set += missing
                if not missing:
                    break
        self._drop_needless()
        return self._joined()

    def _joined(self) -> list[str]:
        options = [word for flag in self._flags for word in self._said.get(flag.name, [])]
        return [self._name, *options, *(word for setting in self._set for word in ("--set", setting))]

    def _differing(self, flag: _Flag, have: Spec) -> list[str]:
        """Words of an option, where they are no longer than setting the fields that differ one by one."""
        switched = {one.fields[0].path for one in self._flags if one.name in self._said}
        # A field that needs a switch which is not written is none that this option would set.
        own = [field for field in flag.fields if field.switched_by is None or field.switched_by in switched]
        pairs = [(_value(self._wanted, field), _value(have, field)) for field in own]
        pairs = [(want, has) for want, has in pairs if want is not _ABSENT]
        differing = sum(want != has for want, has in pairs)
        for value, _ in pairs:
            if differing and 1 + sum(want != value for want, _ in pairs) <= differing:
                return flag.words(value)
        return []

    def _drop_needless(self) -> None:
        """Remove words that are not needed, now that the rest is there."""
        for flag in self._flags:
            if flag.name in self._said and not flag.fields[0].is_always_said:
                said = self._said.pop(flag.name)
                if not self._is_complete():
                    self._said[flag.name] = said
        for setting in list(self._set):
            place = self._set.index(setting)
            self._set.remove(setting)
            if not self._is_complete():
                self._set.insert(place, setting)

    def _is_complete(self) -> bool:
        try:
            return not field_settings.differences(self._parse(self._joined()), self._wanted)
        except LayerscopeError:
            return False


def _value(spec: Spec, field: _Field) -> Any:
    """The value of a field; of several nested requests that of the first which has one."""
    found: Any = spec
    for depth, name in enumerate(field.path):
        if found is None:
            return NONE if field.left_out == field.path[:depth] else _ABSENT
        if isinstance(found, tuple):
            found = next((value for part in found if (value := getattr(part, name)) is not None), None)
        else:
            found = getattr(found, name)
    return found


def _whole(spec: Spec) -> list[str]:
    """Return `run KIND` with every field that is not at its default, for requests that no options can express."""
    words, data, usual = ["run", spec.kind], spec.to_json(), field_settings.defaults(type(spec))
    for name, value in data.items():
        if value != usual[name]:
            words += ["--set", field_settings.write(name, field_settings.plain(value))]
    return words
