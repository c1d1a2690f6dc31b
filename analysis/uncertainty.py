"""How sure a measurement is: intervals, paired tests, resamples, rank correlation, and the words for what they say."""

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np

from analysis.results import Answer, Lines, Point

CONFIDENCE = 0.95
"""Level of every interval and test that is shown."""


def wilson_interval(n_right: int, n: int, confidence: float = CONFIDENCE) -> tuple[float, float]:
    """Wilson score interval of a share.

    Unlike accuracy ± 1.96 standard errors it stays inside [0, 1] and is honest for few questions and for shares near 0 or 1.

    Args:
        n_right: right answers.
        n: questions; at least 1.
        confidence: level, in (0, 1).

    Returns:
        Lower and upper end, in [0, 1].

    Source: Wilson, J. Am. Stat. Assoc. 22 (1927) 209.
    """
    z = NormalDist().inv_cdf(0.5 + confidence / 2)
    share, spread = n_right / n, z * z / n
    centre = (share + spread / 2) / (1 + spread)
    half = z * math.sqrt(share * (1 - share) / n + spread / (4 * n)) / (1 + spread)
    return max(0.0, centre - half), min(1.0, centre + half)


@dataclass(frozen=True)
class PairedComparison:
    """Two models on the same questions."""

    difference: float
    """Accuracy of the second minus accuracy of the first."""
    low: float
    """Lower end of the paired bootstrap interval of the difference."""
    high: float
    """Upper end."""
    gained: int
    """Questions that only the second got right."""
    lost: int
    """Questions that only the first got right."""
    p_value: float
    """Exact McNemar test, two-sided: how often a difference this uneven would come about if both were equally good."""
    n: int
    """Questions."""

    @property
    def is_settled(self) -> bool:
        """Whether the interval excludes zero."""
        return self.low > 0 or self.high < 0


def compare(first: Sequence[Answer], second: Sequence[Answer], *, seed: int = 0, n_resamples: int = 2000) -> PairedComparison:
    """Compare two models question by question.

    Args:
        first: answers of the reference, usually the unpruned model.
        second: answers of the other; only questions that both answered count.
        seed: of the bootstrap.
        n_resamples: resamples of the questions.

    Raises:
        ValueError: when they share no question.
    """
    right = {answer.id: answer.prediction == answer.gold for answer in first}
    pairs = [(right[answer.id], answer.prediction == answer.gold) for answer in second if answer.id in right]
    if not pairs:
        raise ValueError("The two have no question in common.")
    gained = sum(not before and after for before, after in pairs)
    lost = sum(before and not after for before, after in pairs)
    low, high = _bootstrap(gained, lost, len(pairs), seed, n_resamples)
    return PairedComparison((gained - lost) / len(pairs), low, high, gained, lost, mcnemar_p(gained, lost), len(pairs))


def compare_losses(
    first: Sequence[float], second: Sequence[float], *, seed: int = 0, n_resamples: int = 2000
) -> tuple[float, float, float]:
    """Mean difference of two models' losses on the same texts, with its paired bootstrap interval.

    Args:
        first: loss per text of the reference.
        second: of the other, the same texts in the same order.
        seed, n_resamples: of the bootstrap over texts.

    Returns:
        Mean of second minus first, lower and upper end of the interval, nats per token.

    Raises:
        ValueError: when they are not on the same number of texts, or there are none.
    """
    differences = np.array(second) - np.array(first)
    if not len(differences):
        raise ValueError("There is no text to compare on.")
    draws = np.random.default_rng(seed).integers(len(differences), size=(n_resamples, len(differences)))
    low, high = np.quantile(differences[draws].mean(1), [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2])
    return float(differences.mean()), float(low), float(high)


def mcnemar_p(gained: int, lost: int) -> float:
    """Two-sided exact McNemar test: under no difference each discordant question is a fair coin.

    Source: McNemar, Psychometrika 12 (1947) 153, in its exact binomial form.
    """
    n = gained + lost
    tail = sum(math.comb(n, k) for k in range(min(gained, lost) + 1)) / 2**n
    return min(1.0, 2 * tail)


def _bootstrap(gained: int, lost: int, n: int, seed: int, n_resamples: int) -> tuple[float, float]:
    """Percentile interval of the mean of n values of which `gained` are +1, `lost` are -1, the rest 0."""
    # Resampling n questions with replacement draws these three counts from a multinomial.
    counts = np.random.default_rng(seed).multinomial(n, [gained / n, lost / n, (n - gained - lost) / n], size=n_resamples)
    low, high = np.quantile((counts[:, 0] - counts[:, 1]) / n, [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2])
    return float(low), float(high)


