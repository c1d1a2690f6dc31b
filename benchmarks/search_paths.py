"""Loss increase of the unpruned model without the layers of each strategy, all on the same text.

    python benchmarks/search_paths.py [N,N,…] [--strategies greedy,swaps] [--max-n 10] [--budget 1500] [--dtype bfloat16]

The text is the one that a search reports: different from both texts that it was searched or decided by. The searches are
compared with the most similar block of each size, and the block of least KL on the search text. Stored searches are not run
again. Each figure has a 95 % interval of the texts' differences from the unpruned model. A star marks a figure that is
statistically tied with the lowest of its size, text by text.
"""

import argparse
import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import numpy as np

from analysis.core import stats
from analysis.core.blocks import Block, removal
from analysis.experiments.maps import distance_map
from analysis.experiments.maps.distance_spec import DistanceSpec
from analysis.experiments.search import search
from analysis.experiments.search.objective import Objective, counted
from analysis.experiments.search.search_spec import STREAM_BYTES, SearchSpec, takes
from analysis.experiments.strategies import SEARCHING, Layers
from analysis.models.loading import load, planning
from analysis.models.source.model_spec import ModelSpec
from benchmarks.work import here, metered, say, take_dtype

SIZES = (3, 5, 8, 10)


def losses(objective: Objective, sets: list[Layers]) -> np.ndarray:
    """Return the objective of some sets on each text, (sets, texts)."""
    values = np.full((len(sets), objective.n_texts), np.nan)
    for index, texts, figures in objective.measured(sets):
        values[index, texts] = figures
    return values


def least(loaded: Any, spec: SearchSpec, sizes: list[int]) -> dict[int, Layers]:
    """The block of each size that has the least KL on the text that is searched on."""
    texts, _ = search.documents(spec.corpus, loaded)
    objective = Objective(loaded.decoder, texts, kind="kl", stride=spec.stride, keep_bytes=STREAM_BYTES)
    weights = [len(counted(len(ids), spec.stride)) for ids in texts]
    best = {}
    for n in sizes:
        blocks = [tuple(range(start, start + n)) for start in range(loaded.facts.n_layers - n + 1)]
        best[n] = blocks[int(np.average(losses(objective, blocks), axis=1, weights=weights).argmin())]
    return best


def main() -> None:
    """Search with each strategy, and print the loss increase of every cut."""
    parser = argparse.ArgumentParser(description="Ways of choosing layers, side by side on text that none of them has seen.")
    parser.add_argument("sizes", nargs="?", default=",".join(map(str, SIZES)))
    parser.add_argument("--strategies", default=",".join(SEARCHING))
    parser.add_argument("--max-n", type=int, default=15)
    parser.add_argument("--budget", type=int, default=SearchSpec().budget)
    take_dtype(parser)
    options = parser.parse_args()
    sizes = [int(n) for n in options.sizes.split(",")]
    this_machine = here(options.dtype)
    model = planning.resolve(ModelSpec(dtype=this_machine.dtype, device="cpu"))
    loaded = load.load(model)
    similar = {ids.n: ids for ids in distance_map.run(DistanceSpec(model), load=load.ReadyModel(loaded)).best}
    spec = SearchSpec(model, max_n=options.max_n, budget=options.budget)
    paths: dict[str, dict[int, Layers]] = {
        "similarity": {n: Block(similar[n].start, n).layers for n in sizes},
        "best block": least(loaded, spec, sizes),
    }
    for name in options.strategies.split(","):
        search_spec = SearchSpec(model, name, max_n=options.max_n, budget=options.budget)
        with metered() as work:
            result = search.run(search_spec, load=load.ReadyModel(loaded))
        paths[name] = {searched.n: tuple(searched.layers) for searched in result.found}
        say(
            f"{name}: {result.n_sets} sets in {result.wall_s:.0f} s, {work.flop / 1e12:.1f} teraflop now, "
            f"{takes(search_spec, result.model).flop / 1e12:.1f} predicted, n up to {len(result.found)}. {result.ended}"
        )
    texts, _ = search.documents(spec.report, loaded)
    objective = Objective(loaded.decoder, texts, kind="loss", stride=1, keep_bytes=STREAM_BYTES)
    weights = [float(len(ids) - 1) for ids in texts]
    for n in sizes:
        names = [name for name in paths if n in paths[name]]
        cuts = [(), *(paths[name][n] for name in names)]
        unpruned, *cut = losses(objective, cuts)
        lowest = min(cut, key=lambda row: float(np.average(row, weights=weights)))
        say(
            f"n = {n}, over the unpruned model's {np.average(unpruned, weights=weights):.3f} nats per token, {len(texts)} texts"
        )
        for name, row in zip(names, cut, strict=True):
            mean, error = stats.weighted_mean_and_stderr(list(row - unpruned), weights)
            low, high = stats.mean_interval(mean, error, len(texts)) or (mean, mean)
            difference, spread = stats.weighted_mean_and_stderr(list(row - lowest), weights)
            interval = stats.mean_interval(difference, spread, len(texts))
            star = " " if interval is not None and interval[0] > 0 else "*"
            say(f"  {name:20} {mean:+.3f} ({low:.3f} to {high:.3f}) {star} {removal(paths[name][n]).brief()}")


if __name__ == "__main__":
    main()
