"""Registry of question sets."""

import itertools
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Concatenate, ParamSpec

from analysis.core.errors import BenchmarkError
from analysis.core.registry import Registry, modules_in
from analysis.data.tasks.question import Question, Row

Read = Callable[[Row, str], Question]
"""Function from a row and its id to a question without worked examples."""
P = ParamSpec("P")


@dataclass(frozen=True)
class Task:
    """Question set."""

    read: Read
    """Function that converts a row to a question."""
    name: str
    """Name in a `BenchmarkSpec`, on the command line and in addresses."""
    title: str
    """Display name, with the licence if it restricts the use."""
    folder: str = ""
    """Path of the rows in the starter pack, with a subfolder per group."""
    hub: tuple[str, str | None] = ("", None)
    """Name and configuration on the Hub, for use without the starter pack; each group is a
    configuration."""
    rows: Callable[[str, str], Sequence[Row]] | None = None
    """Function from split and group ("" for none) to rows from another source; None for those of
    the starter pack or the Hub.

    Their content determines the identity of the set."""
    split: str = "validation"
    id_field: str | None = None
    """Field with the id of a row; None to use the row number."""
    scoring: str = "continuation"
    """Compared texts: "continuation", "letter", "yes or no", or "partial" for one continuation of
    several contexts."""
    chance: float = 0.25
    """Accuracy of guessing with the usual number of options."""
    default_shots: int = 0
    max_shots: int = 0
    """Number of worked examples in the set."""
    worked_split: str = "dev"
    """Split whose first rows are the worked examples."""
    groups: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """Subjects by category; empty for a set without subjects."""
    header: Callable[[str, str], str] | None = None
    """Function from group and protocol to the text before the worked examples."""
    read_as: Mapping[str, Read] = field(default_factory=dict)
    """Functions that convert a row to a question, by further protocol."""
    licence_note: str = ""
    """Restrictions of the licence."""
    place: int = 100
    """Position in lists; sets with equal positions keep the order of registration."""

    @property
    def protocols(self) -> tuple[str, ...]:
        """Available protocols, the default first."""
        return ("harness", *self.read_as)

    def chosen_groups(self, subset: Iterable[str] = ()) -> list[str]:
        """Return the selected subjects in alphabetical order.

        Args:
            subset: names of subjects and categories (default: all).

        Raises:
            BenchmarkError: if a name is neither a subject nor a category.
        """
        all_groups = sorted(itertools.chain.from_iterable(self.groups.values()))
        selected: set[str] = set()
        for name in subset:
            members = self.groups.get(name, (name,) if name in all_groups else ())
            if not members:
                raise BenchmarkError(
                    f"{self.title} has no subject or category {name!r}. Choose one of"
                    f" {', '.join(self.groups)}, or a subject such as {all_groups[0]}."
                )
            selected.update(members)
        return sorted(selected) if selected else all_groups


TASKS: Registry[Task] = Registry(
    "question set", modules=modules_in(__package__), order=lambda task: task.place
)
"""All question sets by name."""
register = TASKS.add
"""Register a question set."""


def _of_a_reader(
    make_task: Callable[Concatenate[Read, P], Task],
) -> Callable[P, Callable[[Read], Read]]:
    """Return a decorator factory with the arguments of `make_task` except the reader, which is the
    decorated function.
    """

    def factory(*args: P.args, **kwargs: P.kwargs) -> Callable[[Read], Read]:
        def decorator(read: Read) -> Read:
            register(make_task(read, *args, **kwargs))
            return read

        return decorator

    return factory


task = _of_a_reader(Task)
"""Decorator of a reader that registers a `Task` with the given fields and returns the reader
unchanged."""
