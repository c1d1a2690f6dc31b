"""Annotations that describe the command-line options of request fields."""

from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, eq=False)
class Option:
    """Annotation of a field with a command-line option.

    The field's docstring is the help text, and its default is the default of the option. On a
    nested request that may be None, the option is a switch that adds the request.
    """

    flag: str = ""
    """Flag, such as "--samples" (default: two dashes and the field's name). A name without dashes
    is a positional argument."""
    metavar: str = ""
    """Name of the value in the help; "" for one that suits the type."""
    choices: Collection[str] | None = None
    """All possible values. A registry is read at each use, so that it may grow."""
    known: Collection[str] | str = ()
    """Suggested values if others are possible too, or their location as `module:name`."""
    required: bool = False
    """Whether the option is required although the field has a default."""
    none: str = ""
    """Text that stands for None."""
    parse: Callable[[str], Any] | None = None
    """Function from the text to the value if the type alone is not enough; it may raise a
    `LayerscopeError`."""
    write: str = ""
    """`module:function` that returns the text form of a value, or None if it has none; "" for the
    value itself."""
    usual: str = ""
    """`module:function` that returns the value of None for a request. A command line omits that
    value."""
    resets: tuple[str, ...] = ()
    """Fields that return to their defaults if this field changes, because they belong to its old
    value."""


@dataclass(frozen=True, eq=False)
class Part:
    """Annotation of a nested request that selects which of its options the outer request has
    (default: all).

    An option that several nested requests share is passed to each of them, and to each item of a
    tuple, unless `asked_by` does otherwise. A nested request that is None by default adds no
    options, unless it has an `Option` that adds the request.
    """

    only: Collection[str] | None = None
    """Fields whose options are included; None for all."""
    always: Collection[str] = ()
    """Fields that a command line always includes, because their defaults depend on the machine."""
    optional: Collection[str] = ()
    """Fields that are optional here although they are required elsewhere."""
    usual: str = ""
    """Same as `Option.usual`."""
