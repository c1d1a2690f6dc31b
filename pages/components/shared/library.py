"""Results on disk, read once per change and shared by all sessions."""

import contextlib
import functools
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import streamlit as st

from analysis.core import store
from analysis.core.errors import CorruptResultError, ModelNotFoundError
from analysis.core.registry import RESULTS
from analysis.data import starter
from analysis.models import identity as identities
from analysis.models.spec import ModelSpec
from analysis.reading import evidence, library, runs
from analysis.reading.runs import Run, Seen
from pages.components.shared import state


@dataclass(frozen=True)
class Found:
    """A result and where it came from."""

    key: str
    """The fingerprint it is stored under."""
    result: Any
    """A dataclass of `analysis.core.registry`."""
    precomputed: bool
    saved_at: float
    """Seconds since the epoch."""


def find(kind: str, model: ModelSpec | None = None, *, any_precision: bool = False) -> list[Found]:
    """Stored results of a kind; those of `model`, if one is given, the strongest evidence first (`library.preferred`).

    Args:
        kind: a key of `registry.RESULTS`.
        model: only results of the same weights, wherever they lay, and the same quantization; without it they are newest
            first and precomputed ones last.
        any_precision: also those in another quantization.
    """
    found = _read_all(kind, _stamps(kind))
    if model is None:
        return list(found)
    now = identity(model)
    same = [entry for entry in found if library.is_of(entry.result, model, now)]
    if not any_precision:
        same = [entry for entry in same if entry.result.spec.model.quantization == model.quantization]

    # Committed files carry the time of the checkout: among equal precomputed maps the paper's C4 comes first.
    same.sort(key=lambda entry: entry.result.spec.corpus.source if entry.precomputed and kind == "distances" else "")
    return library.preferred(same, model, result="result")


def by_key(kind: str, key: str | None) -> Found | None:
    """The result with this fingerprint, finished or on its way."""
    return next((entry for entry in find(kind) if entry.key == key), None)


def shown(kind: str, found: Sequence[Found], *, by_hand: bool = True) -> Found | None:
    """The result that pages show of a kind: the one picked by hand, else the strongest of what was asked for last.

    Args:
        kind: of the results.
        found: what there is, strongest first.
        by_hand: whether a result that was picked by hand stands for itself, however weak it is.

    Returns:
        One of them; where nothing was asked for the first, and None without any.
    """
    key = state.shown_result(kind, [entry.key for entry in found])
    entry = next((entry for entry in found if entry.key == key), None)
    if entry is None or (by_hand and state.is_picked(kind, entry.key)):
        return entry
    return _rivals(entry, found)[0]


def stronger(entry: Found, found: Sequence[Found]) -> Found | None:
    """The strongest answer to what a result answers, where that is not the result itself."""
    first = _rivals(entry, found)[0]
    return first if evidence.weight(first.result) > evidence.weight(entry.result) else None


def arrived(kind: str, key: str) -> Found | None:
    """Let pages show what a result answers that just came in: by it, or by what is on screen where that is stronger.

    Returns:
        What stays on screen instead of it; None where it is shown.
    """
    new = by_key(kind, key)
    if new is None:
        return None
    others = [entry for entry in find(kind, getattr(new.result.spec, "model", None)) if entry.key != key]
    rivals = [entry for entry in _rivals(new, others) if entry is not new]
    before = shown(kind, rivals)
    if before is None or evidence.weight(before.result) <= evidence.weight(new.result):
        state.ask_for(kind, key)
        return None
    show = state.show_result if state.is_picked(kind, before.key) else state.ask_for
    show(kind, before.key)
    return before


def _rivals(entry: Found, found: Sequence[Found]) -> list[Found]:
    """Of these the answers to the same request, in their order; the result alone where it is not among them."""
    wanted = evidence.request(entry.result)
    return [other for other in found if evidence.request(other.result) == wanted] or [entry]


