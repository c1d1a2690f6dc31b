"""Requests for grids of curves, and their results."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Annotated, Any, ClassVar, TypeVar

from analysis.core.bounds import MOST_LAYERS, Bound, Count, one_of, shown
from analysis.core.experiment import Experiment, register
from analysis.core.options import Option, Part
from analysis.core.record import Result, Spec, require, spec_dataclass
from analysis.core.table import Table
from analysis.data.spec import BenchmarkSpec, CorpusSpec, default_loss_corpus
from analysis.data.tasks import TASKS
from analysis.experiments.accuracy.sweep_spec import SweepSpec
from analysis.experiments.batch import grid_cells
from analysis.experiments.batch.grid_cells import GridCell
from analysis.experiments.maps.distance_spec import DistanceSpec
from analysis.experiments.strategies import BLOCKS, DRAW, INFLUENCE, MAP, STRATEGIES, needs
from analysis.models.source.model_spec import ModelSpec

MOST_CELLS = 400
"""Maximum number of curves of a grid, so that its table stays readable."""
MOST_DRAWS = 20
"""Maximum number of draws of a random strategy."""
SpecT = TypeVar("SpecT", bound=Spec)


def _each_of(make: Callable[[str], SpecT]) -> Callable[[str], tuple[SpecT, ...]]:
    """Return a parser of comma-separated names that creates a request for each."""
    return lambda text: tuple(make(name.strip()) for name in text.split(",") if name.strip())


def _joined(names: Sequence[str]) -> str | None:
    """Return names joined by commas; None if they could not be parsed again."""
    return (
        ",".join(names)
        if all(name and name == name.strip() and "," not in name for name in names)
        else None
    )


def name_sources(specs: Sequence[Any]) -> str | None:
    """Return models or texts as an option of the command line; None if one of them has no such
    form.
    """
    return _joined([spec.source for spec in specs])


def name_tasks(benchmarks: Sequence[BenchmarkSpec]) -> str | None:
    """Return datasets as an option of the command line; None if one of them has no such form."""
    return _joined([benchmark.task for benchmark in benchmarks])


def _loss_corpus(source: str) -> CorpusSpec:
    return replace(default_loss_corpus(), source=source)


_SOURCES = f"{__name__}:name_sources"


@spec_dataclass
class GridSpec(Spec):
    """Curves for all combinations of models, datasets, texts and strategies, in one table."""

    kind: ClassVar[str] = "grid"
    version: ClassVar[int] = SweepSpec.version
    """The version of its curves."""

    models: Annotated[
        tuple[ModelSpec, ...],
        Option(metavar="MODEL,…", parse=_each_of(ModelSpec), write=_SOURCES),
        Part(only=("dtype", "device", "quantization")),
    ]
    """Models: `starter`, Hub ids, folders or GGUF files, joined by commas."""
    benchmarks: Annotated[
        tuple[BenchmarkSpec, ...],
        Option(
            "--tasks",
            "NAME|FILE,…",
            known=TASKS,
            parse=_each_of(BenchmarkSpec),
            write=f"{__name__}:name_tasks",
        ),
        Part(only=("limit", "shots", "seed")),
    ] = (BenchmarkSpec(),)
    """Datasets of questions."""
    loss_corpora: Annotated[
        tuple[CorpusSpec, ...],
        Option("--texts", "c4|wiki|FILE,…", parse=_each_of(_loss_corpus), write=_SOURCES),
        Part(only=("n_texts", "seq_len")),
    ] = field(default_factory=lambda: (default_loss_corpus(),))
    """Texts that the loss is measured on."""
    map_corpora: Annotated[
        tuple[CorpusSpec, ...],
        Option("--map-texts", "c4|wiki|FILE,…", parse=_each_of(CorpusSpec), write=_SOURCES),
    ] = (CorpusSpec(),)
    """Texts of the distance maps that choose the blocks."""
    strategies: Annotated[tuple[str, ...], Option(metavar="NAME,…", known=STRATEGIES)] = (
        "similarity",
        "deepest",
    )
    """Strategies that choose the removed layers."""
    max_n: Annotated[int | None, Option(), Bound(0, MOST_LAYERS)] = None
    """Largest number of removed layers (default: half of the layers of each model)."""
    draws: Annotated[int, Option(), Bound(1, MOST_DRAWS)] = 3
    """Number of curves of each random strategy."""

    def __post_init__(self) -> None:
        sides: dict[str, tuple[Any, ...]] = {
            "models": self.models,
            "tasks": self.benchmarks,
            "texts": self.loss_corpora,
            "map texts": self.map_corpora,
            "strategies": self.strategies,
        }
        for name, parts in sides.items():
            require(bool(parts), f"A grid needs at least one of its {name}. Name some.")
            twice = next((part for index, part in enumerate(parts) if part in parts[:index]), None)
            require(
                twice is None,
                f"The {name} of this grid contain {shown(_named(twice))} twice. Name each once.",
            )
        for strategy in self.strategies:
            one_of("strategies", strategy, [name for name in STRATEGIES if not needs(name, BLOCKS)])
        n_cells = len(self.cells())
        require(
            n_cells <= MOST_CELLS,
            f"This grid has {n_cells:,} cells, at most {MOST_CELLS} are allowed. Leave some out, or"
            " run several grids.",
        )

    def check_depth(self, n_layers: int) -> None:
        """Check the largest number of removed layers, which all curves share."""
        self.cells()[0].check_depth(n_layers)

    def cells(self) -> tuple[SweepSpec, ...]:
        """Return the requests for all curves, grouped by model, in the order of measuring and
        listing.
        """
        return tuple(
            SweepSpec(
                model=model,
                benchmark=benchmark,
                loss_corpus=corpus,
                distances=DistanceSpec(model, map_corpus),
                strategy=strategy,
                max_n=self.max_n,
                draw=draw,
            )
            for model in self.models
            for strategy in self.strategies
            for map_corpus in (
                self.map_corpora if needs(strategy, MAP, INFLUENCE) else self.map_corpora[:1]
            )
            for draw in range(self.draws if needs(strategy, DRAW) else 1)
            for benchmark in self.benchmarks
            for corpus in self.loss_corpora
        )


def _named(part: Any) -> Any:
    return getattr(part, "source", None) or getattr(part, "task", part)


@dataclass(frozen=True)
class GridResult(Result):
    """Measured curves of a grid, and the reasons why others failed."""

    kind: ClassVar[str] = "grid"
    spec_type: ClassVar[type[Spec]] = GridSpec

    n_cells: Count
    """Number of requested curves."""
    cells: list[GridCell]
    """Measured and failed curves in the order of `GridSpec.cells`."""

    @property
    def failures(self) -> list[GridCell]:
        """Return the cells that could not be measured."""
        return [cell for cell in self.cells if cell.error]

    def tables(self) -> dict[str, Table]:
        """Return a table of all removed blocks, and one of all curves."""
        caption = self.measured_on()
        return {
            "cuts": grid_cells.every_cut(self.cells, caption),
            "cells": grid_cells.each_cell(self.cells, caption),
        }

    def measured_on(self) -> str:
        """Return the number of measured curves, and the meaning of the numbers."""
        cuts = [cut for cell in self.cells for cut in cell.cuts]
        n_questions, read = (
            max((getattr(cut, name) for cut in cuts), default=0)
            for name in ("n_samples", "n_texts")
        )
        blind = sum(
            bool(cell.cuts) and cell.cuts[0].n_samples > 0 and cell.no_loss_n is None
            for cell in self.cells
        )
        dark = (
            f" In {blind} curves the unpruned model's accuracy is not significantly above chance:"
            " they cannot show a drop."
            if blind
            else ""
        )
        failed = f", {len(self.failures)} failed" if self.failures else ""
        so_far = "" if self.complete else f", {len(self.cells)} so far"
        return (
            f"{self.n_cells} curves{so_far}{failed}. Up to {n_questions} questions with 95 % Wilson"
            f" intervals, and up to {read} texts with 95 % intervals over texts."
            f" {grid_cells.NO_LOSS}.{dark}"
        )


register(
    Experiment(
        GridSpec,
        GridResult,
        run="analysis.experiments.batch.grid:run",
        title="Grid",
        place=10,
        shards="analysis.experiments.batch.grid:GridShards",
        help=(
            "accuracy curves of several models, datasets, texts and strategies, all combinations in"
            " one table."
        ),
    )
)
