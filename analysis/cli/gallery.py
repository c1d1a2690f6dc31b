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
from collections.abc import Iterator, Sequence
from pathlib import Path

from analysis.core import disk, escapes, store
from analysis.core.blocks import Block
from analysis.core.errors import ModelNotFoundError
from analysis.core.experiment import RESULTS
from analysis.core.progress import Progress
from analysis.core.record import Result
from analysis.data import gallery
from analysis.data.gallery import STARTER, Exhibit
from analysis.data.spec import BenchmarkSpec, CorpusSpec, GenerationSpec, default_loss_corpus
from analysis.experiments.accuracy.points import QuestionScore
from analysis.experiments.accuracy.precision import PrecisionSpec
from analysis.experiments.accuracy.sweep_spec import EvaluateResult, EvaluateSpec, SweepResult, SweepSpec
from analysis.experiments.batch.methods_spec import MethodsSpec
from analysis.experiments.heal.heal_result import HealResult
from analysis.experiments.maps.damage_spec import DamageSpec
from analysis.experiments.maps.distance_spec import DistanceResult, DistanceSpec
from analysis.experiments.prompt.comparison_spec import CompareSpec, Variant
from analysis.experiments.prompt.microscope_spec import MicroscopeSpec
from analysis.experiments.search.search_spec import SearchResult, SearchSpec
from analysis.experiments.speed.speed_spec import SpeedSpec
from analysis.models.loading.load import WarmModels
from analysis.models.source.model_spec import InspectSpec, ModelSpec
from analysis.models.source.sizes import ModelFacts

_LIMIT_BYTES = 6_000_000
_QUESTIONS = BenchmarkSpec(limit=200)
"""Asked of every cut and of the healed model, so that they stand on one chart."""
_CURVES = [(name, 0) for name in ("similarity", "deepest", "reverse", "block-influence", "loss-greedy")]
_CURVES += [("random", draw) for draw in range(3)]
_HEALS = [("instant", 3), ("instant", 5), ("instant", 8), ("instant", 10), ("distill", 5)]
"""Recipes and sizes of the similarity block."""
_CONTROL = ("distill", 5)
"""The unpruned model is trained in this way too: the ceiling for this recipe's loss on the healing text's kind."""
_PROMPT = "Once upon a time there was a little girl who lived in a house at the edge of the forest. One morning"
"""Prompt that the models continue."""
_FACT = "The capital of France is"
"""The prompt that a form begins with; a longer text under the microscope takes hundreds of kilobytes."""
"""A text whose last words the pruned model finds surprising."""
_FIRST_N = 5
"""Layers that are removed at first open."""
_WITH_ANSWERS = ("similarity", "deepest", "greedy")
"""Strategies whose answers are kept, for paired comparisons; those of all would take megabytes."""
_EXAMS = BenchmarkSpec(task="mmlu", limit=114)
"""Two questions of each subject behind its five worked examples: a model above chance in them shows the paper's own cliff."""
_FEWER = dataclasses.replace(_QUESTIONS, limit=100)
"""The first of the same, of a larger model."""
_SHORT = dataclasses.replace(_QUESTIONS, limit=25)
"""On these the cost of half precision is measured, since float32 is slow on a processor."""
_FAR, _SEARCHED = 6, 4
"""So far a larger model is cut by similarity, and by a search, which is dearer."""
_JUDGED = dataclasses.replace(_QUESTIONS, limit=50)
"""The first of the same, asked of every cell of a larger model's table of methods."""
_LOSS = dataclasses.replace(default_loss_corpus(), n_texts=8, seq_len=128)
"""Its head is as dear as many layers, so fewer and shorter texts."""
_JUDGING = dataclasses.replace(_LOSS, n_texts=16)
"""These texts and as many more, to compare methods with each other."""
_TABLE_PARAMETERS = 1_000_000_000
"""A larger model has no table of methods, and its curve ends at a quarter of its layers. The search takes an hour or two."""
_QUANTIZED = {"8bit": (0, 3, 5, 8), "4bit": (0, 3, 5)}
"""Removed layers of the starter by quantization of the others. Larger models are quantized unpruned."""
_HEALED = (3, 5, 8, 10)
"""Sizes of the similarity block that the instant recipe heals in every model."""
_EXAMINED = 4
"""Layers removed at most before the exams: their worked examples make each point take minutes."""


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
            measure = _of_starter if exhibit.source == STARTER else _of_larger
            results = [*measure(model, kinds, load), *_across_sizes(model, kinds, load)]
        except ModelNotFoundError as error:
            sys.stderr.write(escapes.visible(f"The results of {exhibit.title} are unchanged: {error}\n"))
            continue
        load.clear()
        _publish(exhibit.source, results, kinds)
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


