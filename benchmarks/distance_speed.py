"""`make bench-distances`: the full distance map against a plain forward pass and two usual implementations.

    python benchmarks/distance_speed.py [TEXTS] [--dtype bfloat16]

The two baselines are plain on purpose, and give the same numbers, which is checked. In half precision they are the same but for
rounding, for the baselines keep the stream in half precision.

hooks    one text at a time through the whole model, hooks that clone every layer's output, a loop over all blocks.

one n    one run per n over batches, `output_hidden_states=True`. A few n are run, and the mean is multiplied by L-1.
"""

import argparse
import sys
from pathlib import Path
from statistics import median
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import torch

from analysis.data import corpora
from analysis.data.spec import CorpusSpec
from analysis.experiments.maps import distance_spec, distances
from analysis.experiments.maps.depths import angular_distance
from analysis.models.loading import load as models
from analysis.models.loading import machine
from analysis.models.running import hidden_states
from analysis.models.running.hidden_states import right_padded
from analysis.models.source.model_spec import ModelSpec
from benchmarks.work import Here, Work, here, interleaved, say, take_dtype, typical

TARGETS = {"hooks": 3, "one n": 10}
REPEATS = 3
SOME_N = (1, 5, 10)


def map_batches(dtype: str, n_texts: int = 32) -> tuple[Any, list[list[list[int]]]]:
    """The starter model, and texts of 256 tokens in batches as a distance map runs them."""
    loaded = models.load(ModelSpec(dtype=dtype))
    texts = corpora.tokenize(CorpusSpec(n_texts=n_texts, seq_len=256), loaded.tokenizer).token_ids
    budget = hidden_states.tokens_per_batch(loaded.decoder.device)
    groups = hidden_states.batches([len(ids) for ids in texts], budget)
    return loaded, [[texts[index] for index in group] for group in groups]


def full_map(decoder: Any, groups: list[list[list[int]]]) -> list[list[float]]:
    """Mean angular distances of all blocks, row n-1 for size n; every other metric is measured on the way."""
    means = []
    for group in groups:
        streams, lengths = hidden_states.token_streams(decoder, group), [len(ids) for ids in group]
        hidden_states.last_token_states(streams, lengths)
        means.append(distances.text_distances(streams, lengths)["angular"])
    mean = distances.rows_by_size(torch.cat(means).mean(0))
    distance_spec.best_blocks(mean)
    return mean


def bench_map(this_machine: Here, n_texts: int = 32) -> None:
    """A full distance map of texts of 256 tokens against a bare forward pass of the decoder body on the same batches."""
    loaded, groups = map_batches(this_machine.dtype, n_texts)

    @torch.inference_mode()
    def bare_forward() -> None:
        for group in groups:
            loaded.decoder.body(input_ids=right_padded(group), use_cache=False)

    bare_forward()
    runs = interleaved(REPEATS, map=lambda: full_map(loaded.decoder, groups), bare=bare_forward)
    ratios = [own_work.seconds / plain_work.seconds for own_work, plain_work in zip(runs["map"], runs["bare"], strict=True)]
    own, plain = (typical(runs[name]) for name in ("map", "bare"))
    texts = [ids for group in groups for ids in group]
    size = f"{len(texts)} texts, {sum(map(len, texts))} tokens, {loaded.spec.dtype}"
    say(f"map    {size}: {own.seconds:.1f} s, {this_machine.speed(own)}")
    say(f"       bare forward pass of the decoder body on the same batches {plain.seconds:.1f} s, {this_machine.speed(plain)}")
    say(f"       ratio {median(ratios):.3f} (median of {REPEATS}), peak memory {machine.peak_bytes('cpu') / 1e9:.2f} GB")