def bootstrap_wins(rows: Sequence[np.ndarray], *, seed: int = 0, n_resamples: int = 1000) -> list[list[float]]:
    """How often each candidate would come out best, were the texts drawn again.

    Args:
        rows: one array (n_texts, n_candidates) per contest, all of the same texts; the lowest mean over texts wins.
        seed: of the resamples; every contest sees the same ones.
        n_resamples: how many times as many texts are drawn with replacement.

    Returns:
        Per contest, the share of resamples that each candidate wins, in [0, 1], 1 in all; ties go to the last candidate, as
        in `selection.best_blocks`.

    Source: Efron, Ann. Stat. 7 (1979) 1.
    """
    n_texts = len(rows[0])
    # Drawing n texts with replacement counts how often each was drawn: a multinomial, and the means are one product.
    weights = np.random.default_rng(seed).multinomial(n_texts, np.full(n_texts, 1 / n_texts), size=n_resamples).astype(float)
    wins = []
    for values in rows:
        n_candidates = values.shape[1]
        winners = n_candidates - 1 - np.argmin((weights @ values)[:, ::-1], axis=1)
        wins.append((np.bincount(winners, minlength=n_candidates) / n_resamples).tolist())
    return wins


def spearman(a: Sequence[float], b: Sequence[float]) -> float | None:
    """Spearman's rank correlation: Pearson's correlation of the ranks, equal values sharing the mean of theirs.

    Args:
        a: finite values.
        b: as many.

    Returns:
        rho in [-1, 1]; None with fewer than three pairs, or where all values of one side are equal.

    Source: Spearman, Am. J. Psychol. 15 (1904) 72.
    """
    if len(a) < 3:
        return None
    x, y = (_ranks(values) - (len(a) + 1) / 2 for values in (a, b))
    spread = math.sqrt(float(x @ x) * float(y @ y))
    return min(1.0, max(-1.0, float(x @ y) / spread)) if spread > 0 else None


def _ranks(values: Sequence[float]) -> np.ndarray:
    """1-based ranks; equal values share the mean of the ranks they take up."""
    _, which, counts = np.unique(np.asarray(values), return_inverse=True, return_counts=True)
    ranks: np.ndarray = (np.cumsum(counts) - (counts - 1) / 2)[which]
    return ranks


def is_above(point: Point, level: float) -> bool:
    """Whether an accuracy can be told from a level below it, such as chance."""
    if point.acc is None or point.n_samples == 0:
        return False
    return wilson_interval(round(point.acc * point.n_samples), point.n_samples)[0] > level


def knee(points: Sequence[Point], lines: Lines) -> int | None:
    """The cliff of a curve: the first n from which on accuracy stays below the midpoint of unpruned and chance.

    "Stays" makes one unlucky block in the middle of a plateau no cliff.

    Args:
        points: n = 0 first.
        lines: for the chance level.

    Returns:
        n, or None when the curve has no cliff or never was above chance.

    Source: Gromov et al., arXiv:2403.17887, section 4: a plateau, then a sharp fall.
    """
    scored = [point for point in points if point.acc is not None]
    if not scored or not is_above(scored[0], lines.chance):
        return None
    midpoint = ((scored[0].acc or 0.0) + lines.chance) / 2
    below = [(point.acc or 0.0) < midpoint for point in scored]
    for index in range(1, len(scored)):
        if all(below[index:]):
            return scored[index].n
    return None


def favourite_option(answers: Sequence[Answer]) -> tuple[int, float] | None:
    """The option position that is given most often, and for which share of the questions; None with fewer than ten."""
    if len(answers) < 10:
        return None
    option, count = Counter(answer.prediction for answer in answers).most_common(1)[0]
    return option, count / len(answers)


def collapsed_option(answers: Sequence[Answer], threshold: float = 0.9) -> tuple[int, float] | None:
    """Whether one option position is given nearly always, as collapsed models do.

    Args:
        answers: of one model.
        threshold: share of answers from which on it is called a collapse.

    Returns:
        The option's index and its share, or None. With few questions, or where one option really is right that often, None.
    """
    favourite = favourite_option(answers)
    if favourite is None:
        return None
    option, share = favourite
    right = sum(answer.gold == option for answer in answers) / len(answers)
    return (option, share) if share >= threshold and right < threshold else None


def remarks(points: Sequence[Point], lines: Lines | None, answers: Sequence[Sequence[Answer]] = ()) -> list[str]:
    """What a careful reader would say of a curve, in sentences.

    Args:
        points: n = 0 first.
        lines: chance and majority; None when no question was asked.
        answers: per point, where they are kept.
    """
    if lines is None or not points or points[0].acc is None:
        return []
    said = []
    if not is_above(points[0], lines.chance):
        said.append(
            f"The unpruned model cannot be told from chance on these {points[0].n_samples} questions ({points[0].acc:.0%} "
            f"against {lines.chance:.0%}), so this curve says nothing about what pruning costs."
        )
    elif lines.majority > lines.chance and not is_above(points[0], lines.majority):
        said.append(
            f"The unpruned model is not above always giving the most frequent answer ({points[0].acc:.0%} against "
            f"{lines.majority:.0%})."
        )
    fall = knee(points, lines)
    if fall is not None:
        said.append(f"From n = {fall} on accuracy stays below the midpoint of unpruned and chance: the cliff of this model.")
    collapsed = [(point.n, found) for point, given in zip(points, answers, strict=False) if (found := collapsed_option(given))]
    if collapsed:
        n, (option, share) = collapsed[0]
        others = f", and so do {len(collapsed) - 1} further cuts" if len(collapsed) > 1 else ""
        said.append(
            f"At n = {n} the model gives option {option + 1} for {share:.0%} of the questions{others}: it has collapsed."
        )
    return said
