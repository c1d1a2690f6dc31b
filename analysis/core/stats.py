"""How sure a number is: intervals and paired tests over questions or texts."""

import math
from collections.abc import Sequence
from functools import lru_cache
from math import sqrt
from statistics import NormalDist, fmean, stdev

import numpy as np


def mean_and_stderr(values: Sequence[float]) -> tuple[float, float]:
    """Mean and its standard error (sample deviation over root n, as lm-evaluation-harness reports); 0 for one value."""
    return fmean(values), stdev(values) / sqrt(len(values)) if len(values) > 1 else 0.0


def weighted_mean_and_stderr(values: Sequence[float], weights: Sequence[float]) -> tuple[float, float]:
    """Mean over all parts of clusters of unequal size, and its standard error with whole clusters as the sample; 0 for one.

    Losses per text, weighed by their tokens, give the loss per token of all texts. With equal weights this is
    `mean_and_stderr`.

    Args:
        values: mean of each cluster.
        weights: its size, above 0.

    Source: the ratio estimator of cluster sampling, Cochran, Sampling Techniques (1977), section 6.4.
    """
    pairs, n = list(zip(values, weights, strict=True)), len(values)
    mean = sum(value * weight for value, weight in pairs) / sum(weights)
    spread = sum((weight * (value - mean)) ** 2 for value, weight in pairs)
    return mean, sqrt(n / (n - 1) * spread) / sum(weights) if n > 1 else 0.0


Interval = tuple[float, float] | tuple[None, None]
"""Lower and upper end; None twice where it is not known."""
CONFIDENCE = 0.95
"""Level of every interval and test that is shown."""
Z = NormalDist().inv_cdf(0.5 + CONFIDENCE / 2)
"""Standard errors to either side that it takes where a normal distribution is assumed: 1.96."""


def share_interval(share: float, n: int) -> tuple[float, float]:
    """Wilson score interval of a share that was counted, at the level of `CONFIDENCE`.

    Unlike accuracy ± 1.96 standard errors it stays inside [0, 1] and is honest for few questions and for shares near 0 or 1.

    Args:
        share: right answers per question.
        n: questions; at least 1.

    Returns:
        Lower and upper end, in [0, 1].

    Source: Wilson, J. Am. Stat. Assoc. 22 (1927) 209.
    """
    share, spread = round(share * n) / n, Z * Z / n
    centre = (share + spread / 2) / (1 + spread)
    half = Z * math.sqrt(share * (1 - share) / n + spread / (4 * n)) / (1 + spread)
    return max(0.0, centre - half), min(1.0, centre + half)


def mean_interval(mean: float, stderr: float | None, n: int) -> tuple[float, float] | None:
    """Confidence interval of a mean of n values by Student's t.

    t rather than the normal, since a loss may rest on a handful of texts. With 4 of them 1.96 standard errors hold the true
    mean in only 85 % of cases. With hundreds the two agree.

    Args:
        mean, stderr: as `mean_and_stderr`; the error may be None where none is known.
        n: values, such as texts.

    Returns:
        Lower and upper end; None for fewer than two values, which say nothing of how far they scatter.

    Source: Student, Biometrika 6 (1908) 1.
    """
    if stderr is None or n < 2:
        return None
    half = t_quantile(n - 1) * stderr
    return mean - half, mean + half


@lru_cache(maxsize=1024)
def t_quantile(freedom: float) -> float:
    """Standard errors to either side of a mean that its interval of `CONFIDENCE` takes: 12.7 for one degree, 1.96 for many.

    Args:
        freedom: degrees of freedom; at least 1.
    """
    from scipy import special  # 0.3 s and 27 MB, which the help of a command does without

    return float(special.stdtrit(freedom, 0.5 + CONFIDENCE / 2))


def independent(value: float, error: float | None, reference: float, reference_error: float | None) -> Interval:
    """95 % interval of the difference of two numbers as if they had nothing in common.

    Args:
        value, reference: the numbers.
        error, reference_error: their standard errors; None where one is not known.

    Returns:
        Lower and upper end of value minus reference; None twice without both errors.
    """
    if error is None or reference_error is None:
        return None, None
    half = Z * math.hypot(error, reference_error)
    return value - reference - half, value - reference + half


MIN_TEXTS = 4
"""Fewest texts that give an interval of a difference of losses: with fewer, none covers the true value in 95 % of cases."""

