"""`make bench-cluster`: one request shared by one process and by two, then by a thousand GPUs in a simulation.

    python benchmarks/cluster.py                      measures here, a few minutes, then simulates
    python benchmarks/cluster.py --measured FILE      simulates again from an earlier measurement

Measured: a damage map of the starter model shared by 1 and by 2 processes of one thread each. Their figures are the same, bit
for bit. It times how long a process takes to start, to load the model, to receive a shard and to store it. Putting all shards
together is timed, too.

Simulated: the same program with models of 7 to 405 billion parameters. `--card-tflops`, `--card-memory` and `--storage`
describe the GPUs. Every shard is an event, and workers take them from one list as they do here. Shards vary
around their mean duration as they did in the measurement. The simulation is no run: no cluster was there.
"""

import argparse
import dataclasses
import functools
import hashlib
import heapq
import json
import os
import random
import statistics
import sys
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass
from html import escape
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(REPOSITORY))
PICTURE = REPOSITORY / "docs" / "cluster.svg"
MODELS = {"7B": (7e9, 32), "70B": (70e9, 80), "405B": (405e9, 126)}
"""Parameters and decoder layers."""
CARDS = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024)
SMALLEST_GAIN = 0.8
"""Share of the full gain of a doubling, below which a curve is no longer called linear."""


@dataclass(frozen=True)
class ClusterMeasurement:
    """Costs of sharing on this machine; seconds unless stated otherwise."""

    processor: str
    load: float
    dtype: str
    most_flop_s: float
    """Operations a second of the fastest matrix products of one thread."""
    flop: float
    """That the map takes, however many share it."""
    start_s: float
    """A process, until it answers."""
    hand_s: float
    """A shard to a process and back, with nothing to do."""
    keep_s: float
    """Storing a shard."""
    finish_s: float
    """Finding one shard again when all is put together."""
    spread: list[float]
    """Seconds of each shard for one unit of its size, over their mean."""
    wall_s: dict[str, list[float]]
    """Of one and of two processes, without starting and loading."""
    is_same: bool
    """Whether the figures are."""

    @property
    def speed_up(self) -> float:
        """Of two processes over one."""
        return statistics.median(self.wall_s["1"]) / statistics.median(self.wall_s["2"])

    def told(self, n: int) -> str:
        """Return in words how long `n` processes took, and the share of their threads' peak that they reached."""
        from benchmarks.work import Here, Work

        wall_s = statistics.median(self.wall_s[str(n)])
        return f"{wall_s:.1f} s, {Here(self.dtype, n * self.most_flop_s).speed(Work(wall_s, self.flop))}"


