"""The experiment that heals a pruned model: refuses impossible requests, loads the model, and resumes or starts the run."""

import time
from dataclasses import replace

from analysis.core import store
from analysis.core.errors import RecipeError
from analysis.core.progress import OnProgress, Progress, ignore
from analysis.data import corpora, questions
from analysis.experiments.heal import adapters, checkpoints, hadamard, memory, projection, recipes, refining
from analysis.experiments.heal.heal_result import HealResult
from analysis.experiments.heal.heal_spec import HealSpec
from analysis.experiments.heal.healing_run import HealingRun
from analysis.experiments.heal.junction import Readings
from analysis.experiments.heal.record import Record, nothing_yet
from analysis.experiments.heal.remaining import Remaining
from analysis.experiments.heal.training import memory_explained
from analysis.models.loading import load as models
from analysis.models.loading import machine, planning
from analysis.models.loading.load import Loader
from analysis.models.loading.planning import Plan
from analysis.models.source.remote import hub_id
from analysis.models.source.sizes import ModelFacts

_SHARE_KEPT = 0.125
"""Share of the free memory of the device in which a worker may keep states for a further recipe of the same cut."""


def resolve(spec: HealSpec) -> HealSpec:
    """The spec with concrete dtype, device, learning rate and identities.

    Raises:
        RecipeError: for float16, in which gradients underflow to 0.
    """
    # First: a file that cannot be read is refused before a model is looked for.
    corpus, validation = corpora.resolve(spec.corpus), corpora.resolve(spec.validation)
    benchmark = None if spec.benchmark is None else questions.resolve(spec.benchmark)
    model = planning.resolve(spec.model)
    if model.dtype == "float16":
        if spec.model.dtype == "float16":
            raise RecipeError(
                "Healing in float16 loses small gradients. Choose bfloat16, or float32 on hardware without bfloat16."
            )
        model = replace(model, dtype="float32")
    resolved = replace(spec, model=model, corpus=corpus, validation=validation, benchmark=benchmark)
    if spec.learning_rate is not None:
        return resolved
    n_parameters = planning.plan(model).facts.n_parameters
    return recipes.rated(resolved, n_parameters, on_gpu=model.device.startswith("cuda"))


def run(
    spec: HealSpec,
    on_progress: OnProgress = ignore,
    *,
    load: Loader = models.FRESH,
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
        readings: as in `junction.fit`, shared between healing runs of the same model. By default those that `load` keeps of the
            last one, where both are closed forms of the same cut.
        is_compared: whether only its scores are wanted; then `spec.bridge` need not be set.

    Raises:
        LayerscopeError: one sentence on a problem that the user can fix.
    """
    started = time.perf_counter()
    resolved = resolve(spec)
    stored = HealResult.load(resolved, on_progress)
    if stored is not None and stored.complete:
        if stored.adapter and (store.cache_dir() / stored.adapter / "adapter_config.json").exists():
            return stored
        stored = None  # a precomputed result, or the adapter was deleted: its numbers alone do not answer the request
    cut = None
    if readings is None and resolved.instant and not resolved.trains:
        cut = resolved.model, resolved.block
    load.clear(keeping=cut)
    if cut is not None:
        readings = load.kept(cut, lambda: _readings(resolved.model.device))
    machine.reset_peak(resolved.model.device)
    key = resolved.fingerprint()
    if stored is None:
        checkpoints.discard(key)
    on_progress(Progress("loading the model", values={"result_key": key}))
    planned = planning.plan(resolved.model, on_progress)
    _check(resolved, planned.facts)
    alternative = machine.ALL_GPUS if planned.gpus and planned.placement is None else ""
    memory.check(resolved, planned.facts, planned.free_bytes, planned.where, alternative=alternative)
    remaining = Remaining(on_progress, resolved, planned.facts.n_parameters, started)
    record = Record(resolved, remaining, stored or nothing_yet(resolved, planned.facts), started)
    record.publish()
    loaded = models.load(resolved.model, remaining)
    record.publish(versions=loaded.versions())
    with memory_explained(resolved, planned.source.name, planned.where):
        base = _base_name(resolved, planned)
        heal = HealingRun(record, loaded, base=base, readings=readings, is_compared=is_compared)
        source = refining.source(resolved, HealResult.all_of(resolved.model))
        return heal.run(loaded) if source is None else refining.judge(heal, source, loaded)


def _readings(device: str) -> Readings:
    """Return an empty place for the states of a cut, with a share of the memory that is free now."""
    return Readings(room=min(Readings.room, int(machine.free_bytes(device) * _SHARE_KEPT)))


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
