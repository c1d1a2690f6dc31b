"""Measure the committed results that are on screen before anything is computed.

    python benchmarks/gallery.py                                 everything, about two hours for the
    starter model on two cores python benchmarks/gallery.py --kind heal --model starter     results
    of these kinds and this model alone

Weights are found as those of any model: `python -m analysis models SOURCE --fetch` downloads them.
Results are ordinary results of ordinary runs, without the states of each text and most of the
per-question answers. A stopped run resumes in `--work`. Those of GGUF files in llama.cpp are among
the replaced ones: then run `python benchmarks/gguf_files.py --publish`.
"""

import argparse
import dataclasses
import os
import shutil
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from pkgutil import resolve_name
from typing import Any

from safetensors.torch import load_file, save_file

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from analysis.cli.bar import Bar
from analysis.core import disk, store
from analysis.core.errors import ModelNotFoundError
from analysis.core.experiment import EXPERIMENTS
from analysis.core.record import Result, Spec
from analysis.data import gallery
from analysis.data.spec import BenchmarkSpec, CorpusSpec, GenerationSpec, default_loss_corpus
from analysis.experiments.accuracy.points import QuestionScore
from analysis.experiments.accuracy.precision import PrecisionSpec
from analysis.experiments.accuracy.sweep_spec import (
    EvaluateResult,
    EvaluateSpec,
    SweepResult,
    SweepSpec,
)
from analysis.experiments.batch.methods_spec import MethodsSpec
from analysis.experiments.heal import recipes, refining
from analysis.experiments.heal.heal_result import HealResult
from analysis.experiments.heal.healing_run import HealingRun
from analysis.experiments.heal.record import Record, nothing_yet
from analysis.experiments.heal.remaining import Remaining
from analysis.experiments.maps.damage_spec import DamageSpec
from analysis.experiments.maps.distance_spec import DistanceSpec
from analysis.experiments.prompt.comparison_spec import CompareSpec, Variant
from analysis.experiments.prompt.microscope_spec import MicroscopeSpec
from analysis.experiments.search.search_spec import SearchSpec
from analysis.experiments.speed.speed_spec import SpeedSpec
from analysis.models.loading.load import WarmModels
from analysis.models.loading.load import load as load_model
from analysis.models.running.adapters import WEIGHTS_FILE
from analysis.models.source.model_spec import InspectSpec, ModelSpec
from benchmarks.work import say, use_empty_cache

QUESTIONS = BenchmarkSpec(limit=200)
"""Asked of every cut and of the healed model, so that they stand on one chart."""
_EXAMS = BenchmarkSpec(task="mmlu", limit=114)
"""Two questions of each subject behind its five worked examples: a model above chance in them shows
the paper's own cliff."""
_LOSS = dataclasses.replace(default_loss_corpus(), n_texts=8, seq_len=128)
"""Texts of a larger model, whose head is as dear as many layers."""
_CURVES = [
    (name, 0) for name in ("similarity", "deepest", "reverse", "block-influence", "loss-greedy")
]
_CURVES += [("random", draw) for draw in range(3)]
_STARTER_HEALS = [("instant", 3), ("instant", 5), ("instant", 8), ("instant", 10), ("distill", 5)]
"""Recipes and sizes of the similarity block. The adapter of `_SHIPPED` comes with the program."""
_SHIPPED = "distill"
_PROMPT = (
    "Once upon a time there was a little girl who lived in a house at the edge of the forest. One"
    " morning"
)
"""Prompt that the models continue."""
_FACT = "The capital of France is"
"""The prompt that a form begins with; a longer text under the microscope takes hundreds of
kilobytes."""
_WITH_ANSWERS = ("similarity", "deepest", "greedy")
"""Strategies whose answers are kept, for paired comparisons; those of all would take megabytes."""
_LEFT_OUT = {"distances": ("states", "text_distances"), "search": ("sets", "values")}
"""Fields that are left out, by kind."""
_TABLE_PARAMETERS = 1_000_000_000
"""A larger model has no table of methods, and its curve ends at a quarter of its layers. The search
takes an hour or two."""
_QUANTIZED = {"8bit": (0, 3, 5, 8), "4bit": (0, 3, 5)}
"""Removed layers of the starter by quantization of the others. Larger models are quantized
unpruned."""
_EXAMINED = 4
"""Layers removed at most before the exams: their worked examples make each point take minutes."""
_SHORT = GenerationSpec(n_prompts=2, max_new_tokens=24, n_sums=2)
"""Generated text of a larger model: Explore shows the beginning of one."""


