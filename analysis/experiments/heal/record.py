"""The partial result of a healing run, stored regularly for pages to display, and its progress
reports.
"""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from analysis.core.blocks import Removal
from analysis.core.progress import Progress
from analysis.experiments.accuracy import measurement
from analysis.experiments.accuracy.measurement import Measurement
from analysis.experiments.accuracy.points import place
from analysis.experiments.heal.cached_scores import CachedScores
from analysis.experiments.heal.heal_result import HealResult, HealStep, Sample, Validation
from analysis.experiments.heal.heal_spec import HealSpec
from analysis.experiments.heal.remaining import Remaining
from analysis.models.loading import machine
from analysis.models.loading.load import LoadedModel
from analysis.models.source.sizes import ModelFacts

PUBLISH_EVERY_S = 4.0
"""Seconds between two saves of the learning curve, which pages display."""
_PRECISIONS = {
    "4bit": "NF4, {dtype} compute",
    "8bit": "8-bit, {dtype} compute",
    "none": "unquantized {dtype}",
}


def nothing_yet(spec: HealSpec, facts: ModelFacts) -> HealResult:
    """Return the empty result of a healing run.

    Args:
        spec: The resolved request.
        facts: Sizes of the model.
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
    """The partial result, and the time when it was last saved."""

    spec: HealSpec
    """The resolved request."""
    remaining: Remaining
    """Receives every progress report, and adds the time left over all phases."""
    result: HealResult
    published_at: float = 0.0
    counted_to: float | None = None
    """Time up to which `result.wall_s` counts; None while loading."""
    last_values: dict[str, Any] = field(default_factory=dict)
    """Latest values of the training, for progress reports."""

    @property
    def key(self) -> str:
        """Return the fingerprint under which the result is stored."""
        return self.spec.fingerprint()

    def publish(self, **changes: Any) -> None:
        """Update fields of the result and save it."""
        now = time.perf_counter()
        spent = 0.0 if self.counted_to is None else now - self.counted_to
        self.counted_to = None if self.counted_to is None else now
        self.result = replace(self.result, wall_s=self.result.wall_s + spent, **changes)
        self.result.save()
        self.published_at = time.perf_counter()

    def measure(
        self,
        loaded: LoadedModel,
        phase: str,
        models: Mapping[str, Removal | None],
        cached: CachedScores | None = None,
    ) -> Measurement:
        """Measure accuracy, loss and generated text of some models with a shared trunk.

        Args:
            loaded: The model.
            phase: Name of the stage in `remaining`.
            models: Layers to leave out by name of the model.
            cached: Stored scores, which are not measured again.

        Returns:
            The measurement, with its cuts in the order of `models`.
        """
        names = " and ".join(models)
        cuts = list(models.values())

        def report(progress: Progress) -> None:
            self.remaining(replace(progress, phase=f"{progress.phase} ({names} model)"))

        spec = self.spec
        result = self.result
        self.remaining.begin(phase)
        judging, own_kind = (cached.judging, cached.same_kind) if cached else (None, None)
        measured = measurement.measure(
            loaded,
            spec.benchmark,
            spec.validation,
            spec.generation,
            report,
            cuts=cuts,
            cached=judging,
        )
        changes: dict[str, Any] = {}
        n_tokens = measured.material.n_tokens
        if result.same_kind_text is not None:
            self.remaining.begin(f"{phase}, same kind")
            same_kind = measurement.measure(
                loaded, None, result.same_kind_text, None, report, cuts=cuts, cached=own_kind
            )
            n_tokens += same_kind.material.n_tokens
            points = {
                model: replace(point, **place(None if model == "unpruned" else spec.removed))
                for model, point in zip(models, same_kind.points, strict=True)
            }
            changes = {
                "same_kind": {**result.same_kind, **points},
                "same_kind_losses": {
                    **result.same_kind_losses,
                    **dict(zip(models, same_kind.losses, strict=True)),
                },
                "same_kind_tokens": same_kind.material.text_tokens,
            }
        writings = {
            model: wrote
            for model, wrote in zip(models, measured.writings, strict=True)
            if wrote is not None
        }
        self.result = replace(
            result,
            n_tokens=result.n_tokens + len(models) * n_tokens,
            text_losses={**result.text_losses, **dict(zip(models, measured.losses, strict=True))},
            text_tokens=measured.material.text_tokens,
            questions={**result.questions, **dict(zip(models, measured.answers, strict=True))},
            writings={**result.writings, **writings},
            **changes,
        )
        return measured

    def add_step(self, step: HealStep, n_tokens: int) -> None:
        """Add an optimizer step to the learning curve."""
        self.result = replace(
            self.result, steps=[*self.result.steps, step], n_tokens=self.result.n_tokens + n_tokens
        )
        self.last_values = {
            "step": step.step,
            "loss": step.loss,
            "learning_rate": step.learning_rate,
            "tokens_per_s": step.tokens_per_s,
            "memory_bytes": step.memory_bytes,
        }
        if time.perf_counter() - self.published_at >= PUBLISH_EVERY_S:
            self.publish()

    def add_validation(self, check: Validation, n_tokens: int) -> None:
        """Add a validation to the learning curve and save the result."""
        self.publish(
            validations=[*self.result.validations, check], n_tokens=self.result.n_tokens + n_tokens
        )
        self.last_values = {**self.last_values, "validation_loss": check.loss}

    def add_sample(self, sample: Sample) -> None:
        """Add a sample to the result, in place of one of the same model and step. The next save
        stores it.
        """
        others = [
            old
            for old in self.result.samples
            if (old.model, old.step) != (sample.model, sample.step)
        ]
        self.result = replace(self.result, samples=[*others, sample])

    def forget_after(
        self, step: int, tokens_per_step: int, tokens_per_validation: Callable[[], int]
    ) -> None:
        """Remove the steps and validations after a checkpoint and their tokens, since resuming
        repeats them.

        Args:
            step: Step of the checkpoint; 0 without one.
            tokens_per_step: Number of tokens of an optimizer step.
            tokens_per_validation: Function that returns the number of tokens of a validation;
                called if one is removed.
        """
        steps = [done for done in self.result.steps if done.step <= step]
        validations = [check for check in self.result.validations if check.step <= step]
        repeated_tokens = tokens_per_step * (len(self.result.steps) - len(steps))
        if removed := len(self.result.validations) - len(validations):
            repeated_tokens += removed * tokens_per_validation()
        n_tokens = max(0, self.result.n_tokens - repeated_tokens)
        samples = [sample for sample in self.result.samples if sample.step <= step]
        self.result = replace(
            self.result, steps=steps, validations=validations, samples=samples, n_tokens=n_tokens
        )

    def report(self, done: int, total: int, message: str = "") -> None:
        """Report the progress of the training. May raise `Cancelled`."""
        self.remaining(Progress("healing", done, total, message, values=self.last_values))
