"""Requests for tables of methods, and their results."""

from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from functools import cached_property
from typing import Annotated, Any, ClassVar

import numpy as np

from analysis.core import stats
from analysis.core.blocks import check_count, removal
from analysis.core.bounds import MOST_LAYERS, Bound, Count, Loss, Seconds, one_of
from analysis.core.experiment import Experiment, register
from analysis.core.options import Option
from analysis.core.record import Result, Spec, require, spec_dataclass
from analysis.core.table import REMOVED, Column, Table, interval_columns, interval_values
from analysis.data import corpora, questions
from analysis.data.spec import BenchmarkSpec, CorpusSpec, default_loss_corpus
from analysis.experiments.heal import recipes
from analysis.experiments.search.search_spec import check_protected
from analysis.experiments.strategies import BLOCKS, STRATEGIES, needs
from analysis.models.source.model_spec import ModelSpec
from analysis.models.source.sizes import ModelFacts

MOST_CELLS = 200
"""Maximum number of cells of a table, so that it stays readable."""


MethodKey = tuple[str, str, int]
"""Key of a cell: strategy, recipe ("" for none), and number of removed layers."""


@spec_dataclass
class MethodsSpec(Spec):
    """Strategies without and with healing recipes, at several sizes, on the same questions and
    text.
    """

    kind: ClassVar[str] = "methods"
    later: ClassVar[tuple[str, ...]] = ("protect",)

    model: ModelSpec = field(default_factory=ModelSpec)
    strategies: Annotated[tuple[str, ...], Option(metavar="NAME,…", known=STRATEGIES)] = (
        "similarity",
        "swaps",
    )
    """Strategies that choose the removed layers."""
    recipes: Annotated[
        tuple[str, ...], Option(metavar="NAME,…", known="analysis.experiments.heal.recipes:NAMES")
    ] = ("instant",)
    """Healing recipes of each block."""
    ns: Annotated[tuple[int, ...], Option("--n", "N,…"), Bound(1, MOST_LAYERS)] = (3, 5, 8, 10)
    """Numbers of removed layers."""
    benchmark: BenchmarkSpec = field(default_factory=BenchmarkSpec)
    loss_corpus: CorpusSpec = field(default_factory=default_loss_corpus)
    """Text for the loss, which is not used for healing or searching."""
    minutes: Annotated[float, Option(), Bound(0, 10_000, above=True)] = 2.0
    """Minutes of each healing run that trains."""
    protect: Annotated[tuple[int, ...], Option(metavar="N,…"), Bound(0, MOST_LAYERS)] = ()
    """Layers that stay. Strategies that remove one of them are not measured (default: none)."""

    def __post_init__(self) -> None:
        for name, values in (
            ("strategies", self.strategies),
            ("recipes", self.recipes),
            ("n", self.ns),
        ):
            require(
                len(set(values)) == len(values),
                f"The {name} of this table contain one value twice. Name each once.",
            )
        require(
            bool(self.strategies and self.ns),
            "A table of methods needs at least one strategy and one number of layers. Name one of"
            " each.",
        )
        for strategy in self.strategies:
            one_of("strategies", strategy, [name for name in STRATEGIES if not needs(name, BLOCKS)])
        for recipe in self.recipes:
            one_of("recipes", recipe, recipes.NAMES)
        n_cells = len(self.cells())
        require(
            n_cells <= MOST_CELLS,
            f"This table has {n_cells:,} cells, at most {MOST_CELLS} are allowed. Leave some out.",
        )

    def check_depth(self, n_layers: int) -> None:
        """Check the protected layers, and the largest number of removed ones."""
        check_protected(self.protect, n_layers)
        check_count(max(self.ns), n_layers, "numbers in 1")

    @property
    def methods(self) -> list[tuple[str, str]]:
        """Return the rows: pairs of strategy and recipe ("" for none)."""
        return [
            (strategy, recipe) for strategy in self.strategies for recipe in ("", *self.recipes)
        ]

    def cells(self) -> list[MethodKey]:
        """Return the keys of all cells, grouped by method."""
        return [(strategy, recipe, n) for strategy, recipe in self.methods for n in self.ns]


