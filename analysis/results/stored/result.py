"""Stored results in lists, menus and tables: their summaries come from the index, their numbers
from disk on demand.
"""

import functools
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import pydantic

from analysis.core import index_table, store
from analysis.core.errors import CorruptResultError
from analysis.core.experiment import EXPERIMENTS
from analysis.core.index import IndexEntry
from analysis.core.index_table import PACKS
from analysis.models.source.model_spec import ModelSpec
from analysis.results.stored import pack_list
from analysis.results.stored.evidence import Weight

KEPT = 1024
"""Size of the LRU cache of read results."""


class KeyFigure(NamedTuple):
    """The number that represents a result in a list."""

    name: str
    """Its name, with the number of removed layers."""
    value: float | None
    """None if it was not measured."""
    low: float | None = None
    """The ends of its 95 % interval; None if it is not known."""
    high: float | None = None


@dataclass(frozen=True)
class Summary:
    """Facts of a result that the index keeps."""

    name: str
    """The model's."""
    layers: int | None
    """Layers of the model; None if the result does not have them."""
    how: str
    """The metric of a map, the strategy of a curve, the recipe of a heal, the block of an
    evaluation."""
    on: str
    """Its questions and texts, in words."""
    precision: str
    """Precision in which the weights were held."""
    n: int
    """Number of questions or, for results without questions, of texts."""
    seed: int | None
    versions: str
    complete: bool
    figures: tuple[KeyFigure, ...]
    """Its key figure; empty for kinds without one."""
    weight: Weight
    """Strength of its evidence."""
    request: str
    """Fingerprint of the request (`evidence.request_key`); results of equal requests are
    alternatives."""
    questions: str
    """The fingerprint of its question set; "" without one."""
    strategy: str
    """Strategy of a curve."""
    model: ModelSpec | None
    """The resolved model of the request; None of results without a model."""


@functools.cache
def codec() -> "pydantic.TypeAdapter[Summary]":
    """Return the reader and writer of the JSON of summaries."""
    return pydantic.TypeAdapter(Summary)


@dataclass(frozen=True)
class FoundResult:
    """A stored result and its origin."""

    kind: str
    key: str
    """The fingerprint it is stored under."""
    precomputed: bool
    saved_at: float
    """Seconds since the epoch."""
    source: IndexEntry

    @property
    def id(self) -> str:
        """Return the unique id KIND:KEY."""
        return f"{self.kind}:{self.key}"

    @property
    def origin(self) -> str:
        """Return the origin of a read-only result: "precomputed", or "pack" and its title; "" for
        one of this cache.
        """
        if self.source.place.startswith(f"{PACKS}/"):
            return f"pack {pack_list.of_place(self.source.place).title}"
        return "precomputed" if self.precomputed else ""

    @cached_property
    def summary(self) -> Summary:
        """Return the facts that are known without reading it."""
        return codec().validate_json(self.source.summary)

    @property
    def result(self) -> Any:
        """Return the result, arrays left on disk: checked when it is read, and kept while it is
        among the last used.

        Raises:
            CorruptResultError: if it was changed or damaged since it was listed.
        """
        return read(self.source)


def of_entry(entry: IndexEntry) -> FoundResult:
    """Return the stored result of an entry of the index."""
    return FoundResult(entry.kind, entry.key, entry.precomputed, entry.saved_at, entry)


def read(entry: IndexEntry) -> Any:
    """Return the result behind an entry of the index, arrays left on disk.

    Raises:
        CorruptResultError: when the content differs from the stored one; the index notes that.
    """
    try:
        return _read(entry, str(store.cache_dir()))
    except CorruptResultError:
        index_table.record(entry.kind, entry.key)
        raise


@functools.lru_cache(maxsize=KEPT)
def _read(entry: IndexEntry, cache: str) -> Any:
    """Read an entry of the index; the cache folder is part of the key."""
    return EXPERIMENTS[entry.kind].result.read(
        store.read(entry.folder, precomputed=entry.precomputed)
    )
