"""Durations on this machine, estimated before the click: of a healing run until its verdict, of a grid and of a search.

A healing run loads, fits, trains and scores all models. Each estimate is from runs of the same kind that were measured here.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import median

from analysis.core.host import SystemLoad
from analysis.experiments.accuracy.sweep_spec import SweepResult
from analysis.experiments.batch.grid_spec import GridSpec
from analysis.experiments.heal import recipes, remaining
from analysis.experiments.heal.heal_result import HealResult
from analysis.experiments.heal.heal_spec import CHOICE_TEXTS, HealSpec
from analysis.experiments.heal.recipes import CHECKS
from analysis.experiments.heal.remaining import TOKENS_PER_QUESTION, question_tokens
from analysis.experiments.search.search_spec import SearchResult, SearchSpec, takes
from analysis.models.source.model_spec import ModelSpec
from analysis.models.source.sizes import ModelFacts

_UNSURE = 0.25
"""Relative error of a duration that rests on a single healing run."""


@dataclass(frozen=True)
class TimedHeal:
    """A finished heal, and how long it took from the start of its job."""

    result: HealResult
    seconds: float


@dataclass(frozen=True)
class Duration:
    """Range of the seconds from the start of a healing run to its end."""

    low_s: float
    high_s: float
    n: int
    """Healing runs, or sweeps, of this machine that it rests on."""
    of_another: str = ""
    """The model that these were of, where it is another one; its times go by the number of parameters."""

    def under(self, load: SystemLoad) -> "Duration":
        """Return the duration on a machine that has other work."""
        quick, slow = load.stretch
        return Duration(self.low_s * quick, self.high_s * slow, self.n, self.of_another)


def expected(spec: HealSpec, facts: ModelFacts, timed_heals: Sequence[TimedHeal], load: SystemLoad) -> Duration | None:
    """Return the duration until the verdict; None if no run like it was measured on this machine.

    A requested time is a bound under any load: on a busy machine the run takes fewer steps.

    Args:
        spec: the heal, before its model is resolved.
        facts: the size of its model.
        timed_heals: finished heals of this machine, of any model.
        load: the other work of the machine.
    """
    untrained = _without_training(spec, facts, timed_heals)
    if spec.minutes is not None:
        shares = [heal.seconds / 60 / heal.result.spec.minutes for heal in timed_heals if heal.result.spec.minutes]
        return Duration(60 * spec.minutes * min(1.0, *shares, 1.0), 60 * spec.minutes, len(shares))
    if untrained is None or not spec.steps:
        return untrained and untrained.under(load)
    speeds = _speeds(spec, facts, timed_heals)
    if not speeds:
        return None
    tokens = spec.steps * spec.batch_size * spec.gradient_accumulation * spec.corpus.seq_len
    low, high = _range([tokens / speed for speed in speeds])
    return Duration(untrained.low_s + low, untrained.high_s + high, min(untrained.n, len(speeds)), untrained.of_another).under(
        load
    )


def _is_on_gpu(model: ModelSpec) -> bool:
    return recipes.sees_gpu(model.device) or model.device == "mps"


def refining(result: HealResult, request: HealSpec, load: SystemLoad) -> Duration | None:
    """Return the duration of a refined judgement, from the training speed of the healing run here; None where it is unknown.

    Args:
        result: the finished heal.
        request: the requested judgement.
        load: other work of the machine.
    """
    if not result.is_from_this_machine:
        return None
    source_spec = result.spec
    new = sum(
        (question_tokens(spec.benchmark) + 2 * spec.validation.n_texts * spec.validation.seq_len) * sign
        for spec, sign in ((request, 1), (source_spec, -1))
    )
    speeds = [step.tokens_per_s for step in result.steps]
    pace = 1 / (remaining.STEP_PASSES * median(speeds)) if speeds else result.scoring_s / remaining.scoring_work(source_spec)
    seconds = 3 * new * pace
    return Duration((1 - _UNSURE) * seconds, (1 + _UNSURE) * seconds, 1).under(load)


def preparing(spec: HealSpec, facts: ModelFacts, timed_heals: Sequence[TimedHeal], load: SystemLoad) -> Duration | None:
    """Return how long all but the training of a heal takes: the part of a named time that is not left for training."""
    untrained = _without_training(spec, facts, timed_heals)
    return untrained and untrained.under(load)


def _without_training(spec: HealSpec, facts: ModelFacts, timed_heals: Sequence[TimedHeal]) -> Duration | None:
    """Return the duration, without load, of all but training: loading, scoring three models, the instant heal, checks."""
    comparable = [
        heal
        for heal in timed_heals
        if _computes_alike(spec.model, heal.result.spec.model) and heal.result.spec.instant == spec.instant
    ]
    comparable = [heal for heal in comparable if heal.result.spec.trains == spec.trains] or comparable
    comparable = [heal for heal in comparable if heal.result.model.name == facts.name] or comparable
    if not comparable:
        return None
    seconds = [_untrained_s(heal) * _work(spec, facts) / _work(heal.result.spec, heal.result.model) for heal in comparable]
    other_name = comparable[0].result.model.name
    return Duration(*_range(seconds), len(comparable), "" if other_name == facts.name else other_name)


def _untrained_s(heal: TimedHeal) -> float:
    spec = heal.result.spec
    tokens = spec.batch_size * spec.gradient_accumulation * spec.corpus.seq_len
    return max(1.0, heal.seconds - sum(tokens / step.tokens_per_s for step in heal.result.steps))


def _speeds(spec: HealSpec, facts: ModelFacts, timed_heals: Sequence[TimedHeal]) -> list[float]:
    """Tokens per second of training, one a heal; of other models by the number of parameters."""
    trained = [heal.result for heal in timed_heals if heal.result.steps and _computes_alike(spec.model, heal.result.spec.model)]
    trained = [result for result in trained if bool(result.spec.distill) == bool(spec.distill)] or trained
    trained = [result for result in trained if result.model.name == facts.name] or trained
    return [
        median(step.tokens_per_s for step in result.steps) * _size(result.spec, result.model) / _size(spec, facts)
        for result in trained
    ]


def _computes_alike(requested: ModelSpec, measured: ModelSpec) -> bool:
    """Return True where precision and kind of device are those of the request, as far as it names them."""
    same_device = requested.device in ("auto", measured.device)
    return measured.quantization == requested.quantization and requested.dtype in ("auto", measured.dtype) and same_device


def _work(spec: HealSpec, facts: ModelFacts) -> float:
    """Return the tokens that the three models are measured on, times their size."""
    judging, same_kind = spec.validation, spec.same_kind
    texts = judging.n_texts * judging.seq_len + (
        0 if judging.subject == same_kind.subject else same_kind.n_texts * same_kind.seq_len
    )
    choosing = CHOICE_TEXTS * judging.seq_len + TOKENS_PER_QUESTION * spec.check_questions
    checks = (CHECKS + 1) * choosing if spec.trains else 0
    return (3 * (texts + question_tokens(spec.benchmark)) + checks) * facts.n_parameters


def _size(spec: HealSpec, facts: ModelFacts) -> float:
    """Parameters that a training step passes through."""
    return sum(facts.layer_parameters) * (1 - len(spec.block.layers) / facts.n_layers) + facts.other_parameters


def _range(seconds: Sequence[float]) -> tuple[float, float]:
    """Return the quickest and the slowest; of a single one, the range of its relative error."""
    if len(seconds) == 1:
        return seconds[0] * (1 - _UNSURE), seconds[0] * (1 + _UNSURE)
    return min(seconds), max(seconds)


_SHARED = 0.2
"""Share of the quickest honest pace; a curve below it took over scores of others, so that its time says nothing."""
_USUAL_PACES = {"none": (4e-12, 4e-11), "8bit": (5e-11, 7e-10), "4bit": (2e-11, 1.5e-10)}
"""By quantization, the range of seconds per token, block and parameter on two CPU cores, around those of the gallery's curves
and evaluations. It is wide because few processors have instructions for bfloat16 or for 8-bit integers."""


def of_grid(
    spec: GridSpec, sweeps: Sequence[SweepResult], facts: Mapping[str, ModelFacts], load: SystemLoad
) -> Duration | None:
    """Return the longest duration of a grid, with nothing of it measured before; None without an estimate.

    A model in a precision without any curve of this machine is estimated from the amount of work alone, but not on a GPU.

    Args:
        spec: the grid, before its models are resolved.
        sweeps: finished curves, of any model and machine; those of this machine count.
        facts: the sizes of models by their source.
        load: the other work of the machine.
    """
    low, high, used = 0.0, 0.0, list[int]()
    for model in spec.models:
        measured = _paces(model, sweeps)
        paces = measured or _usual_paces(model)
        if model.source not in facts or not paces:
            return None
        work = _grid_work(spec, facts[model.source])
        low, high = low + min(paces) * work, high + max(paces) * work
        used.append(len(measured))
    return Duration(low, high, min(used, default=0)).under(load)


def _usual_paces(model: ModelSpec) -> Sequence[float]:
    """Return the least and the most seconds per token, block and parameter on a CPU; nothing for a GPU."""
    return () if _is_on_gpu(model) else _USUAL_PACES[model.quantization]


def _paces(model: ModelSpec, sweeps: Sequence[SweepResult]) -> list[float]:
    """Return the seconds per token, block and parameter of curves in this precision on this machine."""
    comparable = [
        sweep
        for sweep in sweeps
        if sweep.is_from_this_machine
        and sweep.complete
        and sweep.spec.generation is None
        and _computes_alike(model, sweep.spec.model)
    ]
    paces = [sweep.wall_s / work for sweep in comparable if (work := _curve_work(sweep))]
    return [pace for pace in paces if pace > _SHARED * max(paces)]


def _curve_work(sweep: SweepResult) -> float:
    tokens = question_tokens(sweep.spec.benchmark, sweep.n_questions) + sum(sweep.text_tokens)
    return tokens * len(sweep.points) * float(sweep.model.n_parameters)


def _grid_work(spec: GridSpec, facts: ModelFacts) -> float:
    """Return the work of one model: the same questions are not asked again with each text, nor texts read twice."""
    cuts = 1 + (facts.n_layers // 2 if spec.max_n is None else min(spec.max_n, facts.n_layers - 1))
    ways = len(spec.cells()) // (len(spec.models) * len(spec.benchmarks) * len(spec.loss_corpora))
    tokens = sum(map(question_tokens, spec.benchmarks))
    tokens += sum(corpus.n_texts * corpus.seq_len for corpus in spec.loss_corpora)
    return ways * cuts * tokens * float(facts.n_parameters)


_OWN = 0.9
"""Share of its sets that a search must have measured itself for its time to count."""


def of_search(spec: SearchSpec, facts: ModelFacts, searches: Sequence[SearchResult]) -> str:
    """Return a sentence on the amount that a search measures, and about how long that takes where one like it ran here.

    Args:
        spec: the search.
        facts: the size of its model.
        searches: searches of any model; of this machine and this precision those count that are finished and measured nearly
            all of their sets themselves.
    """
    work = takes(spec, facts)
    precision = spec.model.dtype
    comparable = [search for search in searches if search.complete and search.is_from_this_machine and search.wall_s > 0]
    comparable = [search for search in comparable if search.n_measured >= _OWN * search.n_sets > 0]
    comparable = [search for search in comparable if precision in ("auto", search.spec.model.dtype)]
    if not comparable:
        return work.sentence
    speed = median(takes(search.spec, search.model).flop / search.wall_s for search in comparable)
    minutes = work.flop / speed / 60
    duration = f"{minutes:.0f} minutes" if minutes >= 1.5 else "a minute" if minutes >= 0.75 else "less than a minute"
    return f"{work.sentence[:-1]}: {duration} at the speed of earlier searches here."
