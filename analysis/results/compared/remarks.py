"""Remarks on measured numbers: collapsed answers, an unpruned model at chance, blocks that texts do
not distinguish.
"""

from collections import Counter
from collections.abc import Mapping, Sequence

import numpy as np

from analysis.core import stats
from analysis.experiments.accuracy.pairs import is_above
from analysis.experiments.accuracy.points import Lines, Point, QuestionScore
from analysis.experiments.maps.distance_spec import DistanceResult


def favourite_option(answers: Sequence[QuestionScore]) -> tuple[int, float] | None:
    """Return the most frequent option and its share of the answers; None with fewer than ten."""
    if len(answers) < 10:
        return None
    option, count = Counter(answer.prediction for answer in answers).most_common(1)[0]
    return option, count / len(answers)


def collapsed_option(
    answers: Sequence[QuestionScore], threshold: float = 0.9
) -> tuple[int, float] | None:
    """Return the option that a collapsed model gives nearly always, with its share; None without
    one.

    Args:
        answers: of one model.
        threshold: minimum share of answers of a collapse.

    Returns:
        The option's index and its share. None with fewer than ten questions, or if the option is
        right that often.
    """
    favourite = favourite_option(answers)
    if favourite is None:
        return None
    option, share = favourite
    right = sum(answer.gold == option for answer in answers) / len(answers)
    return (option, share) if share >= threshold and right < threshold else None


def remarks(
    points: Sequence[Point], lines: Lines | None, answers: Sequence[Sequence[QuestionScore]] = ()
) -> list[str]:
    """Return remarks on a curve, in sentences.

    Args:
        points: n = 0 first.
        lines: chance and majority; None when no question was asked.
        answers: per point, if they are kept.
    """
    if lines is None or not points or points[0].acc is None:
        return []
    sentences = []
    if not is_above(points[0], lines.chance):
        sentences.append(
            "The unpruned model's accuracy is not significantly above chance on these"
            f" {points[0].n_samples} questions ({points[0].acc:.0%} against {lines.chance:.0%}), so"
            " this curve cannot show the cost of pruning."
        )
    elif lines.majority > lines.chance and not is_above(points[0], lines.majority):
        sentences.append(
            "The unpruned model is not significantly above always giving the most frequent answer "
            f"({points[0].acc:.0%} against {lines.majority:.0%}), so this curve has no cliff."
        )
    collapsed = [
        (point.n, favourite)
        for point, scores in zip(points, answers, strict=False)
        if (favourite := collapsed_option(scores))
    ]
    if collapsed:
        n, (option, share) = collapsed[0]
        others = f", and so do {len(collapsed) - 1} further models" if len(collapsed) > 1 else ""
        sentences.append(
            f"At n = {n} the model gives option {option + 1} for {share:.0%} of the"
            f" questions{others}: it has collapsed."
        )
    return sentences


WIN_SHARE = (1 - stats.CONFIDENCE) / 2
"""Share of bootstrap resamples from which a block counts as tied with the best: the lower tail
outside of 95 %."""


def tied_starts(per_text: np.ndarray) -> list[int]:
    """Return the starts statistically tied with the lowest mean distance: the 95 % interval of the
    difference has zero.

    Args:
        per_text: distance of every block of one size on every text, (n_texts, n_starts), any range.

    Returns:
        Starts in ascending order without the best one; empty with a single text, which has no
        interval. The interval is that of the paired difference from the best block.
    """
    if len(per_text) < 2:
        return []
    best = _lowest(per_text.mean(0).tolist())
    differences = per_text - per_text[:, [best]]
    halves = (
        stats.t_quantile(len(per_text) - 1) * differences.std(0, ddof=1) / np.sqrt(len(per_text))
    )
    close = np.flatnonzero(differences.mean(0) <= halves)
    return [int(start) for start in close if start != best]


def of_map(
    result: DistanceResult, metric: str, per_text: Mapping[str, np.ndarray] | None = None
) -> list[list[int]]:
    """Return the blocks that are statistically tied with the most similar one, for every size.

    Args:
        result: the map.
        metric: which of its metrics.
        per_text: `DistanceResult.text_distances`, if it is kept.

    Returns:
        Row n-1 holds the starts for n = 1..L. If distances of every text are kept, they are paired
        over texts. Else they are the blocks that win in at least `WIN_SHARE` of the bootstrap's
        resamples. These are paired too, but count a win only against all blocks at once. Without
        resamples the errors of both count as if independent. Rows are empty for another metric
        whose means alone are kept.
    """
    if per_text is not None and metric in per_text:
        chosen = per_text[metric]
        return [
            tied_starts(np.diagonal(chosen, offset=n, axis1=1, axis2=2))
            for n in range(1, chosen.shape[-1])
        ]
    if metric != result.spec.metric:
        return [[] for _ in result.mean]
    lines = []
    for row, (mean, stderr) in enumerate(zip(result.mean, result.stderr, strict=True)):
        best = _lowest(mean)
        if result.wins:
            close = [start for start, share in enumerate(result.wins[row]) if share >= WIN_SHARE]
        else:
            lows = (
                stats.independent(mean[start], stderr[start], mean[best], stderr[best])[0]
                for start in range(len(mean))
            )
            close = [start for start, low in enumerate(lows) if low is None or low <= 0]
        lines.append([start for start in close if start != best])
    return lines


def _lowest(mean: Sequence[float]) -> int:
    """Return the start of the lowest mean; ties go to the deeper start, as in
    `distance_spec.best_blocks`.
    """
    return min(range(len(mean)), key=lambda start: (mean[start], -start))
