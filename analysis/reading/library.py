"""What is stored of one model, and what of it was measured of one cut."""

import contextlib
from collections.abc import Sequence
from dataclasses import dataclass
from operator import attrgetter
from typing import Any, TypeVar

from analysis.core import index, store
from analysis.core.blocks import Removal
from analysis.core.errors import CorruptResultError, ModelNotFoundError
from analysis.core.index import Wanted
from analysis.core.registry import RESULTS
from analysis.data import starter
from analysis.data.spec import BenchmarkSpec, CorpusSpec
from analysis.experiments.accuracy.points import Point
from analysis.experiments.accuracy.spec import EvaluateResult, EvaluateSpec, SweepResult, SweepSpec
from analysis.experiments.heal.spec import HealResult
from analysis.models import identity as identities
from analysis.models.spec import ModelSpec
from analysis.reading import evidence
from analysis.reading.found import Found, of_entry

_MATERIALS = 100
"""A statement holds no more questions and texts than this."""

T = TypeVar("T")


def found(kind: str, model: ModelSpec | None = None, *, any_precision: bool = True, wait: bool = False) -> list[Found]:
    """Stored results of a kind, told by the index and not yet read.

    Args:
        kind: a key of `registry.RESULTS`.
        model: only results of the same weights, wherever these lay, the strongest evidence first as `preferred` has it; without
            it they are newest first and precomputed ones last.
        any_precision: also those in another quantization than the model's.
        wait: whether to wait until all that is stored was read once; else what was not is missing for a while.
    """
    if model is None:
        return [of_entry(entry) for entry in index.entries(Wanted((kind,)), wait=wait)]
    same = [of_entry(entry) for entry in index.entries(Wanted((kind,), weights(model)), wait=wait)]
    if not any_precision:
        same = [one for one in same if getattr(one.summary.model, "quantization", None) in (None, model.quantization)]

    def fits(one: Found) -> tuple[bool, bool]:
        own = one.summary.model
        if own is None:
            return False, False
        return own.quantization != model.quantization, model.dtype not in ("auto", own.dtype)

    # Committed files carry the time of the checkout: among equal precomputed maps the paper's C4 comes first.
    same.sort(key=lambda one: one.summary.on if one.precomputed and kind == "distances" else "")
    same.sort(key=lambda one: getattr(one.summary.model, "source", None) != model.source)
    same.sort(key=lambda one: one.summary.weight, reverse=True)
    return sorted(same, key=fits)


def rivals(kinds: Sequence[str], own: Sequence[Found], most: int = 200) -> list[Found]:
    """Results of other models that may be compared with a model's: on the same questions or texts, in the same precision.

    Args:
        kinds: of which kinds.
        own: the model's results of these kinds.
        most: no more than so many, strongest first.
    """
    materials = sorted({one for entry in own for one in entry.summary.materials})
    if not materials:
        return []
    keys = {entry.id for entry in own}
    alike = [of_entry(entry) for entry in index.entries(Wanted(tuple(kinds), materials=tuple(materials[:_MATERIALS])))]
    others = [entry for entry in alike if entry.id not in keys]
    return sorted(others, key=lambda entry: entry.summary.weight, reverse=True)[:most]


def of(kind: str, model: ModelSpec) -> list[Any]:
    """Readable results of a kind, arrays left on disk: strongest evidence first, of equal ones the newest, precomputed last.

    Args:
        kind: a key of `registry.RESULTS`.
        model: only results of the same weights count, wherever these lay.
    """
    results = []
    for one in found(kind, model, wait=True):
        with contextlib.suppress(CorruptResultError):
            results.append(one.result)
    return results


def weights(model: ModelSpec) -> tuple[str, str, str]:
    """Which weights a model has, as the index is asked for them."""
    return identity(model), model.source, model.revision or ""


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
    return index.last_identity(list(RESULTS), model.source, model.revision or "")


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


def scored(
    model: ModelSpec, cut: Removal, heal: HealResult | None = None, *, shown: SweepResult | None = None
) -> Scored | None:
    """Scores of a cut: those of its heal, else of the strongest curve or evaluation that scores exactly these layers.

    Args:
        model: the model.
        cut: the removed layers.
        heal: a heal of the cut.
        shown: the curve whose dataset, texts and precision are selected; results under this condition come first.

    Returns:
        None without any scores.
    """
    if heal is not None:
        spec = heal.spec
        return Scored(spec.model, heal.unpruned, heal.pruned, heal.healed, spec.benchmark, spec.validation, heal.versions)
    curves = [sweep for sweep in of("sweep", model) if _points(sweep).get(cut)]
    alone = [result for result in of("evaluate", model) if result.spec.adapter is None]
    through: list[SweepResult | EvaluateResult] = [*curves, *(result for result in alone if result.spec.block == cut)]
    of_cut = [result for result in through if _is_scored(_points(result)[cut])]  # some have only generated text
    wanted = None if shown is None else _asked(shown.spec)
    ranked = sorted(preferred(of_cut, model), key=lambda result: _asked(result.spec) != wanted)
    for best in ranked[:1]:
        spec, points = best.spec, _points(best)
        same = [other for other in alone if asks_the_same(other.spec, spec)]
        unpruned = next((found for one in (best, *same) if (found := _points(one).get(None))), None)
        return Scored(spec.model, unpruned, points[cut], None, spec.benchmark, spec.loss_corpus, best.versions)
    return None


def _is_scored(point: Point) -> bool:
    return point.acc is not None or point.loss is not None


def _points(result: SweepResult | EvaluateResult) -> dict[Removal | None, Point]:
    return {point.block: point for point in (result.points if isinstance(result, SweepResult) else [result.point])}


def asks_the_same(one: SweepSpec | EvaluateSpec, other: SweepSpec | EvaluateSpec) -> bool:
    """Whether two requests ask the same of one model in one precision: the same questions and the same texts."""
    return _asked(one) == _asked(other)


def _asked(spec: SweepSpec | EvaluateSpec) -> tuple[Any, ...]:
    model = spec.model
    return model.identity or model.source, model.dtype, model.quantization, spec.benchmark, spec.loss_corpus


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