def measure(rounds: int, n_texts: int, max_size: int, cuts_per_shard: int, dtype: str) -> ClusterMeasurement:
    """Share a damage map among one process and two, in turn."""
    os.environ["OMP_NUM_THREADS"] = "1"  # before torch is there
    from analysis.core import host, shards
    from analysis.experiments.maps.damage_spec import DamageSpec
    from analysis.jobs.runner import share
    from analysis.jobs.runner.local_workers import LocalWorkers
    from analysis.models.loading import gguf_conversion
    from analysis.models.source.model_spec import ModelSpec
    from benchmarks.work import here, say

    this_machine = here(dtype, "cpu")
    model_folder = gguf_conversion.model_folder()
    spec = DamageSpec(ModelSpec(dtype=this_machine.dtype, device="cpu"), max_size=max_size)
    spec = dataclasses.replace(spec, corpus=dataclasses.replace(spec.corpus, n_texts=n_texts))
    wall: dict[str, list[float]] = {"1": [], "2": []}
    spread: list[float] = []
    seconds_by_round: list[float] = []
    flop: list[float] = []
    digests = set()
    original = share._Sharing._measure

    class OneThread(LocalWorkers):
        """As many threads each, however many share it, and a small map in as many parts as a large one has."""

        initializer = staticmethod(functools.partial(start_worker, cuts_per_shard))

        def __init__(self, spec, n):
            super().__init__(spec, n)
            self._share = {**self._share, "OMP_NUM_THREADS": "1"}

        def open(self, index):
            began = time.perf_counter()
            run_task = super().open(index)
            starts.append(time.perf_counter() - began)

            def timed(task):
                started = time.perf_counter()
                answer = run_task(task)
                request = json.loads(task)
                if request["do"] == "measure":
                    computed.append(json.loads(answer)["value"]["flop"])
                if request["do"] == "measure" and self.n == 1:
                    spread.append((time.perf_counter() - started) / sum(one["size"] for one in request["shards"]))
                return answer

            return timed

    def timed(self, spec, missing, *, reads_disk):
        n = self._executor.n
        while self._executor.n_open < n:
            time.sleep(0.05)
        ready = [self._executor.submit(self._task("missing", spec)) for _ in range(n)]
        for future in ready:  # both have the model before the clock runs
            future.result()
        computed.clear()
        started = time.perf_counter()
        original(self, spec, missing, reads_disk=reads_disk)
        if "cuts" in missing[0].content:  # the map of distances that it rests on is small
            wall[str(n)].append(time.perf_counter() - started)
            flop.append(sum(computed))
        sample = missing[0].figures()
        started = time.perf_counter()
        missing[0].keep(sample)
        seconds_by_round.append(time.perf_counter() - started)

    def timed_and_forgotten(missing):
        finds.append(_find_s(missing))
        forgotten(missing)

    share._Sharing._measure = timed
    forgotten, shards.forget = shards.forget, timed_and_forgotten
    starts, finds, computed = [], [], []
    for number in range(2 * rounds):
        with tempfile.TemporaryDirectory() as cache:
            os.environ["LAYERSCOPE_CACHE"] = cache
            (Path(cache) / "models").mkdir()
            (Path(cache) / "models" / model_folder.name).symlink_to(model_folder)
            workers = OneThread(spec, 1 + number % 2)
            try:
                result = share.share(spec, workers, lambda progress: None)
            finally:
                workers.close()
            digests.add(hashlib.sha256(result.text_losses.tobytes()).hexdigest())
            say(f"  {workers.n} process{'es' * (workers.n > 1)}: {wall[str(workers.n)][-1]:.1f} s")
    workers = OneThread(spec, 1)
    run_task = workers.open(0)
    started = time.perf_counter()
    for _ in range(200):
        run_task(json.dumps({"do": "nothing"}))
    hand_s = (time.perf_counter() - started) / 200
    workers.close()
    mean = statistics.mean(spread)
    return ClusterMeasurement(
        processor=host.processor(),
        load=host.load().average,
        dtype=this_machine.dtype,
        most_flop_s=this_machine.most_flop_s,
        flop=statistics.median(flop),
        start_s=statistics.median(starts),
        hand_s=hand_s,
        keep_s=statistics.median(seconds_by_round),
        finish_s=statistics.median(finds),
        spread=[one / mean for one in spread],
        wall_s=wall,
        is_same=len(digests) == 1,
    )


def _find_s(missing) -> float:
    started = time.perf_counter()
    for shard in missing:
        shard.figures()
    return (time.perf_counter() - started) / len(missing)


def start_worker(cuts_per_shard: int, surroundings: Mapping[str, str]) -> None:
    """Make a process share the map."""
    from analysis.jobs.runner import shard_worker

    shard_worker.start(surroundings)
    from analysis.experiments.maps import damage

    damage.CUTS_PER_SHARD = cuts_per_shard


@dataclass(frozen=True)
class Place:
    """Hardware of a cluster: bytes and seconds."""

    card_flops: float
    card_bytes: float
    storage: float
    """Bytes a second of the storage that all machines read from, together."""
    machine: float
    """Bytes a second that one machine of eight cards can take."""


@dataclass(frozen=True)
class Run:
    """One simulated request."""

    cards: int
    workers: int
    n_shards: int
    wall_s: float
    parts: dict[str, float]
    """Where the time goes: seconds in which the run waits for it."""


