"""Command line that asks for a request: its words, only those that differ from the defaults."""

from collections.abc import Callable, Sequence
from dataclasses import fields, replace
from typing import Any, TypeVar

from analysis.cli import field_settings
from analysis.cli.options import NONE, Flag, OptionField, Subcommand, field_types, flags_of
from analysis.core import escapes
from analysis.core.errors import LayerscopeError
from analysis.core.imports import imported
from analysis.core.options import Option, Part
from analysis.core.record import Spec

PROGRAM = ("python", "-m", "analysis")
Parse = Callable[[Sequence[str]], Spec]
"""The request that command-line arguments ask for."""
SpecT = TypeVar("SpecT", bound=Spec)

_ROUNDS = 5
"""A setting may change the default of another one: after a few rounds each one is named."""
_ABSENT = object()
"""The value of a field whose nested request is left out."""


def as_requested(spec: SpecT) -> SpecT:
    """Return the request as a user would ask for it: without the identities of files, and without derived values."""
    changes: dict[str, Any] = {}
    for field in fields(spec):
        value = getattr(spec, field.name)
        if field.name == "identity":
            changes["identity"] = ""
        elif isinstance(value, Spec):
            changes[field.name] = as_requested(value)
        elif isinstance(value, tuple):
            changes[field.name] = tuple(as_requested(part) if isinstance(part, Spec) else part for part in value)
    plain = replace(spec, **changes) if changes else spec
    defaults = {
        name: imported(note.usual)(plain)
        for name, (_, _, annotations) in field_types(type(spec)).items()
        for note in annotations
        if isinstance(note, Option | Part) and note.usual
    }
    following = {name: None for name, value in defaults.items() if getattr(plain, name) == value}
    return replace(plain, **following) if following else plain


def line(words: Sequence[str]) -> str:
    """The words of a request as a line to paste into a shell."""
    return escapes.command([*PROGRAM, *words])


def words(spec: Spec, subcommand: Subcommand | None, parse: Parse) -> list[str]:
    """Return the arguments that ask for `spec`, only those that differ from the defaults.

    The request that `parse` makes of them has the fingerprint of `asked(spec)`.

    Args:
        spec: any request, resolved or not.
        subcommand: that of its kind; None where it has none, and `run` takes its place.
        parse: the command line's own reading of arguments, which gives the defaults.
    """
    request = as_requested(spec)
    if subcommand is not None:
        try:
            return _CommandLine(request, subcommand, parse).words()
        except LayerscopeError:  # its options so far make no request: only all of them do
            pass
    return _whole(request)


class _CommandLine:
    """A request that is being put into words."""

    def __init__(self, spec: Spec, subcommand: Subcommand, parse: Parse) -> None:
        self._spec = spec
        self._name = subcommand.name
        self._parse = parse
        self.flags_of = flags_of(subcommand.spec)
        self._words: dict[str, list[str]] = {}
        self._set: list[str] = []

    def words(self) -> list[str]:
        """All the words there have to be."""
        for flag in self.flags_of:
            if flag.fields[0].is_always_said:
                self._words[flag.name] = flag.words(_value(self._spec, flag.fields[0]))
        for _ in range(_ROUNDS):
            parsed = self._parse(self._joined())
            unsaid = [flag for flag in self.flags_of if flag.name not in self._words]
            new = {flag.name: words for flag in unsaid if (words := self._differing(flag, parsed))}
            self._words |= new
            if not new:
                missing = field_settings.differences(parsed, self._spec)
                self._set += missing
                if not missing:
                    break
        self._drop_needless()
        return self._joined()

    def _joined(self) -> list[str]:
        options = [word for flag in self.flags_of for word in self._words.get(flag.name, [])]
        return [self._name, *options, *(word for setting in self._set for word in ("--set", setting))]

    def _differing(self, flag: Flag, parsed: Spec) -> list[str]:
        """Words of an option, where they are no longer than setting the fields that differ one by one."""
        switched = {worded.fields[0].path for worded in self.flags_of if worded.name in self._words}
        # A field that needs a switch which is not written is none that this option would set.
        fields = [field for field in flag.fields if field.switched_by is None or field.switched_by in switched]
        pairs = [(_value(self._spec, field), _value(parsed, field)) for field in fields]
        pairs = [(want, has) for want, has in pairs if want is not _ABSENT]
        differing = sum(want != has for want, has in pairs)
        for value, _ in pairs:
            if differing and 1 + sum(want != value for want, _ in pairs) <= differing:
                return flag.words(value)
        return []

    def _drop_needless(self) -> None:
        """Remove words that are not needed, now that the rest is there."""
        for flag in self.flags_of:
            if flag.name in self._words and not flag.fields[0].is_always_said:
                words = self._words.pop(flag.name)
                if not self._is_complete():
                    self._words[flag.name] = words
        for setting in list(self._set):
            index = self._set.index(setting)
            self._set.remove(setting)
            if not self._is_complete():
                self._set.insert(index, setting)

    def _is_complete(self) -> bool:
        try:
            return not field_settings.differences(self._parse(self._joined()), self._spec)
        except LayerscopeError:
            return False


def _value(spec: Spec, field: OptionField) -> Any:
    """The value of a field; of several nested requests that of the first which has one."""
    current: Any = spec
    for depth, name in enumerate(field.path):
        if current is None:
            return NONE if field.left_out == field.path[:depth] else _ABSENT
        if isinstance(current, tuple):
            current = next((value for part in current if (value := getattr(part, name)) is not None), None)
        else:
            current = getattr(current, name)
    return current


def _whole(spec: Spec) -> list[str]:
    """Return `run KIND` with every field that is not at its default, for requests that no options can express."""
    words, data, defaults = ["run", spec.kind], spec.to_json(), field_settings.defaults(type(spec))
    for name, value in data.items():
        if value != defaults[name]:
            words += ["--set", field_settings.write(name, field_settings.plain(value))]
    return words
