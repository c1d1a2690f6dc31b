"""Refined evaluation: the adapter of a finished healing run on more questions and texts. Stored
scores are reused.
"""

import json
import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from analysis.core import store
from analysis.experiments.accuracy import scores
from analysis.experiments.accuracy.scores import Scores
from analysis.experiments.heal.cached_scores import CachedScores
from analysis.experiments.heal.heal_result import HealResult
from analysis.experiments.heal.heal_spec import HealSpec
from analysis.experiments.heal.healing_run import HealingRun
from analysis.models.loading.load import LoadedModel
from analysis.models.running import adapters
from analysis.models.running.adapters import with_adapter

_CARRIED = (
    *(
        "steps",
        "validations",
        "adapter",
        "trainable_parameters",
        "packed_rows",
        "n_skipped",
        "junction",
        "unpruned_check",
    ),
    *(
        "n_choice_texts",
        "n_held_out",
        "quoted",
        "planned_steps",
        "kept_step",
        "processes",
        "documents_apart",
    ),
    *("is_instant_left_out", "samples"),
)
"""Fields of a result that describe the training of its adapter."""


def source(spec: HealSpec, heals: Sequence[HealResult]) -> HealResult | None:
    """Return the finished run of the same training, with its adapter, that was evaluated on the
    most of the requested texts.

    Args:
        spec: The resolved request.
        heals: Stored healing runs of the model.
    """

    def is_source(heal: HealResult) -> bool:
        other_spec = heal.spec
        if (
            not heal.complete
            or not heal.adapter
            or other_spec == spec
            or other_spec.training != spec.training
        ):
            return False
        # Selection texts follow the reserved texts. With more reserved texts, some would be used
        # for both.
        if other_spec.n_kept_clear != spec.n_kept_clear or not scores.same_texts(
            other_spec.validation, spec.validation
        ):
            return False
        return (store.cache_dir() / heal.adapter / "adapter_config.json").exists()

    usable = [heal for heal in heals if is_source(heal)]
    return max(
        usable,
        key=lambda heal: (heal.spec.validation.n_texts, len(heal.questions.get("healed", ()))),
        default=None,
    )


def judge(heal: HealingRun, source: HealResult, loaded: LoadedModel) -> HealResult:
    """Evaluate the adapter of a finished healing run on the questions and texts of `heal`.

    Args:
        heal: Run of the new request, not trained.
        source: The finished run.
        loaded: The model, a copy that the run may modify.
    """
    record = heal.record
    spec = heal.spec
    record.remaining.skip("choice", "fit", "prepare", "train")
    cached = _cached_scores(source, heal)
    record.remaining.reuse("healed", cached.counts(None))
    overlap = source.overlap if spec.benchmark in (None, source.spec.benchmark) else None
    record.result = replace(
        record.result,
        **{name: getattr(source, name) for name in _CARRIED},
        overlap=overlap,
        same_kind_text=heal.texts.same_kind,
        wall_s=source.wall_s,
    )
    record.publish()
    heal.measure_before(loaded)
    if overlap is None:  # of other questions, or not computed yet
        heal.look_for_overlap(loaded, heal.pack(loaded, max(1, source.packed_rows)))
    folder = _copied(source, record.key, spec)
    record.publish(adapter=adapters.relative(record.key))
    healed = with_adapter(loaded, spec.removed, str(folder))
    heal.measure_after(healed, cached=cached)
    return record.result


def _cached_scores(source: HealResult, heal: HealingRun) -> CachedScores:
    """Return the stored scores of the healed model of `source` that hold for `heal`."""
    judging = Scores()
    same_kind = Scores()
    is_same_benchmark = scores.same_questions(source.spec.benchmark, heal.spec.benchmark)
    judging.take(
        None,
        source.questions.get("healed", []) if is_same_benchmark else [],
        source.text_losses.get("healed", []),
    )
    if scores.same_texts(source.same_kind_text, heal.texts.same_kind):
        same_kind.take(None, [], source.same_kind_losses.get("healed", []))
    return CachedScores(judging, same_kind)


def _copied(source: HealResult, key: str, spec: HealSpec) -> str:
    """Copy the adapter into the folder of the new run, record the new request there, and return the
    folder.
    """
    adapter_folder = store.cache_dir() / str(source.adapter)

    def fill(target: Path) -> None:
        for file in adapter_folder.iterdir():
            if file.is_file():
                shutil.copy2(file, target / file.name)
        note = {"heal": spec.to_json(), "steps_done": source.kept_step or 0}
        (target / "layerscope.json").write_text(json.dumps(note, indent=1))

    folder = adapters.folder(key)
    store.write_folder(folder, fill)
    return str(folder)
