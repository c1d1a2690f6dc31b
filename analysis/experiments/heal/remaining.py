"""Time left of a healing run over all of its phases, and the bound of a run of so many minutes.

The planned work of a phase is counted in tokens of a forward pass, which is proportional to its FLOPs.
"""

from collections.abc import Callable, Mapping

from analysis.core.errors import RecipeError
from analysis.core.progress import OnProgress, Progress, Stage, Stages
from analysis.data.questions import usual_shots
from analysis.data.spec import BenchmarkSpec
from analysis.experiments.heal.heal_result import HealResult
from analysis.experiments.heal.heal_spec import CALIBRATION_TEXTS, CHOICE_TEXTS, HealSpec

LOAD, BEFORE, FIT, TRAIN, HEALED = ("load", "score before healing", "fit", "train", "score healed")
"""Stages that a page names."""
SCORE = "score"
"""Kind of work of all that is neither loading, fit nor training; these have rates of their own."""

_KINDS = {"load": LOAD, "fit": FIT, "train": TRAIN}
"""Kinds of work of phases that do not score."""
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


class OutOfTime(RecipeError):
    """The minutes of the request are over."""


class Remaining(Stages):
    """The stages of a healing run; ends a run that is out of time."""

    def __init__(self, on_progress: OnProgress, spec: HealSpec, started: float, clock: Callable[[], float]) -> None:
        """Plan the stages of a run.

        Args:
            on_progress: called with every report.
            spec: resolved.
            started: when the run began, by the clock.
            clock: seconds.
        """
        super().__init__(on_progress, planned(spec), clock)
        self.started = self._began = started
        self._deadline = None if spec.minutes is None else started + 60 * spec.minutes
        self._spec = spec
        self.reserved_s = 0.0
        """Seconds of the requested time that training leaves for the last measurement."""

    def reuse(self, name: str, *stored: tuple[int, int, int]) -> None:
        """Plan no work for stored scores.

        Args:
            name: "before" or "healed".
            stored: for each model, the number of its stored answers, of losses on judging texts, and of losses on texts of the
                healing text's kind.
        """
        spec = self._spec
        n_asked, n_read = question_tokens(spec.benchmark), spec.validation.n_texts * spec.validation.seq_len
        n_texts, every = spec.validation.n_texts, _from_one_trunk([1.0] * len(stored))
        answers, losses, own_kind = (
            _from_one_trunk([_lacking(counts[index], n) for counts in stored])
            for index, n in enumerate((n_questions(spec.benchmark), n_texts, n_texts))
        )
        self.stages[name].work *= (n_asked * answers + n_read * losses) / (n_asked + n_read) / every
        self.stages[f"{name}, same kind"].work *= own_kind / every

    def skip(self, *names: str) -> None:
        """Plan no work for phases that a stored run has done."""
        for name in names:
            self.stages[name].work = 0.0

    def lift_bound(self) -> None:
        """Let the run take longer than the requested time."""
        self._deadline = None

    def reserve(self, seconds: float) -> None:
        """Leave some of the requested time for the last measurement, at least as much as is known to be needed."""
        self.reserved_s = max(seconds, self.seconds(lambda stage: stage.title == HEALED) or 0.0)

    @property
    def work_of_verdict(self) -> float:
        """Return the planned work of the last measurement, in tokens of a forward pass."""
        return sum(stage.work for stage in self.stages.values() if stage.title == HEALED)

    @property
    def left_s(self) -> float | None:
        """Seconds until the run is judged: those of the requested time, else None while a rate is not measured."""
        return super().left_s if self._deadline is None else max(0.0, self._deadline - self._clock())

    @property
    def share(self) -> float:
        """Share of all work that is finished; of a run with a bound the share of its time that is over."""
        if self._deadline is None:
            return super().share
        return (self._clock() - self.started) / (self._deadline - self.started)

    def check_time(self, rates: Mapping[str, float]) -> None:
        """Refuse a requested time that is too short for all but training.

        Args:
            rates: measured seconds per token of each kind of work.

        Raises:
            RecipeError: with the least time. Nothing is raised if a rate is missing.
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
        if self.started + needed_s > self._deadline:
            raise too_short(self._spec, needed_s)

    def check_bound(self, ahead_s: float = 0.0) -> None:
        """End what the requested time does not allow; training ends early enough for the last measurement.

        Args:
            ahead_s: seconds of the work that would follow.

        Raises:
            OutOfTime: If the requested time is over, or would be.
        """
        reserved_s = self.reserved_s if self.now == TRAIN else 0.0
        if self._deadline is not None and self._clock() + ahead_s > self._deadline - reserved_s:
            why = "loading took that long" if self.now == LOAD else "the machine has become slower"
            raise OutOfTime(
                f"The {self._spec.minutes:g} minutes were over in the stage {self.stages[self.now].title!r}, because {why}. "
                f"Finished parts are kept. Give more minutes, or run it again."
            )

    def is_fit_late(self) -> bool:
        """Return whether the fit must end its reading, so that its trials and the last measurement stay within the time."""
        if self._deadline is None:
            return False
        self._spend()
        later_s = self.seconds(lambda stage: stage.title == HEALED) or 0.0
        return self._clock() + _TRIALS * self.stages[self.now].spent_s + later_s > self._deadline

    def __call__(self, progress: Progress) -> None:
        """Pass a report on with the remaining time of the whole run.

        Raises:
            OutOfTime: If the requested time is over.
        """
        self.check_bound()
        super().__call__(progress)


def too_short(spec: HealSpec, needed_s: float) -> RecipeError:
    """Return the error for a requested time that all but training takes up."""
    minutes = f"{-(-needed_s // 6) / 10:.1f}"
    return RecipeError(
        f"{spec.minutes:g} minutes are too short: loading, fit and scoring alone take about {minutes} on this machine now. "
        f"Allow {minutes} minutes or more, fewer questions or fewer texts."
    )


def measured(heal: HealResult) -> dict[str, tuple[float, float]]:
    """Return the seconds and the tokens of each kind of work of a finished run."""
    trained = len(heal.steps) * _step_tokens(heal.spec) * STEP_PASSES
    tokens = work(heal.spec) | {TRAIN: trained}
    seconds = {SCORE: heal.scoring_s, FIT: heal.fit_s, TRAIN: heal.training_s}
    return {kind: (took, tokens[kind]) for kind, took in seconds.items() if took > 0 and tokens.get(kind)}


def work(spec: HealSpec) -> dict[str, float]:
    """Return the planned tokens of each kind of work of a run, loading left out; no training if the time decides its steps."""
    tokens: dict[str, float] = {}
    for stage in planned(spec).values():
        if stage.work and stage.kind != LOAD and (stage.kind != TRAIN or spec.steps):
            tokens[stage.kind] = tokens.get(stage.kind, 0.0) + stage.work
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


def planned(spec: HealSpec) -> dict[str, Stage]:
    """The stages of a healing run in their order, each with its work in tokens of a forward pass."""
    judging = spec.validation
    n_asked = question_tokens(spec.benchmark)
    text = judging.n_texts * judging.seq_len
    choice = CHOICE_TEXTS * judging.seq_len
    n_wrote = 0 if spec.generation is None else spec.generation.n_prompts * spec.generation.max_new_tokens * 8
    n_models = 1 if spec.control else 2
    before = _from_one_trunk([1.0] * n_models)
    step = _step_tokens(spec) * STEP_PASSES
    fit = _FIT_SHARE * CALIBRATION_TEXTS * min(spec.corpus.seq_len, 256) if spec.instant else 0
    phases = {
        "load": (LOAD, 1.0),
        "before": (BEFORE, before * (n_asked + text) + n_models * n_wrote),
        "before, same kind": (BEFORE, before * text),
        "choice": (BEFORE, before * choice),
        "fit": (FIT, fit),
        "prepare": (FIT, (PROBES * step + choice) if spec.minutes is not None else choice if spec.trains else 0),
        "train": (TRAIN, spec.steps * step if spec.steps else 1.0 if spec.minutes is not None else 0),
        "healed": (HEALED, _HEALED_TIME * (n_asked + text + n_wrote)),
        "healed, same kind": (HEALED, _HEALED_TIME * text),
    }
    return {name: Stage(tokens, _KINDS.get(name, SCORE), title) for name, (title, tokens) in phases.items()}
