"""`make bench-precision`: what half precision costs in scores, and what keeping the residual stream in float32 gives back.

    python benchmarks/half_precision.py [QUESTIONS] [DTYPE]

The starter model on ARC-Easy, uncut and without layers 11-15, in half precision against the same weights in float32: everything
in half precision, as transformers computes it; with the head's sums in float32 (`models.head`); with the stream in float32 as
well (`models.residual`), which is what the program does. Printed are how far options are moved on average and at most, the
predictions that stay the same, and the time, in one run.
"""

import sys
import time
from pathlib import Path
from statistics import fmean, median

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "benchmarks")]

import torch
from evaluation_speed import scored
from work import say

from analysis.core.blocks import Block
from analysis.data import questions as benchmarks
from analysis.data.spec import BenchmarkSpec
from analysis.models import head, machine, residual
from analysis.models.decoder import Decoder
from analysis.models.load import LoadedModel, load
from analysis.models.spec import ModelSpec

CUTS = (None, Block(11, 5))
REPEATS = 3
PARTS = 5
"""Pieces that the questions are scored in, the ways one after the other in each, so that drift of the machine hits all."""


def plainly(decoder: Decoder, states: torch.Tensor, at: torch.Tensor, tokens: torch.Tensor) -> torch.Tensor:
    """Log-probabilities from the logits that the head gives in half precision."""
    rows = decoder.head(states).log_softmax(-1).float()
    return rows[at, tokens].double()


def one_way(loaded: LoadedModel, asked: list, *, in_float32: bool, plain_head: bool) -> tuple[list, float]:
    """Log-likelihoods per cut, question and option, and the seconds that they took."""
    own = head.log_probabilities, residual.at_entry
    if plain_head:
        head.log_probabilities = plainly
    if not in_float32:
        residual.at_entry = lambda decoder, stream: stream
    try:
        began = time.perf_counter()
        return scored(loaded, asked, CUTS), time.perf_counter() - began
    finally:
        head.log_probabilities, residual.at_entry = own


def main() -> None:
    """Measure and print."""
    n_questions = int(sys.argv[1]) if len(sys.argv) > 1 else 500
    dtype = sys.argv[2] if len(sys.argv) > 2 else "bfloat16"
    asked = benchmarks.load(BenchmarkSpec("arc_easy", limit=n_questions))
    say(f"{machine.cpu_name()}; {len(asked)} questions of ARC-Easy, {dtype} against float32")
    exact = scored(load(ModelSpec(dtype="float32")), asked, CUTS)
    loaded = load(ModelSpec(dtype=dtype))
    scored(loaded, asked[:2], CUTS)
    ways = {
        "all in half precision": {"in_float32": False, "plain_head": True},
        "head's sums in float32": {"in_float32": False, "plain_head": False},
        "stream in float32, too": {"in_float32": True, "plain_head": False},
    }
    found: dict[str, list[list]] = {name: [[] for _ in CUTS] for name in ways}
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    size = -(-len(asked) // PARTS)
    for begin in range(0, len(asked), size):
        for name, way in ways.items():
            values, _ = one_way(loaded, asked[begin : begin + size], **way)
            for kept, new in zip(found[name], values, strict=True):
                kept += new
    for _ in range(REPEATS):
        for name, way in ways.items():
            seconds[name].append(one_way(loaded, asked[:60], **way)[1])
    for index, cut in enumerate(CUTS):
        say("unpruned" if cut is None else f"without layers {cut.start}-{cut.stop - 1}")
        for name in ways:
            say(f"  {name:24} {compared(found[name][index], exact[index])}")
    first = median(next(iter(seconds.values())))
    for name, times in seconds.items():
        say(f"{name:26} {median(times) / first:.2f} x the time of the first (median of {REPEATS} with 60 questions)")


def compared(found: list[list[float]], exact: list[list[float]]) -> str:
    """Differences and predictions, in words."""
    apart = [abs(a - b) for x, y in zip(found, exact, strict=True) for a, b in zip(x, y, strict=True)]
    same = sum(x.index(max(x)) == y.index(max(y)) for x, y in zip(found, exact, strict=True))
    ties = sum(len(set(x)) < len(x) for x in found)
    return (
        f"options moved by {fmean(apart):.3f} nats, at most {max(apart):.2f}; {same} of {len(exact)} predictions the same; "
        f"{ties} with equal scores"
    )


if __name__ == "__main__":
    main()
