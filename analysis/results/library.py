"""Stored results of one model, and the measurements of one pruning of it, found through the index.

`core.index.Ranking` is the one order of preference among several: quantization, dtype, strength
(`stored.evidence`), the lower loss of a healed model, committed last, newest first.
"""

import contextlib
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any

from analysis.core import host, index, index_table
from analysis.core.blocks import Removal
from analysis.core.errors import CorruptResultError, ModelNotFoundError
from analysis.core.experiment import EXPERIMENTS
from analysis.core.index import Ranking, ResultFilter
from analysis.data import starter
from analysis.experiments.heal.heal_result import HealResult
from analysis.models.source import identity as identities
from analysis.models.source.adapter_config import result_name
from analysis.models.source.model_spec import AUTO, DTYPES, QUANTIZATIONS, ModelSpec
from analysis.models.source.weights_format import IN_LLAMA_CPP
from analysis.results.score import stored_scores
from analysis.results.score.condition import Condition
from analysis.results.score.score import ACCURACY, LOSS
from analysis.results.score.stored_scores import SCORED
from analysis.results.stored import pack_list, summaries
from analysis.results.stored.result import FoundResult, of_entry


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
        kind: a key of `EXPERIMENTS`.
        model: only results of the same weights, at any path, the strongest evidence first. Without
            it they are newest first and precomputed ones last.
        any_precision: also those in another quantization than the model's.
        most: number of results at most; None for all.
        having, first: as in `index.entries`.
        text: words that all occur in the description of a result.
    """
    weights_of, like = (None, None) if model is None else (weights(model), _ranking(model))
    quantization = None if any_precision or model is None else model.quantization
    wanted = ResultFilter(
        (kind,),
        weights_of,
        words=tuple(text.lower().split()),
        having=having,
        quantization=quantization,
    )
    return [of_entry(entry) for entry in index.entries(wanted, like=like, most=most, first=first)]


def _ranking(model: ModelSpec) -> Ranking:
    return Ranking(model.source, model.dtype, model.quantization)


ELSEWHERE = 20
"""Number of other conditions, of accuracy and of loss each, that are shown for a scored block."""


def scores_of(
    removed: Removal | None,
    model: ModelSpec,
    shown: FoundResult | None = None,
    *,
    kinds: tuple[str, ...] = SCORED,
    usual: str = "",
    most: int = 0,
) -> list[FoundResult]:
    """Return the results that `scores_of_block.select` needs for the scores of a block, in the
    order in which they count.

    They are in any precision: the precision of the model first, then the strongest evidence. Any
    other result is a weaker one of the same scores, or under another condition than the first
    `ELSEWHERE`.

    Args:
        removed: the removed layers; None for the unpruned model.
        model: the model.
        shown: the result whose dataset, texts and precision are selected; it comes first. None for
            the first that scores the block, else the first that scores anything.
        kinds: kinds of the results.
        usual: of equally strong curves those of this strategy come first; "" for none.
        most: number of the strongest results of each kind that are returned as well.
    """
    wanted = _scoring(model, kinds)
    like = replace(_ranking(model), usual=usual)
    cut = summaries.cut_key(removed)
    scores = index.scores(wanted, like, tuple(dict.fromkeys(("", cut))))
    keys = (
        set[str]()
        if not most
        else {entry.key for entry in strongest(model, shown, kinds=kinds, most=most)}
    )
    first = shown
    if first is None:
        key = next(((("key", score.key),) for score in scores if score.cut == cut), ())
        entries = index.entries(replace(wanted, having=(*wanted.having, *key)), like=like, most=1)
        first = next(map(of_entry, entries), None)
    if first is None:
        return []
    selected = _conditions(first)
    keys |= {first.key} | {score.key for score in scores if score.condition in selected.values()}
    for name in (ACCURACY, LOSS) if removed is not None else ():
        alike = [
            score
            for score in scores
            if score.quantity == name and score.condition != selected.get(name)
        ]
        unpruned = {score.condition: score.key for score in alike if not score.cut}
        pruned = [score for score in alike if score.cut and score.condition in unpruned][:ELSEWHERE]
        keys |= {key for score in pruned for key in (score.key, unpruned[score.condition])}
    having = (*wanted.having, ("key", tuple(keys)))
    return _behind(shown, map(of_entry, index.entries(replace(wanted, having=having), like=like)))


def strongest(
    model: ModelSpec,
    shown: FoundResult | None = None,
    *,
    kinds: tuple[str, ...] = SCORED,
    most: int,
) -> list[FoundResult]:
    """Return the strongest results that score blocks, of each kind and under the conditions of a
    result.

    Args:
        model: the model.
        shown: comes first.
        kinds: kinds of the results.
        most: number of results of each kind, and of each condition.
    """
    wanted = _scoring(model, kinds)
    like = _ranking(model)
    filters = [replace(wanted, kinds=(kind,)) for kind in kinds]
    for name, key in _conditions(shown).items() if shown is not None else ():
        filters.append(replace(wanted, having=(*wanted.having, (_CONDITION_COLUMNS[name], key))))
    entries = [entry for each in filters for entry in index.entries(each, like=like, most=most)]
    if len(filters) > 1:
        having = (*wanted.having, ("key", tuple({entry.key for entry in entries})))
        entries = index.entries(replace(wanted, having=having), like=like)
    return _behind(shown, map(of_entry, entries))


_CONDITION_COLUMNS = {ACCURACY: "accuracy_on", LOSS: "loss_on"}


def _scoring(model: ModelSpec, kinds: tuple[str, ...]) -> ResultFilter:
    return ResultFilter(kinds, weights(model), having=(("is_score", 1),))


def _conditions(entry: FoundResult) -> dict[str, str]:
    """Return the keys of a result's conditions by quantity."""
    conditions = stored_scores.conditions_of(entry.result)
    return {
        name: summaries.condition_key(name, conditions[name])
        for name in _CONDITION_COLUMNS
        if name in conditions
    }


