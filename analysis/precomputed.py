"""`python -m analysis.precomputed`: make the committed results of the starter model that are on screen at first open.

They are ordinary results of ordinary runs, with their provenance, less what a first look does not need: what is kept of
each text and the per-question answers.
"""

import dataclasses
import os
import shutil
import sys
import tempfile

from analysis import storage
from analysis.progress import Progress
from analysis.result import Result
from analysis.results import DamageResult, DistanceResult, HealResult, SweepResult
from analysis.specs import BenchmarkSpec, CorpusSpec, DamageSpec, DistanceSpec, InspectSpec, SweepSpec

_LIMIT_BYTES = 2_000_000
_QUESTIONS = BenchmarkSpec(limit=200)
"""Asked of every cut and of the healed model, so that they stand on one chart."""


def main() -> int:
    """Compute everything in a cache of its own and put it in place; about a quarter of an hour on two cores."""
    from analysis import damage, distance_map, healing, inspection, models, recipes, sweep

    _remember_models()
    load = models.WarmModels()
    results: list[Result] = [inspection.run(InspectSpec(), _tell)]
    for texts in ("c4", "wiki"):
        results.append(distance_map.run(DistanceSpec(corpus=CorpusSpec(source=texts)), _tell, load=load))
    results.append(damage.run(DamageSpec(), _tell, load=load))
    for strategy in ("similarity", "deepest"):
        spec = SweepSpec(benchmark=_QUESTIONS, strategy=strategy, max_n=15)
        results.append(sweep.run(spec, _tell, load=load))
    load.clear()
    best = next(result for result in results if isinstance(result, DistanceResult)).best
    block = next(entry.block for entry in best if entry.n == 5)
    heal = recipes.heal_spec("quick", model=results[0].spec.model, block=block, benchmark=_QUESTIONS)
    results.append(healing.run(heal, _tell))
    _publish(results)
    return 0


def _remember_models() -> None:
    """Work in an empty cache, so that nothing is taken from earlier runs, but convert the model only once."""
    scratch = tempfile.mkdtemp(prefix="layerscope-precomputed-")
    source = storage.cache_dir()
    for name in ("models", "machine.json"):
        if (source / name).exists():
            os.symlink(source / name, os.path.join(scratch, name))
    os.environ["LAYERSCOPE_CACHE"] = scratch


def _tell(progress: Progress) -> None:
    sys.stderr.write(f"\r{progress.phase} {progress.done}/{progress.total}      ")


def _publish(results: list[Result]) -> None:
    target = storage.precomputed_dir()
    shutil.rmtree(target, ignore_errors=True)
    for result in results:
        lean: Result = result
        if isinstance(result, DistanceResult):
            lean = dataclasses.replace(result, states=None, text_distances=None)
        if isinstance(result, DamageResult):
            lean = dataclasses.replace(result, text_losses=None)
        if isinstance(result, SweepResult):
            lean = dataclasses.replace(result, questions=[])
        if isinstance(result, HealResult):
            lean = dataclasses.replace(result, adapter=None)
        lean.save()
        source = storage.result_dir(lean.kind, lean.spec.fingerprint())
        shutil.copytree(source, target / lean.kind / source.name)
    size = sum(file.stat().st_size for file in target.rglob("*") if file.is_file())
    sys.stderr.write(f"\n{len(results)} results, {size / 1e6:.2f} MB in {target.name}\n")
    if size > _LIMIT_BYTES:
        raise SystemExit(f"The precomputed results take {size} bytes; keep them under {_LIMIT_BYTES}.")
    shutil.rmtree(storage.cache_dir(), ignore_errors=True)


if __name__ == "__main__":
    sys.exit(main())
