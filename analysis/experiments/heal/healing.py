"""The experiment that heals a pruned model: prepares, trains, measures, and records every step."""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from statistics import median
from typing import Any

from torch import Tensor

from analysis.core import store
from analysis.core.blocks import PartSet, Removal
from analysis.core.errors import RecipeError
from analysis.core.progress import Cancelled, OnProgress, Progress, ignore
from analysis.data import corpora, decontamination, questions
from analysis.experiments.accuracy import generation, measurement, scores
from analysis.experiments.accuracy.measurement import Measurement
from analysis.experiments.accuracy.points import Point, place
from analysis.experiments.accuracy.scores import Material, Scores
from analysis.experiments.heal import (
    adapters,
    checkpoints,
    divided,
    following,
    hadamard,
    junction,
    memory,
    packing,
    projection,
    recipes,
    refining,
    stages,
    texts,
)
from analysis.experiments.heal.group import ALONE, Group, joined, losses_named
from analysis.experiments.heal.heal_result import HealResult, HealStep, Validation
from analysis.experiments.heal.heal_spec import CALIBRATION_TEXTS, HealSpec
from analysis.experiments.heal.junction import Junction, Readings
from analysis.experiments.heal.packing import PackedRows
from analysis.experiments.heal.remaining import Remaining
from analysis.experiments.heal.remembered import Remembered, remembered
from analysis.experiments.heal.teacher import can_separate
from analysis.experiments.heal.training import Trainer, deterministic, memory_explained
from analysis.models import adapter, machine
from analysis.models import load as models
from analysis.models.adapter import Bridge
from analysis.models.cut import Cut, without_block
from analysis.models.load import LoadedModel, Loader, Plan
from analysis.models.remote import hub_id
from analysis.models.spec import DIVIDED, ModelFacts

PUBLISH_EVERY_S = 4.0
"""Seconds between two states of the curve on disk, for pages that watch."""
_PRECISIONS = {"4bit": "NF4, {dtype} compute", "8bit": "8-bit, {dtype} compute", "none": "unquantized {dtype}"}


def nothing_yet(spec: HealSpec, facts: ModelFacts) -> HealResult:
    """Return the result of a healing run that has not begun.

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
    remaining: Remaining
    """Hears every report, and adds the time that is left of all phases."""
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
    def on_progress(self) -> OnProgress:
        """Hears every report."""
        return self.remaining

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

    def measure(
        self,
        loaded: LoadedModel,
        which: str,
        *,
        cut: Removal | None = None,
        known: Remembered | None = None,
    ) -> Measurement:
        """Measure questions, loss and generation of one of the models, with its name in progress reports.

        Args:
            loaded: the model.
            which: its name.
            cut: layers to leave out.
            known: scores that need not be measured again.
        """

        def report(progress: Progress) -> None:
            self.on_progress(replace(progress, phase=f"{progress.phase} ({which} model)"))

        started, spec, found = time.perf_counter(), self.spec, self.result
        self.remaining.begin(which)
        measured = measurement.measure(
            loaded, spec.benchmark, spec.validation, spec.generation, report, cut=cut, known=known.judging if known else None
        )
        changes: dict[str, Any] = {}
        n_tokens = measured.material.n_tokens
        if found.same_kind_text is not None:
            self.remaining.begin(f"{which}, same kind")
            beside = measurement.measure(
                loaded, None, found.same_kind_text, None, report, cut=cut, known=known.same_kind if known else None
            )
            n_tokens += beside.material.n_tokens
            removed = None if which == "unpruned" or spec.control else spec.block
            changes = {
                "same_kind": {**found.same_kind, which: replace(beside.point, **place(removed))},
                "same_kind_losses": {**found.same_kind_losses, which: beside.losses[0]},
                "same_kind_tokens": beside.material.text_tokens,
            }
        self.measuring_s = time.perf_counter() - started
        self.result = replace(
            found,
            n_tokens=found.n_tokens + n_tokens,
            text_losses={**found.text_losses, which: measured.losses[0]},
            text_tokens=measured.material.text_tokens,
            questions={**found.questions, which: measured.answers[0]},
            writings={**found.writings, **({} if measured.writings[0] is None else {which: measured.writings[0]})},
            **changes,
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

    def forget_after(self, step: int, tokens_per_step: int, tokens_per_validation: Callable[[], int]) -> None:
        """Remove the steps and validations after a step that the heal resumes from, with their tokens: they come again.

        Args:
            step: the step of the checkpoint; 0 without one.
            tokens_per_step: tokens of an optimizer step.
            tokens_per_validation: tokens of a validation, asked only where one is removed.
        """
        steps = [done for done in self.result.steps if done.step <= step]
        validations = [check for check in self.result.validations if check.step <= step]
        again = tokens_per_step * (len(self.result.steps) - len(steps))
        if removed := len(self.result.validations) - len(validations):
            again += removed * tokens_per_validation()
        n_tokens = max(0, self.result.n_tokens - again)
        self.result = replace(self.result, steps=steps, validations=validations, n_tokens=n_tokens)

    def best_step(self) -> int | None:
        """Return the step of the lowest validation loss so far, the earliest of equals; None before the first.

        Step 0 is the model at the start of training. Of two measured there it is the later, the instantly healed model.
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


