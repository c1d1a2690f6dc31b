"""What is stored of one model, and what of it was measured of one cut."""

import contextlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from operator import attrgetter
from typing import Any, TypeVar

from analysis.core import index, store
from analysis.core.blocks import Removal
from analysis.core.errors import CorruptResultError, ModelNotFoundError
from analysis.core.index import Like, Scoring, Wanted
from analysis.core.registry import RESULTS
from analysis.data import starter
from analysis.data.spec import BenchmarkSpec, CorpusSpec
from analysis.experiments.accuracy.points import Point
from analysis.experiments.accuracy.spec import EvaluateResult, EvaluateSpec, SweepResult, SweepSpec
from analysis.experiments.heal.spec import HealResult
from analysis.models import identity as identities
from analysis.models.spec import ModelSpec
from analysis.reading import evidence, runs, selection
from analysis.reading.found import Found, of_entry
from analysis.reading.reading import ACCURACY, LOSS

_MATERIALS = 100
"""A statement holds no more questions and texts than this."""

T = TypeVar("T")


def found(
    kind: str,
    model: ModelSpec | None = None,
    *,
    any_precision: bool = True,
    wait: bool = False,
    most: int | None = None,
    having: tuple[tuple[str, Any], ...] = (),
    first: str = "",
) -> list[Found]:
    """Return stored results of a kind as the index knows them; none is opened.

    Args:
        kind: a key of `registry.RESULTS`.
        model: only results of the same weights, wherever these lay, the strongest evidence first as `preferred` has it; without
            it they are newest first and precomputed ones last.
        any_precision: also those in another quantization than the model's.
        wait: whether to wait until every stored result was read once; else those that were not are missing for a while.
        most: number of results at most; None for all.
        having, first: as in `index.best`.
    """
    if model is None:
        wanted = Wanted((kind,), having=having)
        return [of_entry(entry) for entry in index.entries(wanted, most=most, wait=wait)]
    wanted = _of_model((kind,), model, any_precision=any_precision, having=having)
    return [of_entry(entry) for entry in index.best(wanted, _like(model), most=most, first=first, wait=wait)]


def counted(
    kind: str, model: ModelSpec, *, any_precision: bool = True, having: tuple[tuple[str, Any], ...] = (), text: str = ""
) -> int:
    """Return the number of results that `found` would list.

    Args:
        kind, model, any_precision, having: as in `found`.
        text: words that all occur in the description of a result.
    """
    wanted = _of_model((kind,), model, any_precision=any_precision, having=having)
    return index.count(replace(wanted, words=tuple(text.lower().split())))


def _of_model(
    kinds: tuple[str, ...], model: ModelSpec, *, any_precision: bool = True, having: tuple[tuple[str, Any], ...] = ()
) -> Wanted:
    held = None if any_precision else model.quantization
    return Wanted(kinds, weights(model), having=having, quantization=held)


def _like(model: ModelSpec) -> Like:
    return Like(model.source, model.dtype, model.quantization)


ELSEWHERE = 20
"""So many other conditions are shown in which a block was scored, of accuracy and of loss each."""


@dataclass(frozen=True)
class Scorings:
    """The stored results that score blocks of a model, asked of the index; only those that matter are opened."""

    model: ModelSpec
    kinds: tuple[str, ...] = ("evaluate", "sweep", "heal")
    """One after the other; heals in any quantization, the others in the model's alone."""

    @property
    def _wanted(self) -> Wanted:
        held = self.model.quantization
        return Wanted(self.kinds, weights(self.model), having=(("is_score", 1),), quantization=held, in_any=("heal",))

    def of(self, removed: Removal | None, shown: Found | None = None) -> list[Found]:
        """Return the results that `selection.select` needs to find the scores of a block, in the order in which they count.

        Every other result answers the same as one of these, only weaker, or under another condition than the first `ELSEWHERE`.

        Args:
            removed: the removed layers; None for the unpruned model.
            shown: the result whose dataset, texts and precision are selected; it comes first. None for the first that scores
                the block, else the first that scores anything.
        """
        cut, first = runs.cut_key(removed), list[Found]()
        if shown is None:
            any_score = Scoring(of_repaired=True)
            first = self._opened([number for number, _ in self._ask(Scoring(cut=cut)) or self._ask(any_score)])
        conditions = selection.conditions_of(shown.result if shown else first[0].result) if shown or first else {}
        selected = {name: runs.condition_key(name, conditions[name]) for name in (ACCURACY, LOSS) if name in conditions}
        numbers = set[int]()
        for each in dict.fromkeys(("", cut)):
            for asked in [*((one,) for one in selected.values()), *([tuple(selected.values())] if len(selected) > 1 else [])]:
                numbers.update(number for number, _ in self._ask(Scoring(asked, each)))
        for name in (ACCURACY, LOSS) if removed is not None else ():
            other = Scoring(cut=cut, quantity=name, but=selected.get(name, ""), needs_unpruned=True)
            elsewhere = self._ask(other, ELSEWHERE, per_condition=True)
            unpruned = Scoring(tuple(sorted(condition for _, condition in elsewhere)), "")
            beside = self._ask(unpruned, ELSEWHERE, per_condition=True) if elsewhere else []
            numbers.update(number for number, _ in [*elsewhere, *beside])
        found = [one for one in self._opened(numbers) if shown is None or one.id != shown.id]
        own = {one.id for one in found}
        return [*([shown] if shown else []), *(one for one in first if one.id not in own), *found]

    def strongest(self, most: int, shown: Found | None = None) -> list[Found]:
        """Return the strongest results of each kind, and the strongest under the conditions of the one on screen.

        Args:
            most: number of results of each kind, and of each condition.
            shown: comes first.
        """
        like, wanted = _like(self.model), self._wanted
        numbers = {one for kind in self.kinds for one in index.numbers_of(replace(wanted, kinds=(kind,)), like, most=most)}
        held = {} if shown is None else selection.conditions_of(shown.result)
        for name, column in ((ACCURACY, "accuracy_on"), (LOSS, "loss_on")):
            if name in held:
                alike = (*wanted.having, (column, runs.condition_key(name, held[name])))
                numbers.update(index.numbers_of(replace(wanted, having=alike), like, most=most))
        found = [one for one in self._opened(numbers) if shown is None or one.id != shown.id]
        return [*([shown] if shown else []), *found]

    def _ask(self, scoring: Scoring, most: int = 1, *, per_condition: bool = False) -> list[tuple[int, str]]:
        return index.scored(self._wanted, _like(self.model), scoring, most=most, per_condition=per_condition)

    def _opened(self, numbers: Iterable[int]) -> list[Found]:
        return [of_entry(entry) for entry in index.best(self._wanted, _like(self.model), numbers=sorted(numbers))]


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
