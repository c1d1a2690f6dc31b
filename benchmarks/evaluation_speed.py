"""`make bench-evaluation`: a sweep's scoring against lm-evaluation-harness run once per n on really cut models.

    python benchmarks/evaluation_speed.py                                   every part
    python benchmarks/evaluation_speed.py arc --questions 20 --ns 0,5,10    a part of it

Same machine, process, float32 weights, questions and blocks (similarity, from the precomputed map of the starter model).
Ours is timed from the questions' text to their log-likelihoods, the median of `--repeats`; the harness's runs take many
minutes and are timed once each, from its built requests to their log-likelihoods, without loading and cutting. With `--ns`
both sides do those n only. Needs requirements-dev.txt. The default takes about an hour on two cores.
"""

import argparse
import contextlib
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from statistics import median

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

import torch

from analysis.core import store
from analysis.core.blocks import Removal
from analysis.core.meter import COUNTS
from analysis.data import questions as benchmarks
from analysis.data import tasks
from analysis.data.spec import BenchmarkSpec
from analysis.experiments import strategies
from analysis.experiments.maps.spec import Best, DistanceResult, DistanceSpec
from analysis.experiments.scoring import likelihood, trees
from analysis.models import cut as pruning
from analysis.models import decoder as architecture
from analysis.models import machine, meter, stream
from analysis.models.load import LoadedModel, load
from analysis.models.spec import ModelSpec
from benchmarks.work import say

PARTS = ("arc", "mmlu")
TARGETS = {"arc": 6, "mmlu": 8}


@dataclass
class Work:
    """What a stretch of code had the processor compute, padding included."""

    layer_tokens: int = 0
    flop: float = 0.0


@contextlib.contextmanager
def counted(decoder: architecture.Decoder) -> Iterator[Work]:
    """Count what is computed meanwhile with a model that is in float32."""
    meter.watch(decoder, "float32")
    work, before = Work(), (COUNTS.layer_tokens, COUNTS.flop)
    yield work
    work.layer_tokens, work.flop = COUNTS.layer_tokens - before[0], COUNTS.flop - before[1]


def best_blocks() -> list[Best]:
    """The most similar blocks of the precomputed map of the starter model."""
    texts = DistanceSpec().corpus.source
    for stored in store.find_results("distances"):
        spec = (result := DistanceResult.read(stored)).spec
        if stored.precomputed and spec.model.source == "starter" and spec.corpus.source == texts:
            return result.best
    raise SystemExit("The precomputed distance map is missing; run `make precomputed`.")


