"""Stored results of one model, and the measurements of one pruning of it, found through the index.

The index orders several by `core.index.Ranking`: quantization, dtype, evidence (`stored.evidence`), committed last, newest
first.
"""

import contextlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeVar

from analysis.core import host, index, index_table, store
from analysis.core.blocks import Removal
from analysis.core.errors import CorruptResultError, ModelNotFoundError
from analysis.core.experiment import RESULTS
from analysis.core.index import Ranking, ResultFilter, Scoring
from analysis.data import starter
from analysis.experiments.heal.heal_result import HealResult
from analysis.models.source import identity as identities
from analysis.models.source.model_spec import AUTO, DTYPES, QUANTIZATIONS, ModelSpec
from analysis.results.stored import pack_list, reading, summaries
from analysis.results.stored.reading import ACCURACY, LOSS
from analysis.results.stored.result import FoundResult, of_entry

T = TypeVar("T")


def find(
    kind: str,
    model: ModelSpec | None = None,
    *,
    any_precision: bool = True,
    most: int | None = None,
    having: tuple[tuple[str, Any], ...] = (),
    first: str = "",
    text: str = "",
) -> list[FoundResult]:
    """Return stored results of a kind as the index knows them; none is opened.

    Args:
        kind: a key of `RESULTS`.
        model: only results of the same weights, at any path, the strongest evidence first. Without it
            they are newest first and precomputed ones last.
        any_precision: also those in another quantization than the model's.
        most: number of results at most; None for all.
        having, first: as in `index.best`.
        text: words that all occur in the description of a result.
    """
    if model is None:
        wanted = ResultFilter((kind,), words=tuple(text.lower().split()), having=having)
        return [of_entry(entry) for entry in index.entries(wanted, most=most)]
    wanted = _of_model((kind,), model, any_precision=any_precision, having=having, text=text)
    return [of_entry(entry) for entry in index.best(wanted, _ranking(model), most=most, first=first)]


def counted(
    kind: str, model: ModelSpec, *, any_precision: bool = True, having: tuple[tuple[str, Any], ...] = (), text: str = ""
) -> int:
    """Return the number of results that `find` would list.

    Args:
        kind, model, any_precision, having: as in `find`.
        text: words that all occur in the description of a result.
    """
    return index.count(_of_model((kind,), model, any_precision=any_precision, having=having, text=text))


def _of_model(
    kinds: tuple[str, ...],
    model: ModelSpec,
    *,
    any_precision: bool = True,
    having: tuple[tuple[str, Any], ...] = (),
    text: str = "",
) -> ResultFilter:
    quantization = None if any_precision else model.quantization
    return ResultFilter(kinds, weights(model), words=tuple(text.lower().split()), having=having, quantization=quantization)


def _ranking(model: ModelSpec) -> Ranking:
    return Ranking(model.source, model.dtype, model.quantization)


ELSEWHERE = 20
"""Number of other conditions, of accuracy and of loss each, that are shown for a scored block."""


