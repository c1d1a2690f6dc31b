"""Confidence intervals and paired tests over questions or texts."""

import math
from collections.abc import Sequence
from functools import lru_cache
from math import sqrt
from statistics import NormalDist, fmean, stdev

import numpy as np


def mean_and_stderr(values: Sequence[float]) -> tuple[float, float]:
    """Return the mean and its standard error (sample deviation over root n, as in
    lm-evaluation-harness), 0 for one value.
    """
    return fmean(values), stdev(values) / sqrt(len(values)) if len(values) > 1 else 0.0


def weighted_mean_and_stderr(
    values: Sequence[float], weights: Sequence[float]
) -> tuple[float, float]:
    """Return the mean over clusters of unequal size and its standard error, 0 for one cluster.

    Losses per text, weighted by their tokens, give the loss per token of all texts. With equal
    weights this is `mean_and_stderr`.

    Args:
        values: mean of each cluster.
        weights: size of each cluster, above 0.

    Source: the ratio estimator of cluster sampling, Cochran, Sampling Techniques (1977), section
    6.4.
    """
    pairs = list(zip(values, weights, strict=True))
    n = len(values)
    mean = sum(value * weight for value, weight in pairs) / sum(weights)
    spread = sum((weight * (value - mean)) ** 2 for value, weight in pairs)
    return mean, sqrt(n / (n - 1) * spread) / sum(weights) if n > 1 else 0.0


Interval = tuple[float, float] | tuple[None, None]
"""Lower and upper end; both None if the interval is unknown."""
CONFIDENCE = 0.95
"""Confidence level of all intervals and tests."""
Z = NormalDist().inv_cdf(0.5 + CONFIDENCE / 2)
"""Half-width of a normal interval, in standard errors: 1.96."""


def share_interval(share: float, n: int) -> tuple[float, float]:
    """Return the Wilson score interval of a proportion.

    Unlike accuracy ± 1.96 standard errors it stays within [0, 1], and it covers well for few
    questions and for proportions near 0 or 1.

    Args:
        share: proportion of right answers.
        n: number of questions, at least 1.

    Returns:
        Lower and upper end, in [0, 1].

    Source: Wilson, J. Am. Stat. Assoc. 22 (1927) 209.
    """
    share = round(share * n) / n
    spread = Z * Z / n
    centre = (share + spread / 2) / (1 + spread)
    half = Z * math.sqrt(share * (1 - share) / n + spread / (4 * n)) / (1 + spread)
    return max(0.0, centre - half), min(1.0, centre + half)


def mean_interval(mean: float, stderr: float | None, n: int) -> tuple[float, float] | None:
    """Return the confidence interval of a mean by Student's t.

    The t distribution matters for few texts: with 4 of them, 1.96 standard errors cover the true
    mean in only 85 % of cases.

    Args:
        mean, stderr: as returned by `mean_and_stderr`; the standard error may be None if it is
            unknown.
        n: number of values.

    Returns:
        Lower and upper end; None for fewer than two values.

    Source: Student, Biometrika 6 (1908) 1.
    """
    if stderr is None or n < 2:
        return None
    half = t_quantile(n - 1) * stderr
    return mean - half, mean + half


@lru_cache(maxsize=1024)
def t_quantile(freedom: float) -> float:
    """Return the half-width of Student's interval in standard errors: 12.7 for one degree of
    freedom, 1.96 for many.

    Args:
        freedom: degrees of freedom, at least 1.
    """
    from scipy import special  # slow to import: 0.3 s and 27 MB

    return float(special.stdtrit(freedom, 0.5 + CONFIDENCE / 2))


def independent(
    value: float, error: float | None, reference: float, reference_error: float | None
) -> Interval:
    """Return the 95 % interval of the difference of two independent numbers.

    Args:
        value, reference: the numbers.
        error, reference_error: their standard errors; None if unknown.

    Returns:
        Lower and upper end of value minus reference; both None if a standard error is unknown.
    """
    if error is None or reference_error is None:
        return None, None
    half = Z * math.hypot(error, reference_error)
    return value - reference - half, value - reference + half


MIN_TEXTS = 4
"""Minimum number of texts for an interval of a loss difference; with fewer, its coverage falls
below 95 %."""

FEW_TEXTS = 16
"""Number of texts below which an interval of a loss difference may contain the true one in fewer
than 95 of 100 cases: in about 92, and in 85 to 90 where a few texts dominate
(`benchmarks/interval_coverage.py`). Such few texts do not tell whether they do: the intervals that
miss are those of samples that look even."""