def live(kind: str, key: str | None) -> Any:
    """The result with this fingerprint as it is on disk now, read by itself: for what grows several times a second."""
    try:
        stored = store.load_result(kind, key) if key else None
        return None if stored is None else RESULTS[kind].read(stored)
    except CorruptResultError:
        return None


def identity(model: ModelSpec) -> str:
    """`library.identity` of what lies under this name or path now, remembered: pages ask on every rerun."""
    if model.source == "starter":
        with contextlib.suppress(ModelNotFoundError):
            return _starter_identity()
        return ""
    stamps = identities.stamps(model.source)
    if stamps:
        return _identity_here(model.source, stamps)
    # A hub id, or files that are gone: what the newest result of it was measured on.
    named = [entry for kind in RESULTS for entry in find(kind) if library.is_named(entry.result, model)]
    known = [entry for entry in named if entry.result.spec.model.identity and not entry.precomputed]
    return max(known, key=lambda entry: entry.saved_at).result.spec.model.identity if known else ""


def of_other_weights(model: ModelSpec) -> list[Found]:
    """Results that were measured under this name or path when other weights lay there; pages do not show them."""
    now = identity(model)
    named = [entry for kind in RESULTS for entry in find(kind) if kind != "inspect" and library.is_named(entry.result, model)]
    return [entry for entry in named if now and entry.result.spec.model.identity not in ("", now)]


def models_seen() -> list[Seen]:
    """One entry for each set of weights, whatever paths it lay at."""
    return runs.models_seen(
        [Run(entry.key, entry.result, entry.precomputed, entry.saved_at, "") for kind in RESULTS for entry in find(kind)]
    )


def usable(one: Seen) -> ModelSpec | None:
    """The model as it can be asked for now: at a path where its weights still are, or else by the name it was last read under.

    None where other weights lie at every path that it was measured at.
    """
    candidates = [replace(one.model, source=source, device="auto", dtype="auto", identity="") for source in one.sources]
    known = {model.source: identity(model) for model in candidates}
    fitting = [model for model in candidates if known[model.source] in ("", one.model.identity) or not one.model.identity]
    return next(iter(fitting), None)


def array(found: Found, name: str) -> Any:
    """One of the array fields that were stored with a result, read from disk; None where it was not kept."""
    try:
        stored = None if found.precomputed else store.load_result(found.result.kind, found.key)
        return RESULTS[found.result.kind].arrays_in(stored).get(name) if stored else None
    except CorruptResultError:
        return None


@functools.lru_cache(maxsize=1)
def _starter_identity() -> str:
    """Asked once: packages do not change under a running server."""
    return starter.model_identity()


@st.cache_data(max_entries=64, show_spinner=False)
def _identity_here(source: str, stamps: identities.Stamps) -> str:
    """Samples of the files are read again only when their sizes or times change."""
    return identities.here(source)


def _stamps(kind: str) -> str:
    """What lies where, cheaply: reading and checking everything on each rerun would make the slider wait.

    One text, since Streamlit takes each part of a tuple by itself whenever it looks for what it remembers.
    """
    stamps = []
    for base in (store.cache_dir() / "results", store.precomputed_dir()):
        for file in sorted((base / kind).glob("*/result.json")):
            status = file.stat()
            stamps.append(f"{file} {status.st_mtime_ns} {status.st_size}")
    return "\n".join(stamps)


@st.cache_resource(max_entries=24, show_spinner=False)
def _read_all(kind: str, stamps: str) -> tuple[Found, ...]:
    found: dict[str, Found] = {}
    for stored in store.find_results(kind):
        if stored.path.name in found:
            continue
        try:
            # Pages draw numbers only; arrays of states can be large and stay on disk.
            result = RESULTS[kind].read(replace(stored, array_files=()))
        except CorruptResultError:
            continue
        found[stored.path.name] = Found(stored.path.name, result, stored.precomputed, stored.saved_at)
    return tuple(found.values())
