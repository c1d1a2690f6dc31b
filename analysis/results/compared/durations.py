"""Expected durations on this machine: planned work over the rates of stored results that were
measured here.

Work is in FLOPs. Where no stored result has measured a kind of work on this machine, the speed of
its processor may estimate it; otherwise the duration is unknown. A running job estimates its
remaining time itself (`core.progress.Stages`).
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from analysis.core import host
from analysis.core.record import Spec
from analysis.core.units import span
from analysis.data.spec import BenchmarkSpec, CorpusSpec
from analysis.experiments.accuracy.sweep_spec import (
    EvaluateResult,
    EvaluateSpec,
    SweepResult,
    SweepSpec,
)
from analysis.experiments.batch.grid_spec import GridSpec
from analysis.experiments.heal import remaining
from analysis.experiments.heal.heal_result import HealResult
from analysis.experiments.heal.heal_spec import HealSpec
from analysis.experiments.heal.remaining import question_tokens
from analysis.experiments.maps.damage_spec import DamageResult, DamageSpec
from analysis.experiments.maps.distance_spec import DistanceResult, DistanceSpec
from analysis.experiments.search.search_spec import SearchResult, SearchSpec, takes
from analysis.models.source.model_spec import ModelSpec
from analysis.models.source.sizes import ModelFacts

_UNSURE = 0.25
"""Relative error of a duration that rests on a single result."""
_SHARED = 0.2
"""Share of the slowest rate below which a result is ignored, since it reused scores of others."""
_OWN = 0.9
"""Minimum share of sets that a search measured itself for its time to count."""
_SCORES = "scores"
"""Kind of work of questions and texts, whatever asks them."""
_OF_PEAK = (0.5, 4.0)
"""Smallest and largest time of a model's FLOP, in times of one of a float32 matrix product.
bfloat16 takes half of it on some processors, and short rows take longer."""
SOURCES = {
    "grid": ("sweep",),
    "evaluate": ("evaluate", "sweep"),
    "sweep": ("sweep", "evaluate", "distances", "damage", "search"),
    "damage": ("damage", "distances"),
}
"""Kinds of results that have measured the work of a kind of request; others measure their own."""


@dataclass(frozen=True)
class Duration:
    """Range of the seconds that a request takes once its model is loaded."""

    low_s: float
    high_s: float
    n: int
    """Number of results of this machine behind it; 0 if the processor's speed estimates a part."""

    def in_words(self) -> str:
        """Return the duration and its source: "about 5-7 min here, by 3 earlier measurements"."""
        source = "estimated from the speed of this processor"
        if self.n:
            source = f"by {self.n} earlier {'measurement' if self.n == 1 else 'measurements'}"
        return f"about {span(self.low_s, self.high_s)} here, {source}"


def expected(
    spec: Spec,
    facts: Mapping[str, ModelFacts],
    results: Sequence[Any],
    processor: Callable[[], float] | None = None,
) -> Duration | None:
    """Return the duration of a request without stored parts; None if it is not known.

    Of a healing run that is bounded by minutes, it is the duration of all but the training.

    Args:
        spec: the request, before its models are resolved.
        facts: sizes of models by their source.
        results: results of any kind, model and machine.
        processor: returns the FLOP/s of this machine's processor (`host.flop_per_s`), which
            estimates work that no result has measured here; None to leave it unknown.
    """
    low = 0.0
    high = 0.0
    timed = list[list[tuple[str, float]]]()
    models = [part for part in spec.nested() if isinstance(part, ModelSpec)]
    if not models or any(model.source not in facts for model in models):
        return None
    for model in models:
        size = facts[model.source]
        work = _work(spec, size)
        if work is None:
            return None
        for kind, amount in work.items():
            rates = _timed(kind, model, size, results)
            seconds = [rate for _, rate in rates]
            if not rates and processor is not None and _is_plain(model):
                seconds = [share / processor() for share in _OF_PEAK]
            if not seconds:
                return None
            low = low + min(seconds) * amount
            high = high + max(seconds) * amount
            timed.append(rates)
    n = min(map(len, timed))
    unsure = _UNSURE if n == 1 else 0.0
    return Duration((1 - unsure) * low, (1 + unsure) * high, n)


def sentence(spec: Spec, duration: Duration | None) -> str:
    """Return how long a request takes, in a sentence."""
    if isinstance(spec, HealSpec) and spec.minutes is not None:
        most = remaining.EXTENSION * spec.minutes
        return f"Takes up to {spec.minutes:g} minutes, at most {most:g} if they prove too short."
    if duration is None:
        return "How long this takes here is not known."
    return f"Takes {duration.in_words()}."


def within(
    spec: GridSpec, limit_s: float, duration_of: Callable[[GridSpec], Duration | None]
) -> GridSpec:
    """Return the largest part of a grid that fits a time limit.

    It has all models with as many removed layers as fit, else fewer models. If no duration is
    known, or nothing fits, it is the first model without removed layers, which measures the rate of
    the others.

    Args:
        spec: the whole grid, with a `max_n`.
        limit_s: seconds.
        duration_of: duration of a part.
    """
    for n_models in range(len(spec.models), 0, -1):
        for max_n in range(spec.max_n or 0, -1, -1):
            part = replace(spec, models=spec.models[:n_models], max_n=max_n)
            duration = duration_of(part)
            if (
                duration is None
            ):  # of a model without a measured rate, whatever the number of layers
                break
            if duration.high_s <= limit_s:
                return part
    return replace(spec, models=spec.models[:1], max_n=0)


