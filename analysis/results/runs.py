"""Stored results of every kind as tidy rows: model, measurement, and one key figure with its error."""

import contextlib
import dataclasses
import functools
import hashlib
import json
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from analysis.core import blocks, index, registry, stats
from analysis.core.blocks import Removal
from analysis.core.errors import CorruptResultError
from analysis.core.index import Group
from analysis.core.record import Spec
from analysis.core.store import Stored
from analysis.core.table import Table
from analysis.data import corpora, questions
from analysis.data.spec import BenchmarkSpec, CorpusSpec
from analysis.experiments.accuracy.points import Point
from analysis.experiments.accuracy.sweep_spec import EvaluateResult, SweepResult
from analysis.experiments.heal.heal_result import HealResult
from analysis.experiments.maps.damage_spec import DamageResult, LeastDamage
from analysis.experiments.maps.distance_spec import Best, DistanceResult
from analysis.experiments.strategies import DRAW, needs
from analysis.models.spec import ModelFacts, ModelSpec
from analysis.results import evidence, reading, selection
from analysis.results.found import Found, KeyFigure, Summary, read

KINDS = {"distances": "map", "sweep": "curve", "heal": "heal", "damage": "damage", "evaluate": "evaluation"}
"""Kinds of results that can be laid over each other, with the words for them."""


Measured = DistanceResult | SweepResult | HealResult | DamageResult | EvaluateResult
"""Results of those kinds."""


def kinds() -> dict[str, str]:
    """`KINDS`, and every kind that was added to those of this program, with its title."""
    return KINDS | {kind: experiment.title.lower() for kind, experiment in registry.additions().items()}


def facts(result: Any) -> ModelFacts | None:
    """Return the model's size; None where a result of an added kind lacks it."""
    found = getattr(result, "model", None)
    return found if isinstance(found, ModelFacts) else None


def name(result: Any) -> str:
    """Return the model's name; its source where the result does not name it."""
    known = facts(result)
    if known is not None:
        return known.name
    model = getattr(result.spec, "model", None)
    return "" if model is None else str(model.source).rstrip("/").rsplit("/", 1)[-1]


def how(result: Any) -> str:
    """The metric of a map, the strategy of a curve, the recipe of a heal, the block of an evaluation."""
    if isinstance(result, DistanceResult):
        return str(result.spec.metric)
    if isinstance(result, SweepResult):
        strategy = str(result.spec.strategy)
        return f"{strategy}, draw {result.spec.draw}" if needs(strategy, DRAW) else strategy
    if isinstance(result, HealResult):
        return f"{result.spec.recipe}, {result.spec.block.halves()}"
    if isinstance(result, DamageResult):
        return f"blocks up to {len(result.increase)}"
    if isinstance(result, EvaluateResult):
        return "unpruned" if result.spec.block is None else str(result.spec.block.describe())
    return registry.TITLES[result.kind]


def precision(result: Any) -> str:
    """Return the precision of a result with the format of its stored weights."""
    return "" if getattr(result.spec, "model", None) is None else str(result.precision_in_words)


def in_words(asked: BenchmarkSpec | CorpusSpec) -> str:
    """Return a short name of texts or questions: the set, its part, and the protocol of the questions."""
    if isinstance(asked, CorpusSpec):
        return corpora.title(asked)[:20]
    title = questions.title(asked)
    return title if len(title) <= 48 else f"{title[:47]}…"


def measured_on(result: Any) -> str:
    """Return the questions and texts of a result, and their numbers."""
    benchmark, corpus = getattr(result.spec, "benchmark", None), texts_read(result)
    said = []
    if benchmark is not None:
        shots = f", {benchmark.shots}-shot" if benchmark.shots else ""
        said.append(f"{in_words(benchmark)} × {benchmark.limit or 'all'}{shots}")
    if corpus is not None:
        said.append(f"{in_words(corpus)} {corpus.n_texts} × {corpus.seq_len}")
    return "; ".join(said) or "nothing"


def saved(found: Found) -> str:
    """When it was stored: year, month, day and minute, which sort as text; committed files only carry the checkout's."""
    return "precomputed" if found.precomputed else time.strftime("%Y-%m-%d %H:%M", time.localtime(found.saved_at))


