"""The heal: measure a model, cut it, repair it in closed form or by training LoRA, measure again.

It goes on from where it was stopped.
"""

import time
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch

from analysis import (
    adapters,
    benchmarks,
    checkpoints,
    corpora,
    evaluation,
    junction,
    machine,
    material,
    models,
    packing,
    pruning,
    storage,
)
from analysis.architecture import find_decoder
from analysis.errors import NotEnoughMemoryError, RecipeError
from analysis.evaluation import Load, Measured
from analysis.models import LoadedModel, Plan
from analysis.progress import Cancelled, OnProgress, Progress, ignore
from analysis.results import HealResult, HealStep, ModelFacts, Validation
from analysis.specs import CorpusSpec, HealSpec
from analysis.training import Trainer, activation_bytes, derived_seed, teacher_states

PUBLISH_EVERY_S = 4.0
"""Seconds between two states of the curve on disk, for pages that watch."""
_ACTIVATION_SHARE = 0.6
"""Share of the free memory that activations may take before gradient checkpointing is turned on."""
_TEACHER_SHARE = 0.3
"""Share of the free memory that the unpruned model's states may take."""
_PRECISIONS = {"4bit": "NF4, {dtype} compute", "8bit": "8-bit, {dtype} compute", "none": "unquantized {dtype}"}


def resolve(spec: HealSpec) -> HealSpec:
    """The spec with concrete dtype, device and identities.

    Raises:
        RecipeError: for float16, in which gradients underflow to 0.
    """
    model = models.resolve(spec.model)
    if model.dtype == "float16":
        if spec.model.dtype == "float16":
            raise RecipeError("A heal in float16 loses small gradients; choose bfloat16, or float32 where that is not native.")
        model = replace(model, dtype="float32")
    return replace(
        spec,
        model=model,
        corpus=corpora.resolve(spec.corpus),
        validation=corpora.resolve(spec.validation),
        benchmark=None if spec.benchmark is None else benchmarks.resolve(spec.benchmark),
    )


def run(spec: HealSpec, on_progress: OnProgress = ignore, *, load: Load = models.load) -> HealResult:
    """Heal a model, or return the stored heal; one that was stopped goes on from its last checkpoint.

    The unpruned, pruned and healed model are measured in the precision that is trained in. When `on_progress` raises
    `Cancelled`, the adapter and a checkpoint of the last whole step are saved first.

    Args:
        spec: what to heal and how.
        on_progress: told every step; `values` holds step, loss, learning_rate, tokens_per_s, memory_bytes, eta_s, and
            validation_loss where one was measured.
        load: only for likeness with other experiments. A heal changes its model, so it always loads a copy of its own;
            a shared loader is asked to give its memory back first.

    Raises:
        LayerscopeError: one sentence on whatever the user can mend.
    """
    resolved = resolve(spec)
    stored = HealResult.load(resolved, on_progress)
    if stored is not None and stored.complete:
        if stored.adapter and (storage.cache_dir() / stored.adapter / "adapter_config.json").exists():
            return stored
        stored = None  # a precomputed result, or the adapter was deleted: its numbers alone are not what was asked for
    if isinstance(load, models.WarmModels):
        load.clear()
    key = resolved.fingerprint()
    if stored is None:
        checkpoints.discard(key)
    on_progress(Progress("loading the model", values={"result_key": key}))
    planned = models.plan(resolved.model, on_progress)
    _check(resolved, planned.facts)
    heal = _Heal(resolved, on_progress, stored or _nothing_yet(resolved, planned.facts))
    heal.publish()
    loaded = models.load(resolved.model, on_progress)
    try:
        return heal.run(loaded, base=_base_name(resolved, planned))
    except torch.OutOfMemoryError as error:
        raise NotEnoughMemoryError(
            f"Healing {planned.source.name} with {resolved.batch_size} rows of {resolved.corpus.seq_len} tokens ran out of "
            f"memory on {resolved.model.device}; lower batch_size and raise gradient_accumulation, lower seq-len, or use 4bit."
        ) from error


def _check(spec: HealSpec, facts: ModelFacts) -> None:
    spec.block.check(facts.n_layers)
    if facts.max_positions is not None and spec.corpus.seq_len > facts.max_positions:
        raise RecipeError(
            f"Rows of {spec.corpus.seq_len} tokens were asked for, but {facts.name} has a window of {facts.max_positions} "
            f"tokens; choose a seq-len of at most {facts.max_positions}."
        )


def _base_name(spec: HealSpec, planned: Plan) -> str:
    """What the adapter calls its base: the hub id or name, or the folder as it was given."""
    return (
        planned.source.name
        if planned.source.identity.startswith("hub:") or spec.model.source == "starter"
        else spec.model.source
    )


