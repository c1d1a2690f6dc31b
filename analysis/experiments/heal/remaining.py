"""Time left of a healing run over all stages, and the deadline of a run with a requested time.

A requested time that proves too short on this machine is extended with a notice, up to `EXTENSION`
times. A resumed run, whose user has asked twice, is extended as far as it needs.

The planned work of a stage is measured in tokens of a forward pass, which are proportional to
FLOPs.
"""

import math
from collections.abc import Callable, Mapping

from analysis.core.errors import RecipeError
from analysis.core.progress import OnProgress, Progress, Stage, Stages
from analysis.data.questions import usual_shots
from analysis.data.spec import BenchmarkSpec
from analysis.experiments.heal.heal_result import HealResult
from analysis.experiments.heal.heal_spec import CALIBRATION_TEXTS, CHOICE_TEXTS, HealSpec

LOAD = "load"
BEFORE = "score before healing"
FIT = "fit"
TRAIN = "train"
HEALED = "score healed"
"""Displayed titles of stages."""
SCORE = "score"
"""Kind of work of all stages except loading, fit and training, each of which has its own rate."""

_KINDS = {"load": LOAD, "fit": FIT, "train": TRAIN}
"""Kinds of work by stage; all other stages score."""
TOKENS_PER_QUESTION = 34
"""Number of text tokens that take as long as an ARC-Easy question, which has 45 tokens, few of them
scored."""
_TOKENS_PER_SHOT = 45
"""Number of text tokens per question that take as long as an MMLU example, which several questions
share."""
_ALL_QUESTIONS = 1000
"""Assumed number of questions of a benchmark without a limit."""
_FIT_SHARE = 0.6
"""Forward passes per calibration token of the instant heal, which runs the layers up to the gap and
tries some strengths."""
STEP_PASSES = 4.5
"""Time of a training step in forward passes: forward, backward, and the forward pass of the
unpruned model."""
PROBES = 3
"""Number of timed steps for the estimate of how many fit into the requested time. The first one is
a warm-up."""
_SHARED = 0.5
"""Additional time of the pruned model with a shared trunk, as a share of the unpruned model's time:
later layers and head."""
_HEALED_TIME = 0.8
"""Time of the healed model as a share of the unpruned model's time."""
_TRIALS = 0.7
"""Time of trying strengths as a share of the time of the fit before."""


EXTENSION = 1.5
"""Longest duration of a run with a requested time, in requested times."""
_MARGIN = 1.1
"""Extended time, in times of the estimate that does not fit into the requested one."""


class OutOfTime(RecipeError):
    """Raised if the requested time and its extension are over."""


