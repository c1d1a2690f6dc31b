"""`python -m analysis.cli.precomputed`: make the committed results of the starter model that are on screen at first open.

They are ordinary results of ordinary runs, with their provenance, less what a first look does not need: what is kept of
each text, and most of the per-question answers. Kinds of results may be named (`… precomputed heal`) to renew only those;
`… precomputed seal` computes nothing, and gives those that have none the checksum that a reader checks.
"""

import dataclasses
import os
import shutil
import sys
import tempfile
from collections.abc import Sequence

from analysis.core import disk, store
from analysis.core.progress import Progress
from analysis.core.record import Result
from analysis.core.registry import RESULTS
from analysis.data.spec import BenchmarkSpec, CorpusSpec, GenerationSpec
from analysis.experiments.accuracy.points import Answer
from analysis.experiments.accuracy.spec import SweepResult, SweepSpec
from analysis.experiments.heal.spec import HealResult
from analysis.experiments.maps.spec import DamageResult, DamageSpec, DistanceResult, DistanceSpec
from analysis.experiments.prompt.spec import CompareSpec, MicroscopeSpec, Variant
from analysis.experiments.speed.spec import SpeedSpec
from analysis.models.spec import InspectSpec, ModelSpec

_LIMIT_BYTES = 2_000_000
_MODEL = ModelSpec(dtype="float32")
"""In the one precision that every machine has."""
_QUESTIONS = BenchmarkSpec(limit=200)
"""Asked of every cut and of the healed model, so that they stand on one chart."""
_CURVES = [(name, 0) for name in ("similarity", "deepest", "reverse", "block-influence", "loss-greedy")]
_CURVES += [("random", draw) for draw in range(3)]
_HEALS = [("instant", 3), ("instant", 5), ("instant", 8), ("instant", 10), ("distill", 5)]
"""Recipes and sizes of the similarity block."""
_CONTROL = ("distill", 5)
"""Of this one the unpruned model is trained in the same way too: the ceiling that its loss on the healing text's kind is read
against."""
_PROMPT = "Once upon a time there was a little girl who lived in a house at the edge of the forest. One morning"
"""What is written on."""
_FACT = "The capital of France is"
"""What is watched being read; a longer text takes hundreds of kilobytes."""
_FIRST_N = 5
"""Layers that are removed at first open."""
_WITH_ANSWERS = ("similarity", "deepest")
"""Strategies whose answers are kept, for paired comparisons; those of all would take megabytes."""


def main(kinds: Sequence[str] = ()) -> int:
    """Compute everything, or what is needed for some kinds, in a cache of its own and put it in place.

    About an hour on two cores for everything, 40 minutes for `heal`.
    """
    from analysis.experiments.accuracy import sweep
    from analysis.experiments.heal import healing, recipes
    from analysis.experiments.maps import damage, distance_map
    from analysis.experiments.prompt import comparison, microscope
    from analysis.experiments.speed import speed
    from analysis.models import inspection
    from analysis.models import load as models

    if list(kinds) == ["seal"]:
        return _seal()
    kinds = kinds or tuple(RESULTS)
    if unknown := set(kinds) - set(RESULTS):
        raise SystemExit(f"There are no results of kind {', '.join(sorted(unknown))}; choose from {', '.join(RESULTS)}.")
    _remember_models()
    load = models.WarmModels()
    inspected = inspection.run(InspectSpec(_MODEL), _tell)
    results: list[Result] = [inspected]
    if "speed" in kinds:
        results.append(speed.run(SpeedSpec(_MODEL), _tell, load=load))
    texts = ("c4", "wiki") if {"distances", "heal", "compare", "microscope"} & set(kinds) else ()
    maps = [distance_map.run(DistanceSpec(_MODEL, CorpusSpec(source=source)), _tell, load=load) for source in texts]
    results += maps
    if "damage" in kinds or "sweep" in kinds:
        results.append(damage.run(DamageSpec(_MODEL), _tell, load=load))
    for strategy, draw in _CURVES if "sweep" in kinds else ():
        spec = SweepSpec(_MODEL, benchmark=_QUESTIONS, strategy=strategy, max_n=15, draw=draw)
        writes = GenerationSpec() if strategy == "similarity" else None
        results.append(sweep.run(dataclasses.replace(spec, generation=writes), _tell, load=load))
    if "microscope" in kinds:
        results.append(microscope.run(MicroscopeSpec(_MODEL, _FACT), _tell, load=load))
    load.clear()

    def heal(recipe: str, n: int, *, control: bool = False) -> HealResult:
        block, size = maps[0].best[n - 1].block, inspected.model.n_parameters
        spec = recipes.heal_spec(recipe, model=_MODEL, n_parameters=size, block=block, benchmark=_QUESTIONS)
        return healing.run(spec.as_control() if control else spec, _tell)

    if "heal" in kinds:
        results += [heal(recipe, n) for recipe, n in _HEALS] + [heal(*_CONTROL, control=True)]
    if "compare" in kinds:
        healed = heal("instant", _FIRST_N)
        cut = healed.spec.block
        writers = (Variant(), Variant("pruned", cut), Variant("instant", cut, healed.adapter))
        results.append(comparison.run(CompareSpec(_MODEL, _PROMPT, writers, max_new_tokens=48), _tell, load=load))
    _publish(results, kinds)
    return 0


