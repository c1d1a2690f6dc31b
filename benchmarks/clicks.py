"""`make bench-clicks`: the wait from a click to the result, in the worker that the dashboard's clicks go to.

    python benchmarks/clicks.py                    instant heals of the starter model with their verdict, then two searches
    python benchmarks/clicks.py --only heals       one of them
    python benchmarks/clicks.py --only map --beside 1
                                                   beside a program that keeps a core busy; the worker gives way to it as ever

A heal scores 200 questions and 32 texts of each kind. The worker has measured a distance map, which somebody looks at for ten
seconds. In that time it imports its libraries. The first instant heal finds nothing stored. The next one is of another cut,
so the unpruned scores are stored. Then comes a further recipe of this cut. The last two are repeated with other cuts.

Printed are the seconds from handing in the request until the result is stored, and those of the computation.
"""

import argparse
import contextlib
import os
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from statistics import median
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from analysis import jobs
from analysis.core import store
from analysis.core.blocks import Block
from analysis.core.experiment import RESULTS
from analysis.data.spec import BenchmarkSpec, default_loss_corpus
from analysis.experiments.heal import recipes
from analysis.experiments.maps.distance_spec import DistanceSpec
from analysis.experiments.search.search_spec import SearchSpec
from analysis.jobs.queue import processes
from analysis.models.source.model_spec import ModelSpec
from benchmarks.work import busy_program, fresh_cache, here, say, take_dtype

_STARTS = (14, 12, 11, 13)
"""First removed layers of the healing runs, in turn."""
_LOOK_S = 10.0
"""Seconds between the map and the next click."""
_TICK_S = 0.25
"""Seconds between two looks at a job. Each look takes a thousandth of a second or two of a core that the worker computes on."""


def answered(spec: Any) -> tuple[float, float]:
    """Hand in a request, and return the seconds until its result is stored, and those of the computation."""
    started = time.perf_counter()
    job = jobs.submit(spec)
    jobs.start()
    while job.is_active:
        time.sleep(_TICK_S)
        job = jobs.get(job.id)
    if job.state != jobs.DONE or not job.result_key:
        raise SystemExit(f"The job ended as {job.state}: {job.error}")
    took = time.perf_counter() - started
    return took, RESULTS[job.kind].read(store.load_result(job.kind, job.result_key)).wall_s


def told(name: str, times: list[tuple[float, float]]) -> None:
    """Print the medians of some requests."""
    waits, computing = ([pair[index] for pair in times] for index in (0, 1))
    each = f" ({min(waits):.1f} to {max(waits):.1f}, n = {len(waits)})" if len(waits) > 1 else ""
    say(f"{name}: {median(waits):.1f} s{each}, computing {median(computing):.1f} s")


def heals(model: ModelSpec, cuts: int) -> None:
    """Time instant heals with their verdict."""

    def healed(recipe: str, start: int) -> tuple[float, float]:
        return answered(
            recipes.heal_spec(
                recipe,
                model=model,
                block=Block(start, 5),
                on_gpu=False,
                benchmark=BenchmarkSpec(limit=200),
                validation=replace(default_loss_corpus(), n_texts=32),
            )
        )

    told("instant heal, nothing stored", [healed("instant", _STARTS[0])])
    stored, further = [], []
    for start in _STARTS[1 : 1 + cuts]:
        stored.append(healed("instant", start))
        further.append(healed("ghosted", start))
    told("instant heal, unpruned scores stored", stored)
    told("further recipe of the same cut", further)


def searches(model: ModelSpec) -> None:
    """Time a greedy search and one with swaps."""
    for strategy, max_n in (("greedy", 15), ("swaps", 10)):
        told(f"{strategy}, n = 1..{max_n}", [answered(SearchSpec(model, strategy=strategy, max_n=max_n))])


@contextlib.contextmanager
def busy(n: int) -> Iterator[None]:
    """Run so many programs beside that keep a core busy each."""
    programs = [busy_program() for _ in range(n)]
    try:
        yield
    finally:
        for program in programs:
            program.kill()


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description="The wait from a click to the result.")
    parser.add_argument("--only", choices=("map", "heals", "searches"), help="one of them, after a map (default: all)")
    parser.add_argument(
        "--cuts", type=int, choices=(1, 2, 3), default=3, help="pruned models with stored unpruned scores (default: 3)"
    )
    parser.add_argument("--beside", type=int, default=0, help="programs that keep a core busy each (default: 0)")
    take_dtype(parser)
    options = parser.parse_args()
    fresh_cache()
    model = ModelSpec(dtype=here(options.dtype, "cpu").dtype, device="cpu")
    if not options.beside:
        os.environ.setdefault("LAYERSCOPE_NICENESS", "0")
    try:
        with busy(options.beside):
            told("distance map, the first request of the worker", [answered(DistanceSpec(model))])
            if options.only != "map":
                time.sleep(_LOOK_S)
            if options.only in ("heals", None):
                heals(model, options.cuts)
            if options.only in ("searches", None):
                searches(model)
    finally:
        worker = processes.worker()
        if worker is not None:
            worker.kill()


if __name__ == "__main__":
    main()
