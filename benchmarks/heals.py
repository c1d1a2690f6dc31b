"""`make bench-heals`: loss that each way of healing recovers in the same minutes, on the same
pruned model and texts.

    python benchmarks/heals.py --minutes 2,5 --methods paper,distill       a part of it python
    benchmarks/heals.py --threads 1 --clock cpu                     on a machine that other programs
    use python benchmarks/heals.py MODEL.gguf --cut 8:5 --json heals.json      another model, with
    all losses per text

Rivals are our own implementations (`benchmarks/rival_heals.py`). `paper` is Trainer and PEFT by the
paper's recipe. `layer-replacement` is LLM-Streamline, whose model keeps one layer more.
`layer-before` trains the layer before the block in the same way, so that its model is as small as
the others. `linear-map` is ReplaceMe. `instant`, `distill` and `distill-all` are recipes of the
product, run by its own engine. `instant+1` and `distill+1` remove one layer less (`--less`). So
their models have as many layers as that of `layer-replacement`. All heal on the product's healing
text, unquantized. 32 texts of C4 judge, and no method reads them.

Minutes count everything but loading the model and scoring it. Training methods run once for each
number of minutes, so that the learning rate falls to its end at each. Closed forms run once, and
their value counts from the minutes that they take on. Each run is a process of its own, and all
methods take turns. With `--json FILE` a second call adds the runs that FILE lacks.
"""

import argparse
import contextlib
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any
from unittest import mock

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

import torch

from analysis.core import stats
from analysis.core.blocks import Block, parse_removal, written
from analysis.data.spec import default_loss_corpus
from analysis.experiments.accuracy import scores
from analysis.experiments.heal import healing, recipes, texts
from analysis.experiments.heal.heal_spec import CALIBRATION_TEXTS, HealSpec
from analysis.experiments.heal.healing_run import HealingRun
from analysis.experiments.scoring import likelihood
from analysis.models.architecture.decoder import find_decoder
from analysis.models.loading import load, machine, planning
from analysis.models.loading.load import LoadedModel
from analysis.models.running import adapters
from analysis.models.source import adapter_config
from analysis.models.source.model_spec import ModelSpec
from benchmarks import rival_heals
from benchmarks.evaluation_speed import best_blocks
from benchmarks.rival_heals import Timer
from benchmarks.work import add_dtype_option, describe_machine, say, use_empty_cache

RIVALS = ("paper", "linear-map", "layer-replacement", "layer-before")
ONE_MORE = "+1"
"""Ending of our recipes that keep one layer more."""
OURS = ("instant", "distill", "distill-all", "instant+1", "distill+1")
CLOSED = ("linear-map", "instant", "instant+1")
"""Methods without training, which take the time that they take."""
N = 5
"""Layers of the block that is healed by default: the most similar one of this size."""


@dataclass(frozen=True)
class Run:
    """One healed model."""

    method: str
    limit: float | None
    """Minutes that it had; None for a closed form."""
    minutes: float
    """Minutes that it took, by the clock that counts."""
    losses: list[float]
    """Loss of each text, nats per token."""
    n_layers: int
    """Layers of the healed model."""
    note: str = ""


@dataclass(frozen=True)
class Judgement:
    """Losses per text that all runs are compared with."""

    weights: list[int]
    """Predicted tokens of each text."""
    unpruned: list[float]
    pruned: list[float]

    def recovered(self, run: Run) -> list[float]:
        """Return the recovered loss of each text, in nats per token."""
        return [before - after for before, after in zip(self.pruned, run.losses, strict=True)]

    def mean(self, run: Run) -> tuple[float, float, float]:
        """Recovered loss in nats per token, and its 95 % interval, paired by text."""
        return stats.compare_losses(run.losses, self.pruned, self.weights)

    def share(self, run: Run) -> tuple[float, float, float]:
        """Recovered share of the loss increase by pruning, and its 95 % interval."""
        increase = [
            after - before for after, before in zip(self.pruned, self.unpruned, strict=True)
        ]
        return stats.ratio_of_means(self.recovered(run), increase, self.weights)

    def ratio(self, run: Run, reference: Run) -> tuple[float, float, float] | None:
        """Recovered loss over that of another run, and its 95 % interval; None where the other
        recovers nothing significant.
        """
        if self.mean(reference)[1] <= 0:
            return None
        return stats.ratio_of_means(self.recovered(run), self.recovered(reference), self.weights)

    def lead(self, run: Run, reference: Run) -> tuple[float, float, float]:
        """Recovered loss less that of another run, and its 95 % interval."""
        return stats.compare_losses(run.losses, reference.losses, self.weights)