def _seal() -> int:
    sealed = [file.parent for file in sorted(store.precomputed_dir().glob("*/*/result.json")) if store.seal(file.parent)]
    sys.stderr.write(f"{len(sealed)} results were given a checksum; {_told_size()}\n")
    return 0


def _told_size() -> str:
    """The size of all that is committed, which is bounded."""
    size = disk.size_bytes(store.precomputed_dir())
    if size > _LIMIT_BYTES:
        raise SystemExit(f"The precomputed results take {size} bytes; keep them under {_LIMIT_BYTES}.")
    return f"{size / 1e6:.2f} MB in {store.precomputed_dir().name}"


def _remember_models() -> None:
    """Work in an empty cache, so that nothing is taken from earlier runs, but convert the model only once."""
    scratch = tempfile.mkdtemp(prefix="layerscope-precomputed-")
    source = store.cache_dir()
    for name in ("models", "machine.json"):
        if (source / name).exists():
            os.symlink(source / name, os.path.join(scratch, name))
    os.environ["LAYERSCOPE_CACHE"] = scratch


def _tell(progress: Progress) -> None:
    sys.stderr.write(f"\r{progress.phase} {progress.done}/{progress.total}      ")


def _rounded(answer: Answer) -> Answer:
    """The same with log-likelihoods to a ten-thousandth of a nat, far finer than machines agree: half a megabyte less."""
    return dataclasses.replace(answer, loglikelihoods=[round(value, 4) for value in answer.loglikelihoods])


def _publish(results: list[Result], kinds: Sequence[str]) -> None:
    target = store.precomputed_dir()
    for kind in kinds:
        shutil.rmtree(target / kind, ignore_errors=True)
    for result in results:
        if result.kind not in kinds:
            continue
        lean: Result = result
        if isinstance(result, DistanceResult):
            lean = dataclasses.replace(result, states=None, text_distances=None)
        if isinstance(result, DamageResult):
            lean = dataclasses.replace(result, text_losses=None)
        if isinstance(result, SweepResult):
            kept = result.questions if result.spec.strategy in _WITH_ANSWERS else []
            lean = dataclasses.replace(result, questions=[list(map(_rounded, answers)) for answers in kept])
        if isinstance(result, HealResult):
            lean = dataclasses.replace(result, adapter=None, questions={})
        lean.save()
        source = store.result_dir(lean.kind, lean.spec.fingerprint())
        shutil.copytree(source, target / lean.kind / source.name)
    sys.stderr.write(f"\n{len(results)} results, {_told_size()}\n")
    shutil.rmtree(store.cache_dir(), ignore_errors=True)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
