"""Time left of a heal over all of its phases, from the planned work and the time that the finished phases took."""

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from analysis.core.progress import OnProgress, Progress
from analysis.data.questions import usual_shots
from analysis.data.spec import BenchmarkSpec
from analysis.experiments.heal.heal_spec import CALIBRATION_TEXTS, CHOICE_TEXTS, HealSpec

LOAD, BEFORE, FIT, TRAIN, HEALED = STAGES = ("load", "score before healing", "fit", "train", "score healed")
"""Stages that a page names."""

VALUE = "remaining"
"""Under this name a report carries the estimate."""
S_PER_TOKEN = 1e-11
"""Seconds per token and parameter of a forward pass on two CPU cores: the estimate before anything is measured."""
LOAD_S = 4.0
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
_PROBES = 3
_SHARED = 0.5
"""Time that the pruned model adds to the unpruned one's, from one trunk: the layers behind a usual block, and the head."""
_TRAINED, _FOLDED = 0.8, 0.5
"""Time of a healed model over the unpruned one's: after training, and after an instant heal, which begins below the gap."""
_ENOUGH = 0.15
"""Share of a phase from which on its own pace is taken."""
_AGAIN_S = 1.0


@dataclass
class HealPhase:
    """A phase, its stage, and the seconds it is expected to take."""

    stage: str
    expected_s: float
    is_measured: bool = False
    """Whether the expectation rests on a measurement of this run, so that it is not scaled by those of other phases."""
    began: float | None = None
    took_s: float | None = None