def at(runs: Sequence[Run], mark: float) -> list[Run]:
    """Return the runs that count at some minutes: those that had them, and closed forms that took
    no more.
    """
    return [run for run in runs if run.limit == mark or (run.limit is None and run.minutes <= mark)]


def with_interval(figures: tuple[float, float, float], form: str) -> str:
    value, low, high = (format(figure, form) for figure in figures)
    return f"{value} ({low} to {high})"


def table(runs: Sequence[Run], marks: Sequence[float], judgement: Judgement) -> list[str]:
    """Rows of Markdown: the recovery of every method at every mark."""
    lines = [
        (
            "| minutes | method | recovered, nats/token | share of the increase | per minute taken"
            " | minutes taken | layers | |"
        ),
        "| ---: | --- | --- | --- | ---: | ---: | ---: | --- |",
    ]
    for mark in sorted(marks):
        for run in sorted(at(runs, mark), key=lambda run: -judgement.mean(run)[0]):
            mean = judgement.mean(run)
            cells = (
                f"{mark:g}",
                run.method,
                with_interval(mean, "+.3f"),
                with_interval(judgement.share(run), ".0%"),
                f"{mean[0] / run.minutes:+.3f}",
                f"{run.minutes:.2f}",
                str(run.n_layers),
                run.note,
            )
            lines.append(f"| {' | '.join(cells)} |")
    return lines


def verdicts(runs: Sequence[Run], marks: Sequence[float], judgement: Judgement) -> list[str]:
    """Sentences: our recipes against the paper's at each mark, and against the best rivals of any
    size and of the same size.
    """
    lines = []

    def recovery(run: Run) -> float:
        return judgement.mean(run)[0]

    for mark in sorted(marks):
        by_method = {run.method: run for run in at(runs, mark)}
        rivals = [by_method[name] for name in RIVALS if name in by_method]
        for ours in (by_method[name] for name in OURS if name in by_method):
            if (paper := by_method.get("paper")) and paper.n_layers == ours.n_layers:
                ratio = judgement.ratio(ours, paper)
                words = (
                    "no ratio, since paper recovers nothing significant"
                    if ratio is None
                    else with_interval(ratio, ".2f")
                )
                lines.append(f"{mark:g} minutes, {ours.method} over paper: {words}")
            of_same_size = [run for run in rivals if run.n_layers == ours.n_layers]
            best = {
                max(group, key=recovery).method: group for group in (of_same_size, rivals) if group
            }
            for method, group in best.items():
                lead = judgement.lead(ours, by_method[method])
                verdict = "no significant difference"
                if lead[1] > 0 or lead[2] < 0:
                    verdict = f"significantly {'more' if lead[1] > 0 else 'less'}"
                kind = "best rival" if group is rivals else f"best rival of {ours.n_layers} layers"
                lines.append(
                    f"{mark:g} minutes, {ours.method} less {method}, the {kind}:"
                    f" {with_interval(lead, '+.3f')}, {verdict}"
                )
    return lines


@contextlib.contextmanager
def timed_by(timer: Timer) -> Iterator[None]:
    """Let the product's engine count by a timer that stops while it loads and scores, which rivals
    do not do on the way.
    """

    def paused(call: Callable[..., Any]) -> Callable[..., Any]:
        def called(*args: Any, **named: Any) -> Any:
            with timer.paused():
                return call(*args, **named)

        return called

    def seconds() -> float:
        return timer.seconds

    untimed = [(load, "load"), (planning, "plan"), (texts, "read_texts")]
    untimed += [(HealingRun, name) for name in ("measure_before", "measure_after", "check")]
    with contextlib.ExitStack() as patches:
        patches.enter_context(mock.patch.object(time, "perf_counter", seconds))
        for owner, name in untimed:
            patches.enter_context(mock.patch.object(owner, name, paused(getattr(owner, name))))
        yield


def spec_of(options: argparse.Namespace, method: str, mark: float | None) -> HealSpec:
    """Return the request of one of our recipes; for a rival that of `distill`, whose texts it
    shares.
    """
    values: dict[str, Any] = {}
    if method not in CLOSED:
        values["minutes"] = mark
        if options.learning_rate is not None:
            values["learning_rate"] = options.learning_rate
    spec = recipes.heal_spec(
        method.removesuffix(ONE_MORE) if method in OURS else recipes.DEFAULT,
        model=ModelSpec(options.model, dtype=options.dtype),
        block=parse_removal(options.less if method.endswith(ONE_MORE) else options.cut),
        quantization="none",
        seed=options.seed,
        # Its own scores are not used: two texts, and no questions. All judging texts are kept out
        # of its healing text.
        validation=replace(default_loss_corpus(), n_texts=2),
        judging_texts=options.texts,
        benchmark=None,
        generation=None,
        check_questions=0,
        **values,
    )
    return healing.resolve(spec)


