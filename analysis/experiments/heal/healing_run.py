"""A healing run of a loaded model: measure, heal in closed form, train, and measure again."""

import contextlib
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from statistics import median

from torch import Tensor

from analysis.core.blocks import Removal
from analysis.core.errors import RecipeError, UnsupportedModelError
from analysis.core.progress import Cancelled, Progress
from analysis.data import decontamination, questions
from analysis.experiments.accuracy.measurement import Measurement
from analysis.experiments.accuracy.points import Point, place
from analysis.experiments.accuracy.scores import Material
from analysis.experiments.heal import adapter_files, adapters, checkpoints, junction, packing, texts
from analysis.experiments.heal.cached_scores import CachedScores, load_cached_scores
from analysis.experiments.heal.heal_result import (
    SAMPLE_PROMPT,
    SAMPLE_TOKENS,
    HealResult,
    HealStep,
    Sample,
    Validation,
)
from analysis.experiments.heal.heal_spec import CALIBRATION_TEXTS, HealSpec
from analysis.experiments.heal.junction import Junction
from analysis.experiments.heal.packing import PackedRows
from analysis.experiments.heal.recipes import sizing
from analysis.experiments.heal.record import Record
from analysis.experiments.heal.remaining import FIT, PROBES, SCORE, OutOfTime
from analysis.experiments.heal.teacher import Teacher, can_separate
from analysis.experiments.heal.training import Trainer, derived_seed, deterministic
from analysis.models.architecture.decoder import find_decoder
from analysis.models.loading import machine
from analysis.models.loading.load import LoadedModel
from analysis.models.running import adapters as adapter
from analysis.models.running import generation, pruning
from analysis.models.running.pruning import PrunedBlock, without_block

_SAMPLE_PAUSE = 10
"""Minimum time between samples outside of validations, in durations of a sample. Samples take at
most a tenth of the time."""
_NO_TIME = (
    "The time allows no training steps, so only the instant heal is kept. Give more minutes to"
    " train."
)
_UNSCORED = (
    "The {minutes:g} minutes are over before the healed model was scored. Its adapter is kept. Send"
    " the same request again to score it."
)


def timed(function: Callable[[], object]) -> float:
    """Return the seconds that a function takes."""
    started = time.perf_counter()
    function()
    return time.perf_counter() - started


def prepare_model(
    loaded: LoadedModel, spec: HealSpec, changes: Mapping[str, Tensor]
) -> tuple[LoadedModel, PrunedBlock | None]:
    """Return the pruned model with its adapter, and the removed block; None in a control.

    Args:
        loaded: The model, which is modified.
        spec: The resolved request.
        changes: Changes of weights by the instant heal; empty without one.
    """
    loaded.model.requires_grad_(
        False
    )  # also for removed layers, which the teacher restores temporarily
    cut = None if spec.control else pruning.cut(loaded.decoder, spec.block)
    model = adapters.attach(loaded.decoder, spec, derived_seed(spec.seed, "adapter"), changes)
    healed = replace(loaded, model=model, decoder=find_decoder(model))
    return healed, cut