def _of_starter(model: ModelSpec, kinds: Sequence[str], load: WarmModels) -> Iterator[Result]:
    """All that the pages can show, of the model that every machine has."""
    from analysis.experiments.accuracy import precision, sweep
    from analysis.experiments.batch import methods
    from analysis.experiments.maps import damage, distance_map
    from analysis.experiments.prompt import comparison, microscope
    from analysis.experiments.search import search
    from analysis.experiments.speed import speed
    from analysis.models.loading import inspection

    model = dataclasses.replace(model, device="auto")
    inspected = inspection.run(InspectSpec(model), _tell)
    yield inspected
    if "speed" in kinds:
        yield speed.run(SpeedSpec(model), _tell, load=load)
    texts = ("c4", "wiki") if {"distances", "heal", "compare", "microscope"} & set(kinds) else ()
    maps = [distance_map.run(DistanceSpec(model, CorpusSpec(source=source)), _tell, load=load) for source in texts]
    yield from maps
    if "damage" in kinds or "sweep" in kinds:
        yield damage.run(DamageSpec(model), _tell, load=load)
    for strategy, draw in _CURVES if "sweep" in kinds else ():
        spec = SweepSpec(model, benchmark=_QUESTIONS, strategy=strategy, max_n=15, draw=draw)
        writes = GenerationSpec() if strategy == "similarity" else None
        yield sweep.run(dataclasses.replace(spec, generation=writes), _tell, load=load)
    if "microscope" in kinds:
        yield microscope.run(MicroscopeSpec(model, _FACT), _tell, load=load)
    load.clear()

    def heal(recipe: str, n: int, *, control: bool = False) -> HealResult:
        return _healed(model, inspected.model, recipe, maps[0].best[n - 1].block, control=control)

    if "heal" in kinds:
        yield from (heal(recipe, n) for recipe, n in _HEALS)
        yield heal(*_CONTROL, control=True)
    if "compare" in kinds:
        healed = heal("instant", _FIRST_N)
        cut = healed.spec.block
        writers = (Variant(), Variant("pruned", cut), Variant("instant", cut, healed.adapter))
        # The form begins with the fact, and without a heal on the machine.
        for prompt, compared in ((_PROMPT, writers), (_FACT, writers[:2])):
            yield comparison.run(CompareSpec(model, prompt, compared, max_new_tokens=48), _tell, load=load)
    # A search and a table of methods are dear, and take half as long so.
    half = dataclasses.replace(model, dtype="bfloat16")
    if "precision" in kinds:  # else the first curve in bfloat16 on every machine would measure it
        yield precision.run(PrecisionSpec(half, _QUESTIONS), _tell, load=load)
    if "search" in kinds:
        yield search.run(SearchSpec(half, strategy="greedy", max_n=15), _tell, load=load)
    if "methods" in kinds:
        yield methods.run(MethodsSpec(half, ("similarity", "greedy"), ("instant",), benchmark=_QUESTIONS), _tell, load=load)


