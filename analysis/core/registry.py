"""The kinds of experiment there are: each registers its request, its result and the function that answers it.

A kind is one file with a `register(Experiment(...))` in it: `NAME_spec.py` in a folder of `analysis/experiments`, or a file
anywhere that is named as an extension (`extensions`). It is then on the command line, in the queue, on the Explore page and
among the runs. The report and the glossary have it too, without a change anywhere else.
"""

import contextlib
import functools
import importlib
import pkgutil
import typing
from collections.abc import Callable, Iterator, Mapping
from dataclasses import MISSING, dataclass, fields
from typing import Any, TypeVar

from analysis.core.errors import SpecError
from analysis.core.options import Option, imported
from analysis.core.record import Result, Spec

ROOMS = (
    "analysis.models.spec",
    "analysis.experiments.maps.distance_spec",
    "analysis.experiments.maps.damage_spec",
    "analysis.experiments.accuracy.sweep_spec",
    "analysis.experiments.heal.heal_result",
    "analysis.experiments.speed.speed_spec",
    "analysis.experiments.prompt.comparison_spec",
    "analysis.experiments.prompt.microscope_spec",
    "analysis.experiments.prompt.restore_spec",
    "analysis.experiments.batch.grid_spec",
    "analysis.exports.spec",
)
"""Modules that register a kind when they are imported, in the order in which kinds are listed. They are names and not
imports, because this package is below all of them. Their kinds have places of their own on the pages and in the report.
Kinds of other modules are `additions`, which are shown by the fields of their `Experiment`."""


@dataclass(frozen=True)
class Experiment:
    """One kind of experiment; its name is `spec.kind`, the version of its results `spec.version`."""

    spec: type[Spec]
    result: type[Result]
    run: str
    """"module:function", called as `run(spec, on_progress, *, load) -> Result` and imported when first needed."""
    title: str
    """Name for people: "Distance map"."""
    shards: str = ""
    """"module:class", a `shards.Work`, where several processes can share the work; empty where one does it all."""
    together: str = ""
    """"module:function", called as `run(spec, on_progress, *, load, rank, size, meeting)` in each of several processes that do
    the work together, step by step; the result comes from rank 0. Empty where none do."""
    working: str = ""
    """"module:function", called as `working(spec, facts) -> int` with a spec of a concrete dtype. It returns the bytes
    beside the weights, where that may be more than a pass of texts through the model; empty where it is not."""
    help: str = ""
    """Explanation, in a sentence for the glossary; empty for none."""
    figure: str = ""
    """"module:function", called as `figure(result, *, dark) -> Figure` when a chart is wanted; empty for none, or for those
    that `charts.kinds` has."""
    panel: str = ""
    """"module:function", called as `panel(result)` on a page below the title; empty for its tables and its chart."""

    @property
    def kind(self) -> str:
        """Its name in fingerprints, folders and the command line."""
        return self.spec.kind

    @property
    def version(self) -> int:
        """Which results count: those that were made for this version of the kind."""
        return self.spec.version

    @property
    def is_shared(self) -> bool:
        """Return whether several processes can answer a request of this kind."""
        return bool(self.shards or self.together)

    def runner(self) -> Callable[..., Any]:
        """The function that answers its requests, imported now."""
        found: Callable[..., Any] = imported(self.run)
        return found

    def usual(self, model: Any) -> Spec | None:
        """The request with every field at its default, of this model; None where one has to be said, or this model has none."""
        hints = typing.get_type_hints(self.spec, include_extras=True)
        for one in fields(self.spec):
            notes = getattr(hints[one.name], "__metadata__", ())
            if any(isinstance(note, Option) and note.required for note in notes):
                return None
            if one.default is MISSING and one.default_factory is MISSING:
                return None
        with contextlib.suppress(SpecError):
            return self.spec(**({"model": model} if "model" in hints else {}))
        return None


T = TypeVar("T")

_EXPERIMENTS = "analysis.experiments"

_registered: dict[str, Experiment] = {}


def register(experiment: Experiment) -> Experiment:
    """Make a kind of experiment known everywhere: command line, queue, pages, reports."""
    _registered[experiment.kind] = experiment
    return experiment


def forget(kind: str) -> None:
    """Take a kind out again, as a test does with one of its own."""
    _registered.pop(kind, None)


def experiments() -> dict[str, Experiment]:
    """Every kind of experiment by name: those of `ROOMS` in their order, others of this package, then those of elsewhere."""
    _import_rooms()
    places = {room: place for place, room in enumerate(ROOMS)}

    def place(one: Experiment) -> int:
        module = one.result.__module__
        return places.get(module, len(places) + (not module.startswith(f"{_EXPERIMENTS}.")))

    return {one.kind: one for one in sorted(_registered.values(), key=place)}


def additions() -> dict[str, Experiment]:
    """Kinds that no page and no section of the report was made for, by name: they are shown by their tables and figures."""
    return {kind: one for kind, one in experiments().items() if one.result.__module__ not in ROOMS}


@functools.cache
def _import_rooms() -> None:
    """Let every module of the program register its kinds: those of `ROOMS`, then every `NAME_spec.py` of experiments."""
    for room in ROOMS:
        importlib.import_module(room)
    folder = importlib.import_module(_EXPERIMENTS)
    for found in pkgutil.walk_packages(folder.__path__, f"{_EXPERIMENTS}."):
        if found.name.endswith("spec"):
            importlib.import_module(found.name)


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
"""Titles that people read, by kind."""