def _behind(shown: FoundResult | None, entries: Iterable[FoundResult]) -> list[FoundResult]:
    return (
        list(entries)
        if shown is None
        else [shown, *(entry for entry in entries if entry.id != shown.id)]
    )


def scoring(removed: Removal | None, model: ModelSpec, *, most: int) -> list[FoundResult]:
    """Return the results that score removed layers without healing, strongest first.

    Args:
        removed: the removed layers; None for the unpruned model.
        model: results of its weights count, those in its precision come first.
        most: maximum number of results.
    """
    wanted = ResultFilter(SCORED, weights(model), cut=summaries.cut_key(removed))
    return [of_entry(entry) for entry in index.entries(wanted, like=_ranking(model), most=most)]


def with_adapter(adapter: str | None, model: ModelSpec) -> list[FoundResult]:
    """Return the results that score a model with an adapter, strongest first.

    Args:
        adapter: name of the adapter as in results.
        model: results of its weights count.
    """
    wanted = ResultFilter(SCORED, weights(model), having=(("adapter", adapter),))
    return [of_entry(entry) for entry in index.entries(wanted, like=_ranking(model))]


def packs_of(model: ModelSpec) -> list[str]:
    """Return the titles of the opened packs that have results of a model."""
    wanted = ResultFilter(tuple(EXPERIMENTS), weights(model))
    return [
        pack.title
        for pack in pack_list.opened()
        if index.count(replace(wanted, places=(pack.place,)))
    ]


def datasets(model: ModelSpec, *, most: int) -> list[tuple[FoundResult, int]]:
    """Return the strongest curve of a model on each dataset, with the largest number of questions
    of its curves.

    Args:
        model: curves in its quantization count.
        most: number of datasets at most.
    """
    wanted = ResultFilter(("sweep",), weights(model), quantization=model.quantization)
    return [
        (of_entry(entry), n)
        for entry, n in index.firsts(wanted, _ranking(model), ("dataset",), most=most)
    ]


