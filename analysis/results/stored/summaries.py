"""Facts of a stored result for the index: its model, measurement, key figure and conditions, by
column.
"""

import dataclasses
import functools
import hashlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from analysis.core import blocks, index
from analysis.core.blocks import Removal
from analysis.core.errors import UnknownRequestError
from analysis.core.experiment import EXPERIMENTS, additions
from analysis.core.record import Spec
from analysis.core.store import StoredResult
from analysis.core.table import Table
from analysis.data import corpora, questions
from analysis.data.spec import BenchmarkSpec, CorpusSpec
from analysis.experiments.accuracy.points import Point
from analysis.experiments.accuracy.sweep_spec import EvaluateResult, SweepResult
from analysis.experiments.batch.methods_spec import MethodsResult
from analysis.experiments.heal.heal_result import HealResult
from analysis.experiments.maps.damage_spec import DamageResult, LeastDamage
from analysis.experiments.maps.distance_spec import Best, DistanceResult
from analysis.experiments.speed.speed_spec import TRANSFORMERS, SpeedResult
from analysis.experiments.strategies import DRAW, needs
from analysis.models.source.model_spec import ModelSpec
from analysis.models.source.sizes import ModelFacts
from analysis.results.score import stored_scores
from analysis.results.score.condition import Condition
from analysis.results.score.score import ACCURACY, LOSS
from analysis.results.stored import evidence
from analysis.results.stored.result import KeyFigure, Summary, codec

KINDS = {
    "distances": "map",
    "sweep": "curve",
    "heal": "heal",
    "damage": "damage",
    "evaluate": "evaluation",
}
"""Kinds of results that charts can overlay, with their names."""


MeasuredResult = DistanceResult | SweepResult | HealResult | DamageResult | EvaluateResult
"""Results of those kinds."""


def kinds() -> dict[str, str]:
    """Return `KINDS` and every kind that was added to those of this program, with its title."""
    return KINDS | {kind: experiment.title.lower() for kind, experiment in additions().items()}


def facts(result: Any) -> ModelFacts | None:
    """Return the model's size; None if a result of an added kind lacks it."""
    model = getattr(result, "model", None)
    return model if isinstance(model, ModelFacts) else None


def name(result: Any) -> str:
    """Return the model's name; its source if the result does not name it."""
    model_facts = facts(result)
    if model_facts is not None:
        return model_facts.name
    model = getattr(result.spec, "model", None)
    return "" if model is None else str(model.source).rstrip("/").rsplit("/", 1)[-1]


def how(result: Any) -> str:
    """Return the metric of a map, the strategy of a curve, the recipe of a heal, the block of an
    evaluation.
    """
    if isinstance(result, DistanceResult):
        return str(result.spec.metric)
    if isinstance(result, SweepResult):
        strategy = str(result.spec.strategy)
        return f"{strategy}, draw {result.spec.draw}" if needs(strategy, DRAW) else strategy
    if isinstance(result, HealResult):
        return f"{result.spec.recipe}, {result.spec.block.brief()}"
    if isinstance(result, DamageResult):
        return f"blocks up to {len(result.increase)}"
    if isinstance(result, EvaluateResult):
        return "unpruned" if result.spec.block is None else str(result.spec.block.describe())
    return EXPERIMENTS[result.kind].title


def in_words(spec: BenchmarkSpec | CorpusSpec) -> str:
    """Return a short name of texts or questions: the set, its part, and the protocol of the
    questions.
    """
    if isinstance(spec, CorpusSpec):
        return corpora.title(spec)[:20]
    title = questions.title(spec)
    return title if len(title) <= 48 else f"{title[:47]}…"