class Measurements:
    """The results of one model, of the named kinds alone."""

    def __init__(self, kinds: Sequence[str], load: WarmModels) -> None:
        self.results: dict[str, Result] = {}
        """By fingerprint."""
        self.kinds = kinds
        self._load = load

    def run(self, spec: Spec) -> Any:
        """Return the result of a request that others depend on, and keep it."""
        result = resolve_name(EXPERIMENTS[spec.kind].run)(spec, Bar(), load=self._load)
        self.results[result.spec.fingerprint()] = result
        return result

    def add(self, *specs: Spec) -> None:
        """Run requests, if their kinds are named."""
        for spec in specs:
            if spec.kind in self.kinds:
                self.run(spec)


def main() -> None:
    """Compute everything, or the results of some kinds and models, and put it in place."""
    parser = argparse.ArgumentParser(description="Measure the committed results.")
    parser.add_argument(
        "--kind", action="append", choices=EXPERIMENTS, help="kind of results (default: all)"
    )
    parser.add_argument(
        "--model",
        action="append",
        metavar="SOURCE",
        choices=[model.source for model in gallery.EXHIBITS],
    )
    parser.add_argument(
        "--work", type=Path, help="cache folder of the runs, which is kept (default: a new one)"
    )
    options = parser.parse_args()
    if options.work:
        os.environ["LAYERSCOPE_CACHE"] = str(options.work.resolve())
    else:
        use_empty_cache()
    load, kinds = WarmModels(), options.kind or tuple(EXPERIMENTS)
    for exhibit in gallery.EXHIBITS:
        if options.model and exhibit.source not in options.model:
            continue
        measurements = Measurements(kinds, load)
        measure = _of_starter if exhibit.source == gallery.STARTER else _of_larger
        try:
            measure(ModelSpec(exhibit.source, dtype="float32", device="cpu"), measurements)
        except ModelNotFoundError as error:
            say(f"The results of {exhibit.title} are unchanged: {error}")
            continue
        load.clear()
        publish(exhibit, list(measurements.results.values()), kinds)


