"""What the command line shows: progress bars, tables for people, JSON for programs."""

import argparse
import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from analysis.core.blocks import Block
from analysis.core.progress import Progress


class Bar:
    """Progress on a terminal, one bar per phase; sentences only where there is no terminal."""

    def __init__(self) -> None:
        """Start without a bar."""
        self._phase = ""
        self._bar: Any = None

    def __call__(self, progress: Progress) -> None:
        """Show one report."""
        from tqdm import tqdm

        if progress.phase != self._phase:
            self.close()
            self._phase = progress.phase
            if progress.total and sys.stderr.isatty():
                self._bar = tqdm(desc=progress.phase, total=progress.total, file=sys.stderr, leave=False)
        if progress.message:
            tqdm.write(progress.message, file=sys.stderr)
        if self._bar is not None:
            self._bar.total = progress.total
            self._bar.update(progress.done - self._bar.n)

    def close(self) -> None:
        """Take the bar away."""
        if self._bar is not None:
            self._bar.close()
        self._bar = None


def run(experiment: Callable[..., Any], spec: Any) -> Any:
    """What an experiment answers to a spec, with its progress shown."""
    bar = Bar()
    try:
        return experiment(spec, bar)
    finally:
        bar.close()


def write(options: argparse.Namespace, data: dict[str, Any], lines: Sequence[str]) -> None:
    """Print lines for people, or JSON where `--json` asks for it."""
    if options.json != "-":
        sys.stdout.write("\n".join(lines) + "\n")
    if options.json is None:
        return
    content = json.dumps(data, indent=1)
    if options.json == "-":
        sys.stdout.write(content + "\n")
    else:
        from analysis.core import store

        store.write_atomic(Path(options.json), content.encode())


def point_lines(result: Any, points: Sequence[Any]) -> list[str]:
    """Points of a curve as a table, the levels they are read against, and what is worth saying about them."""
    lines = ["  n    acc ± se        loss ± se       removed"]
    for point in points:
        accuracy = "      -      " if point.acc is None else f"{point.acc:.3f} ± {point.acc_stderr:.3f}"
        loss = "      -      " if point.loss is None else f"{point.loss:.3f} ± {point.loss_stderr:.3f}"
        removed = "nothing" if point.block is None else point.block.describe()
        lines.append(f"{point.n:3}  {accuracy}  {loss}   {removed}")
    if result.lines is not None:
        lines.append(
            f"chance {result.lines.chance:.3f}, always the most frequent answer {result.lines.majority:.3f}, "
            f"{points[0].n_samples} questions"
        )
        macro = [f"n={point.n} {point.acc_macro:.3f}" for point in points if point.acc_macro is not None]
        lines += [f"mean over subjects: {', '.join(macro)}"] if macro else []
        lines += _writing_lines(points)
        lines += [f"not asked, {skipped}" for skipped in getattr(result, "skipped_rows", [])]
    return lines


def _writing_lines(points: Sequence[Any]) -> list[str]:
    written = [point for point in points if point.repetition_rate is not None]
    return ["  n  repeated  distinct  tokens  sums right"] * bool(written) + [
        f"{point.n:3}  {point.repetition_rate:8.1%}  {point.distinct_rate:8.1%}  {point.generated_tokens:6.1f}  "
        f"{point.sum_acc:.1%}"
        for point in written
    ]


def damage_lines(result: Any, similar: Sequence[Any]) -> list[str]:
    """The least damaging block of every size beside the most similar one, and how alike damage and distance rank blocks.

    Args:
        result: a `DamageResult`.
        similar: `best` of the distance map that it was compared with.
    """

    def correlation(value: float | None) -> str:
        return "  -  " if value is None else f"{value:5.2f}"

    def cost(n: int, start: int) -> str:
        increase, stderr = result.increase[n - 1][start], result.stderr[n - 1][start]
        measured = "not finite" if increase is None else f"{increase:6.3f}"
        return measured if stderr is None else f"{measured} ± {stderr:5.3f}"

    starts = {entry.n: entry.start for entry in similar}
    metric = result.spec.distances.metric
    lines = [
        f"{result.model.name}: unpruned loss {result.unpruned_loss:.3f} nats per token on {result.n_texts} texts; without a "
        f"block it rises by",
        "  n    rho  least damage    least damaging block                     similar is      most similar block",
    ]
    for entry in result.best:
        most_similar = Block(starts[entry.n], entry.n)
        lines.append(
            f"{entry.n:3}  {correlation(result.rank_correlation_by_size[entry.n - 1])}  {cost(entry.n, entry.start):15} "
            f"{entry.block.describe():40} {cost(entry.n, most_similar.start):15} {most_similar.describe()}"
        )
    return [
        *lines,
        f"rho is Spearman's rank correlation of {metric} distance and damage over the blocks of a size; over all blocks "
        f"{correlation(result.rank_correlation).strip()}",
    ]


def speed_lines(result: Any) -> list[str]:
    """Medians with quartiles for every n, and the straight lines through them.

    Args:
        result: a `SpeedResult`.
    """
    spec = result.spec
    lines = [
        f"{result.model.name}: {spec.prompt_tokens} prompt tokens, {spec.new_tokens} new ones, {result.rounds} rounds over all "
        f"n, {spec.model.dtype} on {spec.model.device}, peak memory {result.peak_bytes / 1e9:.2f} GB",
        "  n   reading the prompt, ms (quartiles)   tokens/s   writing a token, ms (quartiles)   tokens/s   removed",
    ]
    for point in result.points:
        cells = [
            f"{_quartiles(timing):34} {result.tokens_per_s(field, timing.median_s):8.1f}"
            for field, timing in (("prefill", point.prefill), ("decode", point.decode))
        ]
        lines.append("   ".join([f"{point.n:3}", *cells, "nothing" if point.block is None else point.block.describe()]))
    for what, line in (("reading", result.prefill), ("writing", result.decode)):
        if line is not None:
            error = "" if line.slope_stderr_s is None else f" ± {1e3 * line.slope_stderr_s:.3f}"
            fits = "" if line.r_squared is None else f", R² {line.r_squared:.3f}"
            lines.append(
                f"{what}: {1e3 * line.intercept_s:.2f} ms {1e3 * line.slope_s:+.3f}{error} ms per layer left{fits}; "
                f"{line.fixed_share:.0%} of the unpruned model's time shrinks with no cut"
            )
    return lines


def _quartiles(timing: Any) -> str:
    return f"{1e3 * timing.median_s:9.2f} ({1e3 * timing.low_s:.2f} to {1e3 * timing.high_s:.2f})"