def simulate(
    name: str, cards: int, cluster: Place, measured: ClusterMeasurement, n_texts: int, seq_len: int, texts_at_once: int
) -> Run | None:
    """A damage map of every block up to half of the layers; None where a worker needs more cards than there are."""
    from analysis.core.blocks import blocks_up_to
    from analysis.experiments.maps.damage import CUTS_PER_SHARD

    parameters, n_layers = MODELS[name]
    n_bytes = 2 * parameters
    cards_per_copy = -(-int(n_bytes * 1.15) // int(cluster.card_bytes))  # memory for streams next to the weights
    if cards_per_copy > cards:
        return None
    workers = cards // cards_per_copy
    blocks = blocks_up_to(n_layers // 2, n_layers)
    # A card of a worker works while the others wait: layers follow one another.
    layer_s = 2 * (parameters / n_layers) * seq_len * texts_at_once / cluster.card_flops
    chunks = [blocks[first : first + CUTS_PER_SHARD] for first in range(0, len(blocks), CUTS_PER_SHARD)]
    of_batch = [layer_s * (n_layers + sum(n_layers - block.stop for block in chunk)) for chunk in chunks]
    pure = of_batch * (n_texts // texts_at_once)
    random_ = random.Random(0)
    shards = [seconds * random_.choice(measured.spread) for seconds in pure]
    machines = max(1, -(-workers * cards_per_copy // 8))
    # A machine reads the weights once: its other workers find them in its memory.
    readers = min(machines, workers)
    load_s = max(n_bytes * readers / cluster.storage, n_bytes / min(cluster.machine, cluster.storage))
    free = [(measured.start_s + load_s, number) for number in range(min(workers, len(shards)))]
    heapq.heapify(free)
    handed_at = 0.0
    for seconds in shards:
        time_s, number = heapq.heappop(free)
        handed_at = max(handed_at, time_s) + measured.hand_s  # one process hands them all out
        heapq.heappush(free, (handed_at + seconds + measured.keep_s, number))
    ends = max(time_s for time_s, _ in free)
    finish_s = measured.finish_s * len(shards)
    busy = sum(shards) / min(workers, len(shards))
    parts = {"measuring": busy, "reading weights": load_s, "starting": measured.start_s, "putting together": finish_s}
    parts["waiting for the last"] = max(0.0, ends - measured.start_s - load_s - busy)
    return Run(cards, workers, len(shards), ends + finish_s, parts)


def linear_until(runs: list[Run]) -> tuple[Run, str]:
    """Return the last run of an unbroken series of doublings that gain enough, and the largest cost of the next one."""
    last = runs[0]
    for before, after in zip(runs, runs[1:], strict=False):
        grown = after.workers / before.workers
        if before.wall_s / after.wall_s < 1 + (grown - 1) * SMALLEST_GAIN:
            rest = {name: seconds for name, seconds in after.parts.items() if name != "measuring"}
            return before, max(rest, key=lambda name: rest[name])
        last = after
    return last, ""


def drawn(curves: dict[str, list[Run]], caption: str) -> str:
    """Speed-up by copies of the model at work, both logarithmic, dark where the reader's screen is."""
    import math

    width, height, left, top, size_x, size_y = 790, 470, 60, 40, 560, 350
    highest = math.log2(CARDS[-1])

    def x(cards: float) -> float:
        return left + size_x * math.log2(cards) / highest

    def y(gain: float) -> float:
        return top + size_y * (1 - math.log2(gain) / highest)

    parts = []
    for cards in CARDS[::2]:
        parts.append(f'<path class="grid" d="M{x(cards):.0f} {top}v{size_y}M{left} {y(cards):.0f}h{size_x}"/>')
        parts.append(f'<text x="{x(cards):.0f}" y="{top + size_y + 18}" text-anchor="middle">{cards}</text>')
        parts.append(f'<text x="{left - 8}" y="{y(cards) + 4:.0f}" text-anchor="end">{cards}</text>')
    parts.append(f'<path class="ideal" d="M{x(1):.0f} {y(1):.0f}L{x(CARDS[-1]):.0f} {y(CARDS[-1]):.0f}"/>')
    for number, (name, runs) in enumerate(curves.items()):
        first = runs[0]
        points = [(x(run.workers), y(max(1.0, first.wall_s / run.wall_s))) for run in runs]
        line = "L".join(f"{a:.0f} {b:.0f}" for a, b in points)
        parts.append(f'<path class="line" stroke-dasharray="{("", "7 3", "2 3")[number]}" d="M{line}"/>')
        a, b = points[-1]
        n = runs[-1].cards // runs[-1].workers
        label = f"{n} GPU{'s' * (n > 1)}"
        above = 'text-anchor="end"' if a < left + 0.75 * size_x else ""  # where curves overlap, the name stands over its line
        shift_x, shift_y = (-8, -10) if above else (8, 4)
        parts.append(f'<text x="{a + shift_x:.0f}" y="{b + shift_y:.0f}" {above}>{name}, {label} a copy</text>')
    title = "Simulated speed-up of a loss-increase map over one copy of the model"
    parts.append(f'<text x="{left}" y="22" class="title">{title}</text>')
    parts.append(f'<text x="{left + size_x / 2:.0f}" y="{height - 34}" text-anchor="middle">copies of the model at work</text>')
    parts.append(f'<text x="{left}" y="{height - 10}" class="small">{escape(caption)}</text>')
    style = (
        "text{font:13px sans-serif;fill:#222}.title{font-size:15px}.small{font-size:11px;fill:#666}"
        ".grid{stroke:#8884;fill:none}"
        ".ideal{stroke:#888;stroke-dasharray:2 5;fill:none}.line{stroke:#3a6ea5;stroke-width:2;fill:none}"
        "@media(prefers-color-scheme:dark){text{fill:#ddd}.small{fill:#aaa}.line{stroke:#8ab4e8}}"
    )
    head = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" role="img">'
    return "\n".join([head, "<title>Simulated speed-up by GPUs</title>", f"<style>{style}</style>", *parts, "</svg>\n"])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument(
        "--measured", metavar="FILE", help="figures of an earlier run, or the file to write those of this run to"
    )
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--texts", type=int, default=4, help="of the map that is measured")
    parser.add_argument("--max-size", type=int, default=1, help="of the map that is measured")
    parser.add_argument("--cuts", type=int, default=2, help="of the map that is measured, a shard")
    parser.add_argument("--card-tflops", type=float, default=400.0, help="TFLOP/s of a GPU in bfloat16, below its peak")
    parser.add_argument("--card-memory", type=float, default=80.0, help="GB")
    parser.add_argument("--storage", type=float, default=20.0, help="GB a second that all machines read together")
    parser.add_argument("--machine", type=float, default=5.0, help="GB a second that a machine of eight GPUs reads")
    parser.add_argument("--draw", action="store_true", help=f"write {PICTURE.name}")
    parser.add_argument(
        "--dtype", default="float32", choices=("auto", "float32", "bfloat16"), help="of the map that is measured"
    )
    options = parser.parse_args()
    file = Path(options.measured) if options.measured else None
    if file is not None and file.exists():
        try:
            measured = ClusterMeasurement(**json.loads(file.read_text()))
        except TypeError:
            parser.error(f"{file} has other figures than this version measures: give a new file to measure again")
    else:
        print("Measuring with one process and with two, one thread each:", flush=True)
        measured = measure(options.rounds, options.texts, options.max_size, options.cuts, options.dtype)
        if file is not None:
            file.write_text(json.dumps(dataclasses.asdict(measured)))
    from benchmarks.work import say  # it brings torch, which `measure` tells how many threads to have

    say(f"{measured.processor}, load at the end {measured.load:.1f}: medians of {len(measured.wall_s['1'])}, {measured.dtype}")
    same = "the same" if measured.is_same else "DIFFER"
    say(f"1 process {measured.told(1)}, 2 processes {measured.told(2)}: {measured.speed_up:.2f} x, figures {same}")
    say(
        f"a process starts in {measured.start_s:.1f} s, a shard is handed out in {1e3 * measured.hand_s:.1f} ms, stored in "
        f"{1e3 * measured.keep_s:.1f} ms, found again in {1e3 * measured.finish_s:.1f} ms"
    )
    cluster = Place(options.card_tflops * 1e12, options.card_memory * 1e9, options.storage * 1e9, options.machine * 1e9)
    curves: dict[str, list[Run]] = {}
    say("\nSimulated: a loss-increase map of all blocks up to half of the layers, 256 texts of 1,024 tokens, 8 texts at once")
    for name in MODELS:
        runs = [run for cards in CARDS if (run := simulate(name, cards, cluster, measured, 256, 1024, 8)) is not None]
        curves[name] = runs
        say(f"{name}: {runs[0].n_shards:,} shards")
        for run in runs:
            gain = runs[0].wall_s / run.wall_s
            shares = {part: 100 * seconds / run.wall_s for part, seconds in run.parts.items()}
            caption = ", ".join(f"{part} {share:.0f} %" for part, share in shares.items() if share > 2)
            say(f"  {run.cards:5,} GPUs, {run.workers:5,} workers: {run.wall_s / 3600:8.2f} h, {gain:7.1f} x  ({caption})")
        last, limit = linear_until(runs)
        ends = f", then limited by {limit}" if limit else ", the largest simulated number"
        say(f"  linear (each doubling gains {SMALLEST_GAIN:.0%} or more) until {last.cards:,} GPUs{ends}")
    if options.draw:
        caption = (
            f"{options.card_tflops:g} TFLOP/s and {options.card_memory:g} GB a GPU, storage {options.storage:g} GB/s, "
            f"{options.machine:g} GB/s a machine, measured costs of sharing. Dotted: linear."
        )
        PICTURE.write_text(drawn(curves, caption))


if __name__ == "__main__":
    main()
