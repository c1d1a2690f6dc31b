"""`make bench-limits`: where each second goes, and how close each kind of work comes to the limit of this machine.

    python benchmarks/limits.py                                    all kinds of work on the starter model
    python benchmarks/limits.py --only curve,map --dtype bfloat16  some of them
    python benchmarks/limits.py --threads 1                        on one thread

curve: accuracy for n = 0..15 on ARC-Easy, as `python -m analysis sweep` computes it.
map: the distance map.
heal: one training step of the paper's recipe, once it is warm.
instant: the instant heal of a model without layers 11-15, with its verdict.
search: greedy search of layers.
page: a release of the slider on Explore. Needs requirements-dev.txt and Chromium.

Each runs once under PyTorch's profiler, which slows it by some percent, with an empty cache. The limit of a run is its
operations over the speed of products of the same shapes, timed alone and in the run. Where reading the weights once a product
takes longer, it is that. Attention counts with the pairs that a causal mask leaves. A page cannot be drawn before the next
frame of the browser.
"""

import argparse
import json
import os
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import fmean, median
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))
os.environ.setdefault("KINETO_LOG_LEVEL", "99")  # before torch is imported, else the profiler prints when it starts

import torch

from analysis.core import store, units
from analysis.core.blocks import Block
from analysis.data import questions
from analysis.data.spec import BenchmarkSpec, CorpusSpec, default_loss_corpus
from analysis.experiments.accuracy import sweep
from analysis.experiments.accuracy.sweep_spec import SweepSpec
from analysis.experiments.heal import healing, recipes
from analysis.experiments.maps import distance_map
from analysis.experiments.maps.distance_spec import DistanceSpec
from analysis.experiments.scoring import trees
from analysis.experiments.search import search
from analysis.experiments.search.search_spec import SearchSpec
from analysis.models.loading import load, machine
from analysis.models.running import hidden_states
from analysis.models.source.model_spec import ModelSpec
from benchmarks import healing_speed, stages
from benchmarks.evaluation_speed import best_blocks
from benchmarks.work import Work, fresh_cache, here, metered, say, take_dtype

CUT = Block(*healing_speed.BLOCK)


@dataclass(frozen=True)
class Measured:
    """One kind of work: its name with its size, where its seconds went, and its limit."""

    name: str
    seconds: Mapping[str, float]
    limit_s: float
    why: str
    """The limit in words."""
    cpu_s: float | None = None
    """CPU seconds for each thread, fewer than elapsed ones on a shared machine; None where several processes work."""

    @property
    def whole_s(self) -> float:
        return sum(self.seconds.values())

    @property
    def share(self) -> float:
        """Share of the limit that is reached, 1 for a run that takes no longer than it must."""
        return self.limit_s / self.whole_s

    @property
    def cpu_share(self) -> float | None:
        """Share of the limit by CPU seconds, which other programs on the machine do not lengthen."""
        return None if self.cpu_s is None else self.limit_s / self.cpu_s

    def describe(self) -> str:
        by_cpu = "" if self.cpu_share is None else f", {self.cpu_share:.0%} by CPU seconds ({self.cpu_s:.2f} s a thread)"
        lines = [f"{self.name}: {self.whole_s:.2f} s, {self.share:.0%} of the limit{by_cpu}"]
        for stage, seconds in sorted(self.seconds.items(), key=lambda item: -item[1]):
            lines.append(f"  {seconds / self.whole_s:6.1%} {seconds:9.2f} s  {stage}")
        return "\n".join([*lines, f"  limit {self.limit_s:.2f} s: {self.why}"])


def measured(name: str, run: Callable[[], object], dtype: str, fewest: Callable[[], int] | None = None) -> Measured:
    """Profile some work and set it against the limit of its arithmetic.

    Args:
        name: with its size.
        run: called once.
        dtype: of its products.
        fewest: the least layer-tokens that give its results, where that is known; called after the run.
    """
    work = Work()

    def counted() -> None:  # without the work of the profiler after the run
        with metered(work):
            run()

    profile = stages.take(counted, dtype)
    limit = stages.limit(profile, dtype)
    why = (
        f"{units.scaled(limit.flop, 'FLOP')} at {limit.flop_s / 1e9:.0f} GFLOP/s, weights of "
        f"{units.size(round(limit.n_bytes))} at {limit.bytes_s / 1e9:.0f} GB/s take {limit.memory_s:.2f} s"
    )
    share = 1.0
    if fewest is not None:
        share = min(1.0, fewest() / work.layer_tokens)
        why += f". {work.layer_tokens:,} layer-tokens are {1 / share:.3f} times the fewest"
    return Measured(name, profile.seconds, share * limit.seconds, why, work.cpu_s / torch.get_num_threads())