class Remaining(Stages):
    """Stages of a healing run, which also enforce its deadline."""

    def __init__(
        self,
        on_progress: OnProgress,
        spec: HealSpec,
        started: float,
        clock: Callable[[], float],
        *,
        is_resumed: bool = False,
    ) -> None:
        """Plan the stages of a run.

        Args:
            on_progress: Called with every report.
            spec: The resolved request.
            started: Start time of the run by `clock`.
            clock: Function that returns the time in seconds.
            is_resumed: Whether an earlier run of the request has stored parts, so that the
                deadline is extended as far as necessary.
        """
        super().__init__(on_progress, planned(spec), clock)
        self.started = self._began = started
        self._deadline: float | None = None
        self._latest = math.inf
        if spec.minutes is not None:
            self._deadline = started + 60 * spec.minutes
        if spec.minutes is not None and not is_resumed:
            self._latest = started + EXTENSION * 60 * spec.minutes
        self._spec = spec
        self.reserved_s = 0.0
        """Seconds of the requested time that the training leaves for the final evaluation."""

    def reuse(self, name: str, *stored: tuple[int, int, int]) -> None:
        """Reduce the planned work by stored scores.

        Args:
            name: "before" or "healed".
            stored: For each model, the numbers of stored answers, of losses on judging texts, and
                of losses on texts of the kind of the healing text.
        """
        spec = self._spec
        n_asked = question_tokens(spec.benchmark)
        n_read = spec.validation.n_texts * spec.validation.seq_len
        n_texts = spec.validation.n_texts
        every = _from_one_trunk([1.0] * len(stored))
        answers, losses, own_kind = (
            _from_one_trunk([_lacking(counts[index], n) for counts in stored])
            for index, n in enumerate((n_questions(spec.benchmark), n_texts, n_texts))
        )
        self.stages[name].work *= (n_asked * answers + n_read * losses) / (n_asked + n_read) / every
        self.stages[f"{name}, same kind"].work *= own_kind / every

    def skip(self, *names: str) -> None:
        """Set the work of stages to 0, because a stored run has finished them."""
        for name in names:
            self.stages[name].work = 0.0

    def lift_bound(self) -> None:
        """Remove the deadline."""
        self._deadline = None

    def reserve(self, seconds: float) -> None:
        """Reserve time for the final evaluation, at least as much as its estimate."""
        self.reserved_s = max(seconds, self.seconds(lambda stage: stage.title == HEALED) or 0.0)

    @property
    def work_of_verdict(self) -> float:
        """Return the planned work of the final evaluation, in tokens of a forward pass."""
        return sum(stage.work for stage in self.stages.values() if stage.title == HEALED)

    @property
    def left_s(self) -> float | None:
        """Return the seconds left: until the deadline, or without one by measured rates; None while
        a rate is missing.
        """
        return (
            super().left_s if self._deadline is None else max(0.0, self._deadline - self._clock())
        )

    @property
    def share(self) -> float:
        """Return the finished share of the work, or the elapsed share of the requested time if
        there is a deadline.
        """
        if self._deadline is None:
            return super().share
        return (self._clock() - self.started) / (self._deadline - self.started)

    def check_time(self, rates: Mapping[str, float]) -> None:
        """Extend a requested time that is too short for everything except training.

        Args:
            rates: Measured seconds per token by kind of work. If one is missing, nothing is
                checked.

        Raises:
            RecipeError: If the extended time is too short as well, with the minimum time.
        """
        if self._deadline is None:
            return
        needed_s = self._clock() - self.started
        for stage in self.stages.values():
            if stage.title in (LOAD, TRAIN) or stage.finished == 1.0 or not stage.work:
                continue
            if stage.kind not in rates:
                return
            needed_s += rates[stage.kind] * stage.work
        if self.started + needed_s > self._latest:
            raise too_short(self._spec, needed_s)
        if self.started + needed_s > self._deadline:
            self._extend(self.started + _MARGIN * needed_s)

    def extend_by_need(self, ahead_s: float) -> None:
        """Extend the deadline so that this many seconds are left, if its latest time allows it."""
        needed = self._clock() + ahead_s
        if self._deadline is not None and self._deadline < needed <= self._latest:
            self._extend(needed)

    def _extend(self, deadline: float) -> None:
        """Move the deadline, at most to the latest one, and report the extended time."""
        self._deadline = min(deadline, self._latest)
        minutes = (self._deadline - self.started) / 60
        message = (
            f"{self._spec.minutes:g} minutes are too short on this machine now. The run is extended"
            f" to {minutes:.1f} minutes."
        )
        super().__call__(Progress(self.stages[self.now].title, message=message))

    def check_bound(self, ahead_s: float = 0.0) -> None:
        """Check the deadline.

        The training ends early enough for the final evaluation. Every other stage extends the
        deadline while its latest time allows it.

        Args:
            ahead_s: Seconds of the next piece of work.

        Raises:
            OutOfTime: If the time is over, or would be after the next piece of work.
        """
        if self._deadline is None:
            return
        is_training = self.now == TRAIN
        then = self._clock() + ahead_s
        if then <= self._deadline - (self.reserved_s if is_training else 0.0):
            return
        if then <= self._latest and not is_training:
            self._extend(then + (EXTENSION - 1) * 60 * (self._spec.minutes or 0.0))
            return
        why = "loading took that long" if self.now == LOAD else "the machine has become slower"
        minutes = (self._deadline - self.started) / 60
        raise OutOfTime(
            f"The {minutes:.2g} minutes were over in the stage {self.stages[self.now].title!r},"
            f" because {why}. Finished parts are kept. Send the same request again to go on."
        )

    def is_fit_late(self) -> bool:
        """Return whether the fit must stop reading text, so that trials and final evaluation end
        before the deadline.
        """
        if self._deadline is None:
            return False
        self._spend()
        later_s = self.seconds(lambda stage: stage.title == HEALED) or 0.0
        return self._clock() + _TRIALS * self.stages[self.now].spent_s + later_s > self._deadline

    def __call__(self, progress: Progress) -> None:
        """Forward a report with the time left of the run.

        Raises:
            OutOfTime: If the time is over.
        """
        self.check_bound()
        super().__call__(progress)