_TEACHER_SHARE = 0.3
"""Share of the free memory that the unpruned model's states may take."""
_PROBES = 3
"""Steps that are timed, the first of them not counted, to work out how many fit into a time."""
_NO_TIME = "The time allows no training steps, so only the instant heal is kept. Give more minutes to train."
_QUARTER = 4
"""A quarter of the generation is timed, to estimate the time of all of it."""


def resolve(spec: HealSpec) -> HealSpec:
    """The spec with concrete dtype, device and identities.

    Raises:
        RecipeError: for float16, in which gradients underflow to 0.
    """
    # First: a file that cannot be read is refused before a model is looked for.
    corpus, validation = corpora.resolve(spec.corpus), corpora.resolve(spec.validation)
    benchmark = None if spec.benchmark is None else questions.resolve(spec.benchmark)
    model = models.resolve(spec.model)
    if model.dtype == "float16":
        if spec.model.dtype == "float16":
            raise RecipeError(
                "Healing in float16 loses small gradients. Choose bfloat16, or float32 on hardware without bfloat16."
            )
        model = replace(model, dtype="float32")
    return replace(spec, model=model, corpus=corpus, validation=validation, benchmark=benchmark)


def share(
    spec: HealSpec, on_progress: OnProgress = ignore, *, load: Loader = models.FRESH, rank: int, size: int, meeting: str
) -> HealResult | None:
    """Heal a model together with other processes: rank 0 works as in `run`, the others train with it.

    Args:
        spec, on_progress, load: as in `run`.
        rank, size, meeting: as in `group.joined`.

    Returns:
        The healing run at rank 0; None elsewhere.

    Raises:
        LayerscopeError: one sentence on a problem that the user can fix.
        PeerLost: when another process is gone; the last checkpoint is kept.
    """
    with joined(rank, size, meeting) as group, losses_named():
        if rank == 0:
            return run(spec, on_progress, load=load, group=group)
        following.follow(group, load, on_progress)
        return None