MAX_SKEW = 0.7
"""Maximum skewness correction, as skewness x quantile of t / root n. The longer side is then about
1.4 times as long."""


def compare_losses(
    first: Sequence[float], second: Sequence[float], weights: Sequence[float] | None = None
) -> tuple[float, float | None, float | None]:
    """Return the mean difference of two models' losses on the same texts with its paired 95 %
    interval.

    Args:
        first: loss per text of the reference.
        second: loss per text of the other model, in the same order.
        weights: predicted tokens of each text, as in `weighted_mean_and_stderr`. None or empty if
            unknown, for equal weights.

    Returns:
        Mean of second minus first, and the lower and upper end of its interval, in nats per token.

    Raises:
        ValueError: if the numbers of texts differ, or there are none.
    """
    differences = [after - before for before, after in zip(first, second, strict=True)]
    return ratio_of_means(differences, [1.0] * len(differences), weights)


def ratio_of_means(
    numerators: Sequence[float],
    denominators: Sequence[float],
    weights: Sequence[float] | None = None,
) -> tuple[float, float | None, float | None]:
    """Return the ratio of two means over the same texts with its paired 95 % interval, by the delta
    method and Student's t.

    Three corrections keep the coverage near 95 % for few texts: jackknife residuals, fewer degrees
    of freedom for texts of unequal size, and a longer interval on the side of the longer tail.

    Args:
        numerators, denominators: one of each per text; the mean of the denominators is not 0.
        weights: size of each text; None or empty for equal weights.

    Returns:
        The ratio, and the lower and upper end of its interval; the ends are None for fewer than
        `MIN_TEXTS` texts.

    Raises:
        ValueError: if the numbers of values and weights differ, or there are none.

    Source: the ratio estimator, Cochran, Sampling Techniques (1977), section 6.4; degrees of
    freedom of Bell and McCaffrey, Survey Methodology 28 (2002) 169; skewness by the transformation
    of Hall, J. R. Stat. Soc. B 54 (1992) 221.
    """
    return _ratio(tuple(numerators), tuple(denominators), tuple(weights or ()))


@lru_cache(maxsize=4096)  # pages compare the same pairs after each click
def _ratio(
    numerators: tuple[float, ...], denominators: tuple[float, ...], weights: tuple[float, ...]
) -> tuple[float, float | None, float | None]:
    n = len(numerators)
    if not n:
        raise ValueError("There is no text to compare on.")
    if weights and len(weights) != n:
        raise ValueError(f"There are {n} texts but {len(weights)} weights.")
    above = np.array(numerators)
    below = np.array(denominators)
    sizes = np.array(weights or [1.0] * n)
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
    # Covariance of residuals of equal variance; the variance of their squares gives the degrees of
    # freedom.
    covariance = (
        np.eye(n)
        - np.outer(below, sizes)
        - np.outer(sizes, below)
        + (sizes @ sizes) * np.outer(below, below)
    )
    covariance *= np.outer(factors, factors)
    t = t_quantile(max(1.0, float(np.trace(covariance) ** 2 / (covariance**2).sum())))
    reach = t / sqrt(n)
    skewness = float(
        np.clip((deviations**3).mean() / deviation**3, -MAX_SKEW / reach, MAX_SKEW / reach)
    )
    scale = deviation * sqrt(n * (n - 1))
    low, high = (ratio - scale * _skewed(end, skewness, n) for end in (reach, -reach))
    return ratio, low, high


def _skewed(quantile: float, skewness: float, n: int) -> float:
    """Return the quantile of a studentized mean over root n from that of Student's t, by inverting
    Hall's transformation.
    """
    if abs(skewness) < 1e-6:
        return quantile
    return float(np.cbrt(1 + skewness * (quantile - skewness / (6 * n))) - 1) * 3 / skewness


POWER = 0.8
"""Probability of detecting a true difference of the given size."""


def needed(difference: float, deviation: float) -> int | None:
    """Return the number of pairs needed to detect a mean paired difference with a 95 % interval and
    power `POWER`.

    Args:
        difference: mean of the second minus the first of a pair.
        deviation: standard deviation over pairs, at least 0. For proportions g of questions gained
            and l lost, it is sqrt(g + l - (g - l) ** 2).

    Returns:
        Number of questions or texts, at least 2; None if the difference is 0.

    Source: Connor, Biometrics 43 (1987) 207, with the variance under the alternative; for means the
    same normal approximation.
    """
    if difference == 0:
        return None
    normal = NormalDist()
    reach = normal.inv_cdf(0.5 + CONFIDENCE / 2) + normal.inv_cdf(POWER)
    return max(2, math.ceil((reach * deviation / difference) ** 2))


