"""`make bench-scaling`: how time and memory grow with questions, texts, tokens, layers, cuts and width.

    python benchmarks/scaling.py                              every axis, float32
    python benchmarks/scaling.py questions texts --quick      some axes, with fewer and smaller points
    python benchmarks/scaling.py --dtype bfloat16 --device cuda

It measures random models of 10 million to 1.5 billion parameters, shaped as Llama, with the starter model's vocabulary. Every
point is a process of its own. Its time is the median of `--repeats` after a first run, which counts the operations. Its peak
memory is the most that the process held from the moment the model was there.

Through each axis a power law is fitted, by least squares of logarithms. An axis is judged by seconds over floating-point
operations: in theory hidden size and length of a text have parts whose exponent is 2. So SUPERLINEAR is a faster growth than
that of the operations. `--clock processor` measures CPU seconds, which other programs do not lengthen as they do elapsed
seconds. Draws docs/scaling.svg. Ends with 1 where something is SUPERLINEAR, or memory GROWS that must not.
"""

import argparse
import dataclasses
import json
import math
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from statistics import fmean, median

REPOSITORY = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(REPOSITORY))

from analysis.core import host, stats, units

PICTURE = REPOSITORY / "docs" / "scaling.svg"
SLACK = 0.1
"""How far from that of the operations an exponent may be and still be called linear: 7 % for a doubling."""
CLOCKS = {"wall": "wall time", "processor": "CPU time"}
"""Measured seconds by the value of `--clock`."""
FLAT = 1.05
"""Peak memory of the largest point over that of the middle one, up to which it is called flat."""


def say(*words: object) -> None:
    print(*words, flush=True)


@dataclass(frozen=True)
class Fit:
    """y = c x ** exponent."""

    exponent: float
    low: float
    high: float
    """Ends of the 95 % interval of the exponent."""
    factor: float


def fit(x: Sequence[float], y: Sequence[float]) -> Fit:
    """A power law through points, at least three of them, by least squares of logarithms, its interval by Student's t."""
    if len(x) < 3:
        raise ValueError("A power law with an interval takes at least three points.")
    a, b = [math.log(log_x) for log_x in x], [math.log(log_x) for log_x in y]
    mid_a, mid_b = fmean(a), fmean(b)
    spread = sum((log_x - mid_a) ** 2 for log_x in a)
    exponent = sum((log_x - mid_a) * (log_y - mid_b) for log_x, log_y in zip(a, b, strict=True)) / spread
    residual = sum((log_y - mid_b - exponent * (log_x - mid_a)) ** 2 for log_x, log_y in zip(a, b, strict=True))
    half = stats.t_quantile(len(x) - 2) * math.sqrt(residual / (len(x) - 2) / spread)
    return Fit(exponent, exponent - half, exponent + half, math.exp(mid_b - exponent * mid_a))


def verdict(over_flop: Fit) -> str:
    """Return the verdict on seconds per operation, as a power of x; "unclear" where the interval is too wide for either."""
    if over_flop.high > SLACK:
        return "SUPERLINEAR" if over_flop.low > SLACK else "unclear"
    # A fixed cost, or products that get more efficient as they get larger.
    return "linear" if over_flop.exponent >= -SLACK else "below linear"