def _of_starter(model: ModelSpec, measured: Measurements) -> None:
    """Measure all that the pages can show, of the model that every machine has."""
    here = dataclasses.replace(model, device="auto")
    n_parameters = measured.run(InspectSpec(here)).model.n_parameters
    best = [
        measured.run(DistanceSpec(here, CorpusSpec(source=source))) for source in ("c4", "wiki")
    ][0].best
    measured.add(SpeedSpec(here), DamageSpec(here), MicroscopeSpec(here, _FACT))
    for strategy, draw in _CURVES:
        generation = GenerationSpec() if strategy == "similarity" else None
        curve = SweepSpec(
            here, benchmark=QUESTIONS, strategy=strategy, max_n=15, draw=draw, generation=generation
        )
        measured.add(curve)
    measured.add(
        *(heal(recipe, here, n_parameters, best[n - 1].block) for recipe, n in _STARTER_HEALS)
    )
    # The unpruned model, trained in the same way: the ceiling for this recipe's loss on the healing
    # text's kind.
    measured.add(heal("distill", here, n_parameters, best[4].block).as_control())
    if {"heal", "compare"} & {*measured.kinds}:
        healed = _in_half_size(measured.run(heal(_SHIPPED, here, n_parameters, best[4].block)))
        measured.results[healed.spec.fingerprint()] = healed
        variants = (
            Variant(),
            Variant("pruned", healed.spec.block),
            Variant("healed", healed.spec.block, healed.adapter),
        )
        measured.add(*(CompareSpec(here, prompt, variants) for prompt in (_PROMPT, _FACT)))
    # A search and a table of methods take half as long in bfloat16. Its cost first, else the first
    # curve would measure it.
    half = dataclasses.replace(here, dtype="bfloat16")
    measured.add(PrecisionSpec(half, QUESTIONS), SearchSpec(half, strategy="greedy", max_n=15))
    measured.add(MethodsSpec(half, ("similarity", "greedy"), ("instant",), benchmark=QUESTIONS))
    measured.add(_exams(model))
    if "evaluate" in measured.kinds:
        least = [
            entry.block
            for entry in measured.run(DamageSpec(here)).best
            if entry.block != best[entry.n - 1].block
        ]
        measured.add(
            *(
                _text(here, block, GenerationSpec())
                for block in [*least, *(entry.block for entry in best[15:])]
            )
        )
    for quantization, sizes in _QUANTIZED.items():
        quantized = dataclasses.replace(model, quantization=quantization)
        blocks = [best[n - 1].block if n else None for n in sizes]
        measured.add(
            *(EvaluateSpec(quantized, block=block, benchmark=QUESTIONS) for block in blocks),
            SpeedSpec(quantized),
        )


def _of_larger(model: ModelSpec, measured: Measurements) -> None:
    """Measure in float32 what all models share, to compare sizes, and the smaller ones in bfloat16
    as well.
    """
    facts = measured.run(InspectSpec(model)).model
    is_small = facts.n_parameters <= _TABLE_PARAMETERS
    similar = DistanceSpec(model, CorpusSpec(source="c4"))
    best, half = measured.run(similar).best, facts.n_layers // 2
    if is_small:
        _in_half_precision(dataclasses.replace(model, dtype="bfloat16"), measured)
    measured.add(
        DamageSpec(model, distances=similar, max_size=1),
        SweepSpec(
            model, benchmark=QUESTIONS, strategy="similarity", max_n=half if is_small else half // 2
        ),
        SearchSpec(model, strategy="greedy", max_n=half),
        _exams(model),
        SpeedSpec(model),
    )
    measured.add(
        *(_text(model, block, _SHORT) for block in [None, *(entry.block for entry in best)])
    )
    for quantization in _QUANTIZED:
        quantized = dataclasses.replace(model, quantization=quantization)
        measured.add(EvaluateSpec(quantized, benchmark=QUESTIONS), SpeedSpec(quantized))
    measured.add(
        *(heal("instant", model, facts.n_parameters, best[n - 1].block) for n in (3, 5, 8, 10))
    )


def _in_half_precision(model: ModelSpec, measured: Measurements) -> None:
    """Measure in bfloat16 what takes hours: the first of the questions, and few texts."""
    measured.add(*(DistanceSpec(model, CorpusSpec(source=source)) for source in ("c4", "wiki")))
    first = {limit: dataclasses.replace(QUESTIONS, limit=limit) for limit in (25, 50, 100)}
    searched = SearchSpec(model, strategy="greedy", max_n=_EXAMINED)
    measured.add(
        PrecisionSpec(model, first[25]), searched
    )  # before the curves, which would ask longer questions for it
    for questions, max_n in ((first[100], 6), (_EXAMS, _EXAMINED)):
        measured.add(
            SweepSpec(
                model, benchmark=questions, loss_corpus=_LOSS, strategy="similarity", max_n=max_n
            ),
            SweepSpec(
                model,
                benchmark=questions,
                loss_corpus=_LOSS,
                strategy="greedy",
                max_n=_EXAMINED,
                search=searched,
            ),
        )
    judged = dataclasses.replace(_LOSS, n_texts=16)
    measured.add(
        MethodsSpec(
            model, ("similarity", "greedy"), ("instant",), benchmark=first[50], loss_corpus=judged
        )
    )


