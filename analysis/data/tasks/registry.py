"""The question sets there are: each registers its rows, how one becomes a question, and all that may be asked of it."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Concatenate, ParamSpec

from analysis.core.errors import BenchmarkError
from analysis.core.registry import Registry, modules_in
from analysis.data.tasks.question import Question, Row

Read = Callable[[Row, str], Question]
"""From a row and its id to a question without worked examples."""
P = ParamSpec("P")


@dataclass(frozen=True)
class Task:
    """One question set."""

    read: Read
    """How a row is asked."""
    name: str
    """Its name in a `BenchmarkSpec`, on the command line and in addresses."""
    title: str
    """Display name, with the licence if that limits its use."""
    folder: str = ""
    """Path of its rows in the starter pack; a set of groups has one folder per group below it."""
    hub: tuple[str, str | None] = ("", None)
    """Name and configuration on the hub, for machines without the starter pack; each group is a configuration of its own."""
    rows: Callable[[str, str], Sequence[Row]] | None = None
    """From split and group ("" if there are none) to rows that lie elsewhere; None for those of the starter pack or the hub.

    Their content is the identity of the set, so that other rows are other requests."""
    split: str = "validation"
    id_field: str | None = None
    """The field with the id of a row; None if the source has none, and the row's number is used."""
    scoring: str = "continuation"
    """The texts compared: the answers as continuations, letters, yes and no, or one continuation of several contexts."""
    chance: float = 0.25
    """Accuracy of guessing on a row with the usual number of options."""
    default_shots: int = 0
    max_shots: int = 0
    """Worked examples that the set itself offers."""
    worked_split: str = "dev"
    """The split that they are the first rows of."""
    groups: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """Categories and the subjects in each, if the set is asked by subject."""
    header: Callable[[str, str], str] | None = None
    """From group and protocol to the text before the worked examples."""
    read_as: Mapping[str, Read] = field(default_factory=dict)
    """How a row is asked under the other protocols on offer."""
    licence_note: str = ""
    """Restrictions of its licence."""
    place: int = 100
    """Position in lists; entries of one position keep the order in which they were registered."""

    @property
    def protocols(self) -> tuple[str, ...]:
        """Ways of asking that are on offer, the usual one first."""
        return ("harness", *self.read_as)

    def chosen_groups(self, subset: Iterable[str] = ()) -> list[str]:
        """Alphabetical: those of the named subjects and categories, or all of them.

        Raises:
            BenchmarkError: when a name is neither a subject nor a category.
        """
        all_groups = sorted(group for groups in self.groups.values() for group in groups)
        chosen: set[str] = set()
        for name in subset:
            members = self.groups.get(name, (name,) if name in all_groups else ())
            if not members:
                raise BenchmarkError(
                    f"{self.title} has no subject or category {name!r}. Choose one of {', '.join(self.groups)}, or a "
                    f"subject such as {all_groups[0]}."
                )
            chosen.update(members)
        return sorted(chosen) if chosen else all_groups


TASKS: Registry[Task] = Registry("question set", modules=modules_in(__package__), order=lambda task: task.place)
"""Every question set, by the name that a `BenchmarkSpec` uses."""
register = TASKS.add
"""Make a question set known everywhere: requests, command line, pages, reports."""


def _of_a_reader(make_task: Callable[Concatenate[Read, P], Task]) -> Callable[P, Callable[[Read], Read]]:
    """Return a decorator that takes all arguments of `make_task` but the reader, which is the function that it decorates."""

    def described(*args: P.args, **kwargs: P.kwargs) -> Callable[[Read], Read]:
        def decorated(read: Read) -> Read:
            register(make_task(read, *args, **kwargs))
            return read

        return decorated

    return described


task = _of_a_reader(Task)
"""Decorator of a reader: registers the `Task` of these fields; the reader itself stays a plain function."""