class Remaining:
    """Adds the share that is done, the seconds that are left and the stage to every report of a heal."""

    def __init__(
        self,
        on_progress: OnProgress,
        spec: HealSpec,
        n_parameters: int,
        started: float,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        """Plan the phases of a heal.

        Args:
            on_progress: called with every report.
            spec: resolved.
            n_parameters: of the model.
            started: when the heal began, by the clock.
            clock: seconds.
        """
        self._on_progress, self._clock, self._started = on_progress, clock, started
        self._deadline = None if spec.minutes is None else started + 60 * spec.minutes
        self._spec = spec
        self.phases = planned(spec, n_parameters * S_PER_TOKEN)
        self._now = LOAD
        self.phases[LOAD].began = started
        self._fraction = 0.0
        self._share = 0.0
        self._values: dict[str, Any] = {}
        self._said_at = float("-inf")

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

    def expect(self, name: str, seconds: float) -> None:
        """Take a measured expectation of a phase, such as steps times the seconds of one."""
        self.phases[name].expected_s, self.phases[name].is_measured = seconds, True

    def expect_end(self, seconds: float) -> None:
        """Take a measured expectation of scoring the healed model, on both kinds of text."""
        names = [name for name, phase in self.phases.items() if phase.stage == HEALED]
        total_s = sum(self.phases[name].expected_s for name in names) or 1.0
        for name in names:
            self.expect(name, seconds * self.phases[name].expected_s / total_s)

    def reuse(self, name: str, *stored: tuple[int, int, int]) -> None:
        """Expect no time for stored scores.

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
        self.phases[name].expected_s *= (asked * answers + read * losses) / (asked + read) / every
        self.phases[f"{name}, same kind"].expected_s *= own_kind / every

    def skip_stages(self, *stages: str) -> None:
        """Expect no time of stages, such as those that a stored run has done."""
        for phase in self.phases.values():
            if phase.stage in stages:
                phase.expected_s = 0.0
        self._deadline = None

    @property
    def left_s(self) -> float:
        """Seconds until the heal is judged."""
        now, names = self._clock(), list(self.phases)
        position = names.index(self._now)
        later = sum(self._expected(name) for name in names[position + 1 :])
        remaining_s = self._left_of_phase(now) + later
        is_planned = self.phases["train"].is_measured
        if self._deadline is None or is_planned or position > names.index("train"):
            return remaining_s
        # Training steps fill the rest of the requested time.
        other_phases_s = remaining_s - (self._left_of_phase(now) if self._now == "train" else self._expected("train"))
        return max(other_phases_s, self._deadline - now)

    def _expected(self, name: str) -> float:
        phase = self.phases[name]
        return phase.expected_s if phase.is_measured else phase.expected_s * self._factor

    @property
    def _factor(self) -> float:
        """Return the ratio of actual to expected time, over the finished phases and the present one so far."""
        done = [phase for phase in self.phases.values() if phase.took_s and phase.expected_s and phase.stage != LOAD]
        expected, took = sum(phase.expected_s for phase in done), sum(phase.took_s or 0.0 for phase in done)
        now = self.phases[self._now]
        if self._fraction >= _ENOUGH and now.stage != LOAD and not now.is_measured:
            expected += self._fraction * now.expected_s
            took += self._clock() - (now.began or self._started)
        return took / expected if expected > 0 else 1.0

    def _left_of_phase(self, now: float) -> float:
        phase = self.phases[self._now]
        spent = now - (phase.began or self._started)
        if self._fraction >= _ENOUGH:
            return spent / self._fraction * (1 - self._fraction)
        expected_s = self._expected(self._now)
        return max(expected_s - spent, (1 - self._fraction) * 0.1 * expected_s)

    def __call__(self, progress: Progress) -> None:
        """Pass a report on with the remaining time of the whole run."""
        if progress.total:
            self._fraction = min(1.0, progress.done / progress.total)
        now = self._clock()
        if now - self._said_at >= _AGAIN_S:
            self._said_at = now
            remaining_s, spent = self.left_s, now - self._started
            self._share = max(self._share, spent / (spent + remaining_s) if spent + remaining_s > 0 else 0.0)
            stages = [
                stage for stage in STAGES if any(phase.expected_s for phase in self.phases.values() if phase.stage == stage)
            ]
            stage = self.phases[self._now].stage
            number = stages.index(stage) + 1 if stage in stages else 0
            self._values = {
                "left_s": round(remaining_s, 1),
                "share": round(self._share, 4),
                "stage": stage,
                "stage_number": number,
                "n_stages": len(stages),
            }
        self._on_progress(replace(progress, values={**progress.values, VALUE: self._values}))


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


def planned(spec: HealSpec, s_per_token: float) -> dict[str, HealPhase]:
    """The phases of a heal in their order, each with its expected seconds.

    Args:
        spec: the heal.
        s_per_token: seconds of a forward pass per token.
    """
    judging = spec.validation
    asked = question_tokens(spec.benchmark)
    text = judging.n_texts * judging.seq_len
    choice = CHOICE_TEXTS * judging.seq_len
    n_wrote = 0 if spec.generation is None else spec.generation.n_prompts * spec.generation.max_new_tokens * 8
    n_models = 1 if spec.control else 2
    before = _from_one_trunk([1.0] * n_models)
    healed = _TRAINED if spec.trains else _FOLDED
    step = spec.batch_size * spec.gradient_accumulation * spec.corpus.seq_len * STEP_PASSES
    fit = _FIT_SHARE * CALIBRATION_TEXTS * min(spec.corpus.seq_len, 256) if spec.instant else 0
    tokens = {
        "load": (LOAD, 0.0),
        "before": (BEFORE, before * (asked + text) + n_models * n_wrote),
        "before, same kind": (BEFORE, before * text),
        "choice": (BEFORE, before * choice),
        "fit": (FIT, fit),
        "prepare": (FIT, (_PROBES * step + choice) if spec.minutes is not None else choice if spec.trains else 0),
        "train": (TRAIN, spec.steps * step if spec.steps else 1.0 if spec.minutes is not None else 0),
        "healed": (HEALED, healed * (asked + text + n_wrote)),
        "healed, same kind": (HEALED, healed * text),
    }
    phases = {name: HealPhase(stage, amount * s_per_token) for name, (stage, amount) in tokens.items()}
    phases["load"].expected_s = LOAD_S
    return phases