def _in_half_size(healed: HealResult) -> HealResult:
    """Round the adapter of a healing run to bfloat16, and judge it as it is then."""
    file, spec, began = (
        store.cache_dir() / str(healed.adapter) / WEIGHTS_FILE,
        healed.spec,
        time.perf_counter(),
    )
    save_file(
        {name: tensor.bfloat16() for name, tensor in load_file(file).items()},
        file,
        {"format": "pt"},
    )
    loaded = load_model(spec.model)
    record = Record(
        spec,
        Remaining(Bar(), spec, began, time.perf_counter),
        nothing_yet(spec, healed.model),
        began,
    )
    record.publish(versions=healed.versions)
    unjudged = dataclasses.replace(healed, questions={}, text_losses={}, same_kind_losses={})
    return dataclasses.replace(
        refining.judge(HealingRun(record, loaded, base=""), unjudged, loaded),
        n_tokens=healed.n_tokens,
    )


def _text(model: ModelSpec, block: Any, generation: GenerationSpec) -> EvaluateSpec:
    """Return the request for generated text alone."""
    return EvaluateSpec(model, block=block, benchmark=None, loss_corpus=None, generation=generation)


def _exams(model: ModelSpec) -> SweepSpec:
    return SweepSpec(
        model, benchmark=_EXAMS, loss_corpus=None, strategy="similarity", max_n=_EXAMINED
    )


def heal(recipe: str, model: ModelSpec, n_parameters: int, block: Any) -> Any:
    return recipes.heal_spec(
        recipe,
        model=model,
        n_parameters=n_parameters,
        block=block,
        benchmark=QUESTIONS,
        generation=None,
    )


def _rounded(questions: Sequence[QuestionScore]) -> list[QuestionScore]:
    """Round log-likelihoods to a ten-thousandth of a nat, far finer than machines agree: half a
    megabyte less.
    """
    return [
        dataclasses.replace(row, loglikelihoods=[round(value, 4) for value in row.loglikelihoods])
        for row in questions
    ]


def lean(result: Result) -> Result:
    """Return the part of a result that a first look needs."""
    changes: dict[str, Any] = dict.fromkeys(_LEFT_OUT.get(result.kind, ()))
    if isinstance(result, SweepResult):
        changes["questions"] = [
            _rounded(cut) for cut in result.questions if result.spec.strategy in _WITH_ANSWERS
        ]
    if isinstance(result, EvaluateResult):
        changes["questions"] = _rounded(result.questions)
    if isinstance(result, HealResult):
        changes["questions"] = {}
        changes["adapter"] = result.adapter if _ships(result) else None
    return dataclasses.replace(result, **changes)


def _ships(result: Result) -> bool:
    return (
        isinstance(result, HealResult)
        and result.spec.recipe == _SHIPPED
        and not result.spec.control
    )


def publish(exhibit: gallery.Exhibit, results: Sequence[Result], kinds: Sequence[str]) -> None:
    """Put results in place of those of the same model and kind, which are replaced all at once."""
    target = store.precomputed_dir()
    published = [result for result in results if result.kind in kinds]
    if any(
        not gallery.is_exhibit(exhibit.source, result.spec.model.identity) for result in published
    ):
        raise SystemExit(f"The weights are not those of {exhibit.page}. Download them again.")
    for kind in kinds:
        for folder in (target / kind).glob("*"):
            if (
                EXPERIMENTS[kind]
                .result.read(store.read(folder, precomputed=True))
                .spec.model.source
                == exhibit.source
            ):
                shutil.rmtree(folder)
                shutil.rmtree(target / "adapters" / folder.name, ignore_errors=True)
    for result in published:
        lean(result).save(target)
        if _ships(result):
            shutil.copytree(store.cache_dir() / result.adapter, target / result.adapter)
    say(
        f"{len(published)} results of {exhibit.source}, {disk.size_bytes(target) / 1e6:.2f} MB in"
        f" {target.name}"
    )


if __name__ == "__main__":
    main()