Healed = tuple[LoadedModel, float, str]
"""A healed model, the seconds that count, and a remark."""


def by_recipe(spec: HealSpec, timer: Timer) -> Healed:
    """Heal with the product's engine, and put the adapter that it saves on a fresh model."""
    with timed_by(timer):
        result = healing.run(spec)
        seconds = timer.seconds
    loaded = adapters.with_adapter(
        load.load(spec.model), spec.block, str(adapter_config.located(result.adapter or ""))
    )
    return (
        loaded,
        seconds,
        f"{result.total_steps} steps of {spec.batch_size} sequences" if spec.trains else "",
    )


def by_rival(spec: HealSpec, method: str, begin: Callable[[], Timer]) -> Healed:
    """Heal by a rival on the texts of `spec`; its seconds begin when model and judging texts are
    there.
    """
    loaded = load.load(spec.model)
    near_copies = texts.read_texts(loaded, spec).near_copies
    timer = begin()
    documents = rival_heals.documents(spec.corpus, near_copies, loaded.tokenizer)
    if method == "paper":
        recipe = recipes.get("paper", model=spec.model.source)
        numbers = {
            "r": recipe.r,
            "learning_rate": recipe.learning_rate,
            "dropout": recipe.lora_dropout,
        }
        with tempfile.TemporaryDirectory() as scratch:
            model, n_steps = rival_heals.paper(
                loaded.decoder,
                spec.block,
                documents,
                timer,
                seed=spec.seed,
                scratch=scratch,
                **numbers,
            )
        loaded = replace(loaded, model=model, decoder=find_decoder(model))
        return loaded, timer.seconds, f"{n_steps} steps of {rival_heals.PAPER_BATCH} sequences"
    if not isinstance(spec.block, Block):
        raise SystemExit(
            f"{method} needs one block of consecutive layers. Leave it out with --methods."
        )
    if method.startswith("layer"):
        n_before = 1 if method == "layer-before" else 0
        block = Block(spec.block.start - n_before, spec.block.size + n_before)
        losses = rival_heals.layer_replacement(
            loaded.decoder, block, documents, timer, seed=spec.seed
        )
        note = (
            f"{len(losses)} steps of {rival_heals.SEQUENCES} sequences, squared error"
            f" {losses[0]:.3g} to {losses[-1]:.3g}"
        )
        return loaded, timer.seconds, note
    sequences = [next(documents) for _ in range(CALIBRATION_TEXTS)]
    rival_heals.linear_map(loaded.decoder, spec.block, sequences)
    return loaded, timer.seconds, f"{sum(map(len, sequences)):,} tokens"


def run_here(options: argparse.Namespace) -> dict[str, Any]:
    """Return a `Run` in this process as JSON, or for `none` the `Judgement`."""
    read, limit = (
        (time.process_time if options.clock == "cpu" else time.perf_counter),
        options.limit,
    )
    spec = spec_of(options, options.run, limit)
    judging = replace(spec.validation, n_texts=options.texts)
    if options.run == "none":
        loaded = load.load(spec.model)
        material = scores.prepare(loaded, None, judging)
        with torch.inference_mode():
            unpruned, pruned = likelihood.text_losses(
                loaded.decoder, material.texts, [None, spec.block]
            )
        return asdict(Judgement(material.text_tokens, unpruned, pruned))

    def begin() -> Timer:
        return Timer(60 * (limit or 0.0), read)

    loaded, seconds, note = (
        by_recipe(spec, begin()) if options.run in OURS else by_rival(spec, options.run, begin)
    )
    loaded.model.eval()
    judging_texts = scores.prepare(loaded, None, judging).texts
    with torch.inference_mode():
        losses = likelihood.text_losses(loaded.decoder, judging_texts, [None])[0]
    return asdict(Run(options.run, limit, seconds / 60, losses, loaded.decoder.n_layers, note))


_SETTINGS = ("model", "cut", "less", "dtype", "threads", "clock", "texts", "seed", "learning_rate")
"""Options that all runs of a comparison share."""


def run_apart(options: argparse.Namespace, method: str, limit: float | None) -> dict[str, Any]:
    """One run in a process of its own, with the threads that all have."""
    command = [sys.executable, __file__, options.model, "--run", method]
    for name in _SETTINGS[1:]:
        value = getattr(options, name)
        if value is not None:
            command += [f"--{name.replace('_', '-')}", str(value)]
    if limit is not None:
        command += ["--limit", str(limit)]
    threads = str(options.threads)
    environment = os.environ | {"OMP_NUM_THREADS": threads, "RAYON_NUM_THREADS": threads}
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True, env=environment)
    return json.loads(done.stdout.splitlines()[-1])