def mcnemar_p(gained: int, lost: int) -> float:
    """Return the two-sided p-value of the exact McNemar test.

    Source: McNemar, Psychometrika 12 (1947) 153, in its exact binomial form.
    """
    from scipy import special

    return min(1.0, 2 * float(special.bdtr(min(gained, lost), gained + lost, 0.5)))


def paired_interval(gained: int, lost: int, n: int) -> tuple[float, float]:
    """Return the interval of the difference of two proportions of the same questions.

    Adding one question of each kind keeps the coverage if few answers change: a bootstrap of 0
    gained and 4 lost of 200 never draws a gain.

    Args:
        gained: number of questions that only the second answered right.
        lost: number of questions that only the first answered right.
        n: number of all questions, at least 1.

    Returns:
        Lower and upper end, in [-1, 1].

    Source: Bonett and Price, J. Educ. Behav. Stat. 37 (2012) 479.
    """
    gain_share = (gained + 1) / (n + 2)
    loss_share = (lost + 1) / (n + 2)
    half = Z * math.sqrt((gain_share + loss_share - (gain_share - loss_share) ** 2) / (n + 2))
    return max(-1.0, gain_share - loss_share - half), min(1.0, gain_share - loss_share + half)


def bootstrap_wins(
    rows: Sequence[np.ndarray], *, seed: int = 0, n_resamples: int = 1000
) -> list[list[float]]:
    """Return the share of bootstrap resamples of the texts in which each candidate is best.

    Args:
        rows: array (n_texts, n_candidates) of each comparison, all on the same texts. The lowest
            mean over texts is best.
        seed: seed of the resamples, which all comparisons share.
        n_resamples: number of resamples.

    Returns:
        Share of each candidate for each comparison, in [0, 1], 1 in total. Ties go to the last
        candidate, as in `distance_spec.best_blocks`.

    Source: Efron, Ann. Stat. 7 (1979) 1.
    """
    n_texts = len(rows[0])
    # Counts of a draw with replacement are multinomial, so all means are one matrix product.
    weights = (
        np.random.default_rng(seed)
        .multinomial(n_texts, np.full(n_texts, 1 / n_texts), size=n_resamples)
        .astype(float)
    )
    wins = []
    for values in rows:
        n_candidates = values.shape[1]
        winners = n_candidates - 1 - np.argmin((weights @ values)[:, ::-1], axis=1)
        wins.append((np.bincount(winners, minlength=n_candidates) / n_resamples).tolist())
    return wins


def spearman(a: Sequence[float], b: Sequence[float]) -> float | None:
    """Return Spearman's rank correlation, with mean ranks for ties.

    Args:
        a: finite values.
        b: as many finite values.

    Returns:
        Correlation in [-1, 1]; None for fewer than three pairs, or if all values of one side are
        equal.

    Source: Spearman, Am. J. Psychol. 15 (1904) 72.
    """
    if len(a) < 3:
        return None
    from scipy.stats import rankdata

    x, y = (rankdata(values) - (len(a) + 1) / 2 for values in (a, b))
    spread = math.sqrt(float(x @ x) * float(y @ y))
    return min(1.0, max(-1.0, float(x @ y) / spread)) if spread > 0 else None


def independent_pairs(a: Sequence[float], b: Sequence[float], overlap: int) -> float:
    """Return the effective sample size of a rank correlation of autocorrelated pairs.

    Args:
        a: ordered values whose neighbours depend on each other.
        b: as many values.
        overlap: number of dependent neighbours, such as the size of overlapping blocks.

    Returns:
        Number from 1 to `len(a)`: N / (1 + 2 Σ (1 - k/N) r_a(k) r_b(k)) over the lags k, with the
        autocorrelations r of the ranks. Lags go up to the larger of `overlap` and N/5. Negative
        products count as 0.

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
    inflation = 1 + 2 * sum(
        (1 - k / n) * max(product, 0.0) for k, product in enumerate(products, start=1)
    )
    return min(float(n), max(1.0, n / inflation))
