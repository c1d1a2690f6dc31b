"""Pieces of an experiment that stand alone: measured by any process that has the model, stored under a hash of their content.

A shard depends on its content alone, never on the number of processes or the order in which they finish. So one process and
seven find the same figures. Shards of a lost process are kept, and another request for the same piece finds them. The ordinary
run of a request looks every piece up before it measures it. So sharing work means to measure the missing pieces in several
places at once, and then to run the request, which finds everything there.
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
"""Where shards lie among the results."""
_KEPT_S = 14 * 24 * 3600.0
"""How long the shards of a request that nobody finished are kept."""


@dataclass(frozen=True)
class Shard:
    """A piece of work."""

    kind: str
    """Kind of measurement: "distance", "damage", "questions", "texts"."""
    content: Mapping[str, Any] = field(hash=False)
    """All that its figures depend on, and nothing else, in JSON types: model with identity, texts or questions, cuts."""
    size: int = field(default=1, compare=False)
    """How much work it is, in units that only shards of one request have in common."""

    @property
    def address(self) -> str:
        """Twenty hexadecimal digits of its content."""
        canonical = json.dumps({"kind": self.kind, "content": self.content}, sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(canonical.encode()).hexdigest()[:20]

    def is_stored(self) -> bool:
        """Return whether it was measured, here or elsewhere."""
        return (store.result_dir(FOLDER, self.address) / "result.json").exists()

    def figures(self) -> dict[str, np.ndarray] | None:
        """Its figures by name, or None while nobody has measured it; a damaged one is moved aside and counts as that."""
        try:
            stored = store.load_result(FOLDER, self.address)
            return None if stored is None else stored.arrays()
        except CorruptResultError:
            store.discard_result(FOLDER, self.address)
            return None

    def keep(self, figures: Mapping[str, np.ndarray]) -> None:
        """Store its figures.

        Raises:
            StorageError: when the disk is full or the cache cannot be written.
        """
        store.save_result(FOLDER, self.address, {"kind": self.kind, "content": dict(self.content)}, figures)


class Work(Protocol):
    """One request made ready in one process: its model loaded, its texts and questions tokenized.

    An experiment that can be shared names such a class in its registration (`Experiment.shards`).
    """

    reads_disk: bool
    """Whether the model's layers lie on the disk: then all shards of a process go through in one reading."""

    def __init__(self, spec: Spec, on_progress: OnProgress, *, load: Any) -> None:
        """Make a resolved request ready; `load` is a `models.loading.load.Loader`."""

    @staticmethod
    def resolve(spec: Any) -> Any:
        """The request with concrete dtype, device and identities."""

    @staticmethod
    def before(spec: Any) -> Sequence[Spec]:
        """Return the requests that this resolved one rests on, to be answered first, in order; none unless a kind says so."""
        return []

    def missing(self) -> list[Shard]:
        """The pieces that nobody has measured yet, in the order of the request."""

    def measure(self, shards: Sequence[Shard], on_progress: OnProgress) -> None:
        """Measure some of them, and store each."""


def forget(shards: Sequence[Shard]) -> None:
    """Remove shards whose request is answered: its result says the same."""
    for shard in shards:
        disk.remove(store.result_dir(FOLDER, shard.address))


def remove_leftovers() -> None:
    """Remove the shards of requests that nobody has finished for weeks."""
    for folder in list((store.cache_dir() / "results" / FOLDER).glob("*")):
        with contextlib.suppress(OSError):
            if time.time() - folder.stat().st_mtime > _KEPT_S:
                disk.remove(folder)
