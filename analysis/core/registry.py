"""The kinds of experiment there are: each registers its request, its result and the function that answers it."""

import importlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

from analysis.core.record import Result, Spec

ROOMS = (
    "analysis.experiments.maps.spec",
    "analysis.experiments.accuracy.spec",
    "analysis.experiments.heal.spec",
    "analysis.models.spec",
    "analysis.experiments.speed.spec",
    "analysis.experiments.prompt.spec",
    "analysis.exports.spec",
)
"""Modules that register a kind when they are imported, in the order in which kinds are listed: names and not imports, because
this room is below all of them."""


@dataclass(frozen=True)
class Experiment:
    """One kind of experiment; its name is `spec.kind`, the version of its results `spec.version`."""

    spec: type[Spec]
    result: type[Result]
    run: str
    """"module:function", called as `run(spec, on_progress, *, load) -> Result` and imported when first needed."""
    title: str
    """What people call it: "Distance map"."""

    @property
    def kind(self) -> str:
        """Its name in fingerprints, folders and the command line."""
        return self.spec.kind

    def runner(self) -> Callable[..., Any]:
        """The function that answers its requests, imported now."""
        module, _, function = self.run.partition(":")
        found: Callable[..., Any] = getattr(importlib.import_module(module), function)
        return found


T = TypeVar("T")

_registered: dict[str, Experiment] = {}


def register(experiment: Experiment) -> Experiment:
    """Make a kind of experiment known everywhere: command line, queue, pages, reports."""
    _registered[experiment.kind] = experiment
    return experiment


def forget(kind: str) -> None:
    """Take a kind out again, as a test does with one of its own."""
    _registered.pop(kind, None)


def experiments() -> dict[str, Experiment]:
    """Every kind of experiment by name: those of this package first, in the order of `ROOMS`."""
    for room in ROOMS:
        importlib.import_module(room)
    return dict(_registered)


class _View(Mapping[str, T]):
    """One side of every experiment, by kind."""

    def __init__(self, side: Callable[[Experiment], T]) -> None:
        self._side = side

    def __getitem__(self, kind: str) -> T:
        return self._side(experiments()[kind])

    def __iter__(self) -> Iterator[str]:
        return iter(experiments())

    def __len__(self) -> int:
        return len(experiments())


SPECS: Mapping[str, type[Spec]] = _View(lambda experiment: experiment.spec)
"""The requests that `run` functions answer, by kind."""
RESULTS: Mapping[str, type[Result]] = _View(lambda experiment: experiment.result)
"""Result dataclasses by kind."""
RUNNERS: Mapping[str, str] = _View(lambda experiment: experiment.run)
"""Which function answers which kind of request."""
TITLES: Mapping[str, str] = _View(lambda experiment: experiment.title)
"""What people call each kind."""
