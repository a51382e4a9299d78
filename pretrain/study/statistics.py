"""Inference from few seeds: intervals, tests, bands and verdicts on values that are independent between seeds."""

import math
from collections.abc import Sequence
from typing import Literal, NamedTuple

import numpy as np
from scipy import stats

LEVEL = 0.95
FEWEST_SEEDS = 6  # with fewer, no sign-flip test can be significant at 5 %, as 2 of 2^5 outcomes are 6 %
_RESAMPLES = 9999
_MOST_ENUMERATED = 13  # seeds, whose 8,192 flips of signs are no more than are drawn otherwise
_ROUNDING = 1e-12  # relative; what differs by less is equal

Verdict = Literal["helps", "hurts", "no difference", "inconclusive"]


class Estimate(NamedTuple):
    """A mean over seeds, or what follows from it, with its interval."""

    mean: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.mean:+.3f} [{self.low:+.3f}, {self.high:+.3f}]"


def estimate(values: np.ndarray, level: float = LEVEL) -> Estimate:
    """Returns the mean of values [seeds] with its interval; one value has none, and gives infinite bounds.

    The interval is the bias-corrected and accelerated bootstrap's (Efron, 1987), at the level that makes it as long as
    Student's where values are normal, since it is too short for few seeds otherwise (Hesterberg, 2015, "What teachers
    should know about the bootstrap", 5.3). Where it ends within Student's it is lengthened to that: differences between
    arms that are alike have heavy tails but no skew, and an acceleration estimated from an outlier then moves the
    interval off the truth. With fewer than six seeds, whose samples are too few, it is Student's.
    """
    values = np.asarray(values, float)
    mean, n = float(np.mean(values)), len(values)
    if n < 2:
        return Estimate(mean, -np.inf, np.inf)
    if np.ptp(values) <= _ROUNDING * max(1.0, abs(mean)):
        mean = mean if abs(mean) > _ROUNDING else 0.0
        return Estimate(mean, mean, mean)
    student = stats.t.ppf((1 - level) / 2, n - 1)
    margin = -float(student * stats.sem(values))
    if n < FEWEST_SEEDS:
        return Estimate(mean, mean - margin, mean + margin)
    tail = stats.norm.cdf(math.sqrt(n / (n - 1)) * student)
    options = {"n_resamples": _RESAMPLES, "confidence_level": 1 - 2 * tail, "method": "BCa", "rng": 0}
    with np.errstate(all="ignore"):
        low, high = stats.bootstrap((values,), np.mean, vectorized=True, **options).confidence_interval
    # NaN, where almost all values agree, gives way to Student's.
    return Estimate(mean, float(np.fmin(low, mean - margin)), float(np.fmax(high, mean + margin)))


def sign_flip(differences: np.ndarray) -> float:
    """Returns the two-sided p-value of a mean of differences [seeds] under flips of their signs.

    Exact for up to 13 seeds, else from 9,999 random flips (Fisher, 1935; Phipson and Smyth, 2010).
    """
    differences, n = np.asarray(differences, float), len(differences)
    if n < 2 or not np.any(differences):
        return 1.0
    # Sums that differ by rounding only are equal, as many are where accuracies are counts of a few test images.
    total, rounding = differences.sum(), _ROUNDING * np.abs(differences).sum()

    def as_far(flipped: np.ndarray) -> int:
        """Counts the rows of flips [samples, seeds], 1 or 0, under which the sum is as far from zero."""
        return np.count_nonzero(np.abs(total - 2 * (flipped @ differences)) >= abs(total) - rounding)

    if n <= _MOST_ENUMERATED:
        return as_far(np.arange(2**n)[:, None] >> np.arange(n) & 1) / 2**n
    drawn = np.random.default_rng(0).integers(0, 2, (_RESAMPLES, n), dtype=np.int8)
    return (as_far(drawn) + 1) / (_RESAMPLES + 1)


def holm(p_values: Sequence[float]) -> list[float]:
    """Returns p-values adjusted for all of a family being looked at (Holm, 1979)."""
    order, m = np.argsort(p_values, kind="stable"), len(p_values)
    stepped = np.asarray(p_values, float)[order] * np.arange(m, 0, -1)
    adjusted = np.empty(m)
    adjusted[order] = np.minimum(1.0, np.maximum.accumulate(stepped))
    return adjusted.tolist()