def run(
    spec: HealSpec,
    on_progress: OnProgress = ignore,
    *,
    load: Loader = models.FRESH,
    group: Group = ALONE,
    readings: Readings | None = None,
    is_compared: bool = False,
) -> HealResult:
    """Heal a model, or return the stored healing run; an interrupted one resumes from its last checkpoint.

    The unpruned, pruned and healed model are measured in the precision of training. When `on_progress` raises `Cancelled`, the
    adapter and a checkpoint of the last whole step are saved first.

    Args:
        spec: the model, the removed layers, and the training.
        on_progress: called at every step; `values` holds step, loss, learning_rate, tokens_per_s, memory_bytes, eta_s, and
            validation_loss where one was measured.
        load: the loader, whose memory is released. Healing changes the model, so it always loads a copy of its own.
        group: the processes that train together; this process is rank 0.
        readings: as in `junction.fit`, shared between healing runs of the same model.
        is_compared: whether only its scores are wanted; then `spec.bridge` need not be set.

    Raises:
        LayerscopeError: one sentence on a problem that the user can fix.
    """
    began = time.perf_counter()
    resolved = resolve(spec)
    stored = HealResult.load(resolved, on_progress)
    if stored is not None and stored.complete:
        if stored.adapter and (store.cache_dir() / stored.adapter / "adapter_config.json").exists():
            group.order("end")
            return stored
        stored = None  # a precomputed result, or the adapter was deleted: its numbers alone do not answer the request
    load.clear()
    machine.reset_peak(resolved.model.device)
    key = resolved.fingerprint()
    if stored is None:
        checkpoints.discard(key)
    on_progress(Progress("loading the model", values={"result_key": key}))
    planned = models.plan(resolved.model, on_progress)
    _check(resolved, planned.facts)
    other = machine.ALL_CARDS if planned.cards and planned.placement is None else ""
    at_once, over = resolved, 1
    if group.size > 1:  # each has its share of the sequences, and the whole model where memory allows it
        other = f"{machine.ALL_CARDS} without --workers" if planned.device.value.startswith("cuda") else ""
        step = resolved.batch_size * resolved.gradient_accumulation
        at_once = replace(resolved, batch_size=min(resolved.batch_size, -(-step // group.size)))
        is_short = not planned.fits or memory.shortage(at_once, planned.facts, planned.free_bytes, planned.where) is not None
        # Where the parts of a layer are is tried out by each process for itself, which no divided layer can be.
        can_divide = resolved.model.quantization in DIVIDED and not isinstance(resolved.block, PartSet)
        # And the instant heal's change of experts is computed from all of their weights.
        can_divide = can_divide and not (resolved.instant and planned.facts.expert_parameters)
        over = group.size if is_short and can_divide else 1
    memory.check(at_once, planned.facts, planned.free_bytes, planned.where, other=other, over=over)
    remaining = Remaining(on_progress, resolved, planned.facts.n_parameters, began)
    record = Record(resolved, remaining, stored or nothing_yet(resolved, planned.facts), began)
    record.publish()
    why = divided.WHY.format(name=planned.source.name, n=over) if over > 1 else ""
    group.order("load", {"spec": resolved.to_json(), "divided": why})
    if why:
        loaded, _ = divided.load(resolved.model, group, remaining, why)
    else:
        loaded = models.load(resolved.model, remaining)
    record.publish(versions=loaded.versions())
    with memory_explained(resolved, planned.source.name, planned.where):
        base = _base_name(resolved, planned)
        return _Heal(record, base=base, group=group, readings=readings, is_compared=is_compared).run(loaded)


def _check(spec: HealSpec, facts: ModelFacts) -> None:
    """Refuse an impossible request before anything is loaded or measured."""
    spec.block.check(facts.n_layers)
    adapters.check_last_layers(spec, facts.n_layers - (0 if spec.control else len(spec.block.layers)))
    if spec.instant:
        projection.check_start(spec.block)
    if spec.compensation == "patch":
        hadamard.check(facts.hidden_size)
    if spec.method == "lora" and spec.trains and spec.r > facts.hidden_size:
        raise RecipeError(
            f"A LoRA rank of {spec.r} exceeds the {facts.hidden_size} hidden dimensions of {facts.name}. Choose an r of at "
            f"most {facts.hidden_size}."
        )
    if facts.max_positions is not None and spec.corpus.seq_len > facts.max_positions:
        raise RecipeError(
            f"Sequences of {spec.corpus.seq_len} tokens exceed the window of {facts.max_positions} tokens of {facts.name}. "
            f"Choose a seq-len of at most {facts.max_positions}."
        )


def _base_name(spec: HealSpec, planned: Plan) -> str:
    """Return the adapter's name of its base: the Hub id, or the name of a local folder or file, never its path."""
    return hub_id(spec.model) or planned.source.name


class _Heal:
    """A heal in the making."""

    def __init__(self, record: Record, *, base: str, group: Group, readings: Readings | None, is_compared: bool) -> None:
        self.record, self.spec, self.base, self.group, self.readings = record, record.spec, base, group, readings
        self.is_compared = is_compared
        self.changes: dict[str, Tensor] = {}
        """By module, the tensor that the instant heal adds to its weight."""
        self.bridges: list[Bridge] = []
        self.stages: list[Removal] = []
        """Removed layers of each stage, where they are removed in more than one."""

    def run(self, loaded: LoadedModel) -> HealResult:
        """Everything after loading."""
        record, spec = self.record, self.spec
        record.counted_to = time.perf_counter()
        with without_block(loaded.decoder, None if spec.control else spec.block) as left:
            adapters.check(left, spec)
        if spec.instant and not (spec.trains or spec.bridge or self.is_compared) and spec.compensation == "projection":
            junction.check_folds(loaded.decoder, spec.block)
        self.texts = texts.chosen(loaded, spec)
        if (made := refining.source(spec, HealResult.all_of(spec.model)) if self.group.size == 1 else None) is not None:
            return refining.judge(self, made, loaded)
        record.publish(same_kind_text=self.texts.same_kind, n_choice_texts=self.texts.n_choice)
        self.measure_before(loaded)
        if spec.instant:
            fitted = self.fit_junction(loaded)
            self.changes, self.bridges = fitted.changes, fitted.bridges
        if len(spec.gone_by_stage) > 1 and not spec.control:
            record.on_progress(Progress("choosing the layers to remove first"))
            self.stages = stages.cuts(loaded.decoder, spec, texts.choice(loaded, spec).texts)
        apart = spec.separate_documents and not spec.written and can_separate(loaded.decoder)
        healed, cut = following.made_ready(loaded, spec, self.changes, self.bridges)
        with deterministic(spec.model.device):
            trainer = self.prepare(healed, cut, apart)
            try:
                self.train(trainer, healed)
            except Cancelled:
                if trainer.steps_done:
                    self.keep(trainer)
                raise
        if not self.group.divides:
            self.group.order("end")
            trainer.group = ALONE
        self.choose_step(trainer)
        self.save(trainer)
        record.publish(adapter=adapter.relative(record.key), kept_step=trainer.steps_done)
        self.measure_after(healed)
        if self.group.divides:  # until here they gave their parts of the layers
            self.group.order("end")
        checkpoints.discard(record.key)
        return record.result

    def measure_before(self, loaded: LoadedModel) -> None:
        """The unpruned and the pruned model, each unless it is already in the stored part."""
        record, spec = self.record, self.spec
        if record.result.unpruned is None:
            known = remembered(spec, record.result.same_kind_text)
            for which, cut in (("unpruned", None), ("pruned", spec.block)):
                record.remaining.reuse(which, *known.counts(cut))
            record.on_progress(Progress("scoring the unpruned model", message=known.note(spec)))
            measured = record.measure(loaded, "unpruned", known=known)
            record.publish(unpruned=measured.point, lines=measured.material.lines)
        if record.result.pruned is None and not spec.control:
            measured = record.measure(loaded, "pruned", cut=spec.block, known=remembered(spec, record.result.same_kind_text))
            record.publish(pruned=measured.point)
        if not record.result.validations:
            record.remaining.begin("choice")
            unpruned, start = self.known_checks() or self.check_before(loaded)
            record.result = replace(record.result, unpruned_check=unpruned)
            record.add_validation(start, 0)

    def known_checks(self) -> tuple[Validation, Validation] | None:
        """Return the checks of `check_before` from another run of the same cut that was judged by the same text."""

        def subject(spec: HealSpec) -> object:
            return spec.model, replace(spec.validation, n_texts=spec.n_kept_clear), spec.block, spec.control

        for other in HealResult.all_of(self.spec.model):
            if subject(other.spec) == subject(self.spec) and other.unpruned_check is not None and other.validations:
                return other.unpruned_check, other.validations[0]
        return None

    def check_before(self, loaded: LoadedModel) -> tuple[Validation, Validation]:
        """Measure the unpruned model and the model to heal on the texts that choose."""
        cuts: list[Removal | None] = [None] if self.spec.control else [None, self.spec.block]
        measured = Measurement(loaded, texts.choice(loaded, self.spec), cuts).complete(self.record.on_progress)
        result = self.record.result
        self.record.result = replace(result, n_tokens=result.n_tokens + measured.material.n_tokens)
        points = measured.points
        return _validation(0, points[0]), _validation(0, points[-1])

    def fit_junction(self, loaded: LoadedModel) -> Junction:
        """The instant heal of the model that is not cut yet; the same at every start, so that nothing of it is stored."""
        self.record.remaining.begin("fit")
        spec, n_tokens = self.spec, min(self.spec.corpus.seq_len, junction.TEXT_TOKENS)
        calibration = packing.beginnings(spec.corpus, self.texts.apart, loaded.tokenizer, CALIBRATION_TEXTS, n_tokens)
        if len(calibration) < junction.LEAST_TEXTS:
            raise RecipeError(
                f"The healing text has {len(calibration)} documents outside the evaluation texts, and an instant heal needs "
                f"{junction.LEAST_TEXTS} or more. Choose a longer healing text."
            )
        selection = texts.choice(loaded, spec).texts
        told = self.record.on_progress
        found = junction.fit(
            loaded.decoder, spec.block, calibration, selection, told, compensation=spec.compensation, readings=self.readings
        )
        result = self.record.result
        counted = 0 if result.junction is not None else found.report.n_tokens  # once, however often it is fitted
        self.record.publish(junction=found.report, n_tokens=result.n_tokens + counted)
        return found

    def prepare(self, healed: LoadedModel, cut: Cut | None, apart: bool) -> Trainer:
        """The trainer with its rows and its number of steps, where the last checkpoint left it."""
        record, spec = self.record, self.spec
        record.remaining.begin("prepare")
        planned = record.result.planned_steps
        known = spec if spec.minutes is None else recipes.planned(spec, planned or 0)
        at_once = spec.batch_size * spec.gradient_accumulation
        packed = self.pack(healed, max(1, (known.steps or 1) * at_once))
        positions = packed.positions if apart else None
        trainer = Trainer(healed.model, healed.decoder, packed.rows, known, None, positions, self.group)
        trainer.cut, trainer.stages = cut, self.stages
        following.introduce(trainer, self.changes, self.bridges)
        trainer.save_memory()
        following.teach(trainer, cut)
        if spec.minutes is not None and planned is None:
            steps = self.work_out_steps(trainer, healed)
            if steps:
                packed = self.pack(healed, steps * at_once)
            trainer.plan(recipes.planned(spec, steps), packed.rows, packed.positions if apart else None)
            record.publish(planned_steps=steps)
        comes_again = trainer.spec.steps * at_once > len(packed.rows)
        if (
            trainer.teacher is not None and comes_again and not spec.written and not self.group.divides
        ):  # its layers work where all ask
            trainer.teacher.kept_bytes = int(_TEACHER_SHARE * machine.free_bytes("cpu"))
        record.publish(
            trainable_parameters=trainer.n_trainable if spec.trains else 0,
            packed_rows=len(packed.rows),
            n_skipped=packed.n_skipped,
            n_held_out=packed.n_held_out,
            quoted=packed.quoted,
            documents_apart=apart,
            stages=stages.planned(self.stages, trainer.spec.steps),
            processes=_processes(record.result, self.group.size),
        )
        self.look_for_overlap(healed, packed)
        self.go_on(trainer, healed)
        return trainer

    def pack(self, healed: LoadedModel, max_rows: int) -> PackedRows:
        """The healing text in rows, no more than are looked at."""
        spec, told = self.spec, self.record.on_progress
        told(Progress("packing the healing text"))
        return packing.training_rows(spec.corpus, self.texts.apart, healed.tokenizer, max_rows=max_rows, on_progress=told)

    def work_out_steps(self, trainer: Trainer, healed: LoadedModel) -> int:
        """Return the steps that fit into the requested time, from the measured speed of a few that change nothing."""
        record, spec = self.record, self.spec
        seconds = []
        for number in range(_PROBES):
            record.on_progress(Progress("measuring the speed", number, _PROBES))
            seconds.append(timed(trainer.rehearse))
        stuff = self.check_material(healed)
        check_s = timed(lambda: self.check(trainer, healed, stuff))
        step_s, checks = len(trainer.passes) * median(seconds[1:]), recipes.checks_in(spec.minutes)
        end_s = max(record.measuring_s, self.end_s(healed, stuff, check_s))
        left_s = 60 * (spec.minutes or 0.0) - (time.perf_counter() - record.began)
        try:
            steps = recipes.steps_that_fit(seconds=left_s, step_s=step_s, check_s=check_s, end_s=end_s, checks=checks)
        except RecipeError:
            if not spec.instant:
                raise
            steps = 0
            record.on_progress(Progress("measuring the speed", _PROBES, _PROBES, _NO_TIME))
        record.remaining.expect("train", steps * step_s + (checks + 1 if steps else 1) * check_s)
        record.remaining.expect_end(end_s)
        return steps

    def end_s(self, healed: LoadedModel, stuff: Material, check_s: float) -> float:
        """Estimate the last measurement's seconds from a check, since earlier measurements may have reused stored scores.

        Args:
            healed: the model.
            stuff: texts and questions of the check.
            check_s: seconds that it took.
        """
        spec = self.spec
        whole = scores.prepare(healed, spec.benchmark, spec.validation)
        writing_s = 0.0
        if (asked := spec.generation) is not None:
            part = replace(asked, max_new_tokens=-(-asked.max_new_tokens // _QUARTER), n_sums=-(-asked.n_sums // _QUARTER))
            told = Progress("measuring the speed", _PROBES, _PROBES)
            writing_s = _QUARTER * timed(
                lambda: generation.check(healed.decoder, healed.tokenizer, part, lambda *_: self.record.on_progress(told))
            )
        return check_s * (whole.n_tokens + self.texts.n_same_kind_tokens) / stuff.n_tokens + writing_s

    def look_for_overlap(self, healed: LoadedModel, packed: PackedRows) -> None:
        """Return the questions that the healing text contains; computed once."""
        if self.spec.benchmark is None or self.record.result.overlap is not None:
            return

        def texts() -> Iterator[str]:
            for done, row in enumerate(packed.rows):
                told = Progress("looking for the questions in the healing text", done, len(packed.rows))
                self.record.on_progress(told)
                yield healed.tokenizer.decode(row)

        self.record.publish(overlap=decontamination.shared_questions(questions.load(self.spec.benchmark), texts()))

    def go_on(self, trainer: Trainer, healed: LoadedModel) -> None:
        """Continue from the newest checkpoint that the stored curve reaches, and forget the curve after it."""
        record = self.record
        reached = record.result.steps[-1].step if record.result.steps else 0
        found = checkpoints.newest(record.key, at_most=reached)
        if found is not None:
            trainer.go_on_from(found)
            total = trainer.spec.steps
            record.report(found.step, total, f"Resuming from the checkpoint at step {found.step}.")
        step = 0 if found is None else found.step
        record.forget_after(step, trainer.tokens_per_step, lambda: self.check_material(healed).n_tokens)

    def train(self, trainer: Trainer, healed: LoadedModel) -> None:
        """Take the remaining steps, with a loss on the texts that choose and a checkpoint every so often."""
        record, spec = self.record, trainer.spec
        record.remaining.begin("train")
        began, first = time.perf_counter(), trainer.steps_done
        stuff = self.check_material(healed)
        validated = record.result.validations[-1].step if record.result.validations else -1
        if spec.instant and len(record.result.validations) == 1:  # the pruned model's, and not yet the instantly healed one's
            self.validate(trainer, healed, stuff)
        if spec.keep_best and not trainer.steps_done:  # the best step may be 0
            checkpoints.write(record.key, trainer.state(), best=record.best_step())
        while True:
            if _due(trainer.steps_done, validated, spec):
                self.validate(trainer, healed, stuff)
                validated = trainer.steps_done
                record.report(trainer.steps_done, spec.steps)
            if trainer.steps_done == spec.steps:
                return
            for stage in record.result.stages:
                if stage.begins == trainer.steps_done:
                    record.report(trainer.steps_done, spec.steps, f"Removed from this step on: {stage.removed.describe()}.")
            self.step(trainer, began, first)
            record.report(trainer.steps_done, spec.steps)

    def step(self, trainer: Trainer, began: float, first: int) -> None:
        """One optimizer step into the curve."""
        started, total = time.perf_counter(), trainer.spec.steps
        step = trainer.take_step(lambda: self.record.report(trainer.steps_done, total))
        now = time.perf_counter()
        memory = machine.peak_bytes(self.spec.model.device)
        speed = trainer.tokens_per_step / (now - started)
        left = (now - began) / (step.number - first) * (total - step.number)
        done = HealStep(step.number, step.loss, step.learning_rate, speed, memory)
        self.record.add_step(done, trainer.tokens_per_step, left)

    def check_material(self, healed: LoadedModel) -> Material:
        """Return the material of checks during training: the texts that choose, and the first few of the questions."""
        spec = self.spec
        asked = None if spec.benchmark is None or not spec.check_questions else spec.benchmark
        return texts.choice(healed, spec, asked and replace(asked, limit=spec.check_questions))

    def check(self, trainer: Trainer, healed: LoadedModel, stuff: Material) -> Validation:
        """Measure loss and accuracy of the model in its present state."""
        healed.model.eval()
        done, total = trainer.steps_done, trainer.spec.steps
        measured = Measurement(healed, stuff, [None]).complete(lambda _: self.record.report(done, total))
        return _validation(done, measured.point)

    def validate(self, trainer: Trainer, healed: LoadedModel, stuff: Material) -> None:
        """Measure on the way and write a checkpoint; the curve goes to disk first, so that it never lags a checkpoint."""
        self.record.add_validation(self.check(trainer, healed, stuff), stuff.n_tokens)
        if trainer.steps_done:
            checkpoints.write(self.record.key, trainer.state(), best=self.record.best_step())

    def keep(self, trainer: Trainer) -> None:
        """Save a cancelled training, so that it is usable and can resume from exactly here."""
        key = self.record.key
        self.save(trainer)
        self.record.publish(adapter=adapter.relative(key), kept_step=trainer.steps_done)
        checkpoints.write(key, trainer.state(), best=self.record.best_step())

    def save(self, trainer: Trainer) -> None:
        """The adapter, with the bridges if there are any."""
        done, key = trainer.steps_done, self.record.key
        adapters.save(
            trainer.model, trainer.spec, base=self.base, steps_done=done, key=key, bridges=self.bridges,
            part_of=self.record.result.model.part_of,
        )  # fmt: skip

    def choose_step(self, trainer: Trainer) -> None:
        """Go back to the step of the lowest loss on the way, where that is wanted and its checkpoint is whole."""
        best = self.record.best_step()
        if not self.spec.keep_best or best is None or best == trainer.steps_done:
            return
        found = checkpoints.of_step(self.record.key, best)
        if found is not None:
            trainer.go_on_from(found)

    def measure_after(self, healed: LoadedModel, known: tuple[Scores, Scores] | None = None) -> None:
        """The healed model; then the heal is complete.

        Args:
            healed: the model.
            known: its stored scores on the judging questions and texts, and on texts of the healing text's kind.
        """
        healed.model.eval()
        measured = self.record.measure(healed, "healed", known=None if known is None else Remembered(*known))
        removed = None if self.spec.control else self.spec.block
        self.record.publish(healed=replace(measured.point, **place(removed)), complete=True)


def _processes(result: HealResult, now: int) -> list[int]:
    """Return the numbers of processes that trained a run, in order, with the `now` that continue it; empty where always one."""
    before = result.processes or [1] * bool(result.steps)
    every = before if before[-1:] == [now] else [*before, now]
    return [] if every == [1] else every


def _validation(steps_done: int, point: Point) -> Validation:
    return Validation(steps_done, point.loss or 0.0, point.loss_stderr or 0.0, point.acc, point.acc_stderr, point.n_samples)


def _due(steps_done: int, validated: int, spec: HealSpec) -> bool:
    return validated < steps_done and (steps_done % spec.eval_every == 0 or steps_done == spec.steps)
