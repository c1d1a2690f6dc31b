"""Results on disk, read once per change and shared by all sessions."""

from dataclasses import dataclass, replace
from typing import Any

import streamlit as st

from analysis import storage
from analysis.errors import CorruptResultError
from analysis.result import Result
from analysis.results import RESULTS
from analysis.specs import ModelSpec

Stamps = tuple[tuple[str, int, int], ...]


@dataclass(frozen=True)
class Found:
    """A result and where it came from."""

    key: str
    """The fingerprint it is stored under."""
    result: Any
    """A dataclass of `analysis.results`."""
    precomputed: bool
    saved_at: float
    """Seconds since the epoch."""


def find(kind: str, model: ModelSpec | None = None, *, any_precision: bool = False) -> list[Found]:
    """Stored results of a kind, newest first and precomputed ones last; only those of `model`, if one is given.

    Args:
        kind: a key of `results.RESULTS`.
        model: only results of the same weights and quantization; those in the asked-for dtype come first.
        any_precision: also those in another quantization.
    """
    found = _read_all(kind, _stamps(kind))
    if model is None:
        return list(found)
    same = [entry for entry in found if _is_of(entry.result, model, any_precision)]

    def order(entry: Found) -> tuple[bool, bool, str]:
        other_dtype = model.dtype not in ("auto", entry.result.spec.model.dtype)
        # Committed files carry the time of the checkout: among precomputed maps the paper's C4 comes first.
        texts = entry.result.spec.corpus.source if entry.precomputed and kind == "distances" else ""
        return other_dtype, entry.precomputed, texts

    return sorted(same, key=order)


def by_key(kind: str, key: str | None) -> Found | None:
    """The result with this fingerprint, finished or on its way."""
    return next((entry for entry in find(kind) if entry.key == key), None)


def _is_of(result: Result, model: ModelSpec, any_precision: bool) -> bool:
    own = result.spec.model
    if own.source != model.source or (model.revision or None) != (own.revision or None):
        return False
    return any_precision or own.quantization == model.quantization


def _stamps(kind: str) -> Stamps:
    """What lies where, cheaply: reading and checking everything on each rerun would make the slider wait."""
    stamps = []
    for base in (storage.cache_dir() / "results", storage.precomputed_dir()):
        for file in sorted((base / kind).glob("*/result.json")):
            status = file.stat()
            stamps.append((str(file), status.st_mtime_ns, status.st_size))
    return tuple(stamps)


@st.cache_resource(max_entries=24, show_spinner=False)
def _read_all(kind: str, stamps: Stamps) -> tuple[Found, ...]:
    found: dict[str, Found] = {}
    for stored in storage.find_results(kind):
        if stored.path.name in found:
            continue
        try:
            # Pages draw numbers only; arrays of states can be large and stay on disk.
            result = RESULTS[kind].read(replace(stored, array_files=()))
        except CorruptResultError:
            continue
        found[stored.path.name] = Found(stored.path.name, result, stored.precomputed, stored.saved_at)
    return tuple(found.values())
