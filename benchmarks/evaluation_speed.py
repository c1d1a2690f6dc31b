"""`make bench-evaluation`: a sweep's scoring against lm-evaluation-harness run once per n on really cut models.

    python benchmarks/evaluation_speed.py                                   every part
    python benchmarks/evaluation_speed.py arc --questions 60 --dtype bfloat16   one of them
    python benchmarks/evaluation_speed.py mmlu long --measured 0,15         the harness at two n, and its time drawn from these
    python benchmarks/evaluation_speed.py arc --exact 40                    whose rounding the largest differences are
    python benchmarks/evaluation_speed.py arc --profile                     where our time goes, and no harness

arc: ARC-Easy without examples.
long: ARC-Challenge with 25 of them, a long prefix that all questions share.
mmlu: 5 examples, some questions of some subjects.

Same machine, process, weights, questions and blocks (similarity, from the
precomputed map of the starter model).

Ours is timed from the questions' text to their log-likelihoods, the harness from its built requests to theirs, without loading
and cutting. Its time is linear in the layers that are left. So `--measured` says at which n it runs, and the others are put on
the line through these. Then both run `--repeats` times, in turns, and their medians are printed. Without it the harness takes
many minutes, and runs once for each n.
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
from benchmarks.stages import PRODUCT_NAMES
from benchmarks.work import Here, Work, here, metered, say, take_dtype, typical

PARTS = ("arc", "long", "mmlu")
TARGET = 8
"""How many times as fast as the harness."""
HARNESS = {"arc": ("arc_easy", 0), "mmlu": ("mmlu", 5)}
"""The harness's name of a part, and the examples before each question."""
EXAMPLES = 25
"""Of `long`: the last questions of the set with their answers; the harness would draw them from rows that no pack here has."""


def best_blocks() -> list[Best]:
    """The most similar blocks of the precomputed map of the starter model."""
    texts = DistanceSpec().corpus.source
    for entry in library.find("distances", wait=True):
        spec = entry.result.spec
        if entry.precomputed and spec.model.source == "starter" and spec.corpus.source == texts:
            return entry.result.best
    raise SystemExit("The precomputed distance map is missing: run `make gallery`.")


