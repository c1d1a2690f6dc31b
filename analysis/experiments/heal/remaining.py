"""Time left of a healing run over all of its phases, and the bound of a run of so many minutes.

The planned work of a phase is counted in tokens of a forward pass. Its rate, in seconds per token, is measured: by the finished
phases of this run, or by earlier runs of this model on this machine. While a rate is unknown, no time left is reported.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from analysis.core.errors import RecipeError
from analysis.core.progress import OnProgress, Progress
from analysis.data.questions import usual_shots
from analysis.data.spec import BenchmarkSpec
from analysis.experiments.heal.heal_result import HealResult
from analysis.experiments.heal.heal_spec import CALIBRATION_TEXTS, CHOICE_TEXTS, HealSpec

LOAD, BEFORE, FIT, TRAIN, HEALED = STAGES = ("load", "score before healing", "fit", "train", "score healed")
"""Stages that a page names."""
SCORE = "score"
"""Rate of the stages `BEFORE` and `HEALED`; the other stages have rates of their own names."""

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
_TRAINED, _FOLDED = 0.8, 0.5
"""Time of a healed model over the unpruned one's: after training, and after an instant heal, which begins below the gap."""
_ENOUGH, _ENOUGH_S = 0.15, 30.0
"""Share of a phase, or its seconds, from which on its own rate is taken."""
_MOST_BACK = 0.1
"""The bar goes back by no more than this."""
_TRIALS = 0.7
"""Time that the trials of a fit take, over that of its reading."""
_AGAIN_S = 1.0


class OutOfTime(RecipeError):
    """The minutes of the request are over."""


@dataclass
class HealPhase:
    """A phase, its stage, and its planned work in tokens of a forward pass."""

    stage: str
    work: float
    began: float | None = None
    took_s: float | None = None

    @property
    def kind(self) -> str:
        """Return the name of its rate."""
        return SCORE if self.stage in (BEFORE, HEALED) else self.stage


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
        before_s: float = 0.0,
    ) -> None:
        """Plan the phases of a run.

        Args:
            on_progress: called with every report.
            spec: resolved.
            started: when the run began, by the clock.
            clock: seconds.
            known: rates of earlier runs on this machine (`known_rates`).
            before_s: seconds of earlier attempts at this run.
        """
        self._on_progress, self._clock, self._started, self._before_s = on_progress, clock, started, before_s
        self._deadline = None if spec.minutes is None else started + 60 * spec.minutes
        self._spec, self._known = spec, dict(known or {})
        self.phases = planned(spec)
        self._now = LOAD
        self.phases[LOAD].began = started
        self._fraction = 0.0
        self._share = 0.0
        self._values: dict[str, Any] = {}
        self._said_at = float("-inf")
        self.reserved_s = 0.0
        """Seconds of the requested time that training leaves for the last measurement."""

    def begin(self, name: str) -> None:
        """Enter a phase; those before it that were not entered were not needed."""
        now = self._clock()
        names = list(self.phases)
        for before in names[: names.index(name)]:
            phase = self.phases[before]
            if phase.took_s is None:
                phase.took_s = 0.0 if phase.began is None else now - phase.began
        self._now, self._fraction = name, 0.0
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
        self.reserved_s = max(seconds, self._later_s(lambda phase: phase.stage == HEALED) or 0.0)

    def rate(self, kind: str) -> float | None:
        """Return the measured seconds per token of a kind of work; None while it is not measured."""
        measured = [(phase.took_s, phase.work) for phase in self.phases.values() if phase.kind == kind and phase.took_s]
        now = self.phases[self._now]
        if now.kind == kind and self._is_under_way:
            measured.append((self._spent_s, self._fraction * now.work))
        seconds, work = (sum(each[index] for each in measured) for index in (0, 1))
        return seconds / work if work > 0 else self._known.get(kind)

    @property
    def _spent_s(self) -> float:
        return self._clock() - (self.phases[self._now].began or self._started)

    @property
    def _is_under_way(self) -> bool:
        """Return whether the present phase has done enough to be timed by itself."""
        return self._fraction >= _ENOUGH or (self._fraction > 0 and self._spent_s >= _ENOUGH_S)

    @property
    def left_s(self) -> float | None:
        """Seconds until the run is judged: those of the requested time, else None while a rate is not measured."""
        if self._deadline is not None:
            return max(0.0, self._deadline - self._clock())
        if self._now == LOAD:
            return None
        later = self._later_s(lambda phase: True)
        now = self._left_of_phase()
        return None if later is None or now is None else now + later

    def _later_s(self, is_counted: Callable[[HealPhase], bool]) -> float | None:
        """Return the seconds of some of the phases after the present one; None where a rate is not measured."""
        names = list(self.phases)
        total = 0.0
        for name in names[names.index(self._now) + 1 :]:
            phase = self.phases[name]
            if phase.work and is_counted(phase):
                rate = self.rate(phase.kind)
                if rate is None:
                    return None
                total += rate * phase.work
        return total

    def _left_of_phase(self) -> float | None:
        phase = self.phases[self._now]
        if self._is_under_way:
            return self._spent_s / self._fraction * (1 - self._fraction)
        if not phase.work:
            return 0.0
        rate = self.rate(phase.kind)
        if rate is None:
            return None
        return max(rate * phase.work - self._spent_s, (1 - self._fraction) * 0.1 * rate * phase.work)

    def check_time(self, s_per_token: float | None = None) -> None:
        """Refuse a requested time that is too short for all but training.

        Args:
            s_per_token: measured seconds per token of a forward pass; None to take the rates of earlier runs on this machine.

        Raises:
            RecipeError: with the least time. Nothing is raised where the rates are not known.
        """
        if self._deadline is None:
            return
        needed_s = self._clock() - self._started
        for phase in self.phases.values():
            if phase.stage in (LOAD, TRAIN) or phase.took_s is not None or not phase.work:
                continue
            rate = self._known.get(phase.kind) if s_per_token is None else s_per_token
            if rate is None:
                return
            needed_s += rate * phase.work
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
            raise OutOfTime(
                f"The {self._spec.minutes:g} minutes were over in the stage {self.phases[self._now].stage!r}, because the "
                f"machine has become slower. Finished parts are kept. Run it again, or give more minutes."
            )

    def is_fit_late(self) -> bool:
        """Return whether the fit must end its reading, so that its trials and the last measurement stay within the time."""
        if self._deadline is None:
            return False
        later_s = self._later_s(lambda phase: phase.stage == HEALED) or 0.0
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
            self._values = self._estimate(self._before_s + now - self._started)
        self._on_progress(replace(progress, values={**progress.values, VALUE: self._values}))

    def _estimate(self, spent_s: float) -> dict[str, Any]:
        """Return the values of a report: the bar is the time spent as a share of the time in all."""
        left_s = self.left_s
        share = 0.0 if left_s is None or spent_s + left_s <= 0 else spent_s / (spent_s + left_s)
        shown = max(share, self._share - _MOST_BACK)
        self._share = max(self._share, shown)
        stages = [stage for stage in STAGES if any(phase.work for phase in self.phases.values() if phase.stage == stage)]
        stage = self.phases[self._now].stage
        return {
            **({} if left_s is None else {"left_s": round(left_s, 1)}),
            "share": round(shown, 4),
            "stage": stage,
            "stage_number": stages.index(stage) + 1 if stage in stages else 0,
            "n_stages": len(stages),
        }


