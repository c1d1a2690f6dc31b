"""What a field of a request says about its option on the command line."""

import importlib
from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Any


def imported(name: str) -> Any:
    """What `module:name` names, a function mostly; its module is imported now, when it is needed, and not before."""
    module, _, attribute = name.partition(":")
    return getattr(importlib.import_module(module), attribute)


@dataclass(frozen=True, eq=False)
class Option:
    """Annotation of a field that has an option on the command line; the field's docstring is the help, its default the default.

    On a nested request that may be missing it is a switch that asks for it.
    """

    flag: str = ""
    """As it is written; empty for two dashes and the name of the field. Without dashes it is a position, not an option."""
    metavar: str = ""
    """What stands for the value in the help; empty for what suits the type."""
    choices: Collection[str] | None = None
    """All values there are; read whenever it is needed, so that a registry may grow."""
    known: Collection[str] | str = ()
    """Values to tell people of where others are possible too; or where these are, as `module:name`."""
    required: bool = False
    """Whether it must be said although the field has a default."""
    none: str = ""
    """What is written for None."""
    parse: Callable[[str], Any] | None = None
    """From the text to the value, where the type alone does not say it; raises a `LayerscopeError`."""
    write: str = ""
    """`module:function` from the value to the value that is said, or None where it cannot be said; empty for itself."""
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
    """Fields that a command line always says, since what they are without it depends on the machine."""
    optional: Collection[str] = ()
    """Fields that need not be said here, although elsewhere they must."""
    usual: str = ""
    """As that of an `Option`."""
