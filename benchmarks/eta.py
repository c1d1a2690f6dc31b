"""`make bench-eta`: the error of a job's time left at a quarter of its way, on a quiet machine and a busy one.

    python benchmarks/eta.py                    every kind, quiet and busy
    python benchmarks/eta.py sweep --busy no    one kind
    python benchmarks/eta.py --scale 0.3        a third of the work, for a look

Each job runs in this process, in an empty cache, and its reports take the way of a worker's reports. The judged number is the
one that pages show, `Job.eta_s`, which is that of the present phase. The judged phase is the longest one of each kind.

Quiet: the time left reported at 25 % of the phase, against the actual time that was left. Busy: at 25 % of the phase a process
that wants the same core for itself begins, and stays until the end. Nobody can foresee that, so reports before it are not
judged. Judged is the report at 50 %, when as much again is done under the load, against the actual time left then.
"""

import argparse
import os
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from benchmarks.work import busy_program, fresh_cache, here, say, take_dtype

TARGET = 0.2
KINDS = ("sweep", "map", "damage", "heal")
PHASES = {
    "sweep": ("scoring questions", "measuring the loss on text"),
    "map": ("reading the residual stream",),
    "damage": ("measuring the loss without each block",),
    "heal": ("healing",),
}


def request(kind: str, scale: float, dtype: str) -> Any:
    from analysis.core.blocks import Block
    from analysis.data.spec import BenchmarkSpec, CorpusSpec
    from analysis.experiments.accuracy.sweep_spec import SweepSpec
    from analysis.experiments.heal.heal_spec import HealSpec
    from analysis.experiments.maps.damage_spec import DamageSpec
    from analysis.experiments.maps.distance_spec import DistanceSpec
    from analysis.models.source.model_spec import ModelSpec

    def n(number: float) -> int:
        return max(2, round(scale * number))

    model = ModelSpec(dtype=dtype, device="cpu")
    if kind == "sweep":
        texts = CorpusSpec(n_texts=n(32), seq_len=256)
        return SweepSpec(
            model, benchmark=BenchmarkSpec("arc_easy", limit=n(120)), loss_corpus=texts, max_n=6, strategy="deepest"
        )
    if kind == "map":
        return DistanceSpec(model, corpus=CorpusSpec(n_texts=n(96), seq_len=256))
    if kind == "damage":
        small = DistanceSpec(model, corpus=CorpusSpec(n_texts=2, seq_len=32))
        return DamageSpec(model, corpus=CorpusSpec(n_texts=n(48), seq_len=64), max_size=2, distances=small)
    return HealSpec(
        block=Block(20, 5),
        model=model,
        corpus=CorpusSpec("c4", 400, 64, "train"),
        benchmark=None,
        validation=CorpusSpec("c4", n_texts=4, seq_len=64),
        steps=n(60),
        batch_size=4,
        eval_every=n(10),
        warmup_steps=2,
    )


@dataclass
class Told:
    """Reports of a job on its way."""

    of: tuple[str, ...]
    busy: bool
    looks: list[tuple[float, float, float | None]] = field(default_factory=list)
    """When, the share of the phase that was done, and the seconds left that were told."""
    loader: subprocess.Popen | None = None
    work: str = ""
    """Its computation, in words."""

    def look(self, job_id: str, progress: Any) -> None:
        from analysis import jobs

        if progress.phase not in self.of or not progress.total:
            return
        share = progress.done / progress.total
        job = jobs.get(job_id)
        self.looks.append((time.monotonic(), share, job.eta_s))
        self.work = "" if job.work is None else job.work.in_words()
        if self.busy and share >= 0.25 and self.loader is None:
            self.loader = busy_program()

    def error(self, reached: float) -> tuple[float, float] | None:
        """Return the time left that was reported at a share of the phase, and the actual one."""
        ended = next((when for when, share, _ in self.looks if share >= 1), self.looks[-1][0])
        when, _, left_s = next(look for look in self.looks if look[1] >= reached)
        return None if left_s is None else (left_s, ended - when)


def run(kind: str, *, busy: bool, scale: float, dtype: str) -> Told:
    from analysis import jobs
    from analysis.core.experiment import EXPERIMENTS
    from analysis.core.meter import Meter
    from analysis.jobs.queue import attempt, table
    from analysis.jobs.queue.processes import Process

    fresh_cache()
    job = jobs.submit(request(kind, scale, dtype))
    claimed = table.claim(Process.current())
    assert claimed is not None
    attempt_run, estimates = attempt.Run(claimed, Meter()), Told(PHASES[kind], busy)

    def on_progress(progress: Any) -> None:
        attempt_run.on_progress(progress)
        estimates.look(job.id, progress)

    try:
        from analysis.models.loading import load

        EXPERIMENTS[claimed.kind].runner()(claimed.spec, on_progress, load=load.Loader())
    finally:
        if estimates.loader is not None:
            estimates.loader.kill()
            estimates.loader.wait()
    return estimates


def main() -> None:
    parser = argparse.ArgumentParser(description="The error of the time left.")
    parser.add_argument("kinds", nargs="*", help=f"{', '.join(KINDS)} (default: all)")
    parser.add_argument("--busy", choices=("yes", "no", "both"), default="both")
    parser.add_argument("--scale", type=float, default=1.0, help="so many times the usual work")
    take_dtype(parser, default="float32")
    options = parser.parse_args()
    if unknown := set(options.kinds) - set(KINDS):
        parser.error(f"no kind {', '.join(unknown)}: choose from {', '.join(KINDS)}")
    dtype = here(options.dtype, "cpu").dtype
    say(f"{'kind':8} {'machine':8} {'phase':>8} {'told at':>8} {'told':>8} {'left':>8} {'error':>8}   load average")
    for kind in options.kinds or KINDS:
        for busy in {"yes": (True,), "no": (False,), "both": (False, True)}[options.busy]:
            estimates = run(kind, busy=busy, scale=options.scale, dtype=dtype)
            took = estimates.looks[-1][0] - estimates.looks[0][0]
            for share in (0.5,) if busy else (0.25, 0.5, 0.75):
                seconds = estimates.error(share)
                is_judged = share == (0.5 if busy else 0.25)
                name = f"{kind:8} {'busy' if busy else 'quiet':8} {took:6.0f} s {share:8.0%}"
                if seconds is None:
                    say(f"{name} {'nothing':>8}")
                    continue
                error = seconds[0] / seconds[1] - 1
                verdict = ("met" if abs(error) <= TARGET else "MISSED") if is_judged else ""
                say(f"{name} {seconds[0]:6.0f} s {seconds[1]:6.0f} s {error:+8.0%}   {os.getloadavg()[0]:.1f} {verdict}")
            say(f"{'':17} {estimates.work}")


if __name__ == "__main__":
    main()