def too_short(spec: HealSpec, needed_s: float) -> RecipeError:
    """Return the error for a requested time that is too short for everything except training."""
    minutes = f"{-(-needed_s // 6) / 10:.1f}"
    return RecipeError(
        f"{spec.minutes:g} minutes are too short: loading, fit and scoring alone take about"
        f" {minutes} on this machine now. Allow {minutes} minutes or more, fewer questions or fewer"
        " texts."
    )


def measured(heal: HealResult) -> dict[str, tuple[float, float]]:
    """Return seconds and tokens by kind of work of a finished run."""
    trained = len(heal.steps) * _step_tokens(heal.spec) * STEP_PASSES
    tokens = work(heal.spec) | {TRAIN: trained}
    seconds = {SCORE: heal.scoring_s, FIT: heal.fit_s, TRAIN: heal.training_s}
    return {
        kind: (took, tokens[kind])
        for kind, took in seconds.items()
        if took > 0 and tokens.get(kind)
    }


def work(spec: HealSpec) -> dict[str, float]:
    """Return the planned tokens by kind of work, without loading, and without training if its
    number of steps is unknown.
    """
    tokens: dict[str, float] = {}
    for stage in planned(spec).values():
        if stage.work and stage.kind != LOAD and (stage.kind != TRAIN or spec.steps):
            tokens[stage.kind] = tokens.get(stage.kind, 0.0) + stage.work
    return tokens


def _lacking(n_stored: int, n: int) -> float:
    """Return the share of `n` scores that are not stored."""
    return 1 - min(1.0, n_stored / n) if n else 0.0


def _from_one_trunk(shares: list[float]) -> float:
    """Return the time of scoring models together, each to some share, relative to one model scored
    alone.
    """
    return max(shares) + _SHARED * (sum(shares) - max(shares))


def n_questions(benchmark: BenchmarkSpec | None) -> int:
    """Return the number of questions; an estimate if there is no limit."""
    return 0 if benchmark is None else benchmark.limit or _ALL_QUESTIONS


def question_tokens(benchmark: BenchmarkSpec | None, n: int | None = None) -> int:
    """Return the number of text tokens that take as long as questions with their examples.

    Args:
        benchmark: The questions; None for none.
        n: Number of questions (default: all).
    """
    if benchmark is None:
        return 0
    shots = usual_shots(benchmark) if benchmark.shots is None else benchmark.shots
    return (n_questions(benchmark) if n is None else n) * (
        TOKENS_PER_QUESTION + _TOKENS_PER_SHOT * shots
    )


def _step_tokens(spec: HealSpec) -> int:
    return spec.batch_size * spec.gradient_accumulation * spec.corpus.seq_len


def planned(spec: HealSpec) -> dict[str, Stage]:
    """Return the stages of a healing run in order, with their work in tokens of a forward pass."""
    judging = spec.validation
    n_asked = question_tokens(spec.benchmark)
    text = judging.n_texts * judging.seq_len
    choice = CHOICE_TEXTS * judging.seq_len
    n_wrote = (
        0
        if spec.generation is None
        else spec.generation.n_prompts * spec.generation.max_new_tokens * 8
    )
    n_models = 1 if spec.control else 2
    before = _from_one_trunk([1.0] * n_models)
    step = _step_tokens(spec) * STEP_PASSES
    fit = _FIT_SHARE * CALIBRATION_TEXTS * min(spec.corpus.seq_len, 256) if spec.instant else 0
    phases = {
        "load": (LOAD, 1.0),
        "choice": (BEFORE, before * choice),
        "before": (BEFORE, before * (n_asked + text) + n_models * n_wrote),
        "before, same kind": (BEFORE, before * text),
        "fit": (FIT, fit),
        "prepare": (
            FIT,
            (PROBES * step + choice) if spec.minutes is not None else choice if spec.trains else 0,
        ),
        "train": (
            TRAIN,
            spec.steps * step if spec.steps else 1.0 if spec.minutes is not None else 0,
        ),
        "healed": (HEALED, _HEALED_TIME * (n_asked + text + n_wrote)),
        "healed, same kind": (HEALED, _HEALED_TIME * text),
    }
    return {
        name: Stage(tokens, _KINDS.get(name, SCORE), title)
        for name, (title, tokens) in phases.items()
    }
