"""Shards: independent parts of an experiment that any process with the model can measure.

A shard is stored under a hash of its content, and its values depend on nothing else, so that any
number of processes gives the same result. The normal run of a request looks up each shard before
measuring it. To share work, several processes measure the missing shards, and the request then runs
with all of them stored. Shards of a process that was lost are reused.
"""

import contextlib
import hashlib
import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np

from analysis.core import disk, store
from analysis.core.errors import CorruptResultError
from analysis.core.progress import OnProgress
from analysis.core.record import Spec

FOLDER = "shard"
"""Folder of the shards within the results."""
_KEPT_S = 14 * 24 * 3600.0
"""Maximum age of the shards of unfinished requests, in seconds."""


@dataclass(frozen=True)
class Shard:
    """Unit of work that one process measures."""

    kind: str
    """Kind of measurement: "distance", "damage", "questions", "texts"."""
    content: Mapping[str, Any] = field(hash=False)
    """Everything that its values depend on, as JSON types: model with identity, texts or questions,
    removals."""
    size: int = field(default=1, compare=False)
    """Amount of work, comparable between the shards of one request."""

    @property
    def address(self) -> str:
        """Hash of the content, twenty hexadecimal digits."""
        canonical = json.dumps(
            {"kind": self.kind, "content": self.content}, sort_keys=True, separators=(",", ":")
        )
        return hashlib.sha256(canonical.encode()).hexdigest()[:20]

    def is_stored(self) -> bool:
        """Return whether the shard is stored."""
        return (store.result_dir(FOLDER, self.address) / "result.json").exists()

    def figures(self) -> dict[str, np.ndarray] | None:
        """Return the stored values by name; None if there are none or they are damaged, which moves
        them aside.
        """
        try:
            stored = store.load_result(FOLDER, self.address)
            return None if stored is None else stored.arrays()
        except CorruptResultError:
            store.discard_result(FOLDER, self.address)
            return None

    def keep(self, figures: Mapping[str, np.ndarray]) -> None:
        """Store the measured values.

        Raises:
            StorageError: if the disk is full or the cache is not writable.
        """
        store.save_result(
            FOLDER, self.address, {"kind": self.kind, "content": dict(self.content)}, figures
        )


class Work(Protocol):
    """Interface of a request that is prepared in one process, with its model loaded and its data
    tokenized.

    Experiments that can be shared name their class in `Experiment.shards`.
    """

    reads_disk: bool
    """Whether the layers are streamed from disk. If so, a process measures all its shards in one
    pass."""

    def __init__(self, spec: Spec, on_progress: OnProgress, *, load: Any) -> None:
        """Prepare a resolved request; `load` is a `models.loading.load.Loader`."""

    @staticmethod
    def resolve(spec: Any) -> Any:
        """Return the request with concrete dtype, device and identities."""

    @staticmethod
    def before(spec: Any) -> Sequence[Spec]:
        """Return the requests that must be answered first, in order (default: none)."""
        return []

    def missing(self) -> list[Shard]:
        """Return the shards that are not stored, in the order of the request."""

    def measure(self, shards: Sequence[Shard], on_progress: OnProgress) -> None:
        """Measure and store shards."""


def forget(shards: Sequence[Shard]) -> None:
    """Delete the shards of an answered request."""
    for shard in shards:
        disk.remove(store.result_dir(FOLDER, shard.address))


def remove_leftovers() -> None:
    """Delete the shards of requests that were not finished for two weeks."""
    for folder in list((store.cache_dir() / "results" / FOLDER).glob("*")):
        with contextlib.suppress(OSError):
            if time.time() - folder.stat().st_mtime > _KEPT_S:
                disk.remove(folder)