def _nothing_yet(spec: HealSpec, facts: ModelFacts) -> HealResult:
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
class _Heal:
    """A heal in the making: the result so far, and when it was last put on disk."""

    spec: HealSpec
    on_progress: OnProgress
    result: HealResult
    published_at: float = 0.0
    counted_to: float | None = None
    """Up to when `result.wall_s` counts; None while loading."""
    last_values: dict[str, Any] = field(default_factory=dict)

    @property
    def key(self) -> str:
        return self.spec.fingerprint()

    def publish(self, **changes: Any) -> None:
        """Change the result and store it."""
        now = time.perf_counter()
        spent = 0.0 if self.counted_to is None else now - self.counted_to
        self.counted_to = None if self.counted_to is None else now
        self.result = replace(self.result, wall_s=self.result.wall_s + spent, **changes)
        self.result.save()
        self.published_at = time.perf_counter()

    def run(self, loaded: LoadedModel, *, base: str) -> HealResult:
        """Everything after loading."""
        self.counted_to = time.perf_counter()
        self.measure_before(loaded)
        spec = self.spec
        changes = self.fit_junction(loaded) if spec.instant else {}
        rows_wanted = max(1, spec.steps * spec.batch_size * spec.gradient_accumulation)
        self.on_progress(Progress("packing the healing text"))
        packed = packing.training_rows(spec.corpus, spec.validation, loaded.tokenizer, max_rows=rows_wanted)
        teacher = self.ask_teacher(loaded, packed.rows) if spec.distill else None
        pruning.cut(loaded.decoder, spec.block)
        model = adapters.attach(loaded.decoder, spec, derived_seed(spec.seed, "adapter"), changes)
        healed = replace(loaded, model=model, decoder=find_decoder(model))
        trainer = Trainer(model, healed.decoder, packed.rows, spec, teacher)
        self.publish(trainable_parameters=trainer.n_trainable, packed_rows=len(packed.rows), n_skipped=packed.n_skipped)
        _checkpoint_activations(trainer)
        self.go_on(trainer)
        try:
            self.train(trainer, healed)
        except Cancelled:
            if trainer.steps_done:
                self.keep(trainer, base)
            raise
        adapters.save(model, spec, base=base, steps_done=trainer.steps_done)
        self.publish(adapter=adapters.relative(self.key))
        self.measure_after(healed)
        checkpoints.discard(self.key)
        return self.result

    def measure(self, loaded: LoadedModel, which: str, loss_corpus: CorpusSpec | None, **options: Any) -> Measured:
        """Questions and loss, with the model's name in what is reported."""

        def report(progress: Progress) -> None:
            self.on_progress(replace(progress, phase=f"{progress.phase} ({which} model)"))

        measured = evaluation.measure(loaded, self.spec.benchmark, loss_corpus, on_progress=report, **options)
        self.result = replace(
            self.result,
            n_tokens=self.result.n_tokens + measured.n_tokens,
            text_losses={**self.result.text_losses, which: measured.text_losses},
            questions={**self.result.questions, which: measured.questions},
        )
        return measured

    def measure_before(self, loaded: LoadedModel) -> None:
        """The unpruned and the pruned model, each unless it is already in the stored part."""
        spec = self.spec
        if self.result.unpruned is None:
            measured = self.measure(loaded, "unpruned", spec.validation)
            self.publish(unpruned=measured.point, lines=measured.lines)
        if self.result.pruned is None:
            point = self.measure(loaded, "pruned", spec.validation, cut=spec.block).point
            start = [] if point.loss is None else [Validation(0, point.loss, point.loss_stderr or 0.0)]
            self.publish(pruned=point, validations=start)

    def ask_teacher(self, loaded: LoadedModel, rows: np.ndarray) -> torch.Tensor:
        """The unpruned model's states of the training rows, before it is cut."""
        spare = int(_TEACHER_SHARE * machine.free_bytes("cpu"))
        taught = teacher_states(loaded.decoder, rows, self.on_progress, limit_bytes=spare)
        self.publish(n_tokens=self.result.n_tokens + rows.size)
        return taught

    def fit_junction(self, loaded: LoadedModel) -> dict[str, torch.Tensor]:
        """The instant heal of the model that is not cut yet; the same at every start, so that nothing of it is stored."""
        spec, n_tokens = self.spec, min(self.spec.corpus.seq_len, junction.TEXT_TOKENS)
        n_texts = junction.CALIBRATION_TEXTS + junction.SELECTION_TEXTS
        texts = packing.beginnings(spec.corpus, spec.validation, loaded.tokenizer, n_texts, n_tokens)
        if len(texts) <= junction.SELECTION_TEXTS:
            raise RecipeError(
                f"The healing text has {len(texts)} documents, and an instant heal is fitted on some and chosen on "
                f"{junction.SELECTION_TEXTS} others; give more text."
            )
        selection, calibration = texts[: junction.SELECTION_TEXTS], texts[junction.SELECTION_TEXTS :]
        found = junction.fit(loaded.decoder, self.spec.block, calibration, selection, self.on_progress)
        self.publish(junction=found.report, n_tokens=self.result.n_tokens + found.report.n_tokens)
        return {found.report.module: found.change}

    def go_on(self, trainer: Trainer) -> None:
        """Continue from the newest checkpoint that the stored curve reaches, and forget the curve after it."""
        reached = self.result.steps[-1].step if self.result.steps else 0
        found = checkpoints.newest(self.key, at_most=reached)
        done = 0
        if found is not None:
            trainer.go_on_from(found)
            done = found.step
            self.on_progress(Progress("healing", done, self.spec.steps, f"Going on from the checkpoint at step {done}."))
        self.result = replace(
            self.result,
            steps=[step for step in self.result.steps if step.step <= done],
            validations=[check for check in self.result.validations if check.step <= done],
        )

    def train(self, trainer: Trainer, healed: LoadedModel) -> None:
        """Take the remaining steps, with a validation loss and a checkpoint every so often."""
        spec, began, first = self.spec, time.perf_counter(), trainer.steps_done
        texts = material.prepare(healed, None, spec.validation).texts
        validated = self.result.validations[-1].step if self.result.validations else -1
        if spec.instant and len(self.result.validations) == 1:  # the pruned model's, and not yet the instantly healed one's
            self.validate(trainer, healed, texts)
        while True:
            if _due(trainer.steps_done, validated, spec):
                self.validate(trainer, healed, texts)
                validated = trainer.steps_done
                self.report(trainer)
            if trainer.steps_done == spec.steps:
                return
            self.step(trainer, began, first)
            self.report(trainer)

    def step(self, trainer: Trainer, began: float, first: int) -> None:
        """One optimizer step into the curve."""
        started = time.perf_counter()
        step = trainer.take_step(lambda: self.report(trainer))
        now = time.perf_counter()
        speed = trainer.tokens_per_step / (now - started)
        memory = machine.peak_bytes(self.spec.model.device)
        self.result = replace(
            self.result,
            steps=[*self.result.steps, HealStep(step.number, step.loss, step.learning_rate, speed, memory)],
            n_tokens=self.result.n_tokens + trainer.tokens_per_step,
        )
        self.last_values = {
            "step": step.number,
            "loss": step.loss,
            "learning_rate": step.learning_rate,
            "tokens_per_s": speed,
            "memory_bytes": memory,
            "eta_s": (now - began) / (step.number - first) * (self.spec.steps - step.number),
        }
        if now - self.published_at >= PUBLISH_EVERY_S:
            self.publish()

    def report(self, trainer: Trainer) -> None:
        """Tell where the training is; this is where a cancel comes in."""
        self.on_progress(Progress("healing", trainer.steps_done, self.spec.steps, values=self.last_values))

    def validate(self, trainer: Trainer, healed: LoadedModel, texts: list[list[int]]) -> None:
        """Loss on held-out text and a checkpoint; the curve goes to disk first, so that it never lags a checkpoint."""
        healed.model.eval()
        loss, stderr = evaluation.text_loss(healed, texts)
        checks = [*self.result.validations, Validation(trainer.steps_done, loss, stderr)]
        self.publish(validations=checks, n_tokens=self.result.n_tokens + sum(map(len, texts)))
        if trainer.steps_done:
            checkpoints.write(self.key, trainer.state())
        self.last_values = {**self.last_values, "validation_loss": loss}

    def keep(self, trainer: Trainer, base: str) -> None:
        """After a cancel: make what was trained usable, and resumable from exactly here."""
        adapters.save(trainer.model, self.spec, base=base, steps_done=trainer.steps_done)
        self.publish(adapter=adapters.relative(self.key))
        checkpoints.write(self.key, trainer.state())

    def measure_after(self, healed: LoadedModel) -> None:
        """The healed model; then the heal is complete."""
        healed.model.eval()
        measured = self.measure(healed, "healed", self.spec.validation).of(self.spec.block)
        self.publish(healed=measured.point, complete=True)


def _due(steps_done: int, validated: int, spec: HealSpec) -> bool:
    return validated < steps_done and (steps_done % spec.eval_every == 0 or steps_done == spec.steps)


def _checkpoint_activations(trainer: Trainer) -> None:
    """Recompute activations in the backward pass when they would not fit otherwise; it costs a third more time."""
    spec = trainer.spec
    needed = activation_bytes(trainer.decoder, spec.batch_size * spec.corpus.seq_len, spec.model.dtype)
    if needed > _ACTIVATION_SHARE * machine.free_bytes(spec.model.device):
        trainer.decoder.model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
