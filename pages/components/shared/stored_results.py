"""Stored results on disk: found by their index, read when they are shown, and shared by all
sessions.
"""

import contextlib
import functools
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import streamlit as st

from analysis import service
from analysis.core.blocks import Removal
from analysis.core.errors import AccessError, CorruptResultError, ModelNotFoundError
from analysis.data import starter
from analysis.models.source import identity as identities
from analysis.models.source.model_spec import ModelSpec
from analysis.models.source.sizes import ModelFacts
from analysis.results.compared.runs import StoredModel
from analysis.results.stored import summaries
from analysis.results.stored.result import FoundResult
from pages.components.shared import access, state, words

_WRITES = (("(generation != '')", 1),)
MOST = 50
"""A page lists no more results of a kind than these, the strongest, and those that its visitor
chose."""


def find(
    kind: str,
    model: ModelSpec | None = None,
    *,
    any_precision: bool = False,
    most: int | None = None,
    having: tuple[tuple[str, Any], ...] = (),
    first: str = "",
    text: str = "",
) -> list[FoundResult]:
    """Return stored results of a kind, none opened; those of `model`, if one is given, the
    strongest evidence first.

    Results that the visitor chose are among them, each with the strongest answer to the same
    request.

    Args:
        kind: kind of the results.
        model: only results of the same weights, wherever they lay, and the same quantization;
            without it they are newest first and read-only ones last.
        any_precision: also those in another quantization.
        most: maximum number of results, without the chosen ones (default: `MOST`).
        having, first: columns with their values, and an order that comes before all others, as in
            `service.find`.
        text: words that all occur in the description of a result.
    """
    most = MOST if most is None else most
    if model is None:
        return service.find(kind, None, most=most, having=having)
    of = known(model)
    entries = service.find(
        kind, of, any_precision=any_precision, most=most, having=having, first=first, text=text
    )
    if len(entries) < most:
        return entries
    listed = {entry.key for entry in entries}
    chosen = tuple(key for key in state.chosen_results(kind) if key not in listed)
    if not chosen or first:
        return entries
    further = service.find(kind, of, any_precision=any_precision, having=(*having, ("key", chosen)))
    rivals = [
        service.find(
            kind,
            of,
            any_precision=any_precision,
            most=1,
            having=(*having, ("request", one.summary.request)),
        )[0]
        for one in further
    ]
    keys = tuple({entry.key for entry in [*entries, *further, *rivals]})
    return service.find(kind, of, any_precision=any_precision, having=(*having, ("key", keys)))


def scores_of(kind: str, model: ModelSpec, curve: FoundResult | None = None) -> list[FoundResult]:
    """Return the strongest results of one kind that score blocks, and those under the conditions of
    a result.

    Args:
        kind: "sweep", "evaluate" or "heal"; heals are finished ones in any quantization,
            evaluations those without an adapter.
        model: the model.
        curve: the curve on screen; it is not among them.
    """
    entries = service.strongest(known(model), curve, kinds=(kind,), most=MOST)
    return entries if curve is None else entries[1:]


def generating(kind: str, model: ModelSpec, removed: Removal | None = None) -> list[FoundResult]:
    """Return the strongest curves or evaluations whose models generated text, and those of one
    block.

    Args:
        kind: "sweep" or "evaluate".
        model: the model.
        removed: the block, for evaluations.
    """
    entries = find(kind, model, having=_WRITES)
    if kind == "evaluate" and len(entries) >= MOST:
        blocks = ("", summaries.cut_key(removed))
        of_block = find(kind, model, having=(*_WRITES, ("block", blocks)))
        entries += [
            entry for entry in of_block if entry.key not in {other.key for other in entries}
        ]
    return entries


def datasets(model: ModelSpec) -> list[tuple[FoundResult, int]]:
    """Return the strongest curve on each dataset of a model, with the largest number of questions
    of its curves.
    """
    return service.datasets(known(model), most=MOST)


def curves_alike(curve: FoundResult, model: ModelSpec) -> list[FoundResult]:
    """Return the strongest curve of each strategy and draw on the questions and in the precision of
    a curve.
    """
    return service.curves_on_same_questions(curve, known(model), most=MOST)