def asked(part: str, options: argparse.Namespace) -> list[tasks.Question]:
    """ARC, or MMLU with some questions in each of some subjects, evenly spaced through the alphabet."""
    if part == "arc":
        return benchmarks.load(BenchmarkSpec("arc_easy", limit=options.questions))
    if part == "long":
        all_groups = benchmarks.load(BenchmarkSpec("arc_challenge", limit=None))
        worked = "".join(f"{problem.context}{problem.options[problem.gold]}\n\n" for problem in all_groups[-EXAMPLES:])
        questions = all_groups[: min(options.questions, len(all_groups) - EXAMPLES)]
        return [replace(problem, context=worked + problem.context) for problem in questions]
    all_groups = tasks.TASKS["mmlu"].chosen_groups()
    subjects = [all_groups[index * len(all_groups) // options.subjects] for index in range(options.subjects)]
    questions = benchmarks.load(BenchmarkSpec("mmlu", limit=None, shots=5, subset=tuple(subjects)))
    by_subject = {subject: [question for question in questions if question.group == subject] for subject in subjects}
    return [question for subject in subjects for question in by_subject[subject][: options.per_subject]]


def scored(loaded: LoadedModel, questions: list[tasks.Question], cuts: likelihood.Cuts) -> list[list[list[float]]]:
    """As a sweep does it."""
    encoded = [trees.encode(question, loaded.tokenizer, loaded.facts.max_positions) for question in questions]
    return likelihood.option_loglikelihoods(loaded.decoder, encoded, cuts, packed=True)


def compare(part: str, loaded: LoadedModel, options: argparse.Namespace, this_machine: Here) -> None:
    """One question set, ours and the harness's."""
    questions = asked(part, options)
    best = best_blocks()
    n_layers = loaded.decoder.n_layers
    cuts = [strategies.chosen("similarity", n, strategies.StrategyInputs(n_layers, best=best)) for n in options.ns]
    scored(loaded, questions[:1], cuts)  # warm up
    if options.profile:
        profile(lambda: scored(loaded, questions, cuts))
        return
    cut_of = dict(zip(options.ns, cuts, strict=True))
    measured = [n for n in options.ns if n in options.measured]
    own_runs: list[Work] = []
    harness_runs: dict[int, list[Work]] = {n: [] for n in measured}
    harness_values: dict[int, list[list[float]]] = {}
    for number in range(options.repeats):
        with metered() as own_run:
            figures = scored(loaded, questions, cuts)
        own_runs.append(own_run)
        for n in measured if number == 0 or measured != options.ns else ():
            work, harness_values[n] = harness_run(part, questions, cut_of[n], options)
            harness_runs[n].append(work)
    own = typical(own_runs)
    encoded = [trees.encode(run_work, loaded.tokenizer, loaded.facts.max_positions) for run_work in questions]
    distinct = len(trees.pack(encoded, 1 << 40, 1 << 40)[0])
    least_layers = distinct * hidden_states.layer_passes(cuts, n_layers)
    say(f"{part}: {len(questions)} questions in {options.dtype}, n = {','.join(map(str, options.ns))}")
    say(f"  ours        {own.seconds:8.1f} s ({each(own_runs)})")
    times = own.layer_tokens / least_layers
    say(f"              {own.layer_tokens:,.0f} layer-tokens, {times:.3f} x the minimum {least_layers:,}")
    say(f"              {this_machine.speed(own)}")
    seconds, all_differences, same = {}, [], []
    for n, values in zip(options.ns, figures, strict=True):
        if n not in measured:
            continue
        work, theirs = typical(harness_runs[n]), harness_values[n]
        seconds[n] = work.seconds
        differences = [abs(a - b) for x, y in zip(values, theirs, strict=True) for a, b in zip(x, y, strict=True)]
        all_differences += differences
        same += [x.index(max(x)) == y.index(max(y)) for x, y in zip(values, theirs, strict=True)]
        difference = f"mean difference {fmean(differences):.1e} nats, largest {max(differences):.1e}"
        say(f"  lm-eval n={n:2} {seconds[n]:7.1f} s ({each(harness_runs[n])}), {this_machine.speed(work)}, {difference}")
        if options.exact:
            say(f"              {rounding(encoded, cut_of[n], values, theirs, options.exact)}")
    total, estimate = whole(seconds, options.ns)
    say(f"  lm-eval     {total:8.1f} s for all n ({estimate}, batches of {options.batch_size})")
    agreed = f"{sum(same)} of {len(same)} predictions the same, largest difference {max(all_differences):.1e} nats"
    say(f"  RATIO       {total / own.seconds:8.2f} x (target {TARGET}), {agreed}")


def each(runs: list[Work]) -> str:
    """Return the seconds of each run, in words."""
    return f"median of {', '.join(f'{run.seconds:.1f}' for run in runs)}" if len(runs) > 1 else "once"


@torch.inference_mode()
def rounding(
    encoded: list[trees.EncodedQuestion], cut: Removal | None, values: list[list[float]], harness: list[list[float]], most: int
) -> str:
    """Return how far the options that differ most are from a pass of the same weights in float64, option by option."""
    exact_model = load(ModelSpec(dtype="float32"))
    if cut is not None:
        pruning.cut(exact_model.decoder, cut)
    model = exact_model.model.double()
    places = [(question, option) for question, own in enumerate(values) for option in range(len(own))]
    places.sort(key=lambda place: -abs(values[place[0]][place[1]] - harness[place[0]][place[1]]))
    errors: dict[str, list[float]] = {"ours": [], "lm-eval": []}
    for question, number in places[:most]:
        option = encoded[question].options[number]
        ids = torch.tensor([list(option.tokens)])
        logits = model(ids).logits[0, -option.n_scored - 1 : -1].log_softmax(-1)
        exact = float(logits.gather(1, ids[0, -option.n_scored :, None]).sum())
        errors["ours"].append(abs(values[question][number] - exact))
        errors["lm-eval"].append(abs(harness[question][number] - exact))
    said = [f"{who} at most {max(error):.1e} nats, mean {fmean(error):.1e}" for who, error in errors.items()]
    return f"the {most} options that differ most, from a float64 pass: {'; '.join(said)}"


def whole(seconds: dict[int, float], ns: list[int]) -> tuple[float, str]:
    """The harness's seconds for all n, and how they were found."""
    if len(seconds) == len(ns):
        return sum(seconds.values()), "each measured"
    slope, level = np.polyfit(list(seconds), list(seconds.values()), 1)
    other_seconds = sum(level + slope * n for n in ns if n not in seconds)
    return sum(seconds.values()) + float(other_seconds), f"{len(seconds)} measured, the others on the line through these"


def harness_run(part: str, questions: list, cut: Removal | None, options: argparse.Namespace) -> tuple[Work, list[list[float]]]:
    """Return the work of the harness on a really cut model, and its log-likelihoods."""
    from tests.support import harness

    loaded = load(ModelSpec(dtype=options.dtype))
    if cut is not None:
        pruning.cut(loaded.decoder, cut)
    lm = harness.model(loaded, options.batch_size)
    if part in HARNESS:
        requests = [harness.requests(HARNESS[part][0], question, HARNESS[part][1]) for question in questions]
    else:
        requests = [
            [harness.Instance("loglikelihood", {}, pair, number) for number, pair in enumerate(question.pairs())]
            for question in questions
        ]
    with metered() as work:
        values = harness.loglikelihoods(lm, requests)
    return work, values


def profile(run: Callable[[], object]) -> None:
    """Print the operations that take the time."""
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as profiler:
        run()
    events = profiler.key_averages()
    total = sum(event.self_cpu_time_total for event in events)
    products = sum(event.self_cpu_time_total for event in events if event.key in PRODUCT_NAMES)
    say(f"matrix products {products / total:.1%} of {total / 1e6:.1f} s")
    for event in sorted(events, key=lambda event: -event.self_cpu_time_total)[:12]:
        say(f"  {event.self_cpu_time_total / total:6.1%}  {event.count:6} calls  {event.key}")


def main() -> None:
    parser = argparse.ArgumentParser(description="Sweeps against lm-evaluation-harness.")
    parser.add_argument("parts", nargs="*", help=f"{', '.join(PARTS)} (default: all)")
    parser.add_argument("--ns", default=",".join(map(str, range(16))), help="numbers of removed layers, by comma")
    parser.add_argument("--measured", default="", help="of these, two or more at which the harness runs (default: all)")
    take_dtype(parser, "float32")
    parser.add_argument("--exact", type=int, default=0, help="options to compare with a float64 pass (default: none)")
    parser.add_argument("--profile", action="store_true", help="print where our time goes, and run no harness")
    parser.add_argument("--questions", type=int, default=200, help="questions of ARC")
    parser.add_argument("--subjects", type=int, default=20, help="subjects of MMLU")
    parser.add_argument("--per-subject", type=int, default=10, help="questions in each subject")
    parser.add_argument("--repeats", type=int, default=3, help="runs of each, in turns (default: 3)")
    parser.add_argument("--batch-size", type=int, default=8, help="batch size of the harness")
    options = parser.parse_args()
    options.ns = [int(n) for n in options.ns.split(",")]
    options.measured = [int(n) for n in options.measured.split(",")] if options.measured else options.ns
    if len(set(options.measured) & set(options.ns)) < min(2, len(options.ns)):
        parser.error("--measured takes at least two of --ns, by comma")
    if unknown := set(options.parts) - set(PARTS):
        parser.error(f"no part {', '.join(unknown)}: choose from {', '.join(PARTS)}")
    this_machine = here(options.dtype)
    options.dtype = this_machine.dtype
    loaded = load(ModelSpec(dtype=options.dtype))
    for part in options.parts or PARTS:
        compare(part, loaded, options, this_machine)


if __name__ == "__main__":
    main()