def nearest_n(fraction: float, n_layers: int) -> int:
    """Return the number of layers that is nearest to a fraction of them; at least 1, and one layer is kept."""
    return min(max(int(fraction * n_layers + 0.5), 1), n_layers - 1)


def best_of(result: DistanceResult | DamageResult, n: int) -> Best | LeastDamage | None:
    """The chosen block of n layers, if there is one yet."""
    found: Sequence[Best | LeastDamage] = result.best
    return next((best for best in found if best.n == n), None)


def point_of(result: Measured, n: int) -> Point | None:
    """Return the point of a curve at n; the healed or evaluated model of results that are about one block."""
    if isinstance(result, SweepResult):
        return next((point for point in result.points if point.n == n), None)
    if isinstance(result, HealResult):
        return result.healed
    return result.point if isinstance(result, EvaluateResult) else None


def key_figure(result: Measured, fraction: float) -> KeyFigure:
    """The number to sort a result by.

    Args:
        result: of one of `kinds()`; that of an added kind is the first number of its table.
        fraction: share of the layers that maps, damage and curves are read at; the others are about one block.
    """
    if result.kind not in KINDS:
        return _first_number(result.table())
    if isinstance(result, DistanceResult | DamageResult):
        n = nearest_n(fraction, result.n_layers)
        best = best_of(result, n)
        name = f"least {'distance' if isinstance(result, DistanceResult) else 'loss increase'}, n = {n}"
        if best is None:
            return KeyFigure(name, None)
        value = best.distance if isinstance(best, Best) else best.increase
        measured = result.n_texts if isinstance(result, DistanceResult) else result.n_measured[n - 1][best.start]
        ends = stats.mean_interval(value, result.stderr[n - 1][best.start], measured)
        return KeyFigure(name, value, *(ends or ()))
    n = nearest_n(fraction, result.n_layers) if isinstance(result, SweepResult) else 0
    point = point_of(result, n)
    n = point.n if point else n
    if point is None or isinstance(result, HealResult) or point.acc is None:
        name = "loss"
        if isinstance(result, HealResult):
            name, n = ("control's loss", 0) if result.spec.control else ("healed loss", result.spec.block.size)
        return (
            KeyFigure(f"{name}, n = {n}", point.loss, *(point.loss_interval or ()))
            if point
            else KeyFigure(f"{name}, n = {n}", None)
        )
    return KeyFigure(f"accuracy, n = {n}", point.acc, *(point.interval or ()))


def _key_figures(result: Any) -> tuple[KeyFigure, ...]:
    """The key figure for every number of removed layers, or the one that there is."""
    if isinstance(result, DistanceResult | DamageResult | SweepResult):
        return tuple(key_figure(result, n / result.n_layers) for n in range(1, result.n_layers))
    return (key_figure(result, 0),)


def _first_number(table: Table) -> KeyFigure:
    for row in table.rows:
        for column in table.columns:
            if isinstance(row.get(column.name), float):
                return KeyFigure(column.head, row[column.name], row.get(column.low), row.get(column.high))
    return KeyFigure(table.title, None)


def n_measured(result: Measured) -> int:
    """Return the number of questions or, for results without questions, of texts; 0 where that is not known."""
    if result.kind not in KINDS:
        return int(getattr(result, "n_texts", 0))
    if isinstance(result, DistanceResult | DamageResult):
        return result.n_texts
    point = point_of(result, result.points[0].n) if isinstance(result, SweepResult) and result.points else point_of(result, 0)
    return (point.n_samples or point.n_texts) if point else 0


def seed(result: Measured) -> int | None:
    """The seed that picked the questions or texts, or that a heal trained with."""
    spec = result.spec
    if isinstance(result, HealResult) or isinstance(getattr(spec, "seed", None), int):
        return int(spec.seed)
    drawn = getattr(spec, "benchmark", None) or getattr(spec, "corpus", None) or getattr(spec, "loss_corpus", None)
    return None if drawn is None else int(drawn.seed)


