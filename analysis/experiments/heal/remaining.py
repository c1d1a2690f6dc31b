"""Time left of a healing run over all of its phases, and the bound of a run of so many minutes.

The planned work of a phase is counted in tokens of a forward pass, which is proportional to its FLOPs. Its rate, in seconds per
token, is measured: by this run, or by earlier runs of this model on this machine. While a rate is unknown, no time left is
reported. The bar is the share of the planned work that is finished.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from analysis.core.errors import RecipeError
from analysis.core.progress import OnProgress, Progress, seconds_per_unit
from analysis.data.questions import usual_shots
from analysis.data.spec import BenchmarkSpec
from analysis.experiments.heal.heal_result import HealResult
from analysis.experiments.heal.heal_spec import CALIBRATION_TEXTS, CHOICE_TEXTS, HealSpec

LOAD, BEFORE, FIT, TRAIN, HEALED = STAGES = ("load", "score before healing", "fit", "train", "score healed")
"""Stages that a page names."""
SCORE = "score"
"""Kind of work of all that is neither loading, fit nor training; these have rates of their own."""

_KINDS = {"load": LOAD, "fit": FIT, "train": TRAIN}
"""Kinds of work of phases that do not score."""
VALUE = "remaining"
"""Under this name a report carries the estimate."""
TOKENS_PER_QUESTION = 34
"""Tokens of a text that take as long as a question of ARC-Easy: it has 45, and most predict nothing that is scored."""
_TOKENS_PER_SHOT = 45
"""Tokens of a text that take as long as a worked example of MMLU, per question: a few questions share each."""
_ALL_QUESTIONS = 1000
"""Of a benchmark without a limit."""
_FIT_SHARE = 0.6
"""Forward passes per calibration token of the instant heal: it reads the layers up to the gap, then tries some strengths."""
STEP_PASSES = 4.5
"""Forward passes that a training step takes as long as: forward, backward, and the unpruned model's."""
PROBES = 3
"""Steps that are timed, the first of them not counted, to work out how many fit into a time."""
_SHARED = 0.5
"""Time that the pruned model adds to the unpruned one's, from one trunk: the layers behind a usual block, and the head."""
_HEALED_TIME = 0.8
"""Time of a healed model over the unpruned one's."""
_TRIALS = 0.7
"""Time that the trials of a fit take, over that of its reading."""
_AGAIN_S = 1.0


class OutOfTime(RecipeError):
    """The minutes of the request are over."""


@dataclass
class HealPhase:
    """A phase of a healing run."""

    stage: str
    kind: str
    """Kind of work, which has a rate of its own."""
    work: float
    """Planned tokens of a forward pass."""
    began: float | None = None
    took_s: float | None = None


