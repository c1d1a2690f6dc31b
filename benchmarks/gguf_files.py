"""Measure the GGUF files of the gallery in llama.cpp: as they are, without layers, and healed. Run
it on a quiet machine.

    python benchmarks/gguf_files.py                                    everything python
    benchmarks/gguf_files.py --model starter --publish          one model, and put its results into
    the gallery python benchmarks/gguf_files.py --stored                           the tables of the
    gallery python benchmarks/gguf_files.py --work DIR --no-speed              first what needs no
    quiet machine, then the rest in DIR

Layers are removed by similarity and by greedy search at four sizes, and two of the former are
healed (instant). Prints a table with size, loss and accuracy by the weights of each file, and
speed. Needs `requirements-llamacpp.txt`.
"""

import argparse
import os
import sys
from collections.abc import Iterator
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from analysis.core import store
from analysis.core.blocks import removal
from analysis.core.record import Result
from analysis.data import gallery
from analysis.experiments.accuracy.sweep_spec import EvaluateSpec
from analysis.experiments.speed.speed_spec import LLAMA_CPP, SpeedSpec
from analysis.models.loading.load import WarmModels
from analysis.models.source.model_spec import ModelSpec
from analysis.results import library
from analysis.results.compared import front
from analysis.results.score.score import ACCURACY, LOSS
from benchmarks.gallery import QUESTIONS, Measurements, heal, lean
from benchmarks.work import say, use_empty_cache

_SIZES, _HEALED = (3, 5, 8, 10), (5, 8)


def main() -> None:
    """Measure, print the tables, and publish."""
    parser = argparse.ArgumentParser(
        description="Measure the GGUF files of the gallery in llama.cpp."
    )
    parser.add_argument(
        "--model", action="append", choices=[exhibit.source for exhibit in gallery.EXHIBITS]
    )
    parser.add_argument(
        "--work", type=Path, help="cache folder of the runs, which is kept (default: a new one)"
    )
    parser.add_argument("--no-speed", action="store_true", help="measure no speed")
    parser.add_argument("--publish", action="store_true", help="put the results into the gallery")
    parser.add_argument(
        "--stored",
        action="store_true",
        help="measure nothing, and print the tables of stored results",
    )
    options = parser.parse_args()
    if options.work:
        os.environ["LAYERSCOPE_CACHE"] = str(options.work.resolve())
    else:
        use_empty_cache()
    load = WarmModels()
    for source in options.model or [exhibit.source for exhibit in gallery.EXHIBITS]:
        model = ModelSpec(source, dtype="float32", device="cpu")
        kinds = ("evaluate",) if options.no_speed else ("evaluate", "speed")
        measured = [] if options.stored else list(_measured(model, Measurements(kinds, load)))
        load.clear()
        _print_table(model)
        for result in measured if options.publish else ():
            lean(result).save(store.precomputed_dir())


def _measured(model: ModelSpec, measurements: Measurements) -> Iterator[Result]:
    """Yield the results to publish; healing runs are stored already, and made again for their
    adapters.
    """
    similar = library.of("distances", model, most=1)[0]
    searched = next(
        search for search in library.of("search", model) if search.spec.strategy == "greedy"
    )
    blocks = [similar.best[n - 1].block for n in _SIZES]
    greedy = [removal(layers) for layers in searched.path if len(layers) in _SIZES]
    adapters = []
    for n in _HEALED:
        healed = measurements.run(
            heal("instant", model, similar.model.n_parameters, similar.best[n - 1].block)
        )
        adapters.append(healed.adapter)
        yield measurements.run(
            EvaluateSpec(model, healed.spec.block, healed.adapter, QUESTIONS, as_file=True)
        )
    for block in greedy:
        yield measurements.run(EvaluateSpec(model, block, benchmark=QUESTIONS))
    if "speed" in measurements.kinds:  # decoding takes the same time without any n equal layers
        yield measurements.run(
            SpeedSpec(
                model, (0,), blocks=tuple(blocks), runtime=LLAMA_CPP, adapters=tuple(adapters)
            )
        )


def _print_table(model: ModelSpec) -> None:
    compared = front.of_model(model)
    conditions = (compared.questions, compared.texts)
    materials = [condition.material_in_words() for condition in conditions if condition]
    say(f"{model.source}, {' and '.join(materials)}")
    say("| | MB | decode, tokens/s | loss, nats/token | accuracy |\n|---|---|---|---|---|")
    for form in compared.forms:
        if form.is_file:
            removed = f"without {form.cut.brief()}" if form.cut else "unpruned"
            speed = (
                ""
                if form.pace is None or form.pace.tokens_per_s is None
                else f"{form.pace.tokens_per_s:.1f}"
            )
            scores = [
                f"{form.scores[name].value:.3f}" if name in form.scores else ""
                for name in (LOSS, ACCURACY)
            ]
            name = f"{removed}{', healed' if form.repair else ''}"
            say(f"| {name} | {form.memory / 1e6:.0f} | {speed} | {' | '.join(scores)} |")


if __name__ == "__main__":
    main()
