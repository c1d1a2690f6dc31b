"""How often the 95 % interval of a loss difference contains the true difference.

    python benchmarks/interval_coverage.py               the simulated table, under a minute
    python benchmarks/interval_coverage.py --stored      how uneven the committed losses are

Draws losses of texts from distributions with longer and longer tails, for texts of one length and
of lengths from 16 to 2,048 tokens, and counts the intervals that contain the true difference. The
draws are seeded, so that the table is the same on every machine.
"""

import argparse
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from analysis.core import stats, store
from analysis.experiments.accuracy.sweep_spec import SweepResult
from benchmarks import work

N_TEXTS = (4, 8, 16, 32)
LENGTHS = {"one length": (256, 256), "16 to 2,048 tokens": (16, 2048)}
SHAPES = {"normal": 0.0, "lognormal, 0.5": 0.5, "lognormal, 1": 1.0}
"""Standard deviation of the logarithm; 0 for a normal distribution."""
TRUE_CHANGE = 0.4
DEVIATION = 0.2
"""Mean and standard deviation of the differences, in nats per token."""


def standard(draw: np.random.Generator, shape: float, size: tuple[int, int]) -> np.ndarray:
    """Return draws of mean 0 and variance 1."""
    if shape == 0.0:
        return draw.normal(size=size)
    variance = shape**2
    mean = np.exp(variance / 2)
    deviation = mean * np.sqrt(np.exp(variance) - 1)
    return (draw.lognormal(0.0, shape, size=size) - mean) / deviation


def coverage(shape: float, lengths: tuple[int, int], n: int, n_draws: int) -> float:
    """Return the share of intervals of `n` texts that contain the true difference."""
    draw = np.random.default_rng(0)
    changes = TRUE_CHANGE + DEVIATION * standard(draw, shape, (n_draws, n))
    low, high = np.log(lengths)
    tokens = np.exp(draw.uniform(low, high, size=(n_draws, n))).round()
    n_hits = 0
    for change, sizes in zip(changes, tokens, strict=True):
        _, low_end, high_end = stats.compare_losses([0.0] * n, change.tolist(), sizes.tolist())
        if low_end is not None and high_end is not None:
            n_hits += low_end <= TRUE_CHANGE <= high_end
    return n_hits / n_draws


def table(n_draws: int) -> None:
    """Print the coverage for each distribution, lengths and number of texts."""
    work.say(f"Share of {n_draws:,} intervals that contain the true difference, by number of texts")
    work.say("")
    heads = " | ".join(f"{n} texts" for n in N_TEXTS)
    work.say(f"| differences | lengths of texts | {heads} |")
    work.say("|---|---|" + "---:|" * len(N_TEXTS))
    for lengths_title, lengths in LENGTHS.items():
        for shape_title, shape in SHAPES.items():
            shares = [coverage(shape, lengths, n, n_draws) for n in N_TEXTS]
            cells = " | ".join(f"{100 * share:.1f} %" for share in shares)
            work.say(f"| {shape_title} | {lengths_title} | {cells} |")


def stored_skewness() -> Iterator[float]:
    """Yield the skewness over texts of each committed loss difference to the unpruned model."""
    for folder in sorted((store.precomputed_dir() / "sweep").iterdir()):
        stored = store.read(folder, precomputed=True)
        if stored is None:
            continue
        losses = SweepResult.read(stored).text_losses
        for pruned in filter(None, losses[1:]):
            differences = np.subtract(pruned, losses[0])
            deviations = differences - differences.mean()
            if deviations.any():
                yield float((deviations**3).mean() / (deviations**2).mean() ** 1.5)


def main() -> None:
    """Print the table, or the skewness of the committed results."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--stored", action="store_true", help="measure the committed results")
    parser.add_argument("--draws", type=int, default=8000, help="intervals of each cell")
    options = parser.parse_args()
    if not options.stored:
        table(options.draws)
        return
    values = np.abs(list(stored_skewness()))
    low, middle, high = np.quantile(values, (0.1, 0.5, 0.9))
    work.say(
        f"Skewness over texts of {len(values)} committed loss differences: 10 % quantile {low:.1f},"
        f" median {middle:.1f}, 90 % quantile {high:.1f}"
    )


if __name__ == "__main__":
    main()
