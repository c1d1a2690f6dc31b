"""`python -m analysis.cli.gallery`: make the committed results that are on screen before anything is computed.

They are ordinary results of ordinary runs, with their provenance. A first look does not need the states of each text and most
of the per-question answers, so they are left out. Kinds of results may be named (`… gallery heal`) to renew only those, and
models (`--model`).

Weights that are a file from the Hub are searched by name in the folder of `--weights`, else in this machine's hub cache. Where
they are missing, the model keeps its results and a sentence names the file to fetch.
"""

import argparse
import dataclasses
import hashlib
import os
import shutil
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from analysis.core import disk, escapes, store
from analysis.core.errors import ModelNotFoundError
from analysis.core.experiment import EXPERIMENTS, RESULTS
from analysis.core.progress import Progress
from analysis.core.record import Result, Spec
from analysis.data import gallery
from analysis.data.gallery import STARTER, Exhibit
from analysis.data.spec import BenchmarkSpec, CorpusSpec, GenerationSpec, default_loss_corpus
from analysis.experiments.accuracy.points import QuestionScore
from analysis.experiments.accuracy.precision import PrecisionSpec
from analysis.experiments.accuracy.sweep_spec import EvaluateResult, EvaluateSpec, SweepResult, SweepSpec
from analysis.experiments.batch.methods_spec import MethodsSpec
from analysis.experiments.heal import recipes
from analysis.experiments.heal.heal_result import HealResult
from analysis.experiments.maps.damage_spec import DamageSpec
from analysis.experiments.maps.distance_spec import DistanceResult, DistanceSpec
from analysis.experiments.prompt.comparison_spec import CompareSpec, Variant
from analysis.experiments.prompt.microscope_spec import MicroscopeSpec
from analysis.experiments.search.search_spec import SearchResult, SearchSpec
from analysis.experiments.speed.speed_spec import SpeedSpec
from analysis.models.loading.load import WarmModels
from analysis.models.source.model_spec import InspectSpec, ModelSpec

_LIMIT_BYTES = 6_000_000
_QUESTIONS = BenchmarkSpec(limit=200)
"""Asked of every cut and of the healed model, so that they stand on one chart."""
_EXAMS = BenchmarkSpec(task="mmlu", limit=114)
"""Two questions of each subject behind its five worked examples: a model above chance in them shows the paper's own cliff."""
_LOSS = dataclasses.replace(default_loss_corpus(), n_texts=8, seq_len=128)
"""Texts of a larger model, whose head is as dear as many layers."""
_CURVES = [(name, 0) for name in ("similarity", "deepest", "reverse", "block-influence", "loss-greedy")]
_CURVES += [("random", draw) for draw in range(3)]
_STARTER_HEALS = [("instant", 3), ("instant", 5), ("instant", 8), ("instant", 10), ("distill", 5)]
"""Recipes and sizes of the similarity block."""
_PROMPT = "Once upon a time there was a little girl who lived in a house at the edge of the forest. One morning"
"""Prompt that the models continue."""
_FACT = "The capital of France is"
"""The prompt that a form begins with; a longer text under the microscope takes hundreds of kilobytes."""
_WITH_ANSWERS = ("similarity", "deepest", "greedy")
"""Strategies whose answers are kept, for paired comparisons; those of all would take megabytes."""
_TABLE_PARAMETERS = 1_000_000_000
"""A larger model has no table of methods, and its curve ends at a quarter of its layers. The search takes an hour or two."""
_QUANTIZED = {"8bit": (0, 3, 5, 8), "4bit": (0, 3, 5)}
"""Removed layers of the starter by quantization of the others. Larger models are quantized unpruned."""
_EXAMINED = 4
"""Layers removed at most before the exams: their worked examples make each point take minutes."""