@dataclass(frozen=True)
class Scorings:
    """The stored results that score blocks of a model, in any precision; only the relevant ones are opened.

    They are curves, evaluations and finished healing runs, those in the precision of the model first, then the strongest
    evidence.
    """

    model: ModelSpec
    kinds: tuple[str, ...] = ("sweep", "evaluate", "heal")
    usual: str = ""
    """Of equally strong curves those of this strategy come first; "" for none."""

    @property
    def _like(self) -> Ranking:
        return replace(_ranking(self.model), usual=self.usual)

    @property
    def _wanted(self) -> ResultFilter:
        return ResultFilter(self.kinds, weights(self.model), having=(("is_score", 1),))

    def of(self, removed: Removal | None, shown: FoundResult | None = None, *, most: int = 0) -> list[FoundResult]:
        """Return the results that `scores_of_block.select` needs for the scores of a block, in the order in which they count.

        Every other result answers the same as one of these, only weaker, or under another condition than the first `ELSEWHERE`.

        Args:
            removed: the removed layers; None for the unpruned model.
            shown: the result whose dataset, texts and precision are selected; it comes first. None for the first that scores
                the block, else the first that scores anything.
            most: number of the strongest results of each kind that are returned as well.
        """
        cut, first = summaries.cut_key(removed), list[FoundResult]()
        if shown is None:
            first = self._listed([number for number, _ in self._ask(Scoring(cut=cut)) or self._ask(Scoring())])
        conditions = reading.conditions_of(shown.result if shown else first[0].result) if shown or first else {}
        selected = {name: summaries.condition_key(name, conditions[name]) for name in (ACCURACY, LOSS) if name in conditions}
        numbers = self._strongest(most, shown) if most else set[int]()
        for cut_key in dict.fromkeys(("", cut)):
            for quantities in [
                *((quantity,) for quantity in selected.values()),
                *([tuple(selected.values())] if len(selected) > 1 else []),
            ]:
                numbers.update(number for number, _ in self._ask(Scoring(quantities, cut_key)))
        for name in (ACCURACY, LOSS) if removed is not None else ():
            request = Scoring(cut=cut, quantity=name, but=selected.get(name, ""), needs_unpruned=True)
            elsewhere = self._ask(request, ELSEWHERE, per_condition=True)
            unpruned = Scoring(tuple(sorted(condition for _, condition in elsewhere)), "")
            elsewhere_numbers = self._ask(unpruned, ELSEWHERE, per_condition=True) if elsewhere else []
            numbers.update(number for number, _ in [*elsewhere, *elsewhere_numbers])
        entries = self._behind(shown, numbers)
        listed = {entry.id for entry in entries}
        return [*(entry for entry in first if entry.id not in listed), *entries]

    def strongest(self, most: int, shown: FoundResult | None = None) -> list[FoundResult]:
        """Return the strongest results of each kind, and the strongest under the conditions of the one on screen.

        Args:
            most: number of results of each kind, and of each condition.
            shown: comes first.
        """
        return self._behind(shown, self._strongest(most, shown))

    def _strongest(self, most: int, shown: FoundResult | None) -> set[int]:
        like, wanted = self._like, self._wanted
        numbers = {
            number for kind in self.kinds for number in index.numbers_of(replace(wanted, kinds=(kind,)), like, most=most)
        }
        conditions = {} if shown is None else reading.conditions_of(shown.result)
        for name, column in ((ACCURACY, "accuracy_on"), (LOSS, "loss_on")):
            if name in conditions:
                same_condition = (*wanted.having, (column, summaries.condition_key(name, conditions[name])))
                numbers.update(index.numbers_of(replace(wanted, having=same_condition), like, most=most))
        return numbers

    def _ask(self, scoring: Scoring, most: int = 1, *, per_condition: bool = False) -> list[tuple[int, str]]:
        return index.scored(self._wanted, self._like, scoring, most=most, per_condition=per_condition)

    def _listed(self, numbers: Iterable[int]) -> list[FoundResult]:
        return [of_entry(entry) for entry in index.best(self._wanted, self._like, numbers=sorted(numbers))]

    def _behind(self, shown: FoundResult | None, numbers: Iterable[int]) -> list[FoundResult]:
        entries = [entry for entry in self._listed(numbers) if shown is None or entry.id != shown.id]
        return entries if shown is None else [shown, *entries]


def packs_of(model: ModelSpec) -> list[str]:
    """Return the titles of the opened packs that have results of a model."""
    known = weights(model)
    having = [one for one in pack_list.opened() if index.count(ResultFilter(tuple(RESULTS), known, places=(one.place,)))]
    return [one.title for one in having]


def datasets(model: ModelSpec, *, most: int) -> list[tuple[FoundResult, int]]:
    """Return the strongest curve of a model on each dataset, with the largest number of questions of its curves.

    Args:
        model: curves in its quantization count.
        most: number of datasets at most.
    """
    wanted = _of_model(("sweep",), model, any_precision=False)
    return [(of_entry(entry), n) for entry, n in index.firsts(wanted, _ranking(model), ("dataset",), most=most)]


def curves_on_same_questions(shown: FoundResult, model: ModelSpec, *, most: int) -> list[FoundResult]:
    """Return the strongest curve of each strategy and draw on the questions and in the precision of a curve.

    Of equally strong ones the curve on the same distance map comes first.

    Args:
        shown: the curve.
        model: the model that it is of.
        most: number of curves at most.
    """
    spec = shown.result.spec
    same_curve = (("asked_model", summaries.key_of(spec.model)), ("questions", shown.summary.questions))
    wanted = _of_model(("sweep",), model, having=same_curve)
    first = f"strength DESC, map != '{summaries.key_of(spec.distances)}'"
    return [of_entry(entry) for entry, _ in index.firsts(wanted, _ranking(model), ("strategy", "draw"), most=most, first=first)]


