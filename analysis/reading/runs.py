"""Stored results of every kind as tidy rows: what was measured on which model, and one key figure with its error."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from analysis.core import registry, stats
from analysis.core.table import Table
from analysis.data.spec import CorpusSpec
from analysis.experiments.accuracy.points import Point
from analysis.experiments.accuracy.spec import EvaluateResult, SweepResult
from analysis.experiments.heal.spec import HealResult
from analysis.experiments.maps.spec import Best, DamageResult, DistanceResult, LeastDamage
from analysis.experiments.strategies import DRAW, needs
from analysis.models.spec import ModelFacts, ModelSpec
from analysis.reading import evidence

KINDS = {"distances": "map", "sweep": "curve", "heal": "heal", "damage": "damage", "evaluate": "evaluation"}
"""Kinds of results that can be laid over each other, with the words for them."""


Measured = DistanceResult | SweepResult | HealResult | DamageResult | EvaluateResult
"""Results of those kinds."""


def kinds() -> dict[str, str]:
    """`KINDS`, and every kind that was added to those of this program, with its title."""
    return KINDS | {kind: experiment.title.lower() for kind, experiment in registry.additions().items()}


@dataclass(frozen=True)
class Run:
    """A stored result, where it came from, and what it was measured on."""

    key: str
    """The fingerprint it is stored under."""
    result: Any
    """A `Measured` result, or one of an added kind."""
    precomputed: bool
    saved_at: float
    """Seconds since the epoch."""
    on: str
    """Its questions and texts, in words."""

    @property
    def id(self) -> str:
        """KIND:KEY, which no other result has."""
        return f"{self.result.kind}:{self.key}"

    @property
    def model(self) -> ModelFacts | None:
        """The model's size; None where a result of an added kind does not say it."""
        facts = getattr(self.result, "model", None)
        return facts if isinstance(facts, ModelFacts) else None

    @property
    def name(self) -> str:
        """The model's name; what it was read from where the result does not say it."""
        if self.model is not None:
            return self.model.name
        spec = getattr(self.result.spec, "model", None)
        return "" if spec is None else str(spec.source).rstrip("/").rsplit("/", 1)[-1]

    @property
    def how(self) -> str:
        """The metric of a map, the strategy of a curve, the recipe of a heal, the block of an evaluation."""
        result = self.result
        if isinstance(result, DistanceResult):
            return str(result.spec.metric)
        if isinstance(result, SweepResult):
            strategy = str(result.spec.strategy)
            return f"{strategy}, draw {result.spec.draw}" if needs(strategy, DRAW) else strategy
        if isinstance(result, HealResult):
            return f"{result.spec.recipe}, [{result.spec.block.start}, {result.spec.block.stop})"
        if isinstance(result, DamageResult):
            return f"blocks up to {len(result.increase)}"
        if isinstance(result, EvaluateResult):
            return "unpruned" if result.spec.block is None else str(result.spec.block.describe())
        return registry.TITLES[result.kind]

    @property
    def precision(self) -> str:
        """How the weights were held."""
        if isinstance(self.result, HealResult):
            return str(self.result.precision)
        spec = getattr(self.result.spec, "model", None)
        if spec is None:
            return ""
        return str(spec.dtype) if spec.quantization == "none" else f"{spec.quantization}, {spec.dtype}"

    @property
    def saved(self) -> str:
        """When it was stored: year, month, day and minute, which sort as text; committed files only carry the checkout's."""
        return "precomputed" if self.precomputed else time.strftime("%Y-%m-%d %H:%M", time.localtime(self.saved_at))


@dataclass(frozen=True)
class KeyFigure:
    """The one number that stands for a result."""

    name: str
    """What it is, with the number of removed layers."""
    value: float | None
    """None where it was not measured."""
    low: float | None = None
    """The ends of its 95 % interval; None where it is not known."""
    high: float | None = None


def nearest_n(fraction: float, n_layers: int) -> int:
    """The number of layers that is nearest to a fraction of them; at least 1, and one layer is kept."""
    return min(max(int(fraction * n_layers + 0.5), 1), n_layers - 1)


def best_of(result: DistanceResult | DamageResult, n: int) -> Best | LeastDamage | None:
    """The chosen block of n layers, if there is one yet."""
    found: Sequence[Best | LeastDamage] = result.best
    return next((best for best in found if best.n == n), None)


def point_of(result: Measured, n: int) -> Point | None:
    """What a curve says at n; the healed or evaluated model of results that are about one cut."""
    if isinstance(result, SweepResult):
        return next((point for point in result.points if point.n == n), None)
    if isinstance(result, HealResult):
        return result.healed
    return result.point if isinstance(result, EvaluateResult) else None


