"""`make bench-evaluation`: a sweep's scoring against lm-evaluation-harness run once per n on really cut models.

    python benchmarks/evaluation_speed.py                                   every part
    python benchmarks/evaluation_speed.py arc --questions 60 --dtype bfloat16   one of them
    python benchmarks/evaluation_speed.py mmlu long --measured 0,15         the harness at two n, and its time drawn from these
    python benchmarks/evaluation_speed.py arc --profile                     where our time goes, and no harness

arc: ARC-Easy without examples.
long: ARC-Challenge with 25 of them, a long prefix that all questions share.
mmlu: 5 examples, some questions of some subjects.

Same machine, process, weights, questions and blocks (similarity, from the
precomputed map of the starter model).

Ours is timed from the questions' text to their log-likelihoods, the median of `--repeats`. The harness's runs take many
minutes. They are timed once each, from its built requests to their log-likelihoods, without loading and cutting. Its time is
linear in the layers that are left. So `--measured` says at which n it runs, and the others are put on the line through these.
Needs requirements-dev.txt. The default takes hours on two cores.
"""

import argparse
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from statistics import fmean

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

import numpy as np
import torch

from analysis.core.blocks import Removal
from analysis.data import questions as benchmarks
from analysis.data import tasks
from analysis.data.spec import BenchmarkSpec
from analysis.experiments import strategies
from analysis.experiments.maps.distance_spec import Best, DistanceSpec
from analysis.experiments.scoring import likelihood, trees
from analysis.models.loading.load import LoadedModel, load
from analysis.models.running import hidden_states, pruning
from analysis.models.source.model_spec import ModelSpec
from analysis.results import library
from benchmarks.work import Here, Work, here, interleaved, metered, say, take_dtype, typical

PARTS = ("arc", "long", "mmlu")
TARGETS = {("arc", "float32"): 8, ("arc", "bfloat16"): 6}
"""How many times as fast as the harness; 8 where a long prefix is shared."""
HARNESS = {"arc": ("arc_easy", 0), "mmlu": ("mmlu", 5)}
"""The harness's name of a part, and the examples before each question."""
EXAMPLES = 25
"""Of `long`: the last questions of the set with their answers; the harness would draw them from rows that no pack here has."""
PRODUCTS = ("aten::mm", "aten::addmm", "aten::bmm", "aten::baddbmm")


def best_blocks() -> list[Best]:
    """The most similar blocks of the precomputed map of the starter model."""
    texts = DistanceSpec().corpus.source
    for found in library.find("distances", wait=True):
        spec = found.result.spec
        if found.precomputed and spec.model.source == "starter" and spec.corpus.source == texts:
            return found.result.best
    raise SystemExit("The precomputed distance map is missing: run `make gallery`.")