def measured_on(result: Any) -> str:
    """Return the questions and texts of a result, and their numbers; of a speed the program that
    was timed.
    """
    if isinstance(result, SpeedResult):
        return str(result.spec.runtime)
    benchmark = getattr(result.spec, "benchmark", None)
    corpus = texts_read(result)
    parts = []
    if benchmark is not None:
        shots = f", {benchmark.shots}-shot" if benchmark.shots else ""
        parts.append(f"{in_words(benchmark)} × {benchmark.limit or 'all'}{shots}")
    if corpus is not None:
        parts.append(f"{in_words(corpus)} {corpus.n_texts} × {corpus.seq_len}")
    return "; ".join(parts) or "nothing"


def timed_in(runtime: str = TRANSFORMERS) -> tuple[tuple[str, Any], ...]:
    """Return the columns of speeds that were measured in a program, for `having`."""
    return (("told_on", runtime),)


SHARE = 0.2
"""Share of removed layers at which the figures of maps and curves are read."""


def nearest_n(n_layers: int) -> int:
    """Return the number of layers that is nearest to `SHARE` of them; at least 1, and one layer
    remains.
    """
    return min(max(int(SHARE * n_layers + 0.5), 1), n_layers - 1)


def key_figure(result: MeasuredResult) -> KeyFigure:
    """Return the number to sort a result by.

    Args:
        result: of one of `kinds()`. Maps and curves are read at `SHARE` of the layers. Of an added
            kind it is the first number of the table.
    """
    if result.kind not in KINDS:
        return _first_number(result.table())
    n = nearest_n(result.model.n_layers)
    if isinstance(result, DistanceResult | DamageResult):
        blocks: Sequence[Best | LeastDamage] = result.best
        best = next((best for best in blocks if best.n == n), None)
        name = (
            f"least {'distance' if isinstance(result, DistanceResult) else 'loss increase'}, n"
            f" = {n}"
        )
        if best is None:
            return KeyFigure(name, None)
        value = best.distance if isinstance(best, Best) else best.increase
        return KeyFigure(name, value, *(result.interval(best.block) or ()))
    points = [
        point for point in _points(result) if point.n == n or not isinstance(result, SweepResult)
    ]
    point = points[0] if points else None
    name = "loss"
    if isinstance(result, HealResult):
        name, n = (
            ("control's loss", 0)
            if result.spec.control
            else ("healed loss", result.spec.block.size)
        )
    elif point is not None:
        n = point.n
        if point.acc is not None:
            return KeyFigure(f"accuracy, n = {n}", point.acc, *(point.interval or ()))
    name = f"{name}, n = {n}"
    return (
        KeyFigure(name, None)
        if point is None
        else KeyFigure(name, point.loss, *(point.loss_interval or ()))
    )


def _points(result: SweepResult | HealResult | EvaluateResult) -> list[Point]:
    """Return the scores that a result is listed by: the points of a curve, the healed model, or the
    evaluated one.
    """
    if isinstance(result, SweepResult):
        return result.points
    point = result.healed if isinstance(result, HealResult) else result.point
    return [] if point is None else [point]


def _first_number(table: Table) -> KeyFigure:
    for row in table.rows:
        for column in table.columns:
            if isinstance(row.get(column.name), float):
                return KeyFigure(
                    column.head, row[column.name], row.get(column.low), row.get(column.high)
                )
    return KeyFigure(table.title, None)


def n_measured(result: MeasuredResult) -> int:
    """Return the number of questions or, for results without questions, of texts; 0 if that is not
    known.
    """
    if result.kind not in KINDS:
        return int(getattr(result, "n_texts", 0))
    if isinstance(result, DistanceResult | DamageResult):
        return result.n_texts
    point = next(iter(_points(result)), None)
    return (point.n_samples or point.n_texts) if point else 0


def seed(result: MeasuredResult) -> int | None:
    """Return the seed that picked the questions or texts, or that a heal trained with."""
    spec = result.spec
    if isinstance(result, HealResult) or isinstance(getattr(spec, "seed", None), int):
        return int(spec.seed)
    data_spec = (
        getattr(spec, "benchmark", None)
        or getattr(spec, "corpus", None)
        or getattr(spec, "loss_corpus", None)
    )
    return None if data_spec is None else int(data_spec.seed)