def measured_on(kinds: Sequence[str], conditions: Sequence[reading.Condition], most: int = 2000) -> list[FoundResult]:
    """Return results of any model on the same questions or texts as these conditions, in any precision, newest first.

    Args:
        kinds: the kinds of the results.
        conditions: their questions and texts count, their model and precision do not.
        most: largest number of results.
    """
    pairs = [(dtype, quantization) for dtype in DTYPES if dtype != AUTO for quantization in QUANTIZATIONS]
    precisions = [ModelSpec(dtype=dtype, quantization=quantization).precision for dtype, quantization in pairs]
    keys = tuple(sorted({summaries.material_key(one, condition) for one in precisions for condition in conditions}))
    return [of_entry(entry) for entry in index.entries(ResultFilter(tuple(kinds), materials=keys), most=most)] if keys else []


_TIMED = 500
"""So many measurements of this machine are read at most to predict durations."""


def of_here(kind: str) -> list[FoundResult]:
    """Return measurements of this machine, the newest first; no more of them than it takes to predict durations here."""
    wanted = ResultFilter((kind,), words=(host.processor().lower(),), places=(index_table.OWN,))
    return [of_entry(entry) for entry in index.entries(wanted, most=_TIMED)]


LISTED = 100
"""A report lists no more results of a kind than these, the strongest."""


def of(
    kind: str,
    model: ModelSpec,
    *,
    most: int | None = None,
    having: tuple[tuple[str, Any], ...] = (),
    chosen: Sequence[str] = (),
    and_of: tuple[tuple[str, Any], ...] = (),
) -> list[Any]:
    """Readable results of a kind, arrays left on disk: strongest evidence first, of equal ones the newest, precomputed last.

    Args:
        kind: a key of `RESULTS`.
        model: only results of the same weights count, wherever these lay.
        most: number of results at most; None for all.
        having: columns of the index with their values.
        chosen: fingerprints of results that come first.
        and_of: columns with values; the results that have them count beyond the strongest, no more than `most` for each.
    """
    entries = find(kind, model, most=most, having=having)
    if most is not None and len(entries) >= most:
        further = [*and_of, *([("key", tuple(chosen))] if chosen else [])]
        beyond = [entry for condition in further for entry in find(kind, model, most=most, having=(*having, condition))]
        keys = tuple({entry.key for entry in [*entries, *beyond]})
        entries = find(kind, model, having=(*having, ("key", keys)))
    return read_all(sorted(entries, key=lambda entry: entry.key not in chosen))


def read_all(entries: Sequence[FoundResult]) -> list[Any]:
    """Return the results, without those that cannot be read."""
    results = []
    for entry in entries:
        with contextlib.suppress(CorruptResultError):
            results.append(entry.result)
    return results


def weights(model: ModelSpec) -> tuple[str, str, str]:
    """Return the weights of a model in the form that the index is queried with."""
    return identity(model), model.source, model.revision or ""


def identity(model: ModelSpec) -> str:
    """Return the identity of the weights that a spec asks about, without loading them; "" where it is not known.

    A resolved spec says so itself; any other asks about the weights under its name or path now.
    """
    if model.identity:
        return model.identity
    if model.source == "starter":
        with contextlib.suppress(ModelNotFoundError):
            return starter.model_identity()
        return ""
    if identities.stamps(model.source):
        return identities.of_local(model.source)
    # A hub id, or files that are gone: the identity that the newest result of it was measured on.
    return index.last_identity(list(RESULTS), model.source, model.revision or "")


def heal_of(model: ModelSpec, adapter: str) -> HealResult | None:
    """The stored heal that made this adapter folder, if it is known."""
    folder, cache = (store.cache_dir() / adapter).resolve(), store.cache_dir().resolve()
    inside = str(folder.relative_to(cache)) if folder.is_relative_to(cache) else ""
    heals = read_all(find("heal", model, most=1, having=(("adapter", tuple({adapter, inside, str(folder)})),)))
    for heal in heals:
        if heal.adapter and (store.cache_dir() / heal.adapter).resolve() == folder:
            return heal
    return None