def summary(result: Any) -> Summary:
    """Return the facts of a result that the index keeps."""
    spec, model = result.spec, getattr(result.spec, "model", None)
    benchmark = getattr(spec, "benchmark", None)
    return Summary(
        name=name(result),
        layers=None if facts(result) is None else result.model.n_layers,
        how=how(result),
        on=measured_on(result),
        precision=precision(result),
        n=n_measured(result),
        seed=seed(result),
        versions=", ".join(f"{package} {version}" for package, version in result.versions.items()),
        complete=result.complete,
        figures=_key_figures(result) if result.kind in kinds() else (),
        weight=evidence.weight(result),
        request=evidence.request(result).fingerprint(),
        questions="" if benchmark is None else benchmark.fingerprint(),
        strategy=str(getattr(spec, "strategy", "")),
        is_repair=isinstance(result, HealResult) and result.healed is not None and not spec.control,
        materials=tuple(dict.fromkeys(_materials(result))),
        model=model if isinstance(model, ModelSpec) else None,
    )


def _materials(result: Any) -> Iterator[str]:
    for found in reading.of_all(result):
        for condition in (one.condition for one in found.values()):
            said = f"{condition.precision} {condition.material.fingerprint()} {condition.n}"
            yield hashlib.sha256(said.encode()).hexdigest()[:12]


def described(kind: str, stored: Stored) -> dict[str, Any]:
    """Return the facts of a stored result that the index keeps, by column; arrays are left on disk.

    Raises:
        CorruptResultError: when the content does not fit its kind.
    """
    result = registry.RESULTS[kind].read(dataclasses.replace(stored, array_files=()))
    known = summary(result)
    model, said = known.model, known.to_json()
    searched = [said[part] for part in ("name", "layers", "how", "on", "n", "precision", "seed", "versions")]
    searched += [kinds().get(kind, kind), model.identity if model else "", stored.path.name]
    return {
        "source": None if model is None else model.source,
        "revision": None if model is None else model.revision or "",
        "identity": None if model is None else model.identity,
        "identities": " ".join(one.identity for one in getattr(result.spec, "models", ())),
        "is_quantized": model is not None and model.quantization != "none",
        "name": known.name,
        "builds_on": " ".join(_builds_on(result.spec)),
        "materials": " ".join(known.materials),
        "said": " ".join(map(str, searched)).lower(),
        "summary": json.dumps(said, separators=(",", ":")),
        "weights": None if model is None else model.identity or index.named_weights(model.source, model.revision or ""),
        "quantization": None if model is None else model.quantization,
        "dtype": None if model is None else model.dtype,
        "strength": known.weight.sortable(),
        "told_on": known.on,
        **_asked(result, known),
        **_conditions(result),
        "scores": list(dict.fromkeys(_scores(result))),
    }


def _asked(result: Any, known: Summary) -> dict[str, Any]:
    """Return the columns of the index with the request of a result."""
    spec, strategy = result.spec, known.strategy
    benchmark, generation = getattr(spec, "benchmark", None), getattr(spec, "generation", None)
    block = getattr(spec, "block", None)
    return {
        "strategy": strategy,
        "draw": int(getattr(spec, "draw", 0)) if strategy and needs(strategy, DRAW) else 0,
        "dataset": dataset(benchmark),
        "questions": known.questions,
        "asked_model": "" if known.model is None else key_of(known.model),
        "map": key_of(spec.distances) if isinstance(result, SweepResult | DamageResult) else "",
        "request": known.request,
        "block": None if not hasattr(spec, "block") else blocks.written(block) if block is not None else "",
        "generation": "" if generation is None else key_of(generation),
        "adapter": getattr(spec, "adapter", None) or getattr(result, "adapter", None) or "",
        "is_score": _is_score(result, known),
        "n_asked": int(result.n_questions) if isinstance(result, SweepResult) else 0,
        "n_cuts": len(result.points) if isinstance(result, SweepResult) else 0,
        "largest": len(result.increase) if isinstance(result, DamageResult) else 0,
    }


def _conditions(result: Any) -> dict[str, str]:
    held = selection.conditions_of(result)
    names = {reading.ACCURACY: "accuracy_on", reading.LOSS: "loss_on"}
    return {name: condition_key(quantity, held[quantity]) if quantity in held else "" for quantity, name in names.items()}