def _minutes(seconds: float) -> str:
    """Minutes, rounded up to a tenth."""
    return f"{-(-seconds // 6) / 10:.1f}"


def known_rates(spec: HealSpec, heals: Sequence[HealResult]) -> dict[str, float]:
    """Return the measured seconds per token of each kind of work, the slowest of finished runs like this on this machine.

    Args:
        spec: resolved.
        heals: stored runs of the model.
    """
    rates: dict[str, float] = {}
    for heal in heals:
        other = heal.spec
        if not (heal.complete and heal.is_from_this_machine and other.model == spec.model):
            continue
        trained = len(heal.steps) * _step_tokens(other) * STEP_PASSES
        measured = {
            SCORE: (heal.scoring_s, scoring_work(other)),
            FIT: (heal.fit_s, planned(other)["fit"].work),
            TRAIN: (heal.training_s, trained),
        }
        for kind, (seconds, work) in measured.items():
            if seconds > 0 and work > 0:
                rates[kind] = max(rates.get(kind, 0.0), seconds / work)
    return rates


def scoring_work(spec: HealSpec) -> float:
    """Return the planned tokens of all scoring."""
    return sum(phase.work for phase in planned(spec).values() if phase.kind == SCORE)


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
    healed = _TRAINED if spec.trains else _FOLDED
    step = _step_tokens(spec) * STEP_PASSES
    fit = _FIT_SHARE * CALIBRATION_TEXTS * min(spec.corpus.seq_len, 256) if spec.instant else 0
    work = {
        "load": (LOAD, 1.0),
        "before": (BEFORE, before * (asked + text) + n_models * n_wrote),
        "before, same kind": (BEFORE, before * text),
        "choice": (BEFORE, before * choice),
        "fit": (FIT, fit),
        "prepare": (FIT, (PROBES * step + choice) if spec.minutes is not None else choice if spec.trains else 0),
        "train": (TRAIN, spec.steps * step if spec.steps else 1.0 if spec.minutes is not None else 0),
        "healed": (HEALED, healed * (asked + text + n_wrote)),
        "healed, same kind": (HEALED, healed * text),
    }
    return {name: HealPhase(stage, amount) for name, (stage, amount) in work.items()}