class Remaining:
    """Adds the share that is done, the seconds that are left and the stage to every report; ends a run that is out of time."""

    def __init__(
        self,
        on_progress: OnProgress,
        spec: HealSpec,
        started: float,
        clock: Callable[[], float],
        *,
        known: Mapping[str, float] | None = None,
    ) -> None:
        """Plan the phases of a run.

        Args:
            on_progress: called with every report.
            spec: resolved.
            started: when the run began, by the clock.
            clock: seconds.
            known: rates of earlier runs on this machine (`known_rates`).
        """
        self._on_progress, self._clock, self._started = on_progress, clock, started
        self._deadline = None if spec.minutes is None else started + 60 * spec.minutes
        self._spec, self._known = spec, dict(known or {})
        self.phases = planned(spec)
        self._now = LOAD
        self.phases[LOAD].began = started
        self._resumed = self._fraction = 0.0
        self._share = 0.0
        self._values: dict[str, Any] = {}
        self._said_at = float("-inf")
        self.reserved_s = 0.0
        """Seconds of the requested time that training leaves for the last measurement."""

    def begin(self, name: str, finished: float = 0.0) -> None:
        """Enter a phase; those before it that were not entered were not needed.

        Args:
            name: of the phase.
            finished: share of it that an earlier attempt has done.
        """
        now = self._clock()
        names = list(self.phases)
        for before in names[: names.index(name)]:
            phase = self.phases[before]
            if phase.took_s is None:
                phase.took_s = 0.0 if phase.began is None else now - phase.began
        self._now, self._resumed, self._fraction = name, finished, finished
        self.phases[name].began = now
        self._said_at = float("-inf")

    def reuse(self, name: str, *stored: tuple[int, int, int]) -> None:
        """Plan no work for stored scores.

        Args:
            name: "before" or "healed".
            stored: for each model, the number of its stored answers, of losses on judging texts, and of losses on texts of the
                healing text's kind.
        """
        spec = self._spec
        asked, read = question_tokens(spec.benchmark), spec.validation.n_texts * spec.validation.seq_len
        n_texts, every = spec.validation.n_texts, _from_one_trunk([1.0] * len(stored))
        answers, losses, own_kind = (
            _from_one_trunk([_lacking(counts[index], n) for counts in stored])
            for index, n in enumerate((n_questions(spec.benchmark), n_texts, n_texts))
        )
        self.phases[name].work *= (asked * answers + read * losses) / (asked + read) / every
        self.phases[f"{name}, same kind"].work *= own_kind / every

    def skip(self, *names: str) -> None:
        """Plan no work for phases that a stored run has done."""
        for name in names:
            self.phases[name].work = 0.0

    def lift_bound(self) -> None:
        """Let the run take longer than the requested time."""
        self._deadline = None

    def reserve(self, seconds: float) -> None:
        """Leave some of the requested time for the last measurement, at least as much as is known to be needed."""
        self.reserved_s = max(seconds, self._planned_s(lambda phase: phase.stage == HEALED) or 0.0)

    @property
    def work_of_verdict(self) -> float:
        """Return the planned work of the last measurement, in tokens of a forward pass."""
        return sum(phase.work for phase in self.phases.values() if phase.stage == HEALED)

    def rate(self, kind: str) -> float | None:
        """Return the measured seconds per token of a kind of work; None while it is not measured."""
        now = self.phases[self._now]
        if now.kind == kind and now.work and (rate := self._rate_now()) is not None:
            return rate
        finished = [phase for phase in self.phases.values() if phase.kind == kind and phase.took_s and phase.work]
        if not finished:
            return self._known.get(kind)
        return sum(phase.took_s or 0.0 for phase in finished) / sum(phase.work for phase in finished)

    def _rate_now(self) -> float | None:
        """Return the seconds per token of the present phase; None while too little of it is done."""
        work = self.phases[self._now].work
        return seconds_per_unit((self._fraction - self._resumed) * work, work, self._spent_s)

    @property
    def _spent_s(self) -> float:
        return self._clock() - (self.phases[self._now].began or self._started)

    @property
    def left_s(self) -> float | None:
        """Seconds until the run is judged: those of the requested time, else None while a rate is not measured."""
        if self._deadline is not None:
            return max(0.0, self._deadline - self._clock())
        return None if self._now == LOAD else self._planned_s(lambda phase: True)

    def _planned_s(self, is_counted: Callable[[HealPhase], bool]) -> float | None:
        """Return the seconds of what is left of some of the phases; None if a rate is not measured."""
        total = 0.0
        for phase, rest in self._rest():
            if rest and is_counted(phase):
                rate = self.rate(phase.kind)
                if rate is None:
                    return None
                total += rate * rest
        return total

    def _rest(self) -> list[tuple[HealPhase, float]]:
        """Return the present and all later phases, each with its unfinished work."""
        now, *later = list(self.phases.values())[list(self.phases).index(self._now) :]
        return [(now, (1 - self._fraction) * now.work), *((phase, phase.work) for phase in later)]

    def check_time(self, rates: Mapping[str, float]) -> None:
        """Refuse a requested time that is too short for all but training.

        Args:
            rates: measured seconds per token of each kind of work.

        Raises:
            RecipeError: with the least time. Nothing is raised if a rate is missing.
        """
        if self._deadline is None:
            return
        needed_s = self._clock() - self._started
        for phase in self.phases.values():
            if phase.stage in (LOAD, TRAIN) or phase.took_s is not None or not phase.work:
                continue
            if phase.kind not in rates:
                return
            needed_s += rates[phase.kind] * phase.work
        if self._started + needed_s > self._deadline:
            raise RecipeError(
                f"{self._spec.minutes:g} minutes are too short: loading, fit and scoring alone take about {_minutes(needed_s)} "
                f"on this machine now. Give at least --minutes {_minutes(needed_s)}, fewer questions or fewer texts."
            )

    def check_bound(self, ahead_s: float = 0.0) -> None:
        """End what the requested time does not allow; training ends early enough for the last measurement.

        Args:
            ahead_s: seconds of the work that would follow.

        Raises:
            OutOfTime: when the requested time is over, or would be.
        """
        reserved_s = self.reserved_s if self._now == TRAIN else 0.0
        if self._deadline is not None and self._clock() + ahead_s > self._deadline - reserved_s:
            why = "loading took that long" if self._now == LOAD else "the machine has become slower"
            raise OutOfTime(
                f"The {self._spec.minutes:g} minutes were over in the stage {self.phases[self._now].stage!r}, because {why}. "
                f"Finished parts are kept. Give more minutes, or run it again."
            )

    def is_fit_late(self) -> bool:
        """Return whether the fit must end its reading, so that its trials and the last measurement stay within the time."""
        if self._deadline is None:
            return False
        later_s = self._planned_s(lambda phase: phase.stage == HEALED) or 0.0
        return self._clock() + _TRIALS * self._spent_s + later_s > self._deadline

    def __call__(self, progress: Progress) -> None:
        """Pass a report on with the remaining time of the whole run.

        Raises:
            OutOfTime: when the requested time is over.
        """
        if progress.total:
            self._fraction = min(1.0, progress.done / progress.total)
        self.check_bound()
        now = self._clock()
        if now - self._said_at >= _AGAIN_S:
            self._said_at = now
            self._values = self._estimate(now)
        self._on_progress(replace(progress, values={**progress.values, VALUE: self._values}))

    def _estimate(self, now: float) -> dict[str, Any]:
        """Return the values of a report: of a run with a bound, the bar is the share of the time that is over."""
        left_s, work = self.left_s, sum(phase.work for phase in self.phases.values())
        if self._deadline is not None:
            share = (now - self._started) / (self._deadline - self._started)
        else:
            share = 1 - sum(rest for _, rest in self._rest()) / work
        self._share = max(self._share, share)
        stages = [stage for stage in STAGES if any(phase.work for phase in self.phases.values() if phase.stage == stage)]
        stage = self.phases[self._now].stage
        return {
            **({} if left_s is None else {"left_s": round(left_s, 1)}),
            "share": round(self._share, 4),
            "stage": stage,
            "stage_number": stages.index(stage) + 1 if stage in stages else 0,
            "n_stages": len(stages),
        }