def memory_verdict(x: Sequence[float], peaks: Sequence[float]) -> str:
    """Return whether peak memory is flat from the middle point on, in words: the work before it may not fill a batch."""
    first, last = peaks[len(peaks) // 2], peaks[-1]
    return f"{'flat' if last <= FLAT * first else 'GROWS'} ({last / first - 1:+.1%} from {x[len(x) // 2]:g} to {x[-1]:g})"


@dataclass(frozen=True)
class Point:
    """Work of one process."""

    x: float
    layers: int = 8
    hidden: int = 256
    ask: int = 0
    """Questions of ARC-Easy."""
    read: int = 0
    """Texts whose loss is measured."""
    map: int = 0
    """Texts that a distance map is made of."""
    seq_len: int = 128
    curve: int = 3
    """Layers that are removed at most, from a quarter of the depth on: n = 0..curve."""


@dataclass(frozen=True)
class Axis:
    """One thing that grows while all else stays."""

    title: str
    what: str
    points: tuple[Point, ...]
    is_flat: bool = False
    """Whether memory must not grow."""


@dataclass(frozen=True)
class Found:
    """Measurements of a process."""

    seconds: list[float]
    flop: float
    peak_bytes: int
    n_parameters: int

    @property
    def second(self) -> float:
        return median(self.seconds)


def axes(*, quick: bool) -> dict[str, Axis]:
    """All that is measured; `quick` takes a minute or two on two cores."""

    def points(x: Sequence[int], make: Callable[[int], Point]) -> tuple[Point, ...]:
        return tuple(make(one) for one in (x[:4] if quick else x))

    width, many = (128, [8, 16, 32, 64]) if quick else (256, [16, 32, 64, 128, 256])
    passes = {k: layer_passes(24, k) for k in ((0, 1, 3, 7) if quick else (0, 1, 3, 7, 15))}
    return {
        "questions": Axis(
            "questions, n = 0..3", "questions", points(many, lambda k: Point(k, hidden=width, ask=k)), is_flat=True
        ),
        "texts": Axis(
            "texts, loss, n = 0..3",
            "texts",
            points([k // 2 for k in many], lambda k: Point(k, hidden=width, read=k)),
            is_flat=True,
        ),
        "map": Axis(
            "texts of a distance map", "texts", points([k // 2 for k in many], lambda k: Point(k, hidden=width, map=k))
        ),
        "tokens": Axis(
            "tokens of a text, loss, n = 0..3",
            "tokens a text",
            points([128, 256, 512, 1024, 2048], lambda k: Point(k, hidden=width, read=4, seq_len=k)),
        ),
        "passes": Axis(
            "remaining layers of a sweep, summed",
            "layers that run",
            tuple(Point(x, layers=24, hidden=width, ask=32, curve=k) for k, x in passes.items()),
        ),
        "layers": Axis(
            "layers, loss, up to 3/8 removed",
            "layers",
            points([8, 16, 32, 64, 128], lambda k: Point(k, layers=k, hidden=width, read=4, curve=-3)),
        ),
        "map-layers": Axis(
            "layers, distance map", "layers", points([8, 16, 32, 64, 128], lambda k: Point(k, layers=k, hidden=width, map=8))
        ),
        "hidden": Axis(
            "hidden size, loss, 32 layers, n = 0..1",
            "hidden size",
            points([128, 256, 512, 1024, 2048], lambda k: Point(k, layers=32, hidden=k, read=2, seq_len=64, curve=1)),
        ),
    }


def cuts(layers: int, curve: int) -> list:
    """Nothing and blocks from a quarter of the depth on; a negative number counts eighths of the depth."""
    from analysis.core.blocks import Block

    if curve < 0:
        return [None, *(Block(layers // 2, k * layers // 8) for k in range(1, 1 - curve))]
    return [None, *(Block(layers // 4, n) for n in range(1, curve + 1))]


def layer_passes(layers: int, curve: int) -> int:
    """Layers that a curve runs: all of them once, and of each n those after the cut."""
    return layers + sum(layers - cut.stop for cut in cuts(layers, curve) if cut is not None)


def measure(point: Point, options: argparse.Namespace) -> Found:
    """In this process."""
    import torch

    from analysis.data import questions
    from analysis.data.spec import BenchmarkSpec
    from analysis.experiments.scoring import likelihood, trees
    from analysis.models.loading import machine
    from analysis.models.running import hidden_states
    from benchmarks import distance_speed, work

    model = work.random_llama(point.layers, point.hidden, dtype=options.dtype, device=options.device)
    decoder, tokenizer, removed = model.decoder, model.tokenizer, cuts(point.layers, point.curve)
    chosen = questions.load(BenchmarkSpec("arc_easy", limit=point.ask)) if point.ask else []
    tokens = iter(decoder.trial_tokens((point.read + point.map) * point.seq_len))
    texts = [[next(tokens) for _ in range(point.seq_len)] for _ in range(point.read + point.map)]
    budget = hidden_states.tokens_per_batch(decoder.device)
    groups = [[texts[index] for index in group] for group in hidden_states.batches([len(ids) for ids in texts], budget)]

    def run() -> None:
        if chosen:
            encoded = [trees.encode(question, tokenizer, None) for question in chosen]
            likelihood.option_loglikelihoods(decoder, encoded, removed, packed=True)
        if point.read:
            likelihood.text_losses(decoder, texts, removed)
        if point.map:
            distance_speed.full_map(decoder, groups)
        work.wait(options.device)

    clock = time.process_time if options.clock == "processor" else time.perf_counter
    with torch.inference_mode():
        machine.reset_peak(options.device)
        flop = work.flop_of(run)
        seconds = []
        for _ in range(options.repeats):
            started = clock()
            run()
            seconds.append(clock() - started)
    return Found(seconds, flop, machine.peak_bytes(options.device), model.n_parameters)


def measured(point: Point, options: argparse.Namespace) -> Found:
    """In a process of its own."""
    words = [sys.executable, __file__, "--point", json.dumps(dataclasses.asdict(point)), "--repeats", str(options.repeats)]
    words += ["--dtype", options.dtype, "--device", options.device, "--clock", options.clock]
    done = subprocess.run(words, capture_output=True, text=True, cwd=REPOSITORY)
    if done.returncode:
        raise SystemExit(f"The point {point} ended with {done.returncode}:\n{done.stderr[-2000:]}")
    return Found(**json.loads(done.stdout.splitlines()[-1]))


def tell(axis: Axis, results: Sequence[Found], most_flop_s: float) -> bool:
    """Print the measurements along an axis, and return whether something grows as it must not."""
    x = [point.x for point in axis.points]
    seconds, flop, peaks = ([getattr(value, name) for value in results] for name in ("second", "flop", "peak_bytes"))
    of_time, of_flop = fit(x, seconds), fit(x, flop)
    fitted = fit(x, [value / operations for value, operations in zip(seconds, flop, strict=True)])
    judgement = verdict(fitted)
    say(f"{axis.title}")
    say(f"  {axis.what:24}" + "".join(f"{value:11,g}" for value in x))
    say(f"  {'seconds':24}" + "".join(f"{value:11.3f}" for value in seconds))
    speeds = [value / operations for value, operations in zip(flop, seconds, strict=True)]
    say(f"  {'GFLOP/s':24}" + "".join(f"{speed / 1e9:11.1f}" for speed in speeds))
    say(f"  {'of the peak':24}" + "".join(f"{speed / most_flop_s:11.0%}" for speed in speeds))
    say(f"  {'parameters':24}" + "".join(f"{value.n_parameters / 1e6:9,.0f} M" for value in results))
    say(f"  {'peak memory':24}" + "".join(f"{units.size(value):>11}" for value in peaks))
    say(f"  exponent of seconds {in_words(of_time)}, of operations {of_flop.exponent:.2f}, of their ratio {in_words(fitted)}")
    memory = memory_verdict(x, peaks) if axis.is_flat else ""
    say(f"  time: {judgement}" + (f"; memory: {memory}" if memory else ""))
    return judgement == "SUPERLINEAR" or memory.startswith("GROWS")


def in_words(fitted: Fit) -> str:
    return f"{fitted.exponent:.2f} ({fitted.low:.2f} to {fitted.high:.2f})"


def drawn(rows: Sequence[tuple[Axis, Sequence[Found]]], caption: str) -> str:
    """A small picture for each axis: seconds over x, both logarithmic, with the fitted line and that of the operations."""
    wide, high, columns = 250, 190, 4
    height = 50 + high * -(-len(rows) // columns) + 20
    parts = ['<text x="20" y="24" class="title">Seconds as each axis grows (dotted: floating-point operations)</text>']
    for number, (axis, results) in enumerate(rows):
        left, top = 20 + wide * (number % columns), 50 + high * (number // columns)
        parts += _panel(axis, results, left, top)
    parts.append(f'<text x="20" y="{height - 8}" class="small">{escape(caption)}</text>')
    style = (
        "text{font:12px sans-serif;fill:#222}.title{font-size:15px}.small{font-size:11px;fill:#666}"
        ".frame{stroke:#8886;fill:none}"
        ".flop{stroke:#888;stroke-dasharray:2 4;fill:none}.line{stroke:#3a6ea5;stroke-width:1.5;fill:none}.dot{fill:#3a6ea5}"
        "@media(prefers-color-scheme:dark){text{fill:#ddd}.small{fill:#aaa}.line{stroke:#8ab4e8}.dot{fill:#8ab4e8}}"
    )
    head = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {20 + wide * columns} {height}" role="img">'
    return "\n".join([head, "<title>How time grows</title>", f"<style>{style}</style>", *parts, "</svg>\n"])


def _panel(axis: Axis, results: Sequence[Found], left: float, top: float) -> list[str]:
    size_x, size_y = 215, 110
    x, seconds = [point.x for point in axis.points], [x_value.second for x_value in results]
    of_time = fit(x, seconds)
    flop = [x_value.flop / results[0].flop * of_time.factor * x[0] ** of_time.exponent for x_value in results]
    values = [*seconds, *flop]
    low, spread = math.log(min(values)), max(math.log(max(values) / min(values)), 1e-9)

    def at(x_value: float, second: float) -> str:
        share_x = math.log(x_value / x[0]) / math.log(x[-1] / x[0])
        share_y = (math.log(second) - low) / spread
        return f"{left + size_x * (0.05 + 0.9 * share_x):.1f} {top + 30 + size_y * (0.95 - 0.9 * share_y):.1f}"

    ends = [at(x_value, of_time.factor * x_value**of_time.exponent) for x_value in (x[0], x[-1])]
    parts = [
        f'<text x="{left}" y="{top + 8}">{escape(axis.title)}</text>',
        f'<text x="{left}" y="{top + 23}" class="small">exponent {in_words(of_time)}</text>',
        f'<rect class="frame" x="{left}" y="{top + 30}" width="{size_x}" height="{size_y}"/>',
        f'<path class="flop" d="M{"L".join(at(*pair) for pair in zip(x, flop, strict=True))}"/>',
        f'<path class="line" d="M{"L".join(ends)}"/>',
    ]
    for x_value, second in zip(x, seconds, strict=True):
        a, b = at(x_value, second).split()
        parts.append(f'<circle class="dot" cx="{a}" cy="{b}" r="3"/>')
    below = f"{x[0]:g} to {x[-1]:g} {axis.what}; {seconds[0]:.2g} to {seconds[-1]:.2g} s"
    parts.append(f'<text x="{left}" y="{top + 30 + size_y + 14}" class="small">{escape(below)}</text>')
    return parts


def main() -> int:
    parser = argparse.ArgumentParser(description="How time and memory grow.")
    names = list(axes(quick=False))
    parser.add_argument("axes", nargs="*", help=f"{', '.join(names)} (default: all)")
    parser.add_argument("--dtype", choices=("float32", "bfloat16"), default="float32")
    parser.add_argument("--device", default="cpu", help="cpu, or cuda")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--clock", choices=tuple(CLOCKS), default="wall", help="which seconds are measured")
    parser.add_argument("--quick", action="store_true", help="fewer and smaller points")
    parser.add_argument("--no-draw", dest="draw", action="store_false", help="leave the picture as it is")
    parser.add_argument("--point", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.device != "cpu" and options.clock == "processor":
        parser.error("CPU seconds say nothing about a GPU: leave --clock out")
    if options.point:
        say(json.dumps(dataclasses.asdict(measure(Point(**json.loads(options.point)), options))))
        return 0
    if unknown := set(options.axes) - set(names):
        parser.error(f"no axis {', '.join(unknown)}: choose from {', '.join(names)}")
    chosen = {name: axis for name, axis in axes(quick=options.quick).items() if name in (options.axes or names)}
    from benchmarks.work import here  # brings torch, which a refused command need not wait for

    load, this_machine = host.load(), here(options.dtype, options.device)
    description = (
        f"{host.processor()}, {options.dtype} on {options.device}, seconds of {CLOCKS[options.clock]}, load {load.average:.2f}"
    )
    say(f"{description} on {load.cores} cores, each point in a process of its own, median of {options.repeats}")
    rows, faults = [], []
    for axis in chosen.values():
        results = [measured(point, options) for point in axis.points]
        rows.append((axis, results))
        faults.append(tell(axis, results, this_machine.most_flop_s))
    say(f"load at the end {host.load().average:.2f}")
    if options.draw and len(chosen) == len(names):
        PICTURE.write_text(drawn(rows, f"{description}. Intervals 95 %."))
    return int(any(faults))


if __name__ == "__main__":
    sys.exit(main())