class _Measurements:
    """The results of one model, of the named kinds alone."""

    def __init__(self, kinds: Sequence[str], load: WarmModels) -> None:
        self.results: dict[str, Result] = {}
        """By fingerprint."""
        self._kinds = kinds
        self._load = load

    def run(self, spec: Spec) -> Any:
        """Return the result of a request that others depend on, and keep it."""
        result = EXPERIMENTS[spec.kind].runner()(spec, _tell, load=self._load)
        self.results[result.spec.fingerprint()] = result
        return result

    def has(self, kind: str) -> bool:
        """Return whether results of a kind are named."""
        return kind in self._kinds

    def add(self, *specs: Spec) -> None:
        """Run requests, if their kinds are named."""
        for spec in specs:
            if self.has(spec.kind):
                self.run(spec)


def main(arguments: Sequence[str] | None = None) -> int:
    """Compute everything, or the results of some kinds and models, and put it in place.

    About two hours on two cores for everything of the starter model: 40 minutes for `heal`, 30 for `methods`. Several hours for
    a model of half a billion parameters, an hour of it for `methods`.
    """
    options = _parsed(arguments)
    kinds = options.kinds or tuple(RESULTS)
    folder = _begin(options.work)
    load = WarmModels()
    for exhibit in gallery.EXHIBITS:
        if options.model and exhibit.source not in options.model:
            continue
        try:
            _bring(exhibit, options.weights, folder)
            model = ModelSpec(exhibit.source, dtype="float32", device="cpu")
            measurements = _Measurements(kinds, load)
            measure = _of_starter if exhibit.source == STARTER else _of_larger
            measure(model, measurements)
        except ModelNotFoundError as error:
            sys.stderr.write(escapes.visible(f"The results of {exhibit.title} are unchanged: {error}\n"))
            continue
        load.clear()
        _publish(exhibit.source, [*measurements.results.values()], kinds)
    if not options.work:
        shutil.rmtree(folder, ignore_errors=True)
    return 0


