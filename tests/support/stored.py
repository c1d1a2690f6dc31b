"""Stored results as a walk through all folders finds them, without the index."""

import contextlib

from analysis.core import store
from analysis.core.errors import CorruptResultError


def walked(kind: str) -> list[store.StoredResult]:
    """Return the readable results of a kind, newest first and committed ones last."""
    found = []
    for base, precomputed in (
        (store.cache_dir() / "results", False),
        (store.precomputed_dir(), True),
    ):
        group = []
        for file in sorted((base / kind).glob("*/result.json")):
            with contextlib.suppress(CorruptResultError):
                if not file.parent.suffix:  # else it was moved aside as corrupt
                    group.append(store.read(file.parent, precomputed=precomputed, arrays=True))
        found += sorted(group, key=lambda stored: -stored.saved_at)
    return found
