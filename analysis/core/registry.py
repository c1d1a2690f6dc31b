"""Registry of named extensions, such as metrics, strategies and question sets."""

import importlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from operator import attrgetter
from pathlib import Path
from typing import Any, TypeVar

from analysis.core.errors import SpecError

T = TypeVar("T")


class Registry(Mapping[str, T]):
    """Read-only mapping of registered entries by name."""

    def __init__(
        self,
        noun: str,
        *,
        key: Callable[[T], str] = attrgetter("name"),
        modules: Callable[[], Iterable[str]] = tuple,
        order: Callable[[T], Any] = lambda entry: 0,
    ) -> None:
        """Create an empty registry.

        Args:
            noun: word for an entry in error messages.
            key: function that returns the name of an entry.
            modules: function that returns the modules with built-in entries, which are imported at
                the first lookup.
            order: sort key of an entry. Entries with equal keys keep the order of registration.
        """
        self._noun = noun
        self._key = key
        self._modules = modules
        self._order = order
        self._entries: dict[str, T] = {}
        self._is_loaded = False

    def add(self, entry: T) -> T:
        """Register an entry under its name.

        Raises:
            SpecError: if another entry has this name.
        """
        name = self._key(entry)
        if self._entries.setdefault(name, entry) is not entry:
            raise SpecError(
                f"The {self._noun} {name!r} is registered twice. Rename one of the two."
            )
        return entry

    def remove(self, name: str) -> None:
        """Remove an entry if it exists, for example to replace it in a notebook."""
        self._entries.pop(name, None)

    def __getitem__(self, name: str) -> T:
        return self._loaded()[name]

    def __iter__(self) -> Iterator[str]:
        entries = self._loaded()
        return iter(sorted(entries, key=lambda name: self._order(entries[name])))

    def __len__(self) -> int:
        return len(self._loaded())

    def _loaded(self) -> dict[str, T]:
        if not self._is_loaded:
            for module in self._modules():
                importlib.import_module(module)
            self._is_loaded = True
        return self._entries


def modules_in(package: str, *endings: str) -> Callable[[], Iterable[str]]:
    """Return a function that lists the modules of a package.

    Args:
        package: name of the package.
        endings: endings of module names. If any are given, subpackages are searched too.
    """

    def listed() -> Iterable[str]:
        for folder in importlib.import_module(package).__path__:
            for file in sorted(
                Path(folder).rglob("*.py") if endings else Path(folder).glob("[!_]*.py")
            ):
                if file.stem.endswith(endings or ""):
                    yield ".".join((package, *file.relative_to(folder).with_suffix("").parts))

    return listed


def first(*names: str) -> Callable[[Any], int]:
    """Return a sort key that puts the entries with these names first, in this order."""
    positions = {name: index for index, name in enumerate(names)}
    return lambda entry: positions.get(entry.name, len(positions))