def improvement(differences: np.ndarray, level: float = LEVEL) -> Estimate:
    """Returns the probability that a seed's difference is positive, ties counting half, with Wilson's interval (1927).

    See Agarwal et al. (2021), "Deep reinforcement learning at the edge of the statistical precipice".
    """
    share, n = float(np.mean((np.sign(differences) + 1) / 2)), len(differences)
    z = stats.norm.ppf((1 + level) / 2)
    centre, margin = share + z**2 / (2 * n), z * math.sqrt(share * (1 - share) / n + z**2 / (4 * n**2))
    scale = 1 + z**2 / n
    return Estimate(share, (centre - margin) / scale, (centre + margin) / scale)


def band(values: np.ndarray, level: float = LEVEL) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Returns mean, lower and upper end of a band that covers a whole curve at once.

    Args:
      values: curves [seeds, points].
      level: the probability that the band covers every point's mean.

    Returns:
      Three arrays [points]: the mean, and around it its standard error times the ``level`` quantile of the largest
      Student ratio over all points among bootstrap samples of seeds (sup-t; Montiel Olea and Plagborg-Møller, 2019), or
      times Bonferroni's quantile of Student's distribution where that is smaller: among few seeds a sample may hold
      almost only one, and its ratios are far too long.
    """
    values = np.asarray(values, float)
    n, mean = len(values), np.mean(values, axis=0)
    if n < 2:
        return mean, np.full_like(mean, -np.inf), np.full_like(mean, np.inf)
    error = np.std(values, axis=0, ddof=1) / math.sqrt(n)
    varies = error > 0
    if not varies.any():
        return mean, mean, mean
    # Weights of a bootstrap sample: how often each seed was drawn.
    drawn = np.random.default_rng(0).multinomial(n, np.full(n, 1 / n), _RESAMPLES) / n
    centred = (values - mean)[:, varies]
    means = drawn @ centred
    variances = np.maximum(drawn @ centred**2 - means**2, 0) * n / (n - 1)
    with np.errstate(divide="ignore", invalid="ignore"):
        ratios = np.abs(means) / np.sqrt(variances / n)
    # A sample of one seed only, drawn n times, has no ratio.
    largest = np.max(np.where(np.isfinite(ratios), ratios, np.inf), axis=1)
    longest = stats.t.ppf(1 - (1 - level) / (2 * varies.sum()), n - 1)
    margin = min(np.quantile(largest[np.isfinite(largest)], level), longest) * error
    return mean, mean - margin, mean + margin


def verdict(difference: Estimate, p_value: float, n: int, smallest: float, alpha: float = 1 - LEVEL) -> Verdict:
    """Returns what a comparison shows.

    ``no difference`` where the interval lies within the smallest effect that matters on both sides; ``helps`` or
    ``hurts`` where it leaves zero out and the p-value is at most ``alpha``; else, or with fewer than six seeds,
    ``inconclusive``.
    """
    if n < FEWEST_SEEDS:
        return "inconclusive"
    if -smallest < difference.low and difference.high < smallest:
        return "no difference"
    if p_value <= alpha and difference.low > 0:
        return "helps"
    return "hurts" if p_value <= alpha and difference.high < 0 else "inconclusive"


def seeds_to_settle(differences: np.ndarray, smallest: float, level: float = LEVEL) -> int:
    """Returns about how many seeds in all would settle a comparison, if mean and deviation are as they look now.

    That is, with 80 % power, to tell the mean from zero, or to place it within ± ``smallest``, whichever takes fewer
    at the level (Julious, 2004, "Sample sizes for clinical trials with normal data", 3 and 5).
    """
    mean, deviation = abs(float(np.mean(differences))), float(np.std(differences, ddof=1))
    z, sure = stats.norm.ppf, stats.norm.ppf((1 + level) / 2)
    reach = [(mean, sure + z(0.8)), (smallest - mean, sure + z(0.9))]
    found = [(factor * deviation / distance) ** 2 for distance, factor in reach if distance > 0]
    return max(FEWEST_SEEDS, len(differences) + 1, math.ceil(min(found)))
