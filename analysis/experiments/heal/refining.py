"""A refined judgement: the adapter of a finished heal, scored on more questions and texts; only the new ones are computed."""

import json
import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from analysis.core import store
from analysis.experiments.accuracy import scores
from analysis.experiments.accuracy.scores import Scores
from analysis.experiments.heal.heal_result import HealResult
from analysis.experiments.heal.heal_spec import HealSpec
from analysis.experiments.heal.healing_run import HealingRun
from analysis.experiments.heal.remaining import FIT, TRAIN
from analysis.experiments.heal.remembered import Remembered
from analysis.models.loading.load import LoadedModel
from analysis.models.running import adapters
from analysis.models.running.adapters import with_adapter

_CARRIED = (
    *("steps", "validations", "adapter", "trainable_parameters", "packed_rows", "n_skipped", "junction", "unpruned_check"),
    *("n_choice_texts", "n_held_out", "quoted", "planned_steps", "kept_step", "processes", "stages", "documents_apart"),
)
"""Fields of a result that say how its adapter was made."""


def source(spec: HealSpec, heals: Sequence[HealResult]) -> HealResult | None:
    """Return the finished run of the same training that was judged by the most of the requested texts and has its adapter.

    Args:
        spec: resolved.
        heals: stored healing runs of the model.
    """

    def is_source(heal: HealResult) -> bool:
        other = heal.spec
        if not heal.complete or not heal.adapter or other == spec or other.training != spec.training:
            return False
        # The texts that chose come after those that were kept clear: judged by more, they would choose and judge.
        if other.n_kept_clear != spec.n_kept_clear or not scores.same_texts(other.validation, spec.validation):
            return False
        return (store.cache_dir() / heal.adapter / "adapter_config.json").exists()

    usable = [heal for heal in heals if is_source(heal)]
    return max(usable, key=lambda heal: (heal.spec.validation.n_texts, _n_questions(heal)), default=None)


def _n_questions(heal: HealResult) -> int:
    return len(heal.questions.get("healed", ()))


def judge(heal: HealingRun, made: HealResult, loaded: LoadedModel) -> HealResult:
    """Judge the adapter of a finished healing run on the questions and texts of `heal`.

    Args:
        heal: the request, nothing of it trained.
        made: the finished run.
        loaded: the model, a copy of its own.
    """
    record, spec = heal.record, heal.spec
    record.remaining.skip_stages(FIT, TRAIN)
    record.remaining.phases["choice"].expected_s = 0.0
    known = _scored(made, heal)
    record.remaining.reuse("healed", *known.counts(None))
    overlap = made.overlap if _asks_no_more(spec, made) else None
    record.result = replace(
        record.result,
        **{name: getattr(made, name) for name in _CARRIED},
        overlap=overlap,
        same_kind_text=heal.texts.same_kind,
        wall_s=made.wall_s,
    )
    record.publish()
    heal.measure_before(loaded)
    if overlap is None:
        heal.look_for_overlap(loaded, heal.pack(loaded, max(1, made.packed_rows)))
    folder = _copied(made, record.key, spec)
    record.publish(adapter=adapters.relative(record.key))
    healed = with_adapter(loaded, None if spec.control else spec.block, str(folder))
    heal.measure_after(healed, known=known)
    return record.result


def _asks_no_more(spec: HealSpec, made: HealResult) -> bool:
    if spec.benchmark is None:
        return True
    return made.overlap is not None and spec.benchmark == made.spec.benchmark


def _scored(made: HealResult, heal: HealingRun) -> Remembered:
    """Stored scores of the healed model: on the judging questions and texts, and on texts of the healing text's kind."""
    judging, beside = Scores(), Scores()
    asked = scores.same_questions(made.spec.benchmark, heal.spec.benchmark)
    judging.take(None, made.questions.get("healed", []) if asked else [], made.text_losses.get("healed", []))
    if scores.same_texts(made.same_kind_text, heal.texts.same_kind):
        beside.take(None, [], made.same_kind_losses.get("healed", []))
    return Remembered(judging, beside)


def _copied(made: HealResult, key: str, spec: HealSpec) -> str:
    """The folder of the new heal with a copy of the adapter; its note names the new request."""
    begun = store.cache_dir() / str(made.adapter)

    def fill(target: Path) -> None:
        for file in begun.iterdir():
            if file.is_file():
                shutil.copy2(file, target / file.name)
        note = {"heal": spec.to_json(), "steps_done": made.kept_step or 0}
        (target / "layerscope.json").write_text(json.dumps(note, indent=1))

    folder = adapters.folder(key)
    store.write_folder(folder, fill)
    return str(folder)