def _work(spec: Spec, facts: ModelFacts) -> dict[str, float] | None:
    """Return the amount of each kind of work that a request does with one model, in FLOPs; None if
    it is not known.
    """
    if isinstance(spec, DistanceSpec):
        return {spec.kind: spec.flop(facts)}
    if isinstance(spec, DamageSpec):
        return {spec.kind: spec.flop(facts), spec.distances.kind: spec.distances.flop(facts)}
    if isinstance(spec, SearchSpec):
        return {spec.kind: takes(spec, facts).flop}
    if isinstance(spec, HealSpec):
        tokens = remaining.work(spec)
        return {kind: 2 * amount * facts.n_parameters for kind, amount in tokens.items()}
    if isinstance(spec, GridSpec):
        return {_SCORES: _flop_of_grid(spec, facts)}
    if not isinstance(spec, SweepSpec | EvaluateSpec) or spec.generation is not None:
        return None
    scored = _flop_of_scores(spec.benchmark, spec.loss_corpus, facts)
    if isinstance(spec, EvaluateSpec):
        return {_SCORES: scored}
    n_points = 1 + (len(spec.blocks) or _largest(spec.max_n, facts))
    work = {_SCORES: n_points * scored}
    for request in spec.rests_on:
        work |= _work(request, facts) or {}
    return work


def _largest(max_n: int | None, facts: ModelFacts) -> int:
    """Return the largest number of removed layers of a curve."""
    return facts.n_layers // 2 if max_n is None else min(max_n, facts.n_layers - 1)


def _flop_of_scores(
    benchmark: BenchmarkSpec | None, corpus: CorpusSpec | None, facts: ModelFacts
) -> float:
    """Return the FLOPs of one model on questions and texts."""
    tokens = question_tokens(benchmark)
    if corpus is not None:
        tokens += corpus.n_texts * corpus.seq_len
    return 2.0 * tokens * facts.n_parameters


def _flop_of_grid(spec: GridSpec, facts: ModelFacts) -> float:
    """Return the FLOPs of one model of a grid, which scores each material once."""
    n_sets = len(spec.models) * len(spec.benchmarks) * len(spec.loss_corpora)
    ways = len(spec.cells()) // n_sets
    scored = sum(_flop_of_scores(benchmark, None, facts) for benchmark in spec.benchmarks)
    scored += sum(_flop_of_scores(None, corpus, facts) for corpus in spec.loss_corpora)
    return ways * (1 + _largest(spec.max_n, facts)) * scored


def _measured(result: Any) -> dict[str, tuple[float, float]]:
    """Return seconds and FLOPs of each kind of work of a finished result; empty if it reused most
    of its scores.
    """
    spec = result.spec
    facts = result.model
    if isinstance(result, HealResult):
        return {
            kind: (seconds, 2 * tokens * facts.n_parameters)
            for kind, (seconds, tokens) in remaining.measured(result).items()
        }
    if isinstance(result, SearchResult):
        is_own = result.n_measured >= _OWN * result.n_sets > 0
        return {spec.kind: (result.wall_s, takes(spec, facts).flop)} if is_own else {}
    if isinstance(result, DistanceResult | DamageResult):
        return {spec.kind: (result.wall_s, spec.flop(facts))}
    if not isinstance(result, SweepResult | EvaluateResult) or spec.generation is not None:
        return {}
    n_points = len(result.points) if isinstance(result, SweepResult) else 1
    questions = result.questions[0] if isinstance(result, SweepResult) else result.questions
    tokens = question_tokens(spec.benchmark, len(questions)) + sum(result.text_tokens)
    return {_SCORES: (result.wall_s, 2.0 * tokens * n_points * facts.n_parameters)}


def _timed(
    kind: str, model: ModelSpec, facts: ModelFacts, results: Sequence[Any]
) -> list[tuple[str, float]]:
    """Return the seconds per work in the precision and on the device of a model, each with the name
    of its model.

    Results of the model itself are preferred.
    """
    rates = []
    for result in results:
        if (
            result.complete
            and result.is_from_this_machine
            and _computes_alike(model, result.spec.model)
        ):
            seconds, work = _measured(result).get(kind, (0.0, 0.0))
            if seconds > 0 and work > 0:
                rates.append((result.model.name, seconds / work))
    rates = [rate for rate in rates if rate[0] == facts.name] or rates
    return [rate for rate in rates if rate[1] > _SHARED * max(seconds for _, seconds in rates)]


def _is_plain(model: ModelSpec) -> bool:
    """Return whether a model is computed unquantized by the processor."""
    on_processor = model.device == "cpu" or (model.device == "auto" and host.cards() == 0)
    return model.quantization == "none" and on_processor


def _computes_alike(requested: ModelSpec, measured: ModelSpec) -> bool:
    """Return whether precision and kind of device are those of the request, as far as it names
    them.
    """
    same_device = requested.device in ("auto", measured.device)
    return (
        measured.quantization == requested.quantization
        and requested.dtype in ("auto", measured.dtype)
        and same_device
    )