def key_figure(result: Measured, fraction: float) -> KeyFigure:
    """The number to sort a result by.

    Args:
        result: of one of `kinds()`; that of an added kind is the first number of its table.
        fraction: share of the layers that maps, damage and curves are read at; the others are about one cut.
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


def _first_number(table: Table) -> KeyFigure:
    for row in table.rows:
        for column in table.columns:
            if isinstance(row.get(column.name), float):
                return KeyFigure(column.head, row[column.name], row.get(column.low), row.get(column.high))
    return KeyFigure(table.title, None)


def n_measured(result: Measured) -> int:
    """Questions or, where none were asked, texts that a result rests on; 0 where that is not known."""
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


def row(run: Run, fraction: float) -> dict[str, Any]:
    """A result as a row of the table, in its order of columns."""
    figure = key_figure(run.result, fraction)
    return {
        "model": run.name,
        "layers": run.model.n_layers if run.model else None,
        "kind": kinds()[run.result.kind],
        "how": run.how,
        "measured on": run.on,
        "n": n_measured(run.result),
        "figure": figure.name,
        "value": figure.value,
        "value_low": figure.low,
        "value_high": figure.high,
        "precision": run.precision,
        "seed": seed(run.result),
        "saved": run.saved if run.result.complete else f"{run.saved}, unfinished",
        "versions": ", ".join(f"{name} {version}" for name, version in run.result.versions.items()),
        "weights": getattr(getattr(run.result.spec, "model", None), "identity", ""),
        "key": run.key,
    }


def matching(runs: Sequence[Run], *, models: Sequence[str] = (), kinds: Sequence[str] = (), text: str = "") -> list[Run]:
    """The runs that pass every filter, in their order.

    Args:
        runs: all of them.
        models: names of models; none for all.
        kinds: of `kinds()`; none for all.
        text: words that must all occur somewhere in the row, in any case.
    """
    found = []
    for run in runs:
        said = " ".join(str(value) for value in row(run, 0).values()).lower()
        if models and run.name not in models:
            continue
        if kinds and run.result.kind not in kinds:
            continue
        if all(word in said for word in text.lower().split()):
            found.append(run)
    return found


def labels(runs: Sequence[Run]) -> list[str]:
    """The shortest names that tell runs apart: of model, rule, material, precision, seed and date only what differs."""
    parts = [(run.name, run.how, run.on, run.precision, f"seed {seed(run.result)}", run.saved, run.key[:6]) for run in runs]
    used: list[int] = []
    for place in range(len(parts[0]) if parts else 0):
        said = [tuple(part[i] for i in used) for part in parts]
        # A part is used where it divides runs that are still called the same.
        if len({(*name, part[place]) for name, part in zip(said, parts, strict=True)}) > len(set(said)):
            used.append(place)
    return [" · ".join(part[i] for i in used or [0, 1]) for part in parts]


def first_picks(runs: Sequence[Run], most: int = 3) -> list[str]:
    """Ids of what is worth laying over each other at first: of each model the strongest evidence.

    The first map of each model and, where there is only one model, its first map of other texts; the same with curves by
    `similarity` on the same questions, beside which one model's second curve is another strategy.

    Args:
        runs: those of the preferred models first.
        most: models of each.
    """
    picks: list[str] = []
    for kind in ("distances", "sweep"):
        found = [run for run in runs if run.result.kind == kind]
        models = list(dict.fromkeys(run.name for run in found))
        found = sorted(evidence.ranked(found, result="result"), key=lambda run: models.index(run.name))
        found.sort(key=lambda run: (run.result.spec.model.quantization != "none", _is_other(run.result)))
        if kind == "sweep" and found:
            found = [run for run in found if run.result.spec.benchmark == found[0].result.spec.benchmark]
        firsts = list({run.name: run for run in reversed(found)}.values())
        chosen = [run for run in found if run in firsts][:most]
        if len(chosen) == 1:
            chosen += [run for run in found if (run.on, run.how) != (chosen[0].on, chosen[0].how)][:1]
        picks += [run.id for run in chosen]
    return picks


def shortened(names: Sequence[str]) -> list[str]:
    """Names made by `labels`, some of them left out since, without the parts that all that are left share."""
    parts = [name.split(" · ") for name in names]
    used = [place for place, said in enumerate(zip(*parts, strict=False)) if len(set(said)) > 1]
    return [" · ".join(part[place] for place in used) for part in parts] if used else list(names)


def _is_other(result: Measured) -> bool:
    return isinstance(result, SweepResult) and result.spec.strategy != "similarity"


@dataclass(frozen=True)
class Seen:
    """A model of which something is stored."""

    facts: ModelFacts
    model: ModelSpec
    """Its source and precision, as in the newest result of it."""
    counts: dict[str, int]
    """Results by kind, in the order of `KINDS`."""
    sources: list[str]
    """Where its weights lay, newest first."""
    saved_at: float
    """When the newest result was stored, seconds since the epoch; 0 where all are precomputed."""


def models_seen(runs: Sequence[Run]) -> list[Seen]:
    """The models behind results of any kind, told apart by their weights rather than their paths; newest first.

    Args:
        runs: may also hold what was read of a model alone (`InspectResult`), which is not counted.
    """
    groups: dict[str, list[Run]] = {}
    for run in runs:
        spec = getattr(run.result.spec, "model", None)
        if spec is None:
            continue
        groups.setdefault(spec.identity or f"{spec.source} {spec.revision}", []).append(run)
    seen = []
    for group in groups.values():
        newest = sorted(group, key=lambda run: (run.precomputed, -run.saved_at))
        counts = {kind: sum(run.result.kind == kind for run in group) for kind in KINDS}
        plain = [run for run in newest if run.result.spec.model.quantization == "none"]
        spec = (plain or newest)[0].result.spec.model
        sources = list(dict.fromkeys(run.result.spec.model.source for run in newest))
        times = [run.saved_at for run in group if not run.precomputed]
        known = {kind: count for kind, count in counts.items() if count}
        facts = next((run.model for run in newest if run.model is not None), None)
        if facts is None:
            continue
        seen.append(Seen(facts, spec, known, sources, max(times, default=0.0)))
    return sorted(seen, key=lambda one: -one.saved_at)


def texts_read(result: Measured) -> CorpusSpec | None:
    """The text that losses, distances or damage were measured on."""
    spec = result.spec
    if isinstance(result, HealResult):
        found: CorpusSpec | None = spec.validation
    else:
        found = getattr(spec, "corpus", None) or getattr(spec, "loss_corpus", None)
    return found