def curve(options: argparse.Namespace) -> Measured:
    """The sweep of the most similar blocks, from the questions' file to the stored result."""
    removed = tuple(best.block for best in options.best if best.n <= options.curve_n)
    spec = SweepSpec(
        model=ModelSpec(dtype=options.dtype, device="cpu"),
        benchmark=BenchmarkSpec(limit=options.questions),
        loss_corpus=None,
        strategy="manual",
        blocks=removed,
    )

    def fewest() -> int:
        loaded = load.load(spec.model)
        encoded = [
            trees.encode(question, loaded.tokenizer, loaded.facts.max_positions) for question in questions.load(spec.benchmark)
        ]
        passes = hidden_states.layer_passes([None, *removed], loaded.decoder.n_layers)
        return len(trees.pack(encoded, 1 << 40, 1 << 40)[0]) * passes

    name = f"curve n = 0..{options.curve_n}, {options.questions} questions of ARC-Easy"
    return measured(name, lambda: sweep.run(spec), options.dtype, fewest)


def distances(options: argparse.Namespace) -> Measured:
    """The distance map of texts of 256 tokens."""
    spec = DistanceSpec(model=ModelSpec(dtype=options.dtype, device="cpu"), corpus=CorpusSpec(n_texts=options.texts))
    return measured(f"map, {options.texts} texts", lambda: distance_map.run(spec), options.dtype)


def heal(options: argparse.Namespace) -> Measured:
    """One step of the paper's recipe, with fewer sequences than it takes."""
    rows, seq_len = 4, 512
    trainer = healing_speed.prepared(
        argparse.Namespace(dtype=options.dtype, steps=1, rows=rows, seq_len=seq_len), effective_batch=rows
    )
    stages.watch_adapters(trainer.model)
    trainer.take_step(lambda: None)
    name = f"heal, one step of {rows} sequences of {seq_len} tokens, NF4"
    return measured(name, lambda: trainer.take_step(lambda: None), options.dtype)


def instant(options: argparse.Namespace) -> Measured:
    """The instant heal from the request to its verdict: three models scored on questions and texts."""
    spec = recipes.heal_spec(
        "instant",
        model=ModelSpec(dtype=options.dtype, device="cpu"),
        block=CUT,
        on_gpu=False,
        benchmark=BenchmarkSpec(limit=options.questions),
        validation=replace(default_loss_corpus(), n_texts=options.texts),
    )
    name = f"instant heal and verdict, {options.questions} questions, {options.texts} texts"
    return measured(name, lambda: healing.run(spec), options.dtype)


def searched(options: argparse.Namespace) -> Measured:
    """The first steps of a greedy search."""
    spec = SearchSpec(model=ModelSpec(dtype=options.dtype, device="cpu"), strategy="greedy", max_n=options.search_n)
    return measured(f"greedy search, n = 1..{options.search_n}", lambda: search.run(spec), options.dtype)


TRAFFIC = """
window.traffic = [];
const Socket = window.WebSocket;
window.WebSocket = class extends Socket {
  constructor(...given) {
    super(...given);
    const note = data => window.traffic.push({at: performance.now(), sent: false, bytes: data.size ?? data.byteLength ?? 0});
    this.addEventListener('message', event => note(event.data));
  }
  send(data) {
    window.traffic.push({at: performance.now(), sent: true, bytes: data.size ?? data.byteLength ?? 0});
    super.send(data);
  }
};
window.addEventListener('pointerup', event => { window.traffic = []; window.releasedAt = event.timeStamp; }, true);
window.frameMs = () => new Promise(done => {
  const times = [];
  const next = now => { times.push(now); times.length < 61 ? requestAnimationFrame(next) : done((now - times[0]) / 60); };
  requestAnimationFrame(next);
});
"""
"""Notes the messages of a page with the times of its own clock."""
BEFORE, ANSWER, ARRIVAL, DRAWING = (
    "browser until it asks",
    "server until its first message",
    "server's messages",
    "browser until charts and words are new",
)


