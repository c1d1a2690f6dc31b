"""`make bench`: the figures of the first journey on the starter model, each part in a process of its own for its peak memory.

    python benchmarks/first_light.py            every part
    python benchmarks/first_light.py map        one part: map, curve or heal
    python benchmarks/first_light.py --dtype bfloat16

Times are medians of interleaved repeats in one run; quote the ratios, machines differ. Operations a second are those of the
seconds next to them, which include all other work of the part.
"""

import argparse
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from statistics import median
from typing import Any

REPOSITORY = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(REPOSITORY))
from benchmarks.work import Here, here, interleaved, metered, say, take_dtype, typical

PARTS = ("map", "curve", "heal")
REPEATS = 5


def peak() -> str:
    from analysis.models import machine

    return f"peak memory {machine.peak_bytes('cpu') / 1e9:.2f} GB"


def fresh_cache() -> None:
    """Compute in an empty cache that shares the converted starter model, so that nothing is read from earlier runs."""
    from analysis.core import store
    from analysis.models import machine, source

    source.model_folder()
    machine.bfloat16_speed_ratio()
    scratch = tempfile.mkdtemp(prefix="layerscope-bench-")
    for name in ("models", "machine.json"):
        os.symlink(store.cache_dir() / name, os.path.join(scratch, name))
    os.environ["LAYERSCOPE_CACHE"] = scratch


def map_batches(dtype: str, n_texts: int = 32) -> tuple[Any, list[list[list[int]]]]:
    """The starter model, and texts of 256 tokens in batches as a distance map runs them."""
    from analysis.data import corpora
    from analysis.data.spec import CorpusSpec
    from analysis.models import load as models
    from analysis.models import stream
    from analysis.models.spec import ModelSpec

    loaded = models.load(ModelSpec(dtype=dtype))
    texts = corpora.tokenize(CorpusSpec(n_texts=n_texts, seq_len=256), loaded.tokenizer).token_ids
    budget = stream.tokens_per_batch(loaded.decoder.device)
    groups = stream.batches([len(ids) for ids in texts], budget)
    return loaded, [[texts[index] for index in group] for group in groups]


def full_map(decoder: Any, groups: list[list[list[int]]]) -> list[list[float]]:
    """Mean angular distances of all blocks, row n-1 for size n; every other metric is measured on the way."""
    import torch

    from analysis.experiments.maps import distances
    from analysis.experiments.maps import spec as selection
    from analysis.models import stream

    found = []
    for group in groups:
        streams, lengths = stream.token_streams(decoder, group), [len(ids) for ids in group]
        stream.last_token_states(streams, lengths)
        found.append(distances.text_distances(streams, lengths)["angular"])
    mean = distances.rows_by_size(torch.cat(found).mean(0))
    selection.best_blocks(mean)
    return mean


def bench_map(place: Here, n_texts: int = 32) -> None:
    """A full distance map of texts of 256 tokens against a bare forward pass of the decoder body on the same batches."""
    import torch

    from analysis.models import stream

    loaded, groups = map_batches(place.dtype, n_texts)

    @torch.inference_mode()
    def bare_forward() -> None:
        for group in groups:
            loaded.decoder.body(input_ids=stream.right_padded(group), use_cache=False)

    bare_forward()
    runs = interleaved(REPEATS, map=lambda: full_map(loaded.decoder, groups), bare=bare_forward)
    ratios = [one.seconds / other.seconds for one, other in zip(runs["map"], runs["bare"], strict=True)]
    ours, bare = (typical(runs[name]) for name in ("map", "bare"))
    texts = [ids for group in groups for ids in group]
    size = f"{len(texts)} texts, {sum(map(len, texts))} tokens, {loaded.spec.dtype}"
    say(f"map    {size}: {ours.seconds:.1f} s, {place.speed(ours)}")
    say(f"       bare forward pass of the decoder body on the same batches {bare.seconds:.1f} s, {place.speed(bare)}")
    say(f"       ratio {median(ratios):.3f} (median of {REPEATS}), {peak()}")


def bench_curve(place: Here) -> None:
    """Accuracy for n = 0..15 on 100 ARC-Easy questions, with and without the loss on text."""
    from analysis.data.spec import BenchmarkSpec, default_loss_corpus
    from analysis.experiments.accuracy import sweep
    from analysis.experiments.accuracy.spec import SweepSpec
    from analysis.experiments.maps import distance_map
    from analysis.experiments.maps.spec import DistanceSpec
    from analysis.models import load as models
    from analysis.models.spec import ModelSpec

    fresh_cache()
    model = ModelSpec(dtype=place.dtype)
    load, distances = models.WarmModels(), DistanceSpec(model)
    distance_map.run(distances, load=load)
    for name, corpus in (("accuracy alone", None), ("accuracy and loss", default_loss_corpus())):
        with metered() as work:
            result = sweep.run(SweepSpec(model, BenchmarkSpec(limit=100), corpus, distances, max_n=15), load=load)
        say(f"curve  n = 0..15, {name}: {work.seconds:.1f} s, {place.speed(work)}")
        say(f"       {result.n_tokens} tokens through the trunk, {peak()}")
    for point in result.points:
        where = "unpruned" if point.block is None else point.block.describe()
        say(f"       n={point.n:2}  acc {point.acc:.2f} ± {point.acc_stderr:.3f}  loss {point.loss:.3f}  {where}")


def bench_heal(place: Here) -> None:
    """A heal of 50 steps at n = 5: loss and accuracy before, after pruning, after healing; seconds per step."""
    from dataclasses import replace

    from analysis.core.blocks import Block
    from analysis.experiments.heal import healing, recipes
    from analysis.models.spec import ModelSpec

    fresh_cache()
    spec = recipes.heal_spec("quick", model=ModelSpec(dtype=place.dtype), block=Block(11, 5), steps=50)
    spec = replace(spec, benchmark=replace(spec.benchmark, limit=100))
    with metered() as work:
        result = healing.run(spec)
    tokens = spec.batch_size * spec.gradient_accumulation * spec.corpus.seq_len
    seconds = tokens / median(step.tokens_per_s for step in result.steps)
    say(f"heal   {spec.steps} steps without {spec.block.describe()}, {result.precision}:")
    say(f"       {seconds:.2f} s per step of {tokens} tokens, {work.seconds:.0f} s in all, {place.speed(work)}")
    for name in ("unpruned", "pruned", "healed"):
        point = getattr(result, name)
        say(f"       {name:9} loss {point.loss:.3f} ± {point.loss_stderr:.3f}  acc {point.acc:.2f} ± {point.acc_stderr:.3f}")
    say(f"       validation {' '.join(f'{entry.step}:{entry.loss:.3f}' for entry in result.validations)}; {peak()}")


def main() -> None:
    parser = argparse.ArgumentParser(description="The figures of the first journey on the starter model.")
    parser.add_argument("part", nargs="?", choices=PARTS, help="all by default")
    take_dtype(parser)
    options = parser.parse_args()
    if options.part:
        globals()[f"bench_{options.part}"](here(options.dtype))
        return
    for part in PARTS:
        subprocess.run([sys.executable, __file__, part, "--dtype", options.dtype], check=True, cwd=REPOSITORY)


if __name__ == "__main__":
    main()
