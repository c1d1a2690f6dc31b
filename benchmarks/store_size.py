"""`make bench-store`: how long lists, pages and reports take with 1,000, 10,000 and 100,000 results stored.

    python benchmarks/store_size.py                        results of 50 models in three sizes, in a scratch folder that goes
    python benchmarks/store_size.py --models 1 --results 100000      pages and the report with 100,000 results of one model
    python benchmarks/store_size.py --results 10000 --keep FOLDER    keeps the cache, or takes the one that is there

The store itself writes results of six kinds, as the tests make them up, of 50 models and of many draws of texts. The only
difference is that it does not wait for the disk. Then a process of its own asks the questions of pages, reports and jobs, each
twice: for the first time since it started, and again.
"""

import argparse
import functools
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

REPOSITORY = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(REPOSITORY))
SIZES = (1_000, 10_000, 100_000)
N_MODELS = 50
GOAL_S = 0.3


@functools.cache
def of_each_kind() -> tuple[Any, ...]:
    """Return one result of each kind."""
    from analysis.core.blocks import Block
    from tests.support import fakes

    return (fakes.distances(), fakes.sweep(), fakes.evaluate(Block(11, 5)), fakes.damage(), fakes.heal(), fakes.speed())


def made(index: int, n_models: int = N_MODELS) -> Any:
    """Return result number `index`: its kind, model and texts follow from the number.

    With one model half of the results are evaluations of different removed layers on ten draws of questions.
    """
    kinds = of_each_kind()
    number, kind_index = divmod(index, len(kinds)) if n_models > 1 else (index, _ONE_MODEL[index % len(_ONE_MODEL)])
    number, model = divmod(number, n_models)
    result = kinds[kind_index]
    spec = replace(result.spec, model=replace(result.spec.model, source=f"lab/model-{model}", identity=f"files:{model:016x}"))
    for name in ("seed", "corpus", "benchmark"):
        if hasattr(spec, name):
            old = getattr(spec, name)
            spec = replace(spec, **{name: number if name == "seed" else replace(old, seed=number)})
    result = replace(result, spec=spec, model=replace(result.model, name=f"model-{model}"))
    return _of_other_layers(result, index) if n_models == 1 and kind_index == 2 else result


_ONE_MODEL = (2, 1, 2, 4, 2, 0, 2, 1, 2, 3, 2, 1, 2, 4, 2, 0, 2, 1, 2, 5)
"""Places in `of_each_kind` of twenty results: ten evaluations, four curves, two heals, two maps, one damage map, one speed."""


def _of_other_layers(result: Any, index: int) -> Any:
    """Return an evaluation with its own removed layers, on one of ten draws of questions."""
    from analysis.core.blocks import removal
    from analysis.experiments.accuracy.points import place

    draw, number = index % 20 // 2, index // 20
    bits = number * 2654435761 % 2**28  # as good as random, and another one for every number
    removed = removal([1, *(layer + 1 for layer in range(1, 28) if bits >> layer & 1)])
    spec = replace(result.spec, block=removed, benchmark=replace(result.spec.benchmark, seed=draw))
    return replace(result, spec=spec, point=replace(result.point, **place(removed)))


def fill(n: int, n_models: int) -> None:
    """Store results until there are `n`."""
    from analysis.core import disk, index_sync

    disk.sync = lambda path: None  # the disk would take longer than all that is measured
    index_sync.note = lambda kind, key: None  # and the index is to find all of them by itself
    for index in range(n):
        result = made(index, n_models)
        folder = Path(os.environ["LAYERSCOPE_CACHE"], "results", result.kind, result.spec.fingerprint())
        if not folder.exists():
            result.save()


def asked() -> dict[str, Callable[[], Any]]:
    """Return the timed questions, by name."""
    from analysis.core import index, store
    from analysis.core.experiment import RESULTS
    from analysis.core.index import ResultFilter
    from analysis.experiments.accuracy.sweep_spec import SweepResult
    from analysis.exports import report
    from analysis.models.source.model_spec import ModelSpec
    from analysis.results import library as stored
    from analysis.results.compared import runs
    from pages.components.compare import runs_view
    from pages.components.shared import stored_results

    model = ModelSpec("lab/model-7")
    result, spec = made(6 * 7), made(6 * 7 + 1).spec

    def explore() -> int:
        maps, sweeps = stored_results.find("distances", model), stored_results.find("sweep", model)
        shown = [stored_results.shown("distances", maps), stored_results.shown("sweep", sweeps)]
        return sum(entry.result.complete for entry in shown)

    def table() -> int:
        entries = runs_view.stored(model)
        return len([runs.row(run, 0.2) for run in entries])

    return {
        "open one result": lambda: store.load_result(result.kind, result.spec.fingerprint()).data["n_texts"],
        "all maps": lambda: len(stored_results.find("distances")),
        "maps of a model": lambda: len(stored_results.find("distances", model)),
        "choice of map and curve (Explore)": explore,
        "models looked at (Model)": lambda: len(stored_results.models_seen()),
        "table of runs (Compare)": table,
        "the same by model, kind and words": lambda: len(
            runs_view.stored(model, ["sweep"], names=["model-7"], text="similarity bfloat16")
        ),
        "how many runs there are": lambda: index.count(ResultFilter(tuple(RESULTS))),
        "earlier measurements for a job": lambda: len(SweepResult.all_of(spec.model)),
        "results for a report": lambda: sum(len(stored.of(kind, model)) for kind in ("distances", "sweep", "damage", "heal")),
        "report": lambda: len(report.of(model, None, lambda spec: "").sections),
    }