@torch.inference_mode()
def with_hooks(loaded: Any, texts: list[list[int]]) -> list[list[float]]:
    """Mean distances as `full_map` gives them."""
    decoder, n_layers = loaded.decoder, loaded.decoder.n_layers
    sums = [[0.0] * (n_layers + 1 - n) for n in range(1, n_layers + 1)]
    for text in texts:
        streams: list[torch.Tensor] = []

        def keep_input(module: Any, args: Any, streams: list[torch.Tensor] = streams) -> None:
            streams.append(args[0].clone())

        def keep_output(module: Any, args: Any, output: Any, streams: list[torch.Tensor] = streams) -> None:
            streams.append((output if isinstance(output, torch.Tensor) else output[0]).clone())

        handles = [decoder.layers[0].register_forward_pre_hook(keep_input)]
        handles += [layer.register_forward_hook(keep_output) for layer in decoder.layers]
        loaded.model(torch.tensor([text]))
        for handle in handles:
            handle.remove()
        for n in range(1, n_layers + 1):
            for start in range(n_layers + 1 - n):
                sums[n - 1][start] += float(angular_distance(streams[start][0, -1], streams[start + n][0, -1]))
    return [[value / len(texts) for value in row] for row in sums]


@torch.inference_mode()
def for_one_n(loaded: Any, groups: list[list[list[int]]], n: int) -> list[float]:
    """Mean distances of the blocks of size n, but for the one that ends at x[L]: transformers returns that state normed."""
    means = []
    for group in groups:
        states = loaded.model(right_padded(group), output_hidden_states=True).hidden_states
        last = torch.tensor([len(text) - 1 for text in group])
        ends = [state[torch.arange(len(group)), last] for state in states]
        means.append(torch.stack([angular_distance(ends[l], ends[l + n]) for l in range(len(ends) - 1 - n)]))  # noqa: E741
    mean: list[float] = torch.cat(means, dim=1).mean(dim=1).tolist()
    return mean


def largest(a: list[float], b: list[float]) -> float:
    return max(abs(x - y) for x, y in zip(a, b, strict=False))


def main() -> None:
    """Measure and print each comparison as soon as it is there."""
    parser = argparse.ArgumentParser(description="The full distance map against two ways that it is usually written.")
    parser.add_argument("texts", nargs="?", type=int, default=32, help="of 256 tokens")
    take_dtype(parser)
    options = parser.parse_args()
    this_machine = here(options.dtype)
    bench_map(this_machine, options.texts)
    loaded, groups = map_batches(this_machine.dtype, options.texts)
    texts = [text for group in groups for text in group]
    mean = full_map(loaded.decoder, groups)
    hooks = with_hooks(loaded, texts)
    runs = interleaved(REPEATS, ours=lambda: full_map(loaded.decoder, groups), hooks=lambda: with_hooks(loaded, texts))
    own = typical(runs["ours"])
    say_ratio("hooks", f"{len(texts)} texts", own, typical(runs["hooks"]), max(map(largest, mean, hooks)), this_machine)
    n_runs = loaded.decoder.n_layers - 1
    difference = max(largest(mean[n - 1], for_one_n(loaded, groups, n)) for n in SOME_N)
    works = interleaved(1, **{str(n): lambda n=n: for_one_n(loaded, groups, n) for n in SOME_N})
    each = [work for (work,) in works.values()]
    description = f"n = {', '.join(works)}: {', '.join(f'{run_work.seconds:.1f}' for run_work in each)} s, mean times {n_runs}"
    estimate = Work(
        *(
            n_runs * sum(sums) / len(each)
            for sums in zip(*((run_work.seconds, run_work.flop) for run_work in each), strict=True)
        )
    )
    say_ratio("one n", description, own, estimate, difference, this_machine)


def say_ratio(name: str, description: str, own: Work, other: Work, difference: float, this_machine: Here) -> None:
    say(f"{name:6} {description}")
    say(f"       ours  {own.seconds:.1f} s, {this_machine.speed(own)}")
    say(f"       {name} {other.seconds:.1f} s, {this_machine.speed(other)}")
    say(f"       {other.seconds / own.seconds:.2f} x (target {TARGETS[name]}), largest difference {difference:.0e}")


if __name__ == "__main__":
    main()
