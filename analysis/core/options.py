"""Annotation of a field of a request about its option on the command line."""

from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, eq=False)
class Option:
    """Annotation of a field that has an option on the command line; the field's docstring is the help, its default the default.

    On a nested request that may be missing it is a switch that asks for it.
    """

    flag: str = ""
    """As it is written; empty for two dashes and the name of the field. Without dashes it is a position, not an option."""
    metavar: str = ""
    """Name of the value in the help; empty for one that suits the type."""
    choices: Collection[str] | None = None
    """All values there are; read whenever it is needed, so that a registry may grow."""
    known: Collection[str] | str = ()
    """Values to tell people of where others are possible too; or where these are, as `module:name`."""
    required: bool = False
    """Whether it must be said although the field has a default."""
    none: str = ""
    """Written form of None."""
    parse: Callable[[str], Any] | None = None
    """From the text to the value, where the type alone does not say it; raises a `LayerscopeError`."""
    write: str = ""
    """`module:function` from the value to its written form, or None where it has none; empty for itself."""
    usual: str = ""
    """`module:function` from the request to the value that None stands for; one that has it need not say it."""
    resets: tuple[str, ...] = ()
    """Fields beside it that go back to the defaults of their class when this one changes: they belonged to the old value."""


@dataclass(frozen=True, eq=False)
class Part:
    """Annotation of a nested request: which of its options are options of the outer one too. Without it all of them are.

    An option that several parts share is given to each of them. A part that may be missing, and is by default, gives none
    unless it has an `Option` that asks for it. Of a tuple of parts each is given it, unless
    `asked_by` makes something else of it.
    """

    only: Collection[str] | None = None
    """The fields that take part; None for all."""
    always: Collection[str] = ()
    """Fields that a command line always names, since their defaults depend on the machine."""
    optional: Collection[str] = ()
    """Fields that need not be said here, although elsewhere they must."""
    usual: str = ""
    """As that of an `Option`."""