@functools.lru_cache(maxsize=4096)
def key_of(spec: Spec) -> str:
    """Return the fingerprint of a part of many requests, which is made once."""
    return spec.fingerprint()


def dataset(benchmark: BenchmarkSpec | None) -> str:
    """Return the key of a dataset in the index, for any number of questions, draw and release."""
    return "" if benchmark is None else key_of(dataclasses.replace(benchmark, limit=None, seed=0, identity=""))


def _is_score(result: Any, known: Summary) -> int:
    """Return 1 for curves, evaluations and finished heals, 2 for evaluations with an adapter and finished controls, else 0."""
    if isinstance(result, HealResult):
        return 0 if result.healed is None else 1 if known.is_repair else 2
    if isinstance(result, EvaluateResult):
        return 1 if result.spec.adapter is None else 2
    return int(isinstance(result, SweepResult))


def _scores(result: Any) -> Iterator[tuple[str, str, str, str]]:
    """Yield quantity, condition, removed layers and repair of each accuracy and loss of a result."""
    for found in reading.of_all(result):
        for quantity, one in found.items():
            if quantity in (reading.ACCURACY, reading.LOSS):
                yield quantity, condition_key(quantity, one.condition), cut_key(one.cut), one.repair


def condition_key(quantity: str, condition: reading.Condition) -> str:
    """Return the key of a quantity's condition in the index."""
    said = f"{quantity}\n{condition.model}\n{condition.precision}\n{key_of(condition.material)}\n{condition.n}"
    return hashlib.sha256(said.encode()).hexdigest()[:16]


def cut_key(cut: Removal | None) -> str:
    """Return removed layers as the index has them; "" for the unpruned model."""
    return "" if cut is None else blocks.written(cut)


def _builds_on(spec: Spec) -> Iterator[str]:
    """Yield the fingerprints of the maps inside a request, and the parts of its adapter's path: one names the healing run."""
    adapter = getattr(spec, "adapter", None)
    if isinstance(adapter, str):
        yield from Path(adapter).parts
    values = [getattr(spec, field.name) for field in dataclasses.fields(spec)]
    for part in (part for value in values for part in (value if isinstance(value, tuple) else (value,))):
        if isinstance(part, Spec):
            if part.kind == "distances":
                yield part.fingerprint()
            yield from _builds_on(part)


def figure_at(found: Found, fraction: float) -> KeyFigure:
    """The number to sort a stored result by, as `key_figure` has it."""
    known = found.summary
    if len(known.figures) > 1 and known.layers is not None:
        return known.figures[nearest_n(fraction, known.layers) - 1]
    return known.figures[0]


def row(found: Found, fraction: float) -> dict[str, Any]:
    """A stored result as a row of the table, in its order of columns.

    Args:
        found: of one of `kinds()`.
        fraction: as in `key_figure`.
    """
    known, figure = found.summary, figure_at(found, fraction)
    return {
        "model": known.name,
        "layers": known.layers,
        "kind": kinds()[found.kind],
        "how": known.how,
        "measured on": known.on,
        "n": known.n,
        "figure": figure.name,
        "value": figure.value,
        "value_low": figure.low,
        "value_high": figure.high,
        "precision": known.precision,
        "seed": known.seed,
        "saved": saved(found) if known.complete else f"{saved(found)}, unfinished",
        "versions": known.versions,
        "weights": known.model.identity if known.model else "",
        "key": found.key,
    }


def labels(runs: Sequence[Found]) -> list[str]:
    """Return the shortest unique names: of model, rule, material, precision, seed and date only the differing parts."""
    parts = [
        (said.name, said.how, said.on, said.precision, f"seed {said.seed}", saved(run), run.key[:6])
        for run, said in ((run, run.summary) for run in runs)
    ]
    used: list[int] = []
    for place in range(len(parts[0]) if parts else 0):
        said = [tuple(part[i] for i in used) for part in parts]
        # A part is used where it divides runs that are still called the same.
        if len({(*one, part[place]) for one, part in zip(said, parts, strict=True)}) > len(set(said)):
            used.append(place)
    return [" · ".join(part[i] for i in used or [0, 1]) for part in parts]


