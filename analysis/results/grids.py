"""Estimated duration of a grid on this machine, from the curves that were measured on it."""

from collections.abc import Mapping, Sequence

from analysis.core.host import Load
from analysis.data.spec import BenchmarkSpec
from analysis.experiments.accuracy.sweep_spec import SweepResult
from analysis.experiments.grid.spec import GridSpec
from analysis.models.spec import ModelFacts, ModelSpec
from analysis.results.durations import TOKENS_PER_QUESTION, Duration, is_of_here

_SHARED = 0.2
"""Share of the quickest honest pace; a curve below it took over scores of others, so that its time says nothing."""


def expected(spec: GridSpec, known: Sequence[SweepResult], facts: Mapping[str, ModelFacts], load: Load) -> Duration | None:
    """Return the longest duration of a grid, with nothing of it measured before; None without an estimate.

    Args:
        spec: the grid, before its models are resolved.
        known: finished curves, of any model and machine; those of this machine count.
        facts: the sizes of models by their source.
        load: the other work of the machine.
    """
    low = high = 0.0
    used = 0
    for model in spec.models:
        paces = _paces(model, known)
        if model.source not in facts or not paces:
            return None
        work = _work(spec, facts[model.source])
        low, high, used = low + min(paces) * work, high + max(paces) * work, max(used, len(paces))
    return Duration(low, high, used).under(load)


def _paces(model: ModelSpec, known: Sequence[SweepResult]) -> list[float]:
    """Return the seconds per token, block and parameter of curves in this precision on this machine."""
    alike = [
        sweep
        for sweep in known
        if is_of_here(sweep)
        and sweep.complete
        and sweep.spec.generation is None
        and sweep.spec.model.quantization == model.quantization
        and model.dtype in ("auto", sweep.spec.model.dtype)
        and model.device in ("auto", sweep.spec.model.device)
    ]
    paces = [sweep.wall_s / work for sweep in alike if (work := _measured(sweep))]
    return [pace for pace in paces if pace > _SHARED * max(paces)]


def _measured(sweep: SweepResult) -> float:
    tokens = sweep.n_questions * TOKENS_PER_QUESTION + sum(sweep.text_tokens)
    return tokens * len(sweep.points) * float(sweep.model.n_parameters)


def _work(spec: GridSpec, facts: ModelFacts) -> float:
    """Return the work of one model: the same questions are not asked again with each text, nor texts read twice."""
    cuts = 1 + (facts.n_layers // 2 if spec.max_n is None else min(spec.max_n, facts.n_layers - 1))
    ways = len(spec.cells()) // (len(spec.models) * len(spec.benchmarks) * len(spec.loss_corpora))
    tokens = sum(map(_asked, spec.benchmarks)) * TOKENS_PER_QUESTION
    tokens += sum(corpus.n_texts * corpus.seq_len for corpus in spec.loss_corpora)
    return ways * cuts * tokens * float(facts.n_parameters)


def _asked(benchmark: BenchmarkSpec) -> int:
    return benchmark.limit or 1000
