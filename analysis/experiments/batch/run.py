"""Measurement of the cells of a batch. The result is saved after each cell and contains
failures.
"""

import gc
from abc import ABC, abstractmethod
from collections.abc import Callable, Hashable, Mapping, Sequence
from typing import Any, ClassVar, Generic, TypeVar

from analysis.core import failures
from analysis.core.errors import LayerscopeError, StorageError
from analysis.core.progress import (
    REMAINING,
    Cancelled,
    OnProgress,
    Progress,
    Stage,
    Stages,
    doing,
    ignore,
)
from analysis.experiments.accuracy import sweep
from analysis.experiments.accuracy.sweep_spec import SweepResult, SweepSpec
from analysis.models.loading.load import LoadedModel, Loader
from analysis.models.source.model_spec import ModelSpec

FATAL: tuple[type[Exception], ...] = (Cancelled, StorageError)
"""Errors that end a batch: a cancel, and storage errors."""
T = TypeVar("T")
KeyT = TypeVar("KeyT", bound=Hashable)
RowT = TypeVar("RowT", bound=tuple[Any, ...])
"""A cell with `name` and `error` ("" if it was measured), and further values for the result."""
ResultT = TypeVar("ResultT")


class Batch(ABC, Generic[KeyT, RowT, ResultT]):
    """Cells of a resolved request, in the order of measuring."""

    phase: ClassVar[str]
    """Reported phase of the batch."""
    nouns: ClassVar[tuple[str, str]]
    """Nouns for a cell and for the batch, such as "curve" and "grid"."""
    fatal: ClassVar[tuple[type[Exception], ...]] = FATAL
    """Errors of one cell that end the batch."""

    def __init__(self, spec: Any, keys: Sequence[KeyT], load: Loader) -> None:
        """Initialize without loading the model."""
        self.spec = spec
        self.keys = keys
        self.model = SharedModel(load)

    @abstractmethod
    def name(self, key: KeyT) -> str:
        """Return the name of a cell."""

    @abstractmethod
    def measure(self, key: KeyT, on_progress: OnProgress) -> RowT:
        """Measure a cell. Errors other than those of `fatal` do not affect other cells."""

    @abstractmethod
    def failed(self, key: KeyT, reason: str) -> RowT:
        """Return the row of a cell that could not be measured."""

    @abstractmethod
    def result(self, rows: Mapping[KeyT, RowT], *, complete: bool) -> Any:
        """Return the result of the measured cells; None if there is nothing to store."""

    def run(self, on_progress: OnProgress, stored: Mapping[KeyT, RowT] | None = None) -> ResultT:
        """Measure every cell, and save the result after each.

        Args:
            on_progress: Called with the progress of the batch.
            stored: Cells that are not measured again and do not count for the time left.

        Raises:
            LayerscopeError: If nothing can be measured, or for an error that ends the batch.
        """
        rows = dict(stored or {})
        noun, batch_noun = self.nouns
        report = _Report(on_progress, self.phase, len(self.keys), self.spec.fingerprint())
        done = {self.name(key): 1.0 if key in rows else 0.0 for key in self.keys}
        stages = Stages(
            report,
            {name: Stage(1.0, resumed=share, finished=share) for name, share in done.items()},
        )
        for index, key in enumerate(self.keys):
            if key in rows:
                continue
            name = self.name(key)
            report.begin(
                len(rows), name, f"{noun.capitalize()} {index + 1} of {len(self.keys)}: {name}."
            )
            stages.begin(name)
            try:
                rows[key] = self.measure(key, stages)
            except self.fatal:
                raise
            except Exception as error:  # any error: other cells may still succeed
                rows[key] = self.failed(
                    key, failures.in_a_sentence(error, doing=f"measuring {name}")
                )
            if reason := rows[key][0].error:
                report.say(f"{name} could not be measured: {reason}")
            partial = self.result(rows, complete=False)
            if partial is not None:
                partial.save()
        report.begin(len(rows), "", "")
        finished = self.result(rows, complete=True)
        if finished is None:
            cell = rows[self.keys[0]][0]
            raise LayerscopeError(
                f"None of the {len(rows)} {noun}s of this {batch_noun} could be measured."
                f" {cell.name}: {cell.error}"
            )
        finished.save()
        measured: ResultT = finished
        return measured


class Once(Generic[T]):
    """A value that is created on first use and shared by cells. If creation fails, all cells get
    the error.
    """

    def __init__(self) -> None:
        """Initialize without a value."""
        self.value: T | None = None
        self._refusal = ""

    def get(self, make: Callable[[], T], doing: str) -> T:
        """Return the value.

        Args:
            make: Function that creates the value, called once.
            doing: Description of the work for error messages.

        Raises:
            LayerscopeError: If creation failed before. The first call raises the original error.
        """
        if self._refusal:
            raise LayerscopeError(self._refusal)
        if self.value is None:
            try:
                self.value = make()
            except FATAL:
                raise
            except Exception as error:
                # Only the message, since the traceback would keep the partly loaded model in
                # memory.
                self._refusal = failures.in_a_sentence(error, doing=doing)
                raise
        return self.value


class SharedModel(Loader):
    """Loader of a batch, which keeps one model for consecutive curves."""

    def __init__(self, load: Loader) -> None:
        """Initialize without a model."""
        self._load = load
        self._spec: ModelSpec | None = None
        self._loaded = Once[LoadedModel]()

    def curve(self, spec: SweepSpec, on_progress: OnProgress) -> SweepResult:
        """Measure a curve; raises the errors of `sweep.run`."""
        if spec.model != self._spec:
            if self._loaded.value is not None:
                self.clear()
            self._spec = spec.model
            self._loaded = Once()
        return sweep.run(spec, on_progress, load=self)

    def __call__(
        self, spec: ModelSpec, on_progress: OnProgress = ignore, /, *, by_layer: bool = False
    ) -> LoadedModel:
        """Return the current model, loading it on first use; raises the errors of loading."""
        return self._loaded.get(
            lambda: self._load(spec, on_progress, by_layer=by_layer), f"loading {spec.source}"
        )

    def clear(self) -> None:
        """Free the memory of the model."""
        self._loaded.value = None
        gc.collect()
        self._load.clear()


class _Report:
    """Progress callback of a cell that reports the progress of the batch."""

    def __init__(self, on_progress: OnProgress, phase: str, total: int, key: str) -> None:
        self._on_progress = on_progress
        self._phase = phase
        self._total = total
        self._key = key
        self._done = 0
        self._name = ""

    def begin(self, done: int, name: str, message: str) -> None:
        """Report the number of finished cells, and begin the next one."""
        self._done = done
        self._name = name
        self.say(message)

    def say(self, message: str) -> None:
        """Report a message for the log."""
        self(Progress("", message=message))

    def __call__(self, inner: Progress) -> None:
        values = {"result_key": self._key, "doing": doing(self._name, inner)}
        values |= {REMAINING: inner.values[REMAINING]} if REMAINING in inner.values else {}
        self._on_progress(Progress(self._phase, self._done, self._total, inner.message, values))