def asked(part: str, options: argparse.Namespace) -> list[tasks.Question]:
    """ARC-Easy, or MMLU with some questions in each of some subjects, evenly spaced through the alphabet."""
    if part == "arc":
        return benchmarks.load(BenchmarkSpec("arc_easy", limit=options.questions))
    everything = tasks.TASKS["mmlu"].chosen_groups()
    subjects = [everything[place * len(everything) // options.subjects] for place in range(options.subjects)]
    questions = benchmarks.load(BenchmarkSpec("mmlu", limit=None, shots=5, subset=tuple(subjects)))
    of = {subject: [question for question in questions if question.group == subject] for subject in subjects}
    return [question for subject in subjects for question in of[subject][: options.per_subject]]


def scored(loaded: LoadedModel, questions: list[tasks.Question], cuts: likelihood.Cuts) -> list[list[list[float]]]:
    """As a sweep does it."""
    encoded = [trees.encode(one, loaded.tokenizer, loaded.facts.max_positions) for one in questions]
    return likelihood.option_loglikelihoods(loaded.decoder, encoded, cuts, packed=True)


def compare(part: str, loaded: LoadedModel, options: argparse.Namespace, peak: float) -> None:
    """One question set, ours and the harness's."""
    questions = asked(part, options)
    best = best_blocks()
    n_layers = loaded.decoder.n_layers
    cuts = [strategies.choose("similarity", n, n_layers=n_layers, best=best) for n in options.ns]
    scored(loaded, questions[:1], cuts)  # warm up
    times, found = [], []
    for _ in range(options.repeats):
        with counted(loaded.decoder) as ours:
            began = time.perf_counter()
            found = scored(loaded, questions, cuts)
            times.append(time.perf_counter() - began)
    mine = median(times)
    encoded = [trees.encode(one, loaded.tokenizer, loaded.facts.max_positions) for one in questions]
    distinct = len(trees.pack(encoded, 1 << 40, 1 << 40)[0])
    least = distinct * stream.layer_passes(cuts, n_layers)
    say(f"{part}: {len(questions)} questions, n = {','.join(map(str, options.ns))}")
    say(f"  ours        {mine:8.1f} s (median of {', '.join(f'{one:.1f}' for one in times)})")
    say(f"              {ours.layer_tokens:,} layer-tokens, {ours.layer_tokens / least:.3f} x the minimum {least:,}")
    say(f"              {ours.flop / mine / 1e9:.0f} GFLOP/s, {ours.flop / mine / peak:.0%} of the matrix-product peak")
    total, theirs, largest = 0.0, Work(), 0.0
    for n, cut, values in zip(options.ns, cuts, found, strict=True):
        seconds, work, difference = harness_run(part, questions, cut, values, options)
        total, largest = total + seconds, max(largest, difference)
        theirs = Work(theirs.layer_tokens + work.layer_tokens, theirs.flop + work.flop)
        say(f"  lm-eval n={n:2} {seconds:7.1f} s, largest difference {difference:.1e} nats")
    say(f"  lm-eval     {total:8.1f} s (each n once, batches of {options.batch_size})")
    say(f"              {theirs.layer_tokens:,} layer-tokens, {theirs.layer_tokens / ours.layer_tokens:.1f} x ours")
    say(f"              {theirs.flop / total / 1e9:.0f} GFLOP/s, {theirs.flop / total / peak:.0%} of the peak")
    say(f"  RATIO       {total / mine:8.2f} x (target {TARGETS[part]}), largest difference {largest:.1e} nats")


def harness_run(
    part: str, questions: list, cut: Removal | None, values: list[list[float]], options: argparse.Namespace
) -> tuple[float, Work, float]:
    """Seconds and work of the harness on a really cut model, and the largest difference of `values` to its own."""
    from tests.support import harness

    loaded = load(ModelSpec(dtype="float32"))
    if cut is not None:
        pruning.cut(loaded.decoder, cut)
    lm = harness.HFLM(pretrained=loaded.model, tokenizer=loaded.tokenizer, batch_size=options.batch_size)
    name, shots = ("mmlu", 5) if part == "mmlu" else ("arc_easy", 0)
    requests = [harness.requests(name, question, shots) for question in questions]
    with counted(loaded.decoder) as work:
        began = time.perf_counter()
        theirs = harness.loglikelihoods(lm, requests)
        seconds = time.perf_counter() - began
    largest = max(abs(a - b) for x, y in zip(values, theirs, strict=True) for a, b in zip(x, y, strict=True))
    return seconds, work, largest


def main() -> None:
    parser = argparse.ArgumentParser(description="Sweeps against lm-evaluation-harness.")
    parser.add_argument("parts", nargs="*", help=f"{', '.join(PARTS)}; all by default")
    parser.add_argument("--ns", default=",".join(map(str, range(16))), help="numbers of removed layers, by comma")
    parser.add_argument("--questions", type=int, default=200, help="questions of ARC-Easy")
    parser.add_argument("--subjects", type=int, default=20, help="subjects of MMLU")
    parser.add_argument("--per-subject", type=int, default=10, help="questions in each subject")
    parser.add_argument("--repeats", type=int, default=3, help="repeats of ours")
    parser.add_argument("--batch-size", type=int, default=8, help="batch size of the harness")
    options = parser.parse_args()
    options.ns = [int(n) for n in options.ns.split(",")]
    if unknown := set(options.parts) - set(PARTS):
        parser.error(f"no part {', '.join(unknown)}; choose from {', '.join(PARTS)}")
    loaded = load(ModelSpec(dtype="float32"))
    peak = machine.most_flop_s("cpu", "float32", again=True)
    say(f"{torch.get_num_threads()} threads; matrix-product peak {peak / 1e9:.0f} GFLOP/s in float32")
    for part in options.parts or PARTS:
        compare(part, loaded, options, peak)


if __name__ == "__main__":
    main()