def first_picks(runs: Sequence[Found], most: int = 3) -> list[str]:
    """Return the ids of the runs worth overlaying at first: of each model the strongest evidence.

    The first map of each model and, where there is only one model, its first map of other texts. Likewise curves by
    `similarity` on the same questions; beside them, one model's second curve is another strategy.

    Args:
        runs: those of the preferred models first.
        most: models of each.
    """
    picks: list[str] = []
    for kind in ("distances", "sweep"):
        found = [run for run in runs if run.kind == kind]
        models = {name: place for place, name in reversed(list(enumerate(run.summary.name for run in found)))}
        found.sort(key=lambda run: run.summary.weight, reverse=True)
        found.sort(key=lambda run: models[run.summary.name])
        found.sort(key=lambda run: (_is_quantized(run), kind == "sweep" and run.summary.strategy != "similarity"))
        if kind == "sweep" and found:
            found = [run for run in found if run.summary.questions == found[0].summary.questions]
        firsts = {run.summary.name: run.id for run in reversed(found)}.values()
        chosen = [run for run in found if run.id in firsts][:most]
        if len(chosen) == 1:
            first = chosen[0].summary
            chosen += [run for run in found if (run.summary.on, run.summary.how) != (first.on, first.how)][:1]
        picks += [run.id for run in chosen]
    return picks


def _is_quantized(run: Found) -> bool:
    return run.summary.model is not None and run.summary.model.quantization != "none"


def shortened(names: Sequence[str]) -> list[str]:
    """Return names made by `labels`, after some were left out, without the parts that all remaining ones share."""
    parts = [name.split(" · ") for name in names]
    used = [place for place, said in enumerate(zip(*parts, strict=False)) if len(set(said)) > 1]
    return [" · ".join(part[place] for place in used) for part in parts] if used else list(names)


@dataclass(frozen=True)
class Seen:
    """A model that has stored results."""

    facts: ModelFacts
    model: ModelSpec
    """Its source and precision, as in the newest result of it."""
    counts: dict[str, int]
    """Results by kind, in the order of `KINDS`."""
    sources: list[str]
    """Paths of its weights, newest first."""
    saved_at: float
    """When the newest result was stored, seconds since the epoch; 0 where all are precomputed."""


def models_seen(groups: Sequence[Group]) -> list[Seen]:
    """Return the models behind results of any kind, distinct by their weights, not their paths; newest first.

    Args:
        groups: may also hold facts read of a model alone (`InspectResult`), which are not counted.
    """
    by_weights: dict[str, list[Group]] = {}
    for group in groups:
        by_weights.setdefault(group.identity or f"{group.source} {group.revision}", []).append(group)
    seen = []
    for same in by_weights.values():
        newest = sorted(same, key=lambda group: (group.newest.precomputed, -group.newest.mtime_ns))
        counts = {kind: sum(group.n for group in same if group.newest.kind == kind) for kind in KINDS}
        asked = _first_read([group for group in newest if not group.is_quantized] or newest)
        size = next((size for group in newest if (size := facts(_first_read([group])))), None)
        if asked is None or size is None:
            continue
        sources = list(dict.fromkeys(group.source for group in newest))
        times = [group.newest.saved_at for group in same if not group.newest.precomputed]
        known = {kind: count for kind, count in counts.items() if count}
        seen.append(Seen(size, asked.spec.model, known, sources, max(times, default=0.0)))
    return sorted(seen, key=lambda one: -one.saved_at)


def _first_read(groups: Sequence[Group]) -> Any:
    for group in groups:
        with contextlib.suppress(CorruptResultError):
            return read(group.newest)
    return None


def texts_read(result: Measured) -> CorpusSpec | None:
    """The text that losses, distances or damage were measured on."""
    spec = result.spec
    if isinstance(result, HealResult):
        found: CorpusSpec | None = spec.validation
    else:
        found = getattr(spec, "corpus", None) or getattr(spec, "loss_corpus", None)
    return found
