"""What is stored of one model, and what of it was measured of one cut."""

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

from analysis.core import store
from analysis.core.blocks import Removal
from analysis.core.errors import CorruptResultError, ModelNotFoundError
from analysis.core.record import Result
from analysis.core.registry import RESULTS
from analysis.data import starter
from analysis.data.spec import BenchmarkSpec, CorpusSpec
from analysis.experiments.accuracy.points import Point
from analysis.experiments.accuracy.spec import EvaluateResult, SweepResult
from analysis.experiments.heal.spec import HealResult
from analysis.models import identity as identities
from analysis.models.spec import ModelSpec


def of(kind: str, model: ModelSpec) -> list[Any]:
    """Readable results of a kind, arrays left on disk: newest first, those of other quantizations and precomputed ones last.

    Args:
        kind: a key of `registry.RESULTS`.
        model: only results of the same weights count, wherever these lay; those that lay here come first.
    """
    now = identity(model)
    found: dict[str, Any] = {}
    for stored, result in _stored(kind):
        if is_of(result, model, now):
            found.setdefault(stored.path.name, result)

    def order(result: Any) -> tuple[bool, bool]:
        own = result.spec.model
        return own.quantization != model.quantization, own.source != model.source

    return sorted(found.values(), key=order)


def identity(model: ModelSpec) -> str:
    """What the weights are that a spec asks about, found without loading them; "" where that is not known.

    A resolved spec says so itself; any other asks about what lies under its name or path now.
    """
    if model.identity:
        return model.identity
    if model.source == "starter":
        with contextlib.suppress(ModelNotFoundError):
            return starter.model_identity()
        return ""
    if identities.stamps(model.source):
        return identities.here(model.source)
    # A hub id, or files that are gone: what the newest result of it was measured on.
    return _last_identity(model)


def is_of(result: Result, model: ModelSpec, now: str) -> bool:
    """Whether a result was measured on a model's weights; told by its name where either identity is not known.

    Args:
        result: of any kind; one of no model at all is not of this one.
        model: the model asked about.
        now: its `identity`, which does not change from one result to the next.
    """
    own = getattr(result.spec, "model", None)
    if own is None:
        return False
    return own.identity == now if own.identity and now else is_named(result, model)


def is_named(result: Result, model: ModelSpec) -> bool:
    """Whether a result was measured under a model's name or path and revision, whatever weights lay there then."""
    own = getattr(result.spec, "model", None)
    return own is not None and own.source == model.source and (own.revision or None) == (model.revision or None)


def _last_identity(model: ModelSpec) -> str:
    known = [
        (stored.saved_at, result.spec.model.identity)
        for kind in RESULTS
        for stored, result in _stored(kind)
        if not stored.precomputed and is_named(result, model) and result.spec.model.identity
    ]
    return max(known)[1] if known else ""


def _stored(kind: str) -> Iterator[tuple[store.Stored, Any]]:
    for stored in store.find_results(kind):
        with contextlib.suppress(CorruptResultError):
            yield stored, RESULTS[kind].read(replace(stored, array_files=()))


@dataclass(frozen=True)
class Scored:
    """What one cut scored beside the unpruned model, on the same questions and texts."""

    model: ModelSpec
    """As it was scored: in which precision."""
    unpruned: Point | None
    pruned: Point | None
    healed: Point | None
    benchmark: BenchmarkSpec | None
    corpus: CorpusSpec | None
    versions: dict[str, str]


def scored(model: ModelSpec, cut: Removal, heal: HealResult | None = None) -> Scored | None:
    """Scores of a cut: those of its heal, else of a curve that passes through it, else of evaluations; None without any."""
    if heal is not None:
        spec = heal.spec
        return Scored(spec.model, heal.unpruned, heal.pruned, heal.healed, spec.benchmark, spec.validation, heal.versions)
    for sweep in of("sweep", model):
        points = {point.block: point for point in sweep.points}
        if cut in points:
            spec = sweep.spec
            return Scored(spec.model, points.get(None), points[cut], None, spec.benchmark, spec.loss_corpus, sweep.versions)
    for result in _evaluations(model, cut):
        spec = result.spec
        return Scored(spec.model, None, result.point, None, spec.benchmark, spec.loss_corpus, result.versions)
    return None


def _evaluations(model: ModelSpec, cut: Removal) -> Iterator[EvaluateResult]:
    return (result for result in of("evaluate", model) if result.spec.block == cut and result.spec.adapter is None)


def heal_of(model: ModelSpec, adapter: str) -> HealResult | None:
    """The stored heal that made this adapter folder, if it is known."""
    wanted = (store.cache_dir() / adapter).resolve()
    for heal in of("heal", model):
        if heal.adapter and (store.cache_dir() / heal.adapter).resolve() == wanted:
            return heal
    return None


def curves_beside(sweep: SweepResult, sweeps: list[SweepResult]) -> list[SweepResult]:
    """Curves of other strategies, and of other draws of `random`, on the same questions; one each, the longest."""
    found: dict[tuple[str, int], SweepResult] = {}
    for other in sweeps:
        same = (other.spec.model, other.spec.benchmark) == (sweep.spec.model, sweep.spec.benchmark)
        key = (other.spec.strategy, other.spec.draw)
        is_other = same and key != (sweep.spec.strategy, sweep.spec.draw)
        if is_other and (key not in found or len(other.points) > len(found[key].points)):
            found[key] = other
    return [found[key] for key in sorted(found)]