def plan(methods: Sequence[str], marks: Sequence[float]) -> list[tuple[str, float | None]]:
    """Return the runs in their order: closed forms, then all other methods mark by mark, in the
    order of the marks.
    """
    closed: list[tuple[str, float | None]] = [(name, None) for name in methods if name in CLOSED]
    return closed + [(name, mark) for mark in marks for name in methods if name not in CLOSED]


def compare(options: argparse.Namespace, marks: Sequence[float], methods: Sequence[str]) -> None:
    """Take the runs that the JSON file lacks, and print the table of all."""
    settings = {name: getattr(options, name) for name in _SETTINGS}
    file, stored = Path(options.json or os.devnull), {}
    if options.json and file.exists():
        stored = json.loads(file.read_text())
        if stored["settings"] != settings:
            raise SystemExit(
                f"{file} has runs with other settings ({stored['settings']}). Name another file."
            )
    say(
        f"{options.model} without {parse_removal(options.cut).describe()}, {settings},"
        f" {machine.versions()}"
    )
    judgement = Judgement(**(stored.get("judgement") or run_apart(options, "none", None)))
    runs = [Run(**values) for values in stored.get("runs", [])]
    no_increase = Run("none", None, 1.0, judgement.unpruned, 0)
    say(
        f"pruning raises the loss by {with_interval(judgement.mean(no_increase), '+.3f')}"
        " nats/token over the unpruned model's"
    )
    say(f"{len(judgement.weights)} texts of C4, {sum(judgement.weights):,} tokens")
    for method, limit in plan(methods, marks):
        if any((run.method, run.limit) == (method, limit) for run in runs):
            continue
        runs.append(Run(**run_apart(options, method, limit)))
        say(
            f"{method}, {runs[-1].minutes:.2f} minutes:"
            f" {with_interval(judgement.mean(runs[-1]), '+.3f')}. {runs[-1].note}"
        )
        if options.json:
            content = {
                "settings": settings,
                "versions": machine.versions(),
                "judgement": asdict(judgement),
            }
            file.write_text(json.dumps(content | {"runs": [asdict(run) for run in runs]}))
    for line in [*table(runs, marks, judgement), *verdicts(runs, marks, judgement)]:
        say(line)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("model", nargs="?", default="starter", help="as the command line takes it")
    parser.add_argument(
        "--cut",
        default="",
        help=f"START:SIZE (default: the starter model's most similar block of {N})",
    )
    parser.add_argument(
        "--less",
        default="",
        help="block of the methods with one layer more (default: as for --cut)",
    )
    parser.add_argument(
        "--minutes", default="10,5,2", help="numbers of minutes, in the order of their runs"
    )
    parser.add_argument("--methods", default=",".join(RIVALS + OURS))
    parser.add_argument("--texts", type=int, default=32, help="texts of C4 that judge")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument(
        "--clock",
        choices=("wall", "cpu"),
        default="wall",
        help="cpu: minutes of one thread's computing",
    )
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--learning-rate",
        type=float,
        help="peak rate of our recipes that train (default: by the size of the model)",
    )
    parser.add_argument("--json", default="", help="file for settings and losses per text")
    add_dtype_option(parser, "float32")
    parser.add_argument("--run", help="run one method in this process")
    parser.add_argument("--limit", type=float, help="its minutes")
    options = parser.parse_args()
    if options.clock == "cpu" and options.threads != 1:
        parser.error(
            "--clock cpu counts the time of all threads together, so it needs --threads 1."
        )
    methods = options.methods.split(",")
    if unknown := sorted({*methods} - {*RIVALS, *OURS}):
        parser.error(
            f"There is no method {', '.join(unknown)}. Choose from {', '.join(RIVALS + OURS)}."
        )
    if not options.cut and options.model != "starter":
        parser.error("Give the block of this model with --cut, such as --cut 8:5.")
    torch.set_num_threads(options.threads)
    if options.run:
        print(json.dumps(run_here(options)))
        return
    if options.model == "starter" and not (options.cut and options.less):
        most_similar = {entry.n: written(entry.block) for entry in best_blocks()}
        options.cut = options.cut or most_similar[N]
        options.less = options.less or most_similar.get(
            int(parse_removal(options.cut).size) - 1, ""
        )
    if not options.less and any(method.endswith(ONE_MORE) for method in methods):
        parser.error(
            f"Methods that end in {ONE_MORE} need --less, such as --less 10:4. Or leave them out"
            " with --methods."
        )
    options.dtype = describe_machine(options.dtype)
    use_empty_cache()
    compare(options, [float(mark) for mark in options.minutes.split(",")], methods)


if __name__ == "__main__":
    main()
