"""What is stored of one model, and what of it was measured of one cut."""

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from operator import attrgetter
from typing import Any, TypeVar

from analysis.core import store
from analysis.core.blocks import Removal
from analysis.core.errors import CorruptResultError, ModelNotFoundError
from analysis.core.record import Result
from analysis.core.registry import RESULTS
from analysis.data import starter
from analysis.data.spec import BenchmarkSpec, CorpusSpec
from analysis.experiments.accuracy.points import Point
from analysis.experiments.accuracy.spec import EvaluateResult, EvaluateSpec, SweepResult, SweepSpec
from analysis.experiments.heal.spec import HealResult
from analysis.models import identity as identities
from analysis.models.spec import ModelSpec
from analysis.reading import evidence

T = TypeVar("T")


def of(kind: str, model: ModelSpec) -> list[Any]:
    """Readable results of a kind, arrays left on disk: strongest evidence first, of equal ones the newest, precomputed last.

    Args:
        kind: a key of `registry.RESULTS`.
        model: only results of the same weights count, wherever these lay.
    """
    now = identity(model)
    found: dict[str, Any] = {}
    for stored, result in _stored(kind):
        if is_of(result, model, now):
            found.setdefault(stored.path.name, result)
    return preferred(list(found.values()), model)


def preferred(found: Sequence[T], model: ModelSpec, *, result: str = "") -> list[T]:
    """Results of one model in the order in which they answer what is asked of it.

    Those in the quantization and the dtype that are asked for come first, then the strongest evidence, then what was measured
    where the weights lie now; equal ones stay in the order they are in.

    Args:
        found: results, or what holds one, newest first.
        model: as asked for.
        result: the name of the attribute that holds it.
    """
    spec = attrgetter(f"{result}.spec" if result else "spec")

    def read(one: T) -> ModelSpec | None:
        return getattr(spec(one), "model", None)

    def fits(one: T) -> tuple[bool, bool]:
        own = read(one)
        if own is None:
            return False, False
        return own.quantization != model.quantization, model.dtype not in ("auto", own.dtype)

    here = sorted(found, key=lambda one: getattr(read(one), "source", None) != model.source)
    return sorted(evidence.ranked(here, result=result), key=fits)


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
        result: of any kind; one of several models is of each whose weights are known, and one of no model is not of this one.
        model: the model asked about.
        now: its `identity`, which does not change from one result to the next.
    """
    own = getattr(result.spec, "model", None)
    if own is None:
        return bool(now) and now in [one.identity for one in getattr(result.spec, "models", ())]
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
    """Scores of a cut: those of its heal, else the strongest of a curve through it or of it alone; None without any."""
    if heal is not None:
        spec = heal.spec
        return Scored(spec.model, heal.unpruned, heal.pruned, heal.healed, spec.benchmark, spec.validation, heal.versions)
    curves = [sweep for sweep in of("sweep", model) if _points(sweep).get(cut)]
    alone = [result for result in of("evaluate", model) if result.spec.adapter is None]
    of_cut: list[SweepResult | EvaluateResult] = [*curves, *(result for result in alone if result.spec.block == cut)]
    for best in preferred(of_cut, model)[:1]:
        spec, points = best.spec, _points(best)
        same = [other for other in alone if asks_the_same(other.spec, spec)]
        unpruned = next((found for one in (best, *same) if (found := _points(one).get(None))), None)
        return Scored(spec.model, unpruned, points[cut], None, spec.benchmark, spec.loss_corpus, best.versions)
    return None


def _points(result: SweepResult | EvaluateResult) -> dict[Removal | None, Point]:
    return {point.block: point for point in (result.points if isinstance(result, SweepResult) else [result.point])}


def asks_the_same(one: SweepSpec | EvaluateSpec, other: SweepSpec | EvaluateSpec) -> bool:
    """Whether two requests ask the same of one model in one precision: the same questions and the same texts."""

    def asked(spec: SweepSpec | EvaluateSpec) -> tuple[Any, ...]:
        model = spec.model
        return model.identity or model.source, model.dtype, model.quantization, spec.benchmark, spec.loss_corpus

    return asked(one) == asked(other)


def heal_of(model: ModelSpec, adapter: str) -> HealResult | None:
    """The stored heal that made this adapter folder, if it is known."""
    wanted = (store.cache_dir() / adapter).resolve()
    for heal in of("heal", model):
        if heal.adapter and (store.cache_dir() / heal.adapter).resolve() == wanted:
            return heal
    return None


def curves_beside(sweep: SweepResult, sweeps: list[SweepResult]) -> list[SweepResult]:
    """Curves of other strategies, and of other draws of `random`, on the same questions; the strongest of each."""
    found: dict[tuple[str, int], SweepResult] = {}
    for other in evidence.ranked(sweeps):
        same = (other.spec.model, other.spec.benchmark) == (sweep.spec.model, sweep.spec.benchmark)
        key = (other.spec.strategy, other.spec.draw)
        if same and key != (sweep.spec.strategy, sweep.spec.draw):
            found.setdefault(key, other)
    return [found[key] for key in sorted(found)]