MAX_SKEW = 0.7
"""Largest effect of skewness, as skewness x quantile of t / root n. The longer side is then about 1.4 times as long."""


def compare_losses(
    first: Sequence[float], second: Sequence[float], weights: Sequence[float] | None = None
) -> tuple[float, float | None, float | None]:
    """Mean difference of two models' losses on the same texts, with its 95 % interval: paired, as in `ratio_of_means`.

    Args:
        first: loss per text of the reference.
        second: of the other, the same texts in the same order.
        weights: predicted tokens of each text, as in `weighted_mean_and_stderr`. None or empty where they are not known: every
            text counts the same then.

    Returns:
        Mean of second minus first, lower and upper end of the interval, nats per token.

    Raises:
        ValueError: when they are not on the same number of texts, or there are none.
    """
    differences = [after - before for before, after in zip(first, second, strict=True)]
    return ratio_of_means(differences, [1.0] * len(differences), weights)


def ratio_of_means(
    numerators: Sequence[float], denominators: Sequence[float], weights: Sequence[float] | None = None
) -> tuple[float, float | None, float | None]:
    """Ratio of two means over the same texts, with its 95 % interval: paired, by the delta method and Student's t.

    Three corrections keep the coverage near 95 % for few texts. Residuals are taken from the ratio of all other texts (the
    jackknife). Degrees of freedom fall as the sizes of texts differ. The interval reaches farther to the longer tail.

    Args:
        numerators, denominators: one of each per text; the mean of the denominators is not 0.
        weights: size of each text; None or empty where every text counts the same.

    Returns:
        The ratio, lower and upper end of the interval; None twice for fewer than `MIN_TEXTS` texts.

    Raises:
        ValueError: when the numbers of values and weights differ, or there are none.

    Source: the ratio estimator, Cochran, Sampling Techniques (1977), section 6.4; degrees of freedom of Bell and McCaffrey,
    Survey Methodology 28 (2002) 169; skewness by the transformation of Hall, J. R. Stat. Soc. B 54 (1992) 221.
    """
    return _ratio(tuple(numerators), tuple(denominators), tuple(weights or ()))


@lru_cache(maxsize=4096)  # panels ask for the same pairs, again after each click
def _ratio(
    numerators: tuple[float, ...], denominators: tuple[float, ...], weights: tuple[float, ...]
) -> tuple[float, float | None, float | None]:
    n = len(numerators)
    if not n:
        raise ValueError("There is no text to compare on.")
    if weights and len(weights) != n:
        raise ValueError(f"There are {n} texts but {len(weights)} weights.")
    above, below, sizes = np.array(numerators), np.array(denominators), np.array(weights or [1.0] * n)
    total = math.fsum(sizes * below)
    ratio = math.fsum(sizes * above) / total
    sizes = sizes / total
    if n < MIN_TEXTS:
        return ratio, None, None
    leverages = sizes * below
    factors = sizes / (1 - leverages)
    deviations = factors * (above - ratio * below)  # of the ratio, were each text left out
    deviation = float(np.sqrt((deviations**2).mean()))
    if deviation == 0:
        return ratio, ratio, ratio
    # Covariance of residuals of equal variance; the variance of their squares gives the degrees of freedom.
    covariance = np.eye(n) - np.outer(below, sizes) - np.outer(sizes, below) + (sizes @ sizes) * np.outer(below, below)
    covariance *= np.outer(factors, factors)
    t = t_quantile(max(1.0, float(np.trace(covariance) ** 2 / (covariance**2).sum())))
    reach = t / sqrt(n)
    skewness = float(np.clip((deviations**3).mean() / deviation**3, -MAX_SKEW / reach, MAX_SKEW / reach))
    scale = deviation * sqrt(n * (n - 1))
    low, high = (ratio - scale * _skewed(end, skewness, n) for end in (reach, -reach))
    return ratio, low, high


def _skewed(quantile: float, skewness: float, n: int) -> float:
    """The quantile of a studentized mean over root n, from that of Student's t: the inverse of Hall's cubic transformation."""
    if abs(skewness) < 1e-6:
        return quantile
    return float(np.cbrt(1 + skewness * (quantile - skewness / (6 * n))) - 1) * 3 / skewness


POWER = 0.8
"""How often a difference of the size that is asked for would be seen, were it there."""


