"""Things of one kind by name, each registered by a file of its own: one more file is one more of them, everywhere."""

import importlib
import pkgutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Generic, TypeVar

T = TypeVar("T")
U = TypeVar("U")


class Catalogue(Mapping[str, T]):
    """Registered entries: a live view, whose names may serve as choices."""

    def __init__(self, package: str, first: Sequence[str]) -> None:
        """Begin with no entries.

        Args:
            package: its modules register the entries of this program and are imported at the first look-up.
            first: names that are listed before all others, in this order; others follow in the order of registration.
        """
        self._package = package
        self._first = {name: place for place, name in enumerate(first)}
        self._things: dict[str, T] = {}
        self._is_read = False

    def add(self, name: str, thing: T) -> None:
        """Make a thing known under its name."""
        self._things[name] = thing

    def forget(self, name: str) -> None:
        """Take a thing out again, as a test does with one of its own."""
        self._things.pop(name, None)

    def each(self, side: Callable[[T], U]) -> Mapping[str, U]:
        """One side of every thing by name, as live as this is."""
        return _Sides(self, side)

    def __getitem__(self, name: str) -> T:
        return self._all()[name]

    def __iter__(self) -> Iterator[str]:
        return iter(sorted(self._all(), key=lambda name: self._first.get(name, len(self._first))))

    def __len__(self) -> int:
        return len(self._all())

    def _all(self) -> dict[str, T]:
        if not self._is_read:
            for module in pkgutil.iter_modules(importlib.import_module(self._package).__path__):
                importlib.import_module(f"{self._package}.{module.name}")
            self._is_read = True
        return self._things


class _Sides(Mapping[str, U], Generic[U, T]):
    """One side of every thing in a catalogue."""

    def __init__(self, things: Mapping[str, T], side: Callable[[T], U]) -> None:
        self._things, self._side = things, side

    def __getitem__(self, name: str) -> U:
        return self._side(self._things[name])

    def __iter__(self) -> Iterator[str]:
        return iter(self._things)

    def __len__(self) -> int:
        return len(self._things)