def curves_on_same_questions(
    shown: FoundResult, model: ModelSpec, *, most: int
) -> list[FoundResult]:
    """Return the strongest curve of each strategy and draw on the questions and in the precision of
    a curve.

    Of equally strong ones the curve on the same distance map comes first.

    Args:
        shown: the curve.
        model: the model that it is of.
        most: number of curves at most.
    """
    spec = shown.result.spec
    same_curve = (
        ("asked_model", summaries.key_of(spec.model)),
        ("questions", shown.summary.questions),
    )
    wanted = ResultFilter(("sweep",), weights(model), having=same_curve)
    first = f"strength DESC, map != '{summaries.key_of(spec.distances)}'"
    return [
        of_entry(entry)
        for entry, _ in index.firsts(
            wanted, _ranking(model), ("strategy", "draw"), most=most, first=first
        )
    ]


def in_each_precision(model: ModelSpec, *, most: int) -> list[FoundResult]:
    """Return the results of a model that score anything, strongest first, at most `most` of each
    kind in each precision.
    """
    wanted = ResultFilter(SCORED, weights(model))
    return [
        of_entry(entry)
        for entry, _ in index.firsts(
            wanted, _ranking(model), ("kind", "dtype", "quantization"), each=most
        )
    ]


def measured_on(
    model: ModelSpec, conditions: Sequence[Condition], most: int = 2000
) -> list[FoundResult]:
    """Return scores of any model on the same questions or texts as these conditions, in any
    precision, strongest first.

    Args:
        model: the requested model, whose precision comes first.
        conditions: their questions and texts count, their model and precision do not.
        most: largest number of results.
    """
    pairs = [
        (dtype, quantization) for dtype in DTYPES if dtype != AUTO for quantization in QUANTIZATIONS
    ]
    precisions = [
        ModelSpec(dtype=dtype, quantization=quantization).precision for dtype, quantization in pairs
    ]
    precisions.append(IN_LLAMA_CPP)
    keys = tuple(
        sorted(
            {
                summaries.material_key(precision, condition)
                for precision in precisions
                for condition in conditions
            }
        )
    )
    wanted = ResultFilter(SCORED, materials=keys)
    return (
        [of_entry(entry) for entry in index.entries(wanted, like=_ranking(model), most=most)]
        if keys
        else []
    )


_TIMED = 500
"""Maximum number of measurements of this machine that are read to predict durations."""


def of_here(kind: str) -> list[FoundResult]:
    """Return measurements of this machine, newest first, at most as many as predict durations."""
    wanted = ResultFilter((kind,), words=(host.processor().lower(),), places=(index_table.OWN,))
    return [of_entry(entry) for entry in index.entries(wanted, most=_TIMED)]


LISTED = 100
"""Maximum number of results of a kind in a report, the strongest ones."""


def of(
    kind: str,
    model: ModelSpec,
    *,
    most: int | None = None,
    having: tuple[tuple[str, Any], ...] = (),
    chosen: Sequence[str] = (),
    and_of: tuple[tuple[str, Any], ...] = (),
) -> list[Any]:
    """Return the readable results of a kind without their arrays: strongest evidence first, then
    newest, precomputed last.

    Args:
        kind: a key of `EXPERIMENTS`.
        model: only results of the same weights count, wherever these lay.
        most: number of results at most; None for all.
        having: columns of the index with their values.
        chosen: fingerprints of results that come first.
        and_of: columns with values; results that have them are added to the strongest ones, at most
            `most` for each.
    """
    entries = find(kind, model, most=most, having=having)
    if most is not None and len(entries) >= most:
        further = [*and_of, *([("key", tuple(chosen))] if chosen else [])]
        beyond = [
            entry
            for condition in further
            for entry in find(kind, model, most=most, having=(*having, condition))
        ]
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
    """Return the identity of the weights that a spec asks about, without loading them; "" if it is
    not known.

    A resolved spec names it. Any other spec is about the weights that its name or path has now.
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
    return index.last_identity(list(EXPERIMENTS), model.source, model.revision or "")


def heal_of(model: ModelSpec, adapter: str) -> HealResult | None:
    """Return the stored healing run that made an adapter folder; None if it is not known."""
    name = result_name(adapter)
    heals = read_all(find("heal", model, most=1, having=(("adapter", (adapter, name)),)))
    return next((heal for heal in heals if result_name(heal.adapter) == name), None)
