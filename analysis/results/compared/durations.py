"""Expected durations on this machine: planned work over the rates of stored results that were
measured here.

Work is in FLOPs or in a proportional quantity. The duration is unknown if no stored result has
measured a kind of work on this machine. A running job estimates its remaining time itself
(`core.progress.Stages`).
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from analysis.experiments.batch.grid_spec import GridSpec
from analysis.experiments.heal import remaining
from analysis.experiments.heal.heal_result import HealResult
from analysis.experiments.heal.heal_spec import HealSpec
from analysis.experiments.heal.remaining import question_tokens
from analysis.experiments.search.search_spec import SearchResult, SearchSpec, takes
from analysis.models.source.model_spec import ModelSpec
from analysis.models.source.sizes import ModelFacts

_UNSURE = 0.25
"""Relative error of a duration that rests on a single result."""
_SHARED = 0.2
"""Share of the slowest rate below which a result is ignored, since it reused scores of others."""
_OWN = 0.9
"""Minimum share of sets that a search measured itself for its time to count."""
_CURVE = "curve"
_SEARCH = "search"


@dataclass(frozen=True)
class Duration:
    """Range of the seconds that a request takes once its model is loaded."""

    low_s: float
    high_s: float
    n: int
    """Number of results of this machine behind it."""


def expected(
    spec: HealSpec | GridSpec | SearchSpec, facts: Mapping[str, ModelFacts], results: Sequence[Any]
) -> Duration | None:
    """Return the duration of a request without stored parts; None if a part of its work was not
    measured on this machine.

    Of a healing run that is bounded by minutes, it is the duration of all but the training.

    Args:
        spec: a healing run, a grid or a search, before its models are resolved.
        facts: sizes of models by their source.
        results: healing runs, curves or searches, of any model and machine.
    """
    low = 0.0
    high = 0.0
    timed = list[list[tuple[str, float]]]()
    models = spec.models if isinstance(spec, GridSpec) else (spec.model,)
    if any(model.source not in facts for model in models):
        return None
    for model in models:
        size = facts[model.source]
        for kind, amount in _work(spec, size).items():
            rates = _timed(kind, model, size, results)
            if not rates:
                return None
            seconds = [rate for _, rate in rates]
            low = low + min(seconds) * amount
            high = high + max(seconds) * amount
            timed.append(rates)
    n = min(map(len, timed))
    unsure = _UNSURE if n == 1 else 0.0
    return Duration((1 - unsure) * low, (1 + unsure) * high, n)


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


def _work(spec: HealSpec | GridSpec | SearchSpec, facts: ModelFacts) -> dict[str, float]:
    """Return the amount of each kind of work that a request does with one model."""
    if isinstance(spec, HealSpec):
        return {kind: tokens * facts.n_parameters for kind, tokens in remaining.work(spec).items()}
    if isinstance(spec, SearchSpec):
        return {_SEARCH: takes(spec, facts).flop}
    # Each set of questions and each set of texts is scored once.
    cuts = 1 + (facts.n_layers // 2 if spec.max_n is None else min(spec.max_n, facts.n_layers - 1))
    ways = len(spec.cells()) // (len(spec.models) * len(spec.benchmarks) * len(spec.loss_corpora))
    tokens = sum(map(question_tokens, spec.benchmarks))
    tokens += sum(corpus.n_texts * corpus.seq_len for corpus in spec.loss_corpora)
    return {_CURVE: float(ways * cuts * tokens * facts.n_parameters)}


def _measured(result: Any) -> dict[str, tuple[float, float]]:
    """Return seconds and amount of each kind of work of a finished result; empty if it reused most
    of its scores.
    """
    if isinstance(result, HealResult):
        n_parameters = result.model.n_parameters
        return {
            kind: (seconds, tokens * n_parameters)
            for kind, (seconds, tokens) in remaining.measured(result).items()
        }
    if isinstance(result, SearchResult):
        is_own = result.n_measured >= _OWN * result.n_sets > 0
        return {_SEARCH: (result.wall_s, takes(result.spec, result.model).flop)} if is_own else {}
    if result.spec.generation is not None:
        return {}
    tokens = question_tokens(result.spec.benchmark, result.n_questions) + sum(result.text_tokens)
    return {_CURVE: (result.wall_s, float(tokens * len(result.points) * result.model.n_parameters))}


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