def asked(part: str, options: argparse.Namespace) -> list[tasks.Question]:
    """ARC, or MMLU with some questions in each of some subjects, evenly spaced through the alphabet."""
    if part == "arc":
        return benchmarks.load(BenchmarkSpec("arc_easy", limit=options.questions))
    if part == "long":
        everything = benchmarks.load(BenchmarkSpec("arc_challenge", limit=None))
        worked = "".join(f"{one.context}{one.options[one.gold]}\n\n" for one in everything[-EXAMPLES:])
        questions = everything[: min(options.questions, len(everything) - EXAMPLES)]
        return [replace(one, context=worked + one.context) for one in questions]
    everything = tasks.TASKS["mmlu"].chosen_groups()
    subjects = [everything[place * len(everything) // options.subjects] for place in range(options.subjects)]
    questions = benchmarks.load(BenchmarkSpec("mmlu", limit=None, shots=5, subset=tuple(subjects)))
    of = {subject: [question for question in questions if question.group == subject] for subject in subjects}
    return [question for subject in subjects for question in of[subject][: options.per_subject]]


def scored(loaded: LoadedModel, questions: list[tasks.Question], cuts: likelihood.Cuts) -> list[list[list[float]]]:
    """As a sweep does it."""
    encoded = [trees.encode(one, loaded.tokenizer, loaded.facts.max_positions) for one in questions]
    return likelihood.option_loglikelihoods(loaded.decoder, encoded, cuts, packed=True)


def compare(part: str, loaded: LoadedModel, options: argparse.Namespace, place: Here) -> None:
    """One question set, ours and the harness's."""
    questions = asked(part, options)
    best = best_blocks()
    n_layers = loaded.decoder.n_layers
    cuts = [strategies.chosen("similarity", n, strategies.Given(n_layers, best=best)) for n in options.ns]
    scored(loaded, questions[:1], cuts)  # warm up
    if options.profile:
        profile(lambda: scored(loaded, questions, cuts))
        return
    found: list[list[list[float]]] = []

    def score() -> None:
        found[:] = scored(loaded, questions, cuts)

    runs = interleaved(options.repeats, ours=score)["ours"]
    ours = typical(runs)
    encoded = [trees.encode(one, loaded.tokenizer, loaded.facts.max_positions) for one in questions]
    distinct = len(trees.pack(encoded, 1 << 40, 1 << 40)[0])
    least = distinct * hidden_states.layer_passes(cuts, n_layers)
    say(f"{part}: {len(questions)} questions in {options.dtype}, n = {','.join(map(str, options.ns))}")
    say(f"  ours        {ours.seconds:8.1f} s (median of {', '.join(f'{one.seconds:.1f}' for one in runs)})")
    say(f"              {ours.layer_tokens:,.0f} layer-tokens, {ours.layer_tokens / least:.3f} x the minimum {least:,}")
    say(f"              {place.speed(ours)}")
    seconds, apart, same = {}, [], []
    for n, cut, values in zip(options.ns, cuts, found, strict=True):
        if n not in options.measured:
            continue
        work, harness_values = harness_run(part, questions, cut, options)
        seconds[n] = work.seconds
        differences = [abs(a - b) for x, y in zip(values, harness_values, strict=True) for a, b in zip(x, y, strict=True)]
        apart += differences
        same += [x.index(max(x)) == y.index(max(y)) for x, y in zip(values, harness_values, strict=True)]
        said = f"mean difference {fmean(differences):.1e} nats, largest {max(differences):.1e}"
        say(f"  lm-eval n={n:2} {seconds[n]:7.1f} s, {place.speed(work)}, {said}")
    total, drawn = whole(seconds, options.ns)
    say(f"  lm-eval     {total:8.1f} s for all n ({drawn}, batches of {options.batch_size})")
    target = TARGETS.get((part, options.dtype), 8)
    agreed = f"{sum(same)} of {len(same)} predictions the same, largest difference {max(apart):.1e} nats"
    say(f"  RATIO       {total / ours.seconds:8.2f} x (target {target}), {agreed}")


def whole(seconds: dict[int, float], ns: list[int]) -> tuple[float, str]:
    """The harness's seconds for all n, and how they were found."""
    if len(seconds) == len(ns):
        return sum(seconds.values()), "each measured"
    slope, level = np.polyfit(list(seconds), list(seconds.values()), 1)
    others = sum(level + slope * n for n in ns if n not in seconds)
    return sum(seconds.values()) + float(others), f"{len(seconds)} measured, the others on the line through these"


def harness_run(part: str, questions: list, cut: Removal | None, options: argparse.Namespace) -> tuple[Work, list[list[float]]]:
    """Return the work of the harness on a really cut model, and its log-likelihoods."""
    from tests.support import harness

    loaded = load(ModelSpec(dtype=options.dtype))
    if cut is not None:
        pruning.cut(loaded.decoder, cut)
    lm = harness.HFLM(pretrained=loaded.model, tokenizer=loaded.tokenizer, batch_size=options.batch_size)
    if part in HARNESS:
        requests = [harness.requests(HARNESS[part][0], question, HARNESS[part][1]) for question in questions]
    else:
        requests = [
            [harness.Instance("loglikelihood", {}, pair, number) for number, pair in enumerate(question.pairs())]
            for question in questions
        ]
    with metered() as work:
        theirs = harness.loglikelihoods(lm, requests)
    return work, theirs


def profile(run: Callable[[], object]) -> None:
    """Print the operations that take the time."""
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as told:
        run()
    events = told.key_averages()
    total = sum(event.self_cpu_time_total for event in events)
    products = sum(event.self_cpu_time_total for event in events if event.key in PRODUCTS)
    say(f"matrix products {products / total:.1%} of {total / 1e6:.1f} s")
    for event in sorted(events, key=lambda event: -event.self_cpu_time_total)[:12]:
        say(f"  {event.self_cpu_time_total / total:6.1%}  {event.count:6} calls  {event.key}")


def main() -> None:
    parser = argparse.ArgumentParser(description="Sweeps against lm-evaluation-harness.")
    parser.add_argument("parts", nargs="*", help=f"{', '.join(PARTS)} (default: all)")
    parser.add_argument("--ns", default=",".join(map(str, range(16))), help="numbers of removed layers, by comma")
    parser.add_argument("--measured", default="", help="of these, two or more at which the harness runs (default: all)")
    take_dtype(parser, "float32")
    parser.add_argument("--profile", action="store_true", help="print where our time goes, and run no harness")
    parser.add_argument("--questions", type=int, default=200, help="questions of ARC")
    parser.add_argument("--subjects", type=int, default=20, help="subjects of MMLU")
    parser.add_argument("--per-subject", type=int, default=10, help="questions in each subject")
    parser.add_argument("--repeats", type=int, default=3, help="repeats of ours")
    parser.add_argument("--batch-size", type=int, default=8, help="batch size of the harness")
    options = parser.parse_args()
    options.ns = [int(n) for n in options.ns.split(",")]
    options.measured = [int(n) for n in options.measured.split(",")] if options.measured else options.ns
    if len(set(options.measured) & set(options.ns)) < min(2, len(options.ns)):
        parser.error("--measured takes at least two of --ns, by comma")
    if unknown := set(options.parts) - set(PARTS):
        parser.error(f"no part {', '.join(unknown)}: choose from {', '.join(PARTS)}")
    place = here(options.dtype)
    options.dtype = place.dtype
    loaded = load(ModelSpec(dtype=options.dtype))
    for part in options.parts or PARTS:
        compare(part, loaded, options, place)


if __name__ == "__main__":
    main()