def summary(result: Any) -> Summary:
    """Return the facts of a result that the index keeps."""
    spec = result.spec
    model = getattr(result.spec, "model", None)
    benchmark = getattr(spec, "benchmark", None)
    return Summary(
        name=name(result),
        layers=None if facts(result) is None else result.model.n_layers,
        how=how(result),
        on=measured_on(result),
        precision="" if model is None else str(result.precision_in_words),
        n=n_measured(result),
        seed=seed(result),
        versions=", ".join(f"{package} {version}" for package, version in result.versions.items()),
        complete=result.complete,
        figures=(key_figure(result),) if result.kind in kinds() else (),
        weight=evidence.weight(result),
        request=evidence.request_key(result),
        questions="" if benchmark is None else benchmark.fingerprint(),
        strategy=str(getattr(spec, "strategy", "")),
        model=model if isinstance(model, ModelSpec) else None,
    )


def _materials(result: Any) -> Iterator[str]:
    for scores in stored_scores.of_all(result):
        for condition in (measured.condition for measured in scores.values()):
            yield material_key(condition.precision, condition)


def material_key(precision: str, condition: Condition) -> str:
    """Return the key in the index of the questions or texts of a condition, measured in a
    precision.
    """
    text = f"{precision} {condition.material.fingerprint()} {condition.n}"
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def described(kind: str, stored: StoredResult) -> dict[str, Any]:
    """Return the facts of a stored result that the index keeps, by column; arrays are left on disk.

    Raises:
        CorruptResultError: when the content does not fit its kind.
        UnknownRequestError: when this installation lacks its kind, method, setting or extension.
    """
    if kind not in EXPERIMENTS:
        raise UnknownRequestError(
            f"{stored.path} is of the kind {kind!r}, whose extension is not loaded."
        )
    result = EXPERIMENTS[kind].result.read(dataclasses.replace(stored, files={}))
    known_summary = summary(result)
    model = known_summary.model
    searched = [
        getattr(known_summary, part)
        for part in ("name", "layers", "how", "on", "n", "precision", "seed", "versions")
    ]
    searched += [kinds().get(kind, kind), model.identity if model else "", stored.path.name]
    return {
        "is_complete": result.complete,
        "source": None if model is None else model.source,
        "revision": None if model is None else model.revision or "",
        "identity": None if model is None else model.identity,
        "identities": " ".join(
            model_spec.identity for model_spec in getattr(result.spec, "models", ())
        ),
        "name": known_summary.name,
        "builds_on": " ".join(_builds_on(result.spec)),
        "materials": " ".join(dict.fromkeys(_materials(result))),
        "said": " ".join(map(str, searched)).lower(),
        "summary": codec().dump_json(known_summary).decode(),
        "weights": (
            None
            if model is None
            else model.identity or index.named_weights(model.source, model.revision or "")
        ),
        "quantization": None if model is None else model.quantization,
        "dtype": None if model is None else model.dtype,
        "strength": known_summary.weight.sortable(),
        "healed_loss": (
            result.healed.loss if isinstance(result, HealResult) and result.healed else None
        ),
        "told_on": known_summary.on,
        **_request_columns(result, known_summary),
        **_conditions(result),
        "scores": list(dict.fromkeys(_scores(result))),
    }


