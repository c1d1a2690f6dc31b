"""A heal's result while it grows: what is measured goes in, the state on disk follows, whoever watches is told."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

from analysis import evaluation, machine
from analysis.evaluation import Measured
from analysis.models import LoadedModel
from analysis.progress import OnProgress, Progress
from analysis.results import HealResult, HealStep, ModelFacts, Validation
from analysis.specs import CorpusSpec, HealSpec

PUBLISH_EVERY_S = 4.0
"""Seconds between two states of the curve on disk, for pages that watch."""
_PRECISIONS = {"4bit": "NF4, {dtype} compute", "8bit": "8-bit, {dtype} compute", "none": "unquantized {dtype}"}


def nothing_yet(spec: HealSpec, facts: ModelFacts) -> HealResult:
    """The result of a heal of which nothing is done.

    Args:
        spec: resolved.
        facts: of the model that is healed.
    """
    return HealResult(
        spec=spec,
        versions=machine.versions(),
        wall_s=0.0,
        n_tokens=0,
        complete=False,
        model=facts,
        steps=[],
        validations=[],
        unpruned=None,
        pruned=None,
        healed=None,
        lines=None,
        adapter=None,
        trainable_parameters=0,
        packed_rows=0,
        n_skipped=0,
        precision=_PRECISIONS[spec.model.quantization].format(dtype=spec.model.dtype),
    )


@dataclass
class Record:
    """The result so far, and when it was last put on disk."""

    spec: HealSpec
    """Resolved."""
    on_progress: OnProgress
    result: HealResult
    began: float
    """When this run of the heal began, `time.perf_counter`."""
    published_at: float = 0.0
    counted_to: float | None = None
    """Up to when `result.wall_s` counts; None while loading."""
    last_values: dict[str, Any] = field(default_factory=dict)
    """The latest measured numbers of the training."""
    measuring_s: float = 0.0
    """Seconds that the last measurement of a model took."""

    @property
    def key(self) -> str:
        """Under which the result is stored."""
        return self.spec.fingerprint()

    def publish(self, **changes: Any) -> None:
        """Change the result and store it."""
        now = time.perf_counter()
        spent = 0.0 if self.counted_to is None else now - self.counted_to
        self.counted_to = None if self.counted_to is None else now
        self.result = replace(self.result, wall_s=self.result.wall_s + spent, **changes)
        self.result.save()
        self.published_at = time.perf_counter()

    def measure(self, loaded: LoadedModel, which: str, loss_corpus: CorpusSpec | None, **options: Any) -> Measured:
        """Questions, loss and writing of one of the models, with its name in what is reported."""

        def report(progress: Progress) -> None:
            self.on_progress(replace(progress, phase=f"{progress.phase} ({which} model)"))

        started, spec = time.perf_counter(), self.spec
        measured = evaluation.measure(loaded, spec.benchmark, loss_corpus, spec.generation, report, **options)
        self.measuring_s = time.perf_counter() - started
        writing = {} if measured.writing is None else {which: measured.writing}
        self.result = replace(
            self.result,
            n_tokens=self.result.n_tokens + measured.n_tokens,
            text_losses={**self.result.text_losses, which: measured.text_losses},
            questions={**self.result.questions, which: measured.questions},
            writings={**self.result.writings, **writing},
        )
        return measured

    def add_step(self, step: HealStep, n_tokens: int, eta_s: float) -> None:
        """Put an optimizer step into the curve."""
        self.result = replace(self.result, steps=[*self.result.steps, step], n_tokens=self.result.n_tokens + n_tokens)
        self.last_values = {
            "step": step.step,
            "loss": step.loss,
            "learning_rate": step.learning_rate,
            "tokens_per_s": step.tokens_per_s,
            "memory_bytes": step.memory_bytes,
            "eta_s": eta_s,
        }
        if time.perf_counter() - self.published_at >= PUBLISH_EVERY_S:
            self.publish()

    def add_validation(self, check: Validation, n_tokens: int) -> None:
        """Put a validation into the curve and on disk."""
        self.publish(validations=[*self.result.validations, check], n_tokens=self.result.n_tokens + n_tokens)
        self.last_values = {**self.last_values, "validation_loss": check.loss}

    def forget_after(self, step: int) -> None:
        """Take back what came after a step that the heal goes on from."""
        self.result = replace(
            self.result,
            steps=[done for done in self.result.steps if done.step <= step],
            validations=[check for check in self.result.validations if check.step <= step],
        )

    def best_step(self) -> int | None:
        """The step of the lowest held-out loss so far, the earliest of equals; None before the first.

        Step 0 is what the training begins with, so the later one of two measured there: the instantly healed model.
        """
        losses = {check.step: check.loss for check in self.result.validations}
        return min(losses, key=lambda step: losses[step]) if losses else None

    def report(self, done: int, total: int, message: str = "") -> None:
        """Tell where the training is; this is where a cancel comes in."""
        self.on_progress(Progress("healing", done, total, message, values=self.last_values))


def timed(work: Callable[[], object]) -> float:
    """Seconds that some work takes."""
    started = time.perf_counter()
    work()
    return time.perf_counter() - started