PAGES = ("model", "explore", "heal", "compare", "export", "learn")
"""The first one loads the libraries of all, as a server does once."""


def of_one_model() -> dict[str, Callable[[], Any]]:
    """Return the timed questions where all results are of one model: every page as a visitor opens it, and the report."""
    from streamlit.runtime.pages_manager import PagesManager
    from streamlit.testing.v1 import AppTest

    from analysis import jobs
    from analysis.core.blocks import Block
    from analysis.exports import report
    from analysis.models.source.model_spec import ModelSpec
    from tests.support import fakes

    begin = PagesManager.__init__

    def begin_again(self: PagesManager, *args: Any, **kwargs: Any) -> None:
        begin(self, *args, **kwargs)
        PagesManager.uses_pages_directory = False  # as after the first visit of a server

    PagesManager.__init__ = begin_again  # type: ignore[method-assign]
    jobs.worker_alive, jobs.start = (lambda: True), (lambda: None)

    def opened(page: str) -> int:
        app = AppTest.from_file(str(fakes.APP), default_timeout=600)
        app.query_params.update({"model": "lab/model-0", "n": "5"})
        app.switch_page(f"pages/{page}.py")
        app.run()
        assert not app.exception, page
        assert not app.error, page
        return len(app.main)

    questions = {f"page {page.title()}": functools.partial(opened, page) for page in PAGES}
    return questions | {"report": lambda: len(report.of(ModelSpec("lab/model-0"), Block(11, 5), lambda spec: "").sections)}


def measure(names: list[str], n_models: int) -> None:
    """Time each of them, in this process, and print it as JSON lines."""
    from analysis.core import index
    from analysis.core.experiment import RESULTS
    from analysis.core.index import ResultFilter

    all_asked = of_one_model() if n_models == 1 else asked()
    started = time.perf_counter()
    index.entries(ResultFilter(tuple(RESULTS)), most=1, wait=True)  # only the first process of a cache takes long
    times = [time.perf_counter() - started] * 2
    print(json.dumps({"name": "the index brought up to date", "answer": 1, "s": times, "peak_mb": 0}), flush=True)
    for name in names or all_asked:
        times = []
        for _ in range(2):
            started = time.perf_counter()
            answer = all_asked[name]()
            times.append(time.perf_counter() - started)
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        print(json.dumps({"name": name, "answer": answer, "s": times, "peak_mb": peak / 1000}), flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--results", type=int, nargs="*", default=SIZES)
    parser.add_argument("--keep", type=Path)
    parser.add_argument("--only", action="append", default=[], help="timed question, may be repeated: all in one process")
    parser.add_argument("--fill", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--measure", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--models", type=int, default=N_MODELS, help=f"models that the results are of (default: {N_MODELS})")
    options = parser.parse_args()
    if options.fill is not None:
        return fill(options.fill, options.models)
    if options.measure:
        return measure(options.only, options.models)
    with tempfile.TemporaryDirectory() as scratch:
        cache = (options.keep or Path(scratch)).absolute()
        environment = {**os.environ, "LAYERSCOPE_CACHE": str(cache)}
        worker_command = [sys.executable, __file__]
        for size in options.results:
            started = time.perf_counter()
            subprocess.run([*worker_command, "--fill", str(size), "--models", str(options.models)], env=environment, check=True)
            print(f"{size:,} results, written in {time.perf_counter() - started:.0f} s\n", flush=True)
            print("| asked | answer | first, s | again, s | peak, MB |\n|---|---|---|---|---|", flush=True)
            command = [
                *worker_command,
                "--measure",
                "--models",
                str(options.models),
                *(word for name in options.only for word in ("--only", name)),
            ]
            with subprocess.Popen(
                command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
            ) as child:
                for line in child.stdout or ():
                    row = json.loads(line)
                    first, repeated = row["s"]
                    print(
                        f"| {row['name']} | {row['answer']:,} | {first:.3f} | {repeated:.3f} | {row['peak_mb']:.0f} |",
                        flush=True,
                    )
            print(flush=True)


if __name__ == "__main__":
    main()