def _of_larger(model: ModelSpec, kinds: Sequence[str], load: WarmModels) -> Iterator[Result]:
    """Yield maps, curves, exams and a table of methods in bfloat16, which takes half of the time where processors have it."""
    from analysis.experiments.accuracy import precision, sweep
    from analysis.experiments.batch import methods
    from analysis.experiments.maps import distance_map
    from analysis.experiments.search import search
    from analysis.models.loading import inspection

    inspected = inspection.run(InspectSpec(model), _tell)
    if inspected.model.n_parameters > _TABLE_PARAMETERS:
        return
    model = dataclasses.replace(model, dtype="bfloat16")
    for source in ("c4", "wiki") if "distances" in kinds else ():
        yield distance_map.run(DistanceSpec(model, CorpusSpec(source=source)), _tell, load=load)
    if {"sweep", "precision"} & set(kinds):  # before the curves, which would ask longer questions for it
        yield precision.run(PrecisionSpec(model, _SHORT), _tell, load=load)
    searched = SearchSpec(model, strategy="greedy", max_n=_SEARCHED)
    if "search" in kinds:
        yield search.run(searched, _tell, load=load)

    def curve(benchmark: BenchmarkSpec, strategy: str, max_n: int) -> SweepResult:
        search = searched if strategy == "greedy" else None
        spec = SweepSpec(model, benchmark=benchmark, loss_corpus=_LOSS, strategy=strategy, max_n=max_n, search=search)
        return sweep.run(spec, _tell, load=load)

    if "sweep" in kinds:
        yield curve(_FEWER, "similarity", _FAR)
        yield curve(_FEWER, "greedy", _SEARCHED)
        yield curve(_EXAMS, "similarity", _SEARCHED)
        yield curve(_EXAMS, "greedy", _SEARCHED)
    if "methods" in kinds:
        table = MethodsSpec(model, ("similarity", "greedy"), ("instant",), benchmark=_JUDGED, loss_corpus=_JUDGING)
        yield methods.run(table, _tell, load=load)


def _across_sizes(model: ModelSpec, kinds: Sequence[str], load: WarmModels) -> Iterator[Result]:
    """Yield the float32 results that all models of the gallery share, on the same questions and texts, to compare sizes.

    They are a map, the cost of each layer alone, a curve, exams, quantized weights, speeds, instant heals and a searched path.
    Results that the starter has already are not yielded again.
    """
    from analysis.experiments.accuracy import evaluation, sweep
    from analysis.experiments.maps import damage, distance_map
    from analysis.experiments.search import search
    from analysis.experiments.speed import speed
    from analysis.models.loading import inspection

    is_starter = model.source == STARTER
    inspected = inspection.run(InspectSpec(model), _tell)
    similar = DistanceSpec(model, CorpusSpec(source="c4"))
    map_result = distance_map.run(similar, _tell, load=load)
    half = map_result.n_layers // 2
    deepest = half if inspected.model.n_parameters <= _TABLE_PARAMETERS else half // 2
    if not is_starter:
        yield inspected
        yield map_result
        if "damage" in kinds:
            yield damage.run(DamageSpec(model, distances=similar, max_size=1), _tell, load=load)
        if "sweep" in kinds:
            yield sweep.run(SweepSpec(model, benchmark=_QUESTIONS, strategy="similarity", max_n=deepest), _tell, load=load)
        if "search" in kinds:
            yield search.run(SearchSpec(model, strategy="greedy", max_n=half), _tell, load=load)
    if "sweep" in kinds:
        exams = SweepSpec(model, benchmark=_EXAMS, loss_corpus=None, strategy="similarity", max_n=_EXAMINED)
        yield sweep.run(exams, _tell, load=load)
    if "speed" in kinds and not is_starter:
        yield speed.run(SpeedSpec(model), _tell, load=load)
    for quantization, sizes in _QUANTIZED.items():
        quantized = dataclasses.replace(model, quantization=quantization)
        for n in sizes if "evaluate" in kinds else ():
            if n == 0 or is_starter:
                block = map_result.best[n - 1].block if n else None
                yield evaluation.run(EvaluateSpec(quantized, block=block, benchmark=_QUESTIONS), _tell, load=load)
        if "speed" in kinds:
            yield speed.run(SpeedSpec(quantized), _tell, load=load)
    load.clear()
    for n in _HEALED if "heal" in kinds and not is_starter else ():
        yield _healed(model, inspected.model, "instant", map_result.best[n - 1].block)


def _healed(model: ModelSpec, facts: ModelFacts, recipe: str, block: Block, *, control: bool = False) -> HealResult:
    """Heal a model without a block by a recipe, or train the unpruned model in the same way."""
    from analysis.experiments.heal import healing, recipes

    spec = recipes.heal_spec(
        recipe, model=model, n_parameters=facts.n_parameters, block=block, benchmark=_QUESTIONS, generation=None
    )
    return healing.run(spec.as_control() if control else spec, _tell)


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