class HealingRun:
    """A healing run from the loaded model to the complete result."""

    def __init__(self, record: Record, loaded: LoadedModel, *, base: str) -> None:
        """Check that the model can be healed as requested, and read the evaluation texts.

        Args:
            record: The partial result.
            loaded: The model, a copy that the run may modify.
            base: Name of the base model in the adapter's configuration.
        """
        self.record = record
        self.spec = record.spec
        self.base = base
        spec = self.spec
        record.counted_to = time.perf_counter()
        with without_block(loaded.decoder, spec.removed) as left:
            adapters.check(left, spec)
        if spec.instant:
            junction.check(loaded.decoder, spec.block)
        self.texts = texts.read_texts(loaded, spec)
        self.changes: dict[str, Tensor] = {}
        """Tensors that the instant heal adds to weights, by module."""
        self.reserved_s = 0.0
        """Estimated seconds of a validation and the final evaluation, which the training leaves of
        a requested time."""
        self.sampled_at = self.sample_s = 0.0
        """Time of the last sample, and its duration in seconds."""

    def run(self, loaded: LoadedModel) -> HealResult:
        """Measure, heal in closed form, train, and measure again.

        Args:
            loaded: The unpruned model, which is modified.

        Returns:
            The complete result, or the finished part of a run whose time is over.
        """
        try:
            healed = self.heal(loaded)
            self.measure_after(healed)
        except OutOfTime as out:
            return self.leave_rest(str(out))
        checkpoints.discard(self.record.key)
        return self.record.result

    def leave_rest(self, reason: str) -> HealResult:
        """Save and return the finished part, and report that the same request continues it.

        Args:
            reason: Sentence for the log if no adapter is kept yet.
        """
        record = self.record
        record.publish()
        record.remaining.lift_bound()
        has_adapter = record.result.adapter is not None
        message = _UNSCORED.format(minutes=self.spec.minutes) if has_adapter else reason
        record.remaining(Progress("scoring", message=message))
        return record.result

    def heal(self, loaded: LoadedModel) -> LoadedModel:
        """Measure, heal in closed form and train; return the healed model, whose adapter is saved.

        Raises:
            OutOfTime: If the requested time is over before the training.
        """
        record = self.record
        spec = self.spec
        record.publish(same_kind_text=self.texts.same_kind, n_choice_texts=self.texts.n_choice)
        self.measure_before(loaded)
        if spec.instant:
            self.changes = self.fit_junction(loaded).changes
        is_separate = spec.separate_documents and can_separate(loaded.decoder)
        healed, cut = prepare_model(loaded, spec, self.changes)
        with deterministic(spec.model.device):
            trainer = self.prepare(healed, cut, is_separate)
            try:
                self.train(trainer, healed)
            except Cancelled:
                if trainer.steps_done:
                    self.save(trainer)
                    checkpoints.write(record.key, trainer.state())
                raise
            except OutOfTime:  # the last validation took too long
                pass
        self.save(trainer)
        return healed

    def measure_before(self, loaded: LoadedModel) -> None:
        """Measure the unpruned and the pruned model with a shared trunk, unless the stored result
        contains their scores.

        The selection texts and the sample come first: they take seconds, and show at once what
        there is to recover.
        """
        record = self.record
        spec = self.spec
        models: dict[str, Removal | None] = (
            {"unpruned": None} if spec.control else {"unpruned": None, "pruned": spec.block}
        )
        cached = None
        if any(getattr(record.result, model) is None for model in models):
            cached = load_cached_scores(spec, record.result.same_kind_text)
            record.remaining.reuse("before", *(cached.counts(cut) for cut in models.values()))
            self.check_time(loaded)
        if not record.result.validations:
            record.remaining.begin("choice")
            checked = Measurement(
                loaded, texts.choice(loaded, spec), list(models.values())
            ).complete(record.remaining)
            checks = [_validation(0, point) for point in checked.points]
            n_tokens = record.result.n_tokens + checked.material.n_tokens
            record.result = replace(record.result, n_tokens=n_tokens, unpruned_check=checks[0])
            for model, cut in models.items():
                with without_block(loaded.decoder, cut) as left:
                    self.sample(model, 0, replace(loaded, decoder=left))
            record.add_validation(checks[-1], 0)
        if cached is not None:
            measured = record.measure(loaded, "before", models, cached)
            points = dict(zip(models, measured.points, strict=True))
            record.publish(lines=measured.material.lines, **points)

    def check_time(self, loaded: LoadedModel) -> None:
        """Raise an error if the requested time is too short at the current speed of the machine,
        measured by one evaluation.
        """
        if self.spec.minutes is not None:
            material = texts.choice(loaded, self.spec)
            seconds = timed(
                lambda: Measurement(loaded, material, [None]).complete(self.record.remaining)
            )
            self.record.remaining.check_time(
                dict.fromkeys((SCORE, FIT), seconds / material.n_tokens)
            )

    def fit_junction(self, loaded: LoadedModel) -> Junction:
        """Fit the instant heal on the unpruned model. The fit is deterministic, so a resumed run
        repeats it.
        """
        self.record.remaining.begin("fit")
        spec = self.spec
        n_tokens = min(self.spec.corpus.seq_len, junction.TEXT_TOKENS)
        calibration = packing.beginnings(
            spec.corpus, self.texts.near_copies, loaded.tokenizer, CALIBRATION_TEXTS, n_tokens
        )
        if len(calibration) < junction.LEAST_TEXTS:
            raise RecipeError(
                f"The healing text has {len(calibration)} documents outside the evaluation texts,"
                f" and an instant heal needs {junction.LEAST_TEXTS} or more. Choose a longer"
                " healing text."
            )
        selection = texts.choice(loaded, spec).texts
        on_progress = self.record.remaining
        fitted = junction.fit(
            loaded.decoder,
            spec.block,
            calibration,
            selection,
            on_progress,
            loss_before=self.record.result.validations[0].loss,
            is_late=self.record.remaining.is_fit_late,
        )
        result = self.record.result
        # A resumed run repeats the fit, whose tokens count once.
        counted = 0 if result.junction is not None else fitted.report.n_tokens
        self.record.publish(junction=fitted.report, n_tokens=result.n_tokens + counted)
        return fitted

    def prepare(self, healed: LoadedModel, cut: PrunedBlock | None, is_separate: bool) -> Trainer:
        """Return the trainer with its sequences and its number of steps, restored from the last
        checkpoint.
        """
        record = self.record
        spec = self.spec
        record.remaining.begin("prepare")
        planned = record.result.planned_steps
        full_spec = spec if spec.minutes is None else sizing.planned(spec, planned or 0)
        at_once = spec.batch_size * spec.gradient_accumulation
        packed = self.pack(healed, max(1, (full_spec.steps or 1) * at_once))
        positions = packed.positions if is_separate else None
        trainer = Trainer(healed.model, healed.decoder, packed.rows, full_spec, None, positions)
        trainer.save_memory()
        if cut is not None and spec.is_taught:
            trainer.teacher = Teacher(healed.model, healed.decoder, cut)
        if spec.minutes is not None and planned is None:
            steps = self.work_out_steps(trainer, healed)
            if steps:
                packed = self.pack(healed, steps * at_once)
            trainer.plan(
                sizing.planned(spec, steps), packed.rows, packed.positions if is_separate else None
            )
            record.publish(planned_steps=steps)
        record.publish(
            trainable_parameters=trainer.n_trainable if spec.trains else 0,
            packed_rows=len(packed.rows),
            n_skipped=packed.n_skipped,
            n_held_out=packed.n_held_out,
            quoted=packed.quoted,
            documents_apart=is_separate,
        )
        self.look_for_overlap(healed, packed)
        self.resume(trainer, healed)
        return trainer

    def pack(self, healed: LoadedModel, max_rows: int) -> PackedRows:
        """Return the healing text packed into at most `max_rows` sequences."""
        spec = self.spec
        on_progress = self.record.remaining
        on_progress(Progress("packing the healing text"))
        return packing.training_rows(
            spec.corpus,
            self.texts.near_copies,
            healed.tokenizer,
            max_rows=max_rows,
            on_progress=on_progress,
        )

    def work_out_steps(self, trainer: Trainer, healed: LoadedModel) -> int:
        """Return the number of steps that fit into the requested time, by timing a few steps
        without optimizer updates.
        """
        record = self.record
        spec = self.spec
        seconds = []
        for number in range(PROBES):
            record.remaining(Progress("measuring the speed", number, PROBES))
            seconds.append(timed(trainer.rehearse))
        material = self.check_material(healed)
        check_s = timed(lambda: self.check(trainer, healed, material))
        step_s = spec.gradient_accumulation * median(seconds[1:])
        checks = sizing.checks_in(spec.minutes)
        end_s = check_s / material.n_tokens * record.remaining.work_of_verdict
        needs = sizing.Needs(step_s=step_s, check_s=check_s, end_s=end_s, checks=checks)
        if not spec.instant:
            record.remaining.extend_by_need(needs.least_s)
        try:
            steps = sizing.steps_that_fit(record.remaining.left_s or 0.0, needs)
        except RecipeError:
            if not spec.instant:
                raise
            steps = 0
            record.remaining(Progress("measuring the speed", PROBES, PROBES, _NO_TIME))
        self.reserved_s = check_s + end_s
        return steps

    def look_for_overlap(self, healed: LoadedModel, packed: PackedRows) -> None:
        """Store the questions that the healing text contains, unless they are known."""
        if self.spec.benchmark is None or self.record.result.overlap is not None:
            return

        def texts() -> Iterator[str]:
            for done, row in enumerate(packed.rows):
                progress = Progress(
                    "looking for the questions in the healing text", done, len(packed.rows)
                )
                self.record.remaining(progress)
                yield healed.tokenizer.decode(row)

        self.record.publish(
            overlap=decontamination.shared_questions(questions.load(self.spec.benchmark), texts())
        )

    def resume(self, trainer: Trainer, healed: LoadedModel) -> None:
        """Restore the newest checkpoint that the stored learning curve includes, and drop the curve
        after it.
        """
        record = self.record
        reached = record.result.steps[-1].step if record.result.steps else 0
        checkpoint = checkpoints.newest(record.key, at_most=reached)
        if checkpoint is not None:
            trainer.resume_from(checkpoint)
            total = trainer.spec.steps
            record.report(
                checkpoint.step, total, f"Resuming from the checkpoint at step {checkpoint.step}."
            )
        step = 0 if checkpoint is None else checkpoint.step
        record.forget_after(
            step, trainer.tokens_per_step, lambda: self.check_material(healed).n_tokens
        )

    def train(self, trainer: Trainer, healed: LoadedModel) -> None:
        """Take the remaining steps, with regular validations and checkpoints."""
        record = self.record
        spec = trainer.spec
        record.remaining.begin("train", trainer.steps_done / max(1, spec.steps))
        material = self.check_material(healed)
        if (
            spec.instant and len(record.result.validations) == 1
        ):  # only the pruned model is validated so far
            self.validate(trainer, healed, material)
        if (
            self.spec.minutes is not None and not self.reserved_s
        ):  # resumed, so the number of steps was not estimated
            check_s = timed(lambda: self.check(trainer, healed, material))
            self.reserved_s = (
                check_s + check_s / material.n_tokens * record.remaining.work_of_verdict
            )
        record.remaining.reserve(self.reserved_s)
        try:
            self.take_steps(trainer, healed, material)
        except OutOfTime:  # the reserved time is left for the final evaluation
            record.remaining.reserved_s = 0.0
            if trainer.steps_done > self.validated:
                self.validate(trainer, healed, material)

    @property
    def validated(self) -> int:
        """Return the last validated step; -1 if there is none."""
        return self.record.result.validations[-1].step if self.record.result.validations else -1

    def take_steps(self, trainer: Trainer, healed: LoadedModel, material: Material) -> None:
        """Take the planned steps.

        Raises:
            OutOfTime: If the requested time ends before the last step.
        """
        record = self.record
        spec = trainer.spec
        while True:
            is_due = trainer.steps_done % spec.eval_every == 0 or trainer.steps_done == spec.steps
            if is_due and self.validated < trainer.steps_done:
                self.validate(trainer, healed, material)
                record.report(trainer.steps_done, spec.steps)
            elif (
                trainer.steps_done.bit_count() == 1
                and time.perf_counter() - self.sampled_at > _SAMPLE_PAUSE * self.sample_s
            ):
                self.sample("healed", trainer.steps_done, healed)
            if trainer.steps_done == spec.steps:
                return
            step_s = timed(lambda: self.step(trainer))
            record.report(trainer.steps_done, spec.steps)
            if trainer.steps_done < spec.steps:
                record.remaining.check_bound(step_s)

    def step(self, trainer: Trainer) -> None:
        """Take one optimizer step and add it to the learning curve."""
        started = time.perf_counter()
        total = trainer.spec.steps
        loss, rate = trainer.take_step(lambda: self.record.report(trainer.steps_done, total))
        now = time.perf_counter()
        memory = machine.peak_bytes(self.spec.model.device)
        speed = trainer.tokens_per_step / (now - started)
        self.record.add_step(
            HealStep(trainer.steps_done, loss, rate, speed, memory), trainer.tokens_per_step
        )

    def check_material(self, healed: LoadedModel) -> Material:
        """Return the material of validations: the selection texts and the first `check_questions`
        questions.
        """
        spec = self.spec
        benchmark = None if spec.benchmark is None or not spec.check_questions else spec.benchmark
        return texts.choice(
            healed, spec, benchmark and replace(benchmark, limit=spec.check_questions)
        )

    def check(self, trainer: Trainer, healed: LoadedModel, material: Material) -> Validation:
        """Measure loss and accuracy of the model in its current state."""
        healed.model.eval()
        done = trainer.steps_done
        total = trainer.spec.steps
        measured = Measurement(healed, material, [None]).complete(
            lambda _: self.record.report(done, total)
        )
        return _validation(done, measured.point)

    def validate(self, trainer: Trainer, healed: LoadedModel, material: Material) -> None:
        """Add a validation and write a checkpoint. The curve is saved first, so it always includes
        the checkpoint's steps.
        """
        validation = self.check(trainer, healed, material)
        self.sample("healed", trainer.steps_done, healed)
        self.record.add_validation(validation, material.n_tokens)
        if trainer.steps_done:
            checkpoints.write(self.record.key, trainer.state())

    def sample(self, model: str, step: int, loaded: LoadedModel) -> None:
        """Continue the sample prompt with the model in its current state, if the run trains and the
        family has a KV cache.
        """
        if not self.spec.trains:
            return
        began = time.perf_counter()
        total = self.record.result.total_steps
        loaded.model.eval()

        def report(done: int, n_tokens: int) -> None:
            """Report the step of the training, or the tokens of a sample before the training."""
            if step:
                self.record.report(step, total)
            else:
                self.record.remaining(Progress("writing", done, n_tokens))

        prompt = generation.encode(loaded.tokenizer, SAMPLE_PROMPT)
        stop = generation.stop_tokens(loaded.decoder, loaded.tokenizer)
        with contextlib.suppress(UnsupportedModelError):
            (written,) = generation.greedy(loaded.decoder, [prompt], SAMPLE_TOKENS, stop, report)
            self.record.add_sample(
                Sample(model, step, loaded.tokenizer.decode(written, skip_special_tokens=True))
            )
        self.sampled_at = time.perf_counter()
        self.sample_s = self.sampled_at - began

    def save(self, trainer: Trainer) -> None:
        """Save the adapter of the steps taken so far."""
        done = trainer.steps_done
        key = self.record.key
        part_of = self.record.result.model.part_of
        adapter_files.save(
            trainer.model, trainer.spec, base=self.base, steps_done=done, key=key, part_of=part_of
        )
        self.record.publish(adapter=adapter.relative(key), kept_step=done)

    def measure_after(self, healed: LoadedModel, cached: CachedScores | None = None) -> None:
        """Measure the healed model and complete the result.

        Args:
            healed: The model with its adapter.
            cached: Stored scores of the healed model.
        """
        healed.model.eval()
        measured = self.record.measure(healed, "healed", {"healed": None}, cached)
        self.record.publish(
            healed=replace(measured.point, **place(self.spec.removed)), complete=True
        )


def _validation(steps_done: int, point: Point) -> Validation:
    return Validation(
        steps_done,
        point.loss or 0.0,
        point.loss_stderr or 0.0,
        point.acc,
        point.acc_stderr,
        point.n_samples,
    )