def needed(difference: float, deviation: float) -> int | None:
    """How many pairs it takes until the 95 % interval of a mean paired difference excludes zero, in `POWER` of all draws.

    Args:
        difference: mean of one pair, of the second minus the first.
        deviation: standard deviation over pairs, in the same unit, above or equal to 0. Where a share g of questions was only
            gained and a share l only lost, it is sqrt(g + l - (g - l) ** 2).

    Returns:
        Pairs: questions or texts; at least 2. None where there is no difference to look for.

    Source: Connor, Biometrics 43 (1987) 207, with the variance under the alternative, as the bootstrap has it; for means the
    same normal approximation.
    """
    if difference == 0:
        return None
    normal = NormalDist()
    reach = normal.inv_cdf(0.5 + CONFIDENCE / 2) + normal.inv_cdf(POWER)
    return max(2, math.ceil((reach * deviation / difference) ** 2))


def mcnemar_p(gained: int, lost: int) -> float:
    """Two-sided exact McNemar test: under no difference each discordant question is a fair coin.

    Source: McNemar, Psychometrika 12 (1947) 153, in its exact binomial form.
    """
    from scipy import special

    return min(1.0, 2 * float(special.bdtr(min(gained, lost), gained + lost, 0.5)))


def paired_interval(gained: int, lost: int, n: int) -> tuple[float, float]:
    """Interval of a difference of two shares of the same questions.

    One more question of either kind than were seen keeps it honest where few questions flip. A bootstrap of 0 gained and 4 lost
    of 200 never draws a gain, and would be surer than an exact test.

    Args:
        gained: questions that only the second got right.
        lost: questions that only the first got right.
        n: all questions; at least 1.

    Returns:
        Lower and upper end, in [-1, 1].

    Source: Bonett and Price, J. Educ. Behav. Stat. 37 (2012) 479.
    """
    gain_share, loss_share = (gained + 1) / (n + 2), (lost + 1) / (n + 2)
    half = Z * math.sqrt((gain_share + loss_share - (gain_share - loss_share) ** 2) / (n + 2))
    return max(-1.0, gain_share - loss_share - half), min(1.0, gain_share - loss_share + half)


def bootstrap_wins(rows: Sequence[np.ndarray], *, seed: int = 0, n_resamples: int = 1000) -> list[list[float]]:
    """How often each candidate would come out best, were the texts drawn again.

    Args:
        rows: one array (n_texts, n_candidates) per contest, all of the same texts; the lowest mean over texts wins.
        seed: of the resamples; every contest sees the same ones.
        n_resamples: how many times as many texts are drawn with replacement.

    Returns:
        Per contest, the share of resamples that each candidate wins, in [0, 1], 1 in all; ties go to the last candidate, as
        in `distance_spec.best_blocks`.

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
    from scipy.stats import rankdata

    x, y = (rankdata(values) - (len(a) + 1) / 2 for values in (a, b))
    spread = math.sqrt(float(x @ x) * float(y @ y))
    return min(1.0, max(-1.0, float(x @ y) / spread)) if spread > 0 else None


def independent_pairs(a: Sequence[float], b: Sequence[float], overlap: int) -> float:
    """Number of independent pairs that carry as much evidence on a rank correlation as these ordered, autocorrelated ones.

    Args:
        a: values in the order in which neighbours depend on each other.
        b: as many.
        overlap: number of neighbours that share a part with a pair, such as the size of blocks that overlap.

    Returns:
        From 1 to `len(a)`: N / (1 + 2 Σ (1 - k/N) r_a(k) r_b(k)) over the lags k, with the autocorrelations r of the ranks.
        Lags beyond `overlap` count up to a fifth of N. Negative products count as 0, so that they never add evidence.

    Source: Pyper and Peterman, Can. J. Fish. Aquat. Sci. 55 (1998) 2127, equation 1.
    """
    from scipy.stats import rankdata

    n = len(a)
    x, y = (rankdata(values) - (n + 1) / 2 for values in (a, b))
    spread = float(x @ x) * float(y @ y)
    if spread <= 0:
        return float(n)
    last = min(n // 2, max(overlap, n // 5))
    products = [float(x[:-k] @ x[k:]) * float(y[:-k] @ y[k:]) / spread for k in range(1, last + 1)]
    inflation = 1 + 2 * sum((1 - k / n) * max(product, 0.0) for k, product in enumerate(products, start=1))
    return min(float(n), max(1.0, n / inflation))