def _minutes(seconds: float) -> str:
    """Minutes, rounded up to a tenth."""
    return f"{-(-seconds // 6) / 10:.1f}"


def known_rates(spec: HealSpec, heals: Sequence[HealResult], pick: Callable[[float, float], float] = max) -> dict[str, float]:
    """Return the measured seconds per token of each kind of work in finished runs like this on this machine.

    Args:
        spec: resolved.
        heals: stored runs of the model.
        pick: `max` for the slowest run, `min` for the quickest.
    """
    rates: dict[str, float] = {}
    for heal in heals:
        if heal.complete and heal.is_from_this_machine and heal.spec.model == spec.model:
            for kind, (seconds, tokens) in measured(heal).items():
                rates[kind] = pick(rates.get(kind, seconds / tokens), seconds / tokens)
    return rates


def measured(heal: HealResult) -> dict[str, tuple[float, float]]:
    """Return the seconds and the tokens of each kind of work of a finished run."""
    trained = len(heal.steps) * _step_tokens(heal.spec) * STEP_PASSES
    tokens = work(heal.spec) | {TRAIN: trained}
    seconds = {SCORE: heal.scoring_s, FIT: heal.fit_s, TRAIN: heal.training_s}
    return {kind: (took, tokens[kind]) for kind, took in seconds.items() if took > 0 and tokens.get(kind)}