def _parsed(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m analysis.cli.gallery", description="Make the committed results.")
    parser.add_argument("kinds", nargs="*", metavar="KIND", help="Kinds of results to make (default: all).")
    parser.add_argument(
        "--model", action="append", help="Model to measure, as its results name it (default: all).", metavar="SOURCE"
    )
    parser.add_argument("--weights", type=_absolute, help="Folder with weight files that you downloaded by hand.")
    parser.add_argument(
        "--work",
        type=_absolute,
        help="Working folder that is kept, so that a stopped run resumes (default: a temporary folder).",
    )
    options = parser.parse_args(arguments)
    if unknown := set(options.kinds) - set(RESULTS):
        parser.error(f"unknown kind of result {', '.join(sorted(unknown))}. Choose from {', '.join(RESULTS)}")
    sources = [exhibit.source for exhibit in gallery.EXHIBITS]
    if unknown := set(options.model or ()) - set(sources):
        parser.error(f"{', '.join(sorted(unknown))} is not in the gallery. Choose from {', '.join(sources)}")
    return options


def _absolute(path: str) -> Path:
    return Path(path).resolve()


def _begin(folder: Path | None) -> Path:
    """Work in a cache of its own, so that nothing is taken from other runs, but convert models only once."""
    source = store.cache_dir()
    work_folder = folder or Path(tempfile.mkdtemp(prefix="layerscope-gallery-"))
    work_folder.mkdir(parents=True, exist_ok=True)
    for name in ("models", "machine.json"):
        if (source / name).exists() and not os.path.lexists(work_folder / name):
            os.symlink(source / name, work_folder / name)
    os.environ["LAYERSCOPE_CACHE"] = str(work_folder)
    return work_folder


def _bring(exhibit: Exhibit, folder: Path | None, work_folder: Path) -> None:
    """Let weights that were fetched by hand lie where the source of their model leads to, on any machine.

    Raises:
        ModelNotFoundError: when the file is another one.
    """
    file = Path(exhibit.source).name
    local_file = (folder or work_folder) / file
    os.chdir(work_folder)
    if not exhibit.sha256 or folder is None or not local_file.is_file():
        return
    with local_file.open("rb") as stream:
        digest = hashlib.file_digest(stream, "sha256").hexdigest()
    if digest != exhibit.sha256:
        raise ModelNotFoundError(
            f"{file} has the SHA-256 {digest}, but the file of {exhibit.page} has {exhibit.sha256}. Download it again."
        )
    source_folder = Path(exhibit.source)
    source_folder.parent.mkdir(parents=True, exist_ok=True)
    if not source_folder.exists():
        source_folder.symlink_to(local_file)


def _of_starter(model: ModelSpec, measured: _Measurements) -> None:
    """Measure all that the pages can show, of the model that every machine has."""
    here = dataclasses.replace(model, device="auto")
    n_parameters = measured.run(InspectSpec(here)).model.n_parameters
    best = [measured.run(DistanceSpec(here, CorpusSpec(source=source))) for source in ("c4", "wiki")][0].best
    measured.add(SpeedSpec(here), DamageSpec(here), MicroscopeSpec(here, _FACT))
    for strategy, draw in _CURVES:
        generation = GenerationSpec() if strategy == "similarity" else None
        curve = SweepSpec(here, benchmark=_QUESTIONS, strategy=strategy, max_n=15, draw=draw, generation=generation)
        measured.add(curve)
    measured.add(*(_heal(recipe, here, n_parameters, best[n - 1].block) for recipe, n in _STARTER_HEALS))
    # The unpruned model, trained in the same way: the ceiling for this recipe's loss on the healing text's kind.
    measured.add(_heal("distill", here, n_parameters, best[4].block).as_control())
    if measured.has("compare"):
        healed = measured.run(_heal("instant", here, n_parameters, best[4].block))
        variants = (Variant(), Variant("pruned", healed.spec.block), Variant("instant", healed.spec.block, healed.adapter))
        # The form begins with the fact, and without a healing run on the machine.
        measured.add(*(CompareSpec(here, prompt, some) for prompt, some in ((_PROMPT, variants), (_FACT, variants[:2]))))
    # A search and a table of methods take half as long in bfloat16. Its cost first, else the first curve would measure it.
    half = dataclasses.replace(here, dtype="bfloat16")
    measured.add(PrecisionSpec(half, _QUESTIONS), SearchSpec(half, strategy="greedy", max_n=15))
    measured.add(MethodsSpec(half, ("similarity", "greedy"), ("instant",), benchmark=_QUESTIONS))
    measured.add(_exams(model))
    for quantization, sizes in _QUANTIZED.items():
        quantized = dataclasses.replace(model, quantization=quantization)
        blocks = [best[n - 1].block if n else None for n in sizes]
        measured.add(*(EvaluateSpec(quantized, block=block, benchmark=_QUESTIONS) for block in blocks), SpeedSpec(quantized))


def _of_larger(model: ModelSpec, measured: _Measurements) -> None:
    """Measure in float32 what all models share, to compare sizes, and the smaller ones in bfloat16 as well."""
    facts = measured.run(InspectSpec(model)).model
    is_small = facts.n_parameters <= _TABLE_PARAMETERS
    similar = DistanceSpec(model, CorpusSpec(source="c4"))
    best, half = measured.run(similar).best, facts.n_layers // 2
    if is_small:
        _in_half_precision(dataclasses.replace(model, dtype="bfloat16"), measured)
    measured.add(
        DamageSpec(model, distances=similar, max_size=1),
        SweepSpec(model, benchmark=_QUESTIONS, strategy="similarity", max_n=half if is_small else half // 2),
        SearchSpec(model, strategy="greedy", max_n=half),
        _exams(model),
        SpeedSpec(model),
    )
    for quantization in _QUANTIZED:
        quantized = dataclasses.replace(model, quantization=quantization)
        measured.add(EvaluateSpec(quantized, benchmark=_QUESTIONS), SpeedSpec(quantized))
    measured.add(*(_heal("instant", model, facts.n_parameters, best[n - 1].block) for n in (3, 5, 8, 10)))


def _in_half_precision(model: ModelSpec, measured: _Measurements) -> None:
    """Measure in bfloat16 what takes hours: the first of the questions, and few texts."""
    measured.add(*(DistanceSpec(model, CorpusSpec(source=source)) for source in ("c4", "wiki")))
    first = {limit: dataclasses.replace(_QUESTIONS, limit=limit) for limit in (25, 50, 100)}
    searched = SearchSpec(model, strategy="greedy", max_n=_EXAMINED)
    measured.add(PrecisionSpec(model, first[25]), searched)  # before the curves, which would ask longer questions for it
    for questions, max_n in ((first[100], 6), (_EXAMS, _EXAMINED)):
        measured.add(
            SweepSpec(model, benchmark=questions, loss_corpus=_LOSS, strategy="similarity", max_n=max_n),
            SweepSpec(model, benchmark=questions, loss_corpus=_LOSS, strategy="greedy", max_n=_EXAMINED, search=searched),
        )
    judged = dataclasses.replace(_LOSS, n_texts=16)
    measured.add(MethodsSpec(model, ("similarity", "greedy"), ("instant",), benchmark=first[50], loss_corpus=judged))


def _exams(model: ModelSpec) -> SweepSpec:
    return SweepSpec(model, benchmark=_EXAMS, loss_corpus=None, strategy="similarity", max_n=_EXAMINED)


def _heal(recipe: str, model: ModelSpec, n_parameters: int, block: Any) -> Any:
    return recipes.heal_spec(recipe, model=model, n_parameters=n_parameters, block=block, benchmark=_QUESTIONS, generation=None)


def _told_size() -> str:
    """The size of all that is committed, which is bounded."""
    size = disk.size_bytes(store.precomputed_dir())
    if size > _LIMIT_BYTES:
        raise SystemExit(f"The precomputed results take {size} bytes. Keep them under {_LIMIT_BYTES}.")
    return f"{size / 1e6:.2f} MB in {store.precomputed_dir().name}"


def _tell(progress: Progress) -> None:
    sys.stderr.write(f"\r{progress.phase} {progress.done}/{progress.total}      ")


def _rounded(answer: QuestionScore) -> QuestionScore:
    """Round log-likelihoods to a ten-thousandth of a nat, far finer than machines agree: half a megabyte less."""
    return dataclasses.replace(answer, loglikelihoods=[round(value, 4) for value in answer.loglikelihoods])


def _lean(result: Result) -> Result:
    """Return the part of a result that a first look needs."""
    if isinstance(result, DistanceResult):
        return dataclasses.replace(result, states=None, text_distances=None)
    if isinstance(result, SearchResult):
        return dataclasses.replace(result, sets=None, values=None)
    if isinstance(result, SweepResult):
        questions = result.questions if result.spec.strategy in _WITH_ANSWERS else []
        return dataclasses.replace(result, questions=[list(map(_rounded, answers)) for answers in questions])
    if isinstance(result, EvaluateResult):
        return dataclasses.replace(result, questions=list(map(_rounded, result.questions)))
    if isinstance(result, HealResult):
        return dataclasses.replace(result, adapter=None, questions={})
    return result


def _publish(source: str, results: Sequence[Result], kinds: Sequence[str]) -> None:
    """Put results in place of those of the same model and kind, which are replaced all at once."""
    target = store.precomputed_dir()
    for kind in kinds:
        for folder in (target / kind).glob("*"):
            if RESULTS[kind].read(store.read(folder, precomputed=True)).spec.model.source == source:
                shutil.rmtree(folder)
    published = [result for result in results if result.kind in kinds]
    with tempfile.TemporaryDirectory(prefix="layerscope-published-") as scratch:
        own_cache, os.environ["LAYERSCOPE_CACHE"] = os.environ["LAYERSCOPE_CACHE"], scratch
        for result in published:
            folder = store.result_dir(result.kind, result.spec.fingerprint())
            _lean(result).save()
            shutil.copytree(folder, target / result.kind / folder.name)
        os.environ["LAYERSCOPE_CACHE"] = own_cache
    sys.stderr.write(f"\n{len(published)} results of {source}, {_told_size()}\n")


if __name__ == "__main__":
    sys.exit(main())
