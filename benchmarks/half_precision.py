"""`make bench-precision`: the cost of half precision in scores, and the recovery by a residual stream in float32.

    python benchmarks/half_precision.py [QUESTIONS] [--dtype bfloat16]

It compares the starter model on ARC-Easy, unpruned and without layers 11-15, with the same weights in float32. Half precision
comes in three forms:
- everything in half precision, as transformers computes it;
- with the head's sums in float32 (`models.head`);
- with the stream in float32 as well (`models.residual`), as the program computes.

It prints how far options are
moved on average and at most, the predictions that stay the same, and the time, in one run.
"""

import argparse
import sys
from pathlib import Path
from statistics import fmean

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

import torch

from analysis.core.blocks import Block
from analysis.data import questions as benchmarks
from analysis.data.spec import BenchmarkSpec
from analysis.models.architecture import residual
from analysis.models.architecture.decoder import Decoder
from analysis.models.loading.load import LoadedModel, load
from analysis.models.running import head
from analysis.models.source.model_spec import HALF, ModelSpec
from benchmarks.evaluation_speed import scored
from benchmarks.work import here, interleaved, say, typical

CUTS = (None, Block(11, 5))
REPEATS = 3
PARTS = 5
"""Pieces that the questions are scored in, the ways one after the other in each, so that drift of the machine hits all."""


def plainly(decoder: Decoder, states: torch.Tensor, indices: torch.Tensor, tokens: torch.Tensor) -> torch.Tensor:
    """Log-probabilities from the logits that the head gives in half precision."""
    rows = decoder.head(states).log_softmax(-1).float()
    return rows[indices, tokens].double()


def one_way(loaded: LoadedModel, chosen: list, *, in_float32: bool, plain_head: bool) -> list:
    """Log-likelihoods per cut, question and option."""
    originals = head.log_probabilities, residual.at_entry
    if plain_head:
        head.log_probabilities = plainly
    if not in_float32:
        residual.at_entry = lambda decoder, stream: stream
    try:
        return scored(loaded, chosen, CUTS)
    finally:
        head.log_probabilities, residual.at_entry = originals


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description="The cost of half precision in scores.")
    parser.add_argument("questions", nargs="?", type=int, default=500, help="of ARC-Easy")
    parser.add_argument("--dtype", default="bfloat16", choices=HALF)
    options = parser.parse_args()
    this_machine = here(options.dtype)
    chosen = benchmarks.load(BenchmarkSpec("arc_easy", limit=options.questions))
    say(f"{len(chosen)} questions of ARC-Easy, {options.dtype} against float32")
    exact = scored(load(ModelSpec(dtype="float32")), chosen, CUTS)
    loaded = load(ModelSpec(dtype=options.dtype))
    scored(loaded, chosen[:2], CUTS)
    ways = {
        "all in half precision": {"in_float32": False, "plain_head": True},
        "head's sums in float32": {"in_float32": False, "plain_head": False},
        "stream in float32, too": {"in_float32": True, "plain_head": False},
    }
    scores_by_way: dict[str, list[list]] = {name: [[] for _ in CUTS] for name in ways}
    size = -(-len(chosen) // PARTS)
    for begin in range(0, len(chosen), size):
        for name, way in ways.items():
            values = one_way(loaded, chosen[begin : begin + size], **way)
            for kept, new in zip(scores_by_way[name], values, strict=True):
                kept += new
    some = chosen[:60]
    runs = interleaved(REPEATS, **{name: lambda way=way: one_way(loaded, some, **way) for name, way in ways.items()})
    for index, cut in enumerate(CUTS):
        say("unpruned" if cut is None else f"without layers {cut.start}-{cut.stop - 1}")
        for name in ways:
            say(f"  {name:24} {compared(scores_by_way[name][index], exact[index])}")
    first, *_ = works = [typical(scores_by_way) for scores_by_way in runs.values()]
    for name, work in zip(runs, works, strict=True):
        ratio = work.seconds / first.seconds
        say(
            f"{name:24} {ratio:.2f} x the time of the first (median of {REPEATS}, {len(some)} questions), "
            f"{this_machine.speed(work)}"
        )


def compared(answers: list[list[float]], exact: list[list[float]]) -> str:
    """Differences and predictions, in words."""
    differences = [abs(a - b) for x, y in zip(answers, exact, strict=True) for a, b in zip(x, y, strict=True)]
    same = sum(x.index(max(x)) == y.index(max(y)) for x, y in zip(answers, exact, strict=True))
    ties = sum(len(set(x)) < len(x) for x in answers)
    return (
        f"options moved by {fmean(differences):.3f} nats, at most {max(differences):.2f}, {same} of {len(exact)} predictions "
        f"the same, {ties} with equal scores"
    )


if __name__ == "__main__":
    main()
