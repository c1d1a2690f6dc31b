"""Blocks that the measured texts cannot tell from the most similar one of their size."""

from collections.abc import Sequence

import numpy as np

from analysis.results import DistanceResult
from analysis.specs import METRICS

WIN_SHARE = 0.16
"""Share of resamples that a block one standard error behind the best would win against it: the lower tail of a normal at -1."""


def within_one_error(per_text: np.ndarray) -> list[int]:
    """Starts whose mean distance is at most one standard error above the lowest, paired over texts.

    Args:
        per_text: distance of every block of one size on every text, (n_texts, n_starts), any range.

    Returns:
        Starts in ascending order without the best one; empty with a single text, which has no error. The error is that of the
        difference to the best block, text by text: texts that are hard for one block are mostly hard for its neighbour too.
    """
    if len(per_text) < 2:
        return []
    mean = per_text.mean(0)
    best = _lowest(mean.tolist())
    differences = per_text - per_text[:, [best]]
    errors = differences.std(0, ddof=1) / np.sqrt(len(per_text))
    close = np.flatnonzero(differences.mean(0) <= errors)
    return [int(start) for start in close if start != best]


def of_map(result: DistanceResult, metric: str, per_text: np.ndarray | None = None) -> list[list[int]]:
    """The rivals of the most similar block of every size.

    Args:
        result: the map.
        metric: which of its metrics.
        per_text: `DistanceResult.text_distances`, if it is kept.

    Returns:
        Row n-1 holds the starts for n = 1..L. Paired over texts where every text's distances are kept; else blocks that win
        in at least `WIN_SHARE` of the bootstrap's resamples, which are paired too but count a win only against all blocks at
        once; else by the standard error of the best block. Rows are empty for another metric of which only means are kept.
    """
    if per_text is not None and metric in METRICS:
        chosen = per_text[:, METRICS.index(metric)]
        return [within_one_error(np.diagonal(chosen, offset=n, axis1=1, axis2=2)) for n in range(1, chosen.shape[-1])]
    if metric != result.spec.metric:
        return [[] for _ in result.mean]
    found = []
    for row, (mean, stderr) in enumerate(zip(result.mean, result.stderr, strict=True)):
        best = _lowest(mean)
        if result.wins:
            close = [start for start, share in enumerate(result.wins[row]) if share >= WIN_SHARE]
        else:
            close = [start for start, value in enumerate(mean) if value <= mean[best] + stderr[best]]
        found.append([start for start in close if start != best])
    return found


def _lowest(mean: Sequence[float]) -> int:
    """Ties go to the deeper start, as in `selection.best_blocks`."""
    return min(range(len(mean)), key=lambda start: (mean[start], -start))