def work(spec: HealSpec) -> dict[str, float]:
    """Return the planned tokens of each kind of work of a run, loading left out; no training if the time decides its steps."""
    tokens: dict[str, float] = {}
    for phase in planned(spec).values():
        if phase.work and phase.kind != LOAD and (phase.kind != TRAIN or spec.steps):
            tokens[phase.kind] = tokens.get(phase.kind, 0.0) + phase.work
    return tokens


def _lacking(n_stored: int, n: int) -> float:
    """Share of n that is not stored."""
    return 1 - min(1.0, n_stored / n) if n else 0.0


def _from_one_trunk(shares: list[float]) -> float:
    """Return the time of models that are scored together, each to some share, over that of one that is scored alone."""
    return max(shares) + _SHARED * (sum(shares) - max(shares))


def n_questions(benchmark: BenchmarkSpec | None) -> int:
    """Return the questions that are asked; without a limit an estimate."""
    return 0 if benchmark is None else benchmark.limit or _ALL_QUESTIONS


def question_tokens(benchmark: BenchmarkSpec | None, n: int | None = None) -> int:
    """Return how many tokens of texts take as long as questions with their worked examples.

    Args:
        benchmark: None for no questions.
        n: how many; by default all that are asked.
    """
    if benchmark is None:
        return 0
    shots = usual_shots(benchmark) if benchmark.shots is None else benchmark.shots
    return (n_questions(benchmark) if n is None else n) * (TOKENS_PER_QUESTION + _TOKENS_PER_SHOT * shots)


def _step_tokens(spec: HealSpec) -> int:
    return spec.batch_size * spec.gradient_accumulation * spec.corpus.seq_len


def planned(spec: HealSpec) -> dict[str, HealPhase]:
    """The phases of a healing run in their order, each with its work in tokens of a forward pass."""
    judging = spec.validation
    asked = question_tokens(spec.benchmark)
    text = judging.n_texts * judging.seq_len
    choice = CHOICE_TEXTS * judging.seq_len
    n_wrote = 0 if spec.generation is None else spec.generation.n_prompts * spec.generation.max_new_tokens * 8
    n_models = 1 if spec.control else 2
    before = _from_one_trunk([1.0] * n_models)
    step = _step_tokens(spec) * STEP_PASSES
    fit = _FIT_SHARE * CALIBRATION_TEXTS * min(spec.corpus.seq_len, 256) if spec.instant else 0
    phases = {
        "load": (LOAD, 1.0),
        "before": (BEFORE, before * (asked + text) + n_models * n_wrote),
        "before, same kind": (BEFORE, before * text),
        "choice": (BEFORE, before * choice),
        "fit": (FIT, fit),
        "prepare": (FIT, (PROBES * step + choice) if spec.minutes is not None else choice if spec.trains else 0),
        "train": (TRAIN, spec.steps * step if spec.steps else 1.0 if spec.minutes is not None else 0),
        "healed": (HEALED, _HEALED_TIME * (asked + text + n_wrote)),
        "healed, same kind": (HEALED, _HEALED_TIME * text),
    }
    return {name: HealPhase(stage, _KINDS.get(name, SCORE), tokens) for name, (stage, tokens) in phases.items()}