def method_name(strategy: str, recipe: str) -> str:
    """Return the name of a method, such as "swaps" or "swaps + instant"."""
    return f"{strategy} + {recipe}" if recipe else strategy


@dataclass(frozen=True)
class MethodCell:
    """Result of a method at one number of removed layers."""

    strategy: str
    recipe: str
    """Healing recipe; "" for none."""
    n: Count
    removed: str
    """Removed layers in words; "" if they could not be chosen."""
    wall_s: Seconds
    """Seconds of the healing run, scoring included; 0 without one."""
    error: str = ""
    """Reason why it could not be measured, in a sentence."""
    start: Count | None = None
    """First removed layer; None in tables of earlier versions."""

    @property
    def method(self) -> str:
        """Return the name of the method."""
        return method_name(self.strategy, self.recipe)

    @property
    def key(self) -> MethodKey:
        """Return the key of the cell within a table."""
        return self.strategy, self.recipe, self.n

    @property
    def name(self) -> str:
        """Return method and size in one line."""
        return f"{self.method}, n = {self.n}"


Ends = tuple[float, float | None, float | None]
"""A difference and the ends of its 95 % interval, which are None with fewer than four texts."""


@dataclass(frozen=True)
class MethodsResult(Result):
    """Every method at every size, compared with the unpruned model on the same texts and
    questions.
    """

    kind: ClassVar[str] = "methods"
    spec_type: ClassVar[type[Spec]] = MethodsSpec

    model: ModelFacts
    cells: list[MethodCell]
    """Measured and failed cells, grouped by method."""
    text_tokens: list[Count]
    """Number of predicted tokens of each text, the weights of the losses."""
    losses: list[list[Loss]]
    """Loss per text of the unpruned model, then of each cell, in nats per token; empty for a failed
    cell."""
    right: list[list[bool]]
    """Whether each answer is right, in the same order."""

    @property
    def failures(self) -> list[MethodCell]:
        """Return the cells that could not be measured."""
        return [cell for cell in self.cells if cell.error]

    @property
    def methods(self) -> list[tuple[str, str]]:
        """Return the rows: the methods that have a cell, or all methods if the result is not
        complete.
        """
        if not self.complete:
            return self.spec.methods
        measured = {(cell.strategy, cell.recipe) for cell in self.cells}
        return [method for method in self.spec.methods if method in measured]

    def nats(self, index: int, against: int | None = None) -> Ends | None:
        """Return the loss increase of a cell over another, paired by text; None without losses of
        both.

        Args:
            index: Index of the cell.
            against: Index of the other cell; None for the unpruned model.
        """
        if (index, against) not in self._nats:
            first = self.losses[0 if against is None else 1 + against]
            second = self.losses[1 + index]
            self._nats[index, against] = (
                stats.compare_losses(first, second, self.text_tokens) if first and second else None
            )
        return self._nats[index, against]

    @cached_property
    def _nats(self) -> dict[tuple[int, int | None], Ends | None]:
        """Return the cache of `nats`, whose values the tables need several times."""
        return {}

    def gained(self, index: int, against: int | None = None) -> Ends | None:
        """Return the accuracy difference of two cells, paired by question (Bonett and Price), with
        arguments as in `nats`.
        """
        first = self.right[0 if against is None else 1 + against]
        second = self.right[1 + index]
        if not first or not second:
            return None
        gained = sum(after and not before for before, after in zip(first, second, strict=True))
        lost = sum(before and not after for before, after in zip(first, second, strict=True))
        return (gained - lost) / len(first), *stats.paired_interval(gained, lost, len(first))

    def at(self, n: int) -> list[int]:
        """Return the indices of the measured cells of a size."""
        return [index for index, cell in enumerate(self.cells) if cell.n == n and not cell.error]

    def best(self, n: int) -> list[int]:
        """Return the indices of the method with the lowest loss at a size, and of methods that
        result in the same model.

        Empty if another method is not significantly worse, or there is no other.
        """
        indices = [index for index in self.at(n) if self.nats(index) is not None]
        means = {
            index: float(np.average(self.losses[1 + index], weights=self.text_tokens))
            for index in indices
        }
        first = min(indices, key=means.__getitem__, default=-1)
        same = [index for index in indices if self.losses[1 + index] == self.losses[1 + first]]
        others = [self.nats(index, first) for index in indices if index not in same]
        return (
            same
            if others
            and all(ends is not None and ends[1] is not None and ends[1] > 0 for ends in others)
            else []
        )

    def tables(self) -> dict[str, Table]:
        """Return tables of methods by size, in nats and in accuracy, and of all cells."""
        columns = (
            Column("strategy"),
            Column("recipe", missing=""),
            Column("n"),
            Column("removed", missing="", parts=("start", "size")),
            *REMOVED[1:],
            *interval_columns("nats", "loss increase, nats/token", format="+.3f"),
            *interval_columns("acc", "change in accuracy", format="+.3f"),
            Column("wall_s", "healing run with scoring", "s", ".0f"),
            Column("error", "not measured because", missing=""),
        )
        rows = [
            {
                **asdict(cell),
                "size": cell.n,
                **interval_values("nats", self.nats(index)),
                **interval_values("acc", self.gained(index)),
            }
            for index, cell in enumerate(self.cells)
        ]
        lowest = Column("best", "lowest loss at n", missing="")
        return {
            "nats": self._by_size(
                "Loss increase over the unpruned model, nats/token", self.nats, lowest
            ),
            "accuracy": self._by_size("Change in accuracy", self.gained),
            "cells": Table("Every method at every size", columns, rows, self.measured_on()),
        }

    def _by_size(self, title: str, find: Callable[[int], Ends | None], *more: Column) -> Table:
        """Return a table with a row per method and a column per size."""
        best = {index for n in self.spec.ns for index in self.best(n)}
        sizes = (
            column
            for n in self.spec.ns
            for column in interval_columns(f"n{n}", f"n = {n}", format="+.3f")
        )
        rows = []
        for method in self.methods:
            row: dict[str, Any] = {"method": method_name(*method)}
            of_method = [
                index
                for index, cell in enumerate(self.cells)
                if (cell.strategy, cell.recipe) == method
            ]
            for index in of_method:
                row |= interval_values(f"n{self.cells[index].n}", find(index))
            rows.append(
                row
                | {
                    "best": (
                        ", ".join(str(self.cells[index].n) for index in of_method if index in best)
                        or None
                    )
                }
            )
        return Table(title, (Column("method"), *sizes, *more), rows, self.measured_on())

    def measured_on(self) -> str:
        """Return the questions and texts of the measurement, and the meaning of the numbers."""
        benchmark = self.spec.benchmark
        so_far = "" if self.complete else f" {len(self.cells)} cells so far."
        trained = [recipe for recipe in self.spec.recipes if recipes.get(recipe).spec().trains]
        time = (
            f" Healing runs of at most {self.spec.minutes:g} minutes, scoring included"
            f" ({', '.join(trained)})."
            if trained
            else ""
        )
        protected = (
            f" Protected: {removal(self.spec.protect).brief()}." if self.spec.protect else ""
        )
        return (
            f"{self.ran_in}, {len(self.right[0])} questions of {questions.title(benchmark)}, seed"
            f" {benchmark.seed}, and {len(self.losses[0])} texts of"
            f" {corpora.title(self.spec.loss_corpus)}. No method chose, fitted or trained on"
            f" them.{time} Differences from the unpruned model on the same texts and questions,"
            " with 95 % intervals. A method is named as the lowest only if its interval against"
            f" each other one excludes zero.{protected}{so_far}"
        )


register(
    Experiment(
        MethodsSpec,
        MethodsResult,
        run="analysis.experiments.batch.methods:run",
        title="Methods",
        help=(
            "Strategies without and with healing, at several sizes, on the same questions and text."
        ),
    )
)
