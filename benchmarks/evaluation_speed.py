"""Speed of a sweep's scoring against lm-evaluation-harness, which runs once per pruned model.

    python benchmarks/evaluation_speed.py                                        200 questions, an
    hour on two cores python benchmarks/evaluation_speed.py --questions 60 --measured 0,15
    the harness at two n only

The questions are those of ARC-Easy without examples. Both programs run in one process on the same
machine, weights, questions and blocks, which have the smallest distance on the precomputed map of
the starter model.

Layerscope is timed from the text of the questions to their log-likelihoods, the harness from its
requests to theirs, without loading and pruning. The time of the harness is linear in the number of
layers left, so `--measured` interpolates the other n. Both run `--repeats` times in turns, and
medians are compared.
"""

import argparse
import sys
import time
from pathlib import Path
from statistics import fmean, median

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import numpy as np

from analysis.core.blocks import Removal
from analysis.data import questions as question_sets
from analysis.data import tasks
from analysis.data.spec import BenchmarkSpec
from analysis.experiments import strategies
from analysis.experiments.maps.distance_spec import Best, DistanceSpec
from analysis.experiments.scoring import likelihood, trees
from analysis.models.loading.load import LoadedModel, load
from analysis.models.running import pruning
from analysis.models.source.model_spec import ModelSpec
from analysis.results import library
from benchmarks.work import add_dtype_option, describe_machine, say, seconds
from tests.support import harness


def best_blocks() -> list[Best]:
    """Return the blocks with the smallest distance on the precomputed map of the starter model."""
    texts = DistanceSpec().corpus.source
    for entry in library.find("distances"):
        spec = entry.result.spec
        if entry.precomputed and spec.model.source == "starter" and spec.corpus.source == texts:
            return entry.result.best
    raise SystemExit("The precomputed distance map is missing: run `make gallery`.")


def score(
    loaded: LoadedModel, questions: list[tasks.Question], cuts: likelihood.Cuts
) -> list[list[list[float]]]:
    """Return log-likelihoods by n, question and option, computed as a sweep does."""
    encoded = [
        trees.encode(question, loaded.tokenizer, loaded.facts.max_positions)
        for question in questions
    ]
    return likelihood.option_loglikelihoods(loaded.decoder, encoded, cuts, packed=True)


def score_with_harness(
    questions: list[tasks.Question], cut: Removal | None, options: argparse.Namespace
) -> tuple[float, list[list[float]]]:
    """Return the seconds of the harness on a pruned model, and its log-likelihoods."""
    loaded = load(ModelSpec(dtype=options.dtype))
    if cut is not None:
        pruning.cut(loaded.decoder, cut)
    model = harness.model(loaded, options.batch_size)
    requests = [harness.requests("arc_easy", question, 0) for question in questions]
    started = time.perf_counter()
    values = harness.loglikelihoods(model, requests)
    return time.perf_counter() - started, values


def compare(loaded: LoadedModel, options: argparse.Namespace) -> None:
    """Print the comparison."""
    questions = question_sets.load(BenchmarkSpec("arc_easy", limit=options.questions))
    inputs = strategies.StrategyInputs(loaded.decoder.n_layers, best=best_blocks())
    cuts = [strategies.chosen("similarity", n, inputs) for n in options.ns]
    score(loaded, questions[:1], cuts)  # warm-up
    own_s: list[float] = []
    harness_s: dict[int, list[float]] = {n: [] for n in options.measured}
    theirs: dict[int, list[list[float]]] = {}
    own: list[list[list[float]]] = []
    for _ in range(options.repeats):
        own_s.append(seconds(lambda: own.append(score(loaded, questions, cuts))))
        for n in options.measured:
            took, theirs[n] = score_with_harness(questions, cuts[options.ns.index(n)], options)
            harness_s[n].append(took)
    say(
        f"{len(questions)} questions, n = {','.join(map(str, options.ns))}, medians of"
        f" {options.repeats}"
    )
    say(f"  Layerscope  {median(own_s):8.1f} s for all n")
    differences, is_same = [], []
    for n in options.measured:
        ours = own[-1][options.ns.index(n)]
        pairs = list(zip(ours, theirs[n], strict=True))
        of_n = [abs(a - b) for x, y in pairs for a, b in zip(x, y, strict=True)]
        differences += of_n
        is_same += [int(np.argmax(x) == np.argmax(y)) for x, y in pairs]
        say(
            f"  harness n={n:2} {median(harness_s[n]):6.1f} s, difference {fmean(of_n):.1e} nats,"
            f" at most {max(of_n):.1e}"
        )
    slope, level = np.polyfit(options.measured, [median(harness_s[n]) for n in options.measured], 1)
    total = sum(median(harness_s[n]) if n in harness_s else level + slope * n for n in options.ns)
    say(
        f"  harness     {total:8.1f} s for all n, {len(options.measured)} measured, others on the"
        " line through them"
    )
    agreement = (
        f"{sum(is_same)} of {len(is_same)} predictions the same, largest difference"
        f" {max(differences):.1e} nats"
    )
    say(f"  RATIO       {total / median(own_s):8.2f}, {agreement}")


def main() -> None:
    parser = argparse.ArgumentParser(description="Sweeps against lm-evaluation-harness.")
    parser.add_argument(
        "--ns", default=",".join(map(str, range(16))), help="numbers of removed layers, by comma"
    )
    parser.add_argument(
        "--measured",
        default="",
        help="of these, two or more at which the harness runs (default: all)",
    )
    add_dtype_option(parser, "float32")
    parser.add_argument(
        "--questions", type=int, default=200, help="number of questions (default: 200)"
    )
    parser.add_argument(
        "--repeats", type=int, default=3, help="runs of each, in turns (default: 3)"
    )
    parser.add_argument("--batch-size", type=int, default=8, help="batch size of the harness")
    options = parser.parse_args()
    options.ns = [int(n) for n in options.ns.split(",")]
    options.measured = (
        [int(n) for n in options.measured.split(",")] if options.measured else options.ns
    )
    if len(options.measured) < 2 or set(options.measured) - set(options.ns):
        parser.error("--measured takes at least two of --ns, by comma")
    options.dtype = describe_machine(options.dtype)
    compare(load(ModelSpec(dtype=options.dtype)), options)


if __name__ == "__main__":
    main()