def any_of(model: ModelSpec) -> FoundResult | None:
    """Return any stored result that has the sizes of a model, in any precision."""
    kinds = ("distances", "sweep", "inspect", "heal")
    return next(
        (
            entries[0]
            for kind in kinds
            if (entries := find(kind, model, any_precision=True, most=1))
        ),
        None,
    )


def facts(model: ModelSpec) -> ModelFacts | None:
    """Return the sizes of a model from any stored result of it."""
    entry = any_of(model)
    return None if entry is None else entry.result.model


def known(model: ModelSpec) -> ModelSpec:
    """Return the model with the `identity` of the weights that lie under its name or path now."""
    return model if model.identity else replace(model, identity=identity(model))


def by_key(kind: str, key: str | None) -> FoundResult | None:
    """Return the result with this fingerprint, complete or partial."""
    return service.by_key(kind, key)


def shown(kind: str, found: Sequence[FoundResult]) -> FoundResult | None:
    """Return the result that pages show of a kind: the one picked by hand, else the strongest of
    the last request.

    Args:
        kind: of the results.
        found: the candidates, strongest first.

    Returns:
        A candidate; the first one without a request, and None without any.
    """
    key = state.shown_result(kind, [entry.key for entry in found])
    entry = next((entry for entry in found if entry.key == key), None)
    if entry is None or state.is_picked(kind, entry.key):
        return entry
    return _rivals(entry, found)[0]


def _rivals(entry: FoundResult, found: Sequence[FoundResult]) -> list[FoundResult]:
    """Return the results of the same request in their order; only the result itself if it is not
    among them.
    """
    return [other for other in found if other.summary.request == entry.summary.request] or [entry]


def live(kind: str, key: str | None) -> Any:
    """Return the result with this fingerprint as it is on disk now; None if it is damaged or
    gone.
    """
    try:
        entry = by_key(kind, key)
        return None if entry is None else entry.result
    except CorruptResultError:
        return None


def identity(model: ModelSpec) -> str:
    """Return `service.identity` of the weights under this name or path now, remembered: pages ask
    on every rerun.
    """
    if model.source == "starter":
        with contextlib.suppress(ModelNotFoundError):
            return _starter_identity()
        return ""
    try:
        access.check_file(model.source)
    except (
        AccessError
    ):  # the results are for everybody, and files that this visitor may not name are not looked at
        return service.last_identity(model)
    stamps = identities.stamps(model.source)
    if stamps:
        return _identity_here(model.source, stamps)
    return service.identity(model)


def n_of_other_weights(model: ModelSpec) -> int:
    """Return the number of results under this name or path with other weights, which pages do not
    show.
    """
    return service.n_of_other_weights(known(model))


def usable(stored: StoredModel) -> ModelSpec | None:
    """Return the model at a path that still has its weights, or else by the name of its last
    measurement.

    None if every path that it was measured at has other weights.
    """
    candidates = [
        replace(stored.model, source=source, device="auto", dtype="auto", identity="")
        for source in stored.sources
    ]
    identities_now = {model.source: identity(model) for model in candidates}
    fitting = [
        model
        for model in candidates
        if identities_now[model.source] in ("", stored.model.identity) or not stored.model.identity
    ]
    return next(iter(fitting), None)


def show_origin(
    entries: Sequence[FoundResult], help: words.Markdown | None, where: words.Markdown = ""
) -> None:
    """Draw the badge of read-only results: where they come from; nothing if all are of this cache.

    Args:
        entries: the results on screen.
        help: explanation of precomputed ones.
        where: more of it, behind.
    """
    origins = list(dict.fromkeys(entry.origin for entry in entries if entry.origin))
    if not origins:
        return
    partly = "partly " if any(not entry.origin for entry in entries) else ""
    is_pack = origins != ["precomputed"]
    st.badge(
        f"{partly}{words.plain(', '.join(origins))}{where}",
        color="blue" if is_pack else "gray",
        help=(
            "From an opened result pack, read-only. You can compute your own." if is_pack else help
        ),
    )


@functools.lru_cache(maxsize=1)
def _starter_identity() -> str:
    """Asked once: packages do not change under a running server."""
    return starter.model_identity()


@st.cache_data(max_entries=64, show_spinner=False)
def _identity_here(source: str, stamps: identities.Stamps) -> str:
    """Return the identity of the local files, from a cache that sizes and times invalidate."""
    return identities.of_local(source)