def page_parts(took_ms: float, released_ms: float, traffic: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    """Split the time from a release to the new charts.

    Args:
        took_ms: all of it.
        released_ms: the moment of the release, by the clock of `traffic`.
        traffic: messages after it, with `at` and `sent`.
    """
    drawn = released_ms + took_ms
    asked = min((message["at"] for message in traffic if message["sent"]), default=drawn)
    answers = [message["at"] for message in traffic if not message["sent"] and asked <= message["at"] <= drawn] or [asked]
    ends = (released_ms, asked, min(answers), max(answers), drawn)
    parts = (BEFORE, ANSWER, ARRIVAL, DRAWING)
    return {part: (end - begin) / 1e3 for part, begin, end in zip(parts, ends, ends[1:], strict=False)}


def page(options: argparse.Namespace) -> Measured:
    """Releases of the slider on Explore, with the stored results of the starter model."""
    from benchmarks import sampled_server, ui_speed
    from tests.support import browser

    releases: list[dict[str, float]] = []
    received: list[int] = []
    with tempfile.TemporaryDirectory(prefix="layerscope-bench-") as scratch:
        os.environ["LAYERSCOPE_CACHE"] = scratch
        report = Path(scratch) / "report.json"
        entry = (str(Path(sampled_server.__file__)), str(report))
        with browser.dashboard(Path(scratch), entry=entry) as address, browser.chromium() as chromium:
            window = chromium.new_context(viewport=ui_speed.SIZE).new_page()
            window.set_default_timeout(180_000)
            window.add_init_script(TRAFFIC)
            browser.visit(window, address, "explore")
            window.wait_for_timeout(2 * ui_speed.SETTLE_MS)
            window.evaluate(ui_speed.WATCH)
            count = ui_speed.charts_in_window(window)
            for index in range(options.moves + 1):
                took = ui_speed.move(window, (3, 4, 9, 6, 12, 7, 2, 10, 5)[index % 9], count)
                traffic = window.evaluate("window.traffic")
                if index:  # the first one is not warm
                    releases.append(page_parts(took, window.evaluate("window.releasedAt"), traffic))
                    received.append(sum(message["bytes"] for message in traffic if not message["sent"]))
                window.wait_for_timeout(ui_speed.SETTLE_MS)
            frame_s = window.evaluate("window.frameMs()") / 1e3
            time.sleep(2)  # the server writes its report once a second
            functions = json.loads(report.read_text())
    parts = {part: fmean(release[part] for release in releases) for part in releases[0]}
    busy = max(1, functions["busy"].get("part", 0))
    inside = functions["inside"].get("part", [])[:6]
    why = f"the next frame of this browser. {units.size(median(received))} received. Of the server's time at work:"
    lines = [f"    {n / busy:5.0%} inside of {function}" for function, n in inside]
    return Measured(f"page, mean of {len(releases)} releases of the slider", parts, frame_s, "\n".join([why, *lines]))


WORK: dict[str, Callable[[argparse.Namespace], Measured]] = {
    "curve": curve,
    "map": distances,
    "heal": heal,
    "instant": instant,
    "search": searched,
    "page": page,
}


def table(results: Sequence[Measured]) -> str:
    """Return a Markdown table of all work."""
    head = "| work | time | limit | share of the limit | by CPU seconds | most time |"
    lines = [head, "| --- | ---: | ---: | ---: | ---: | --- |"]
    for result in results:
        most = sorted(result.seconds.items(), key=lambda item: -item[1])[:4]
        shares = ", ".join(f"{stage} {seconds / result.whole_s:.0%}" for stage, seconds in most)
        by_cpu = "" if result.cpu_share is None else f"{result.cpu_share:.0%}"
        figures = f"{result.whole_s:.2f} s | {result.limit_s:.2f} s | {result.share:.0%} | {by_cpu}"
        lines.append(f"| {result.name} | {figures} | {shares} |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default=",".join(WORK), help="kinds of work, by comma (default: all)")
    take_dtype(parser)
    parser.add_argument("--threads", type=int, default=0, help="threads of each product (default: as many as torch takes)")
    parser.add_argument("--questions", type=int, default=60, help="questions of the curve and the verdict (default: 60)")
    parser.add_argument("--texts", type=int, default=32, help="texts of the map and the verdict (default: 32)")
    parser.add_argument("--curve-n", type=int, default=15, help="last n of the curve (default: 15)")
    parser.add_argument("--search-n", type=int, default=2, help="last n of the search (default: 2)")
    parser.add_argument("--moves", type=int, default=20, help="releases of the slider (default: 20)")
    options = parser.parse_args()
    chosen = options.only.split(",")
    if unknown := [kind for kind in chosen if kind not in WORK]:
        parser.error(f"no kind of work {', '.join(unknown)}: choose from {', '.join(WORK)}")
    if options.threads:
        torch.set_num_threads(options.threads)
    options.dtype = here(options.dtype, "cpu").dtype
    say(", ".join(f"{name} {version}" for name, version in machine.versions().items() if name != "processor"))
    options.best = best_blocks()
    fresh_cache()
    results = []
    with tempfile.TemporaryDirectory() as empty:
        # Stored results would answer a part of the work.
        store.precomputed_dir = lambda: Path(empty)
        try:
            for kind in chosen:
                results.append(WORK[kind](options))
                say(results[-1].describe())
        finally:  # minutes of measurements, should the browser of the last one not start
            say(table(results))


if __name__ == "__main__":
    main()