def _request_columns(result: Any, summary: Summary) -> dict[str, Any]:
    """Return the columns of the index with the request of a result."""
    spec = result.spec
    strategy = summary.strategy
    benchmark = getattr(spec, "benchmark", None)
    generation = getattr(spec, "generation", None)
    block = getattr(spec, "block", None)
    return {
        "strategy": strategy,
        "draw": int(getattr(spec, "draw", 0)) if strategy and needs(strategy, DRAW) else 0,
        "dataset": dataset(benchmark),
        "questions": summary.questions,
        "asked_model": "" if summary.model is None else key_of(summary.model),
        "map": key_of(spec.distances) if isinstance(result, SweepResult | DamageResult) else "",
        "request": summary.request,
        "block": (
            None
            if not hasattr(spec, "block")
            else blocks.written(block)
            if block is not None
            else ""
        ),
        "generation": "" if generation is None else key_of(generation),
        "adapter": getattr(spec, "adapter", None) or getattr(result, "adapter", None) or "",
        "is_score": _is_score(result),
        "n_asked": int(result.n_questions) if isinstance(result, SweepResult) else 0,
        "n_cuts": len(result.points) if isinstance(result, SweepResult) else 0,
        "largest": len(result.increase) if isinstance(result, DamageResult) else 0,
    }


def _conditions(result: Any) -> dict[str, str]:
    conditions = stored_scores.conditions_of(result)
    names = {ACCURACY: "accuracy_on", LOSS: "loss_on"}
    return {
        name: condition_key(quantity, conditions[quantity]) if quantity in conditions else ""
        for quantity, name in names.items()
    }


@functools.lru_cache(maxsize=4096)
def key_of(spec: Spec) -> str:
    """Return the cached fingerprint of a part of requests."""
    return spec.fingerprint()


def dataset(benchmark: BenchmarkSpec | None) -> str:
    """Return the key of a dataset in the index, for any number of questions, draw and release."""
    return (
        ""
        if benchmark is None
        else key_of(dataclasses.replace(benchmark, limit=None, seed=0, identity=""))
    )


def _is_score(result: Any) -> int:
    """Return 1 for curves, methods, evaluations and finished heals, 2 with an adapter and for
    finished controls, else 0.
    """
    if isinstance(result, HealResult):
        return 0 if result.healed is None else 2 if result.spec.control else 1
    if isinstance(result, EvaluateResult):
        return 1 if result.spec.adapter is None else 2
    return int(isinstance(result, SweepResult | MethodsResult))


def _scores(result: Any) -> Iterator[tuple[str, str, str, str]]:
    """Yield quantity, condition, removed layers and repair of each accuracy and loss of a
    result.
    """
    for scores in stored_scores.of_all(result):
        for quantity, measured in scores.items():
            if quantity in (ACCURACY, LOSS):
                yield (
                    quantity,
                    condition_key(quantity, measured.condition),
                    cut_key(measured.cut),
                    measured.repair,
                )


def condition_key(quantity: str, condition: Condition) -> str:
    """Return the key of a quantity's condition in the index."""
    material = key_of(condition.material)
    parts = (quantity, condition.model, condition.precision, material, str(condition.n))
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:16]


def cut_key(cut: Removal | None) -> str:
    """Return removed layers as the index has them; "" for the unpruned model."""
    return "" if cut is None else blocks.written(cut)


def _builds_on(spec: Spec) -> Iterator[str]:
    """Yield the fingerprints of the maps inside a request, and the parts of its adapter's path: one
    names the healing run.
    """
    adapter = getattr(spec, "adapter", None)
    if isinstance(adapter, str):
        yield from Path(adapter).parts
    values = [getattr(spec, field.name) for field in dataclasses.fields(spec)]
    for part in (
        part for value in values for part in (value if isinstance(value, tuple) else (value,))
    ):
        if isinstance(part, Spec):
            if part.kind == "distances":
                yield part.fingerprint()
            yield from _builds_on(part)


def texts_read(result: MeasuredResult) -> CorpusSpec | None:
    """Return the text that losses, distances or damage were measured on."""
    spec = result.spec
    if isinstance(result, HealResult):
        corpus: CorpusSpec | None = spec.validation
    else:
        corpus = getattr(spec, "corpus", None) or getattr(spec, "loss_corpus", None)
    return corpus
