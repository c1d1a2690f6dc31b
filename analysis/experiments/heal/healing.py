"""The experiment that heals a pruned model: validates the request, loads the model, and starts or
resumes the run.
"""

import time
from dataclasses import replace

from analysis.core import store
from analysis.core.blocks import ATTENTION
from analysis.core.errors import NotEnoughMemoryError, RecipeError
from analysis.core.progress import OnProgress, Progress, ignore
from analysis.data import corpora, questions
from analysis.experiments.heal import checkpoints, memory, projection, recipes, refining
from analysis.experiments.heal.heal_result import HealResult
from analysis.experiments.heal.heal_spec import HealSpec
from analysis.experiments.heal.healing_run import HealingRun
from analysis.experiments.heal.recipes import sizing
from analysis.experiments.heal.record import Record, nothing_yet
from analysis.experiments.heal.remaining import FIT, SCORE, Remaining
from analysis.experiments.heal.training import memory_explained
from analysis.models.loading import load as models
from analysis.models.loading import machine, planning
from analysis.models.loading.load import Loader
from analysis.models.loading.planning import Plan
from analysis.models.source.remote import hub_id
from analysis.models.source.resolving import resolve_model


def resolve(spec: HealSpec) -> HealSpec:
    """Return the request with concrete dtype, device, learning rate and identities.

    The instant heal before training is left out if no weight of the model can hold its change.

    Raises:
        RecipeError: For float16, in which gradients underflow to 0.
    """
    # First: a file that cannot be read is refused before a model is looked for.
    corpus = corpora.resolve(spec.corpus)
    validation = corpora.resolve(spec.validation)
    benchmark = None if spec.benchmark is None else questions.resolve(spec.benchmark)
    model = resolve_model(spec.model)
    if model.dtype == "float16":
        if spec.model.dtype == "float16":
            raise RecipeError(
                "Healing in float16 loses small gradients. Choose bfloat16, or float32 on hardware"
                " without bfloat16."
            )
        model = replace(model, dtype="float32")
    resolved = replace(spec, model=model, corpus=corpus, validation=validation, benchmark=benchmark)
    starts_instantly = spec.instant and spec.trains
    if spec.learning_rate is not None and not starts_instantly:
        return resolved
    planned = planning.plan(model)
    if starts_instantly and not _holds_change(resolved, planned):
        resolved = replace(resolved, instant=False)
    return sizing.rated(
        resolved, planned.facts.n_parameters, on_gpu=model.device.startswith("cuda")
    )


def _holds_change(spec: HealSpec, planned: Plan) -> bool:
    """Return whether weights can hold the change of an instant heal, by the configuration; True for
    an invalid block.
    """
    if (0, ATTENTION) in spec.block.parts or spec.block.touched[-1] >= planned.facts.n_layers:
        return True
    return projection.holds_change(planning.skeleton(planned.config), spec.block)


def run(
    spec: HealSpec, on_progress: OnProgress = ignore, *, load: Loader = models.FRESH
) -> HealResult:
    """Heal a model, or return the stored healing run; an interrupted one resumes from its last
    checkpoint.

    The unpruned, pruned and healed model are measured in the precision of the training. If
    `on_progress` raises `Cancelled`, the adapter and a checkpoint of the last complete step are
    saved.

    Args:
        spec: The model, the removed layers, and the training.
        on_progress: Called at every step; `values` holds step, loss, learning_rate, tokens_per_s,
            memory_bytes, and validation_loss if measured, and `remaining` with the finished share
            and the time left.
        load: Loader whose model is released. Healing changes the model, so it always loads its own
            copy.

    Raises:
        LayerscopeError: For each problem that the user can fix, in one sentence.
    """
    started = time.perf_counter()
    resolved = resolve(spec)
    stored = HealResult.load(resolved, on_progress)
    if stored is not None and stored.complete:
        if stored.adapter and (store.cache_dir() / stored.adapter / "adapter_config.json").exists():
            return stored
        # a precomputed result, or the adapter was deleted: a healing run must return an adapter
        stored = None
    load.clear()
    machine.reset_peak(resolved.model.device)
    key = resolved.fingerprint()
    if stored is None:
        checkpoints.discard(key)
    on_progress(Progress("loading the model", values={"result_key": key}))
    planned = planning.plan(resolved.model, on_progress)
    _check(resolved, planned)
    if spec.instant and not resolved.instant:
        message = (
            f"{recipes.NO_WEIGHT.format(family=planned.facts.family)} The training begins"
            " without it."
        )
        on_progress(Progress("loading the model", message=message, values={"result_key": key}))
    alternative = machine.ALL_GPUS if planned.gpus and planned.placement is None else ""
    shortage = memory.shortage(
        resolved, planned.facts, planned.free_bytes, planned.where, alternative=alternative
    )
    if shortage is not None:
        raise NotEnoughMemoryError(shortage)
    heals = HealResult.all_of(resolved.model)
    source = refining.source(resolved, heals)
    result = stored or nothing_yet(resolved, planned.facts)
    if spec.instant and not resolved.instant:
        result = replace(result, is_instant_left_out=True)
    remaining = Remaining(
        on_progress, resolved, started, time.perf_counter, is_resumed=stored is not None
    )
    if result.unpruned is not None and (resolved.control or result.pruned is not None):
        remaining.skip("before", "before, same kind")
    if result.validations:
        remaining.skip("choice")
    record = Record(resolved, remaining, result)
    # Before the time is checked, so that a refused run counts as stored and can be resumed.
    record.publish()
    if source is not None:
        remaining.lift_bound()
    if resolved.minutes is not None and source is None:
        flop_s = machine.seconds_per_flop(resolved.model.device, resolved.model.dtype)
        remaining.check_time(
            dict.fromkeys((SCORE, FIT), 2 * planned.facts.active_parameters * flop_s)
        )
    loaded = models.load(resolved.model, remaining)
    record.publish(versions=loaded.versions())
    with memory_explained(resolved, planned.source.name, planned.where):
        # The Hub id, or the name of a local folder or file, never its path.
        heal = HealingRun(record, loaded, base=hub_id(resolved.model) or planned.source.name)
        return heal.run(loaded) if source is None else refining.judge(heal, source, loaded)


def _check(spec: HealSpec, planned: Plan) -> None:
    """Raise an error for an invalid request before the model is loaded."""
    facts = planned.facts
    spec.block.check_depth(facts.n_layers)
    if spec.instant:
        projection.check_start(spec.block)
        if not spec.trains and not _holds_change(spec, planned):
            raise RecipeError(
                f"{recipes.NO_WEIGHT.format(family=facts.family)} Choose a recipe that trains, such"
                " as distill."
            )
    if spec.trains and spec.r > facts.hidden_size:
        raise RecipeError(
            f"A LoRA rank of {spec.r} exceeds the {facts.hidden_size} hidden dimensions of"
            f" {facts.name}. Choose an r of at most {facts.hidden_size}."
        )
    if facts.max_positions is not None and spec.corpus.seq_len > facts.max_positions:
        raise RecipeError(
            f"Sequences of {spec.corpus.seq_len} tokens exceed the window of {facts.max_positions}"
            f" tokens of {facts.name}. Choose a seq-len of at most {facts.max_positions}."
        )
