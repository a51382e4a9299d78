"""Inference from few seeds: intervals, tests, bands and verdicts on values that are independent between seeds."""

import functools
import math
from collections.abc import Sequence
from typing import Literal, NamedTuple

import numpy as np
from scipy import special

LEVEL = 0.95
FEWEST_SEEDS = 6  # with fewer, no sign-flip test can be significant at 5 %, as 2 of 2^5 outcomes are 6 %
_RESAMPLES = 9999
_MOST_ENUMERATED = 24  # seeds, whose flips are those of two halves of 4,096 each
_FINEST_GRID = 1 << 18  # steps, on which the sums of more seeds are counted
FINEST_LEVEL = 1e-3  # of a test or beyond an interval, which resamples and flips of few seeds still resolve
_MANY_SEEDS = 256  # beyond which means are as good as normal
ROUNDING = 1e-12  # relative; numbers that differ by less are equal

Verdict = Literal["helps", "hurts", "no difference", "inconclusive", "unstable"]


class Estimate(NamedTuple):
    """A mean over seeds, or a function of one, with its interval."""

    mean: float
    low: float
    high: float

    def __str__(self) -> str:
        ends = f" [{self.low:+.3f}, {self.high:+.3f}]" if np.isfinite([self.low, self.high]).all() else ""
        return f"{self.mean:+.3f}{ends}"

    def turned(self) -> "Estimate":
        """Returns it with the other sign."""
        return Estimate(-self.mean, -self.high, -self.low)

    def within(self, low: float, high: float) -> "Estimate":
        """Returns it with an interval within bounds; an infinite interval stays as it is."""
        if not np.isfinite([self.low, self.high]).all():
            return self
        return Estimate(self.mean, min(max(self.low, low), self.mean), max(min(self.high, high), self.mean))


def step_of(*arms: np.ndarray) -> float:
    """Returns the smallest gap between values of arms [seeds]; infinite where all are the same."""
    values = np.unique(np.concatenate(arms))
    gaps = np.diff(values)
    return float(np.min(gaps[gaps > ROUNDING * np.max(np.abs(values), initial=0.0)], initial=math.inf))


def estimate(values: np.ndarray, level: float = LEVEL, step: float = math.inf) -> Estimate:
    """Returns the mean of values [seeds] with its interval; one value, or a few equal ones, have infinite bounds.

    The interval is the bias-corrected and accelerated bootstrap's (Efron, 1987), at the level that makes it as long as
    Student's where values are normal, since it is too short for few seeds otherwise (Hesterberg, 2015, "What teachers
    should know about the bootstrap", 5.3). Where it ends within Student's it is lengthened to that: differences between
    arms that are alike have heavy tails but no skew, and an acceleration estimated from an outlier then moves the
    interval off the truth. With fewer than six seeds, whose samples are too few, with more than 256, and above 99.9 %,
    which bootstrap samples do not resolve, it is Student's. Equal values, which show no spread, have that of ``off``.

    >>> print(estimate(np.array([1, 2, 1, 3, 2, 1, 2, 2])))
    +1.750 [+1.159, +2.375]

    Args:
      values: of which differences are taken between arms of about the size of 1.
      step: by which one of equal values might differ from the others, as ``step_of``; infinite where not known.
    """
    values = np.asarray(values, float)
    by_student, n = student(values, level, step), len(values)
    mean = by_student.mean
    if are_equal(values) or n < FEWEST_SEEDS or n > _MANY_SEEDS or 1 - level < FINEST_LEVEL:
        return by_student
    tail = special.ndtr(math.sqrt(n / (n - 1)) * special.stdtrit(n - 1, (1 - level) / 2))
    low, high = _bca(values, 1 - 2 * tail)
    # NaN, where almost all values agree, gives way to Student's.
    return Estimate(mean, float(np.fmin(low, by_student.low)), float(np.fmax(high, by_student.high)))


def _bca(values: np.ndarray, level: float) -> tuple[float, float]:
    """Returns the interval of ``scipy.stats.bootstrap`` in a quarter of its time, since large runs take thousands."""
    n, mean = len(values), np.mean(values)
    means = np.sort(np.mean(values[_samples(n)], axis=-1))
    below = np.searchsorted(means, mean, "left") + np.searchsorted(means, mean, "right")
    bias = special.ndtri(below / (2 * _RESAMPLES))
    left_out = np.broadcast_to(values, (n, n))[~np.eye(n, dtype=bool)].reshape(n, n - 1)
    jackknife = np.mean(left_out, axis=-1)
    influence = (n - 1) * (np.mean(jackknife) - jackknife)
    with np.errstate(all="ignore"):
        acceleration = 1 / 6 * (np.sum(influence**3) / n**3) / (np.sum(influence**2) / n**2) ** 1.5
        z = bias + np.array([1, -1]) * special.ndtri((1 - level) / 2)
        shares = special.ndtr(bias + z / (1 - acceleration * z))
    if np.isnan(shares).any():
        return np.nan, np.nan
    place, rest = np.divmod(shares * _RESAMPLES + (1 - shares), 1)
    place = place.astype(int) - 1
    low, high = (1 - rest) * means[place] + rest * means[np.minimum(place + 1, _RESAMPLES - 1)]
    return float(low), float(high)


@functools.lru_cache(8)
def _samples(n: int) -> np.ndarray:
    """Returns the places of the values in bootstrap samples: [samples, n]."""
    return np.random.default_rng(0).integers(0, n, (_RESAMPLES, n))


@functools.lru_cache(8)
def bootstrap_weights(n: int) -> np.ndarray:
    """Returns the part that each of n seeds has in bootstrap samples: [samples, n]."""
    return np.random.default_rng(0).multinomial(n, np.full(n, 1 / n), _RESAMPLES) / n


def student(values: np.ndarray, level: float = LEVEL, step: float = math.inf) -> Estimate:
    """Returns the mean of values [seeds] with Student's interval, or with that of equal values, as ``estimate`` does.

    One value has none, nor have a few that are all the same: their bounds are infinite.
    """
    values = np.asarray(values, float)
    mean, n = float(np.mean(values)), len(values)
    if n > 1 and level < 1 and are_equal(values):
        mean = mean if abs(mean) > ROUNDING else 0.0
        margin = off(n, 1 - level) * step if n >= FEWEST_SEEDS else math.inf
    elif n < 2 or level >= 1:
        margin = math.inf
    else:
        margin = -float(special.stdtrit(n - 1, (1 - level) / 2) * np.std(values, ddof=1) / math.sqrt(n))
    return Estimate(mean, mean - margin, mean + margin)


def are_equal(values: np.ndarray) -> bool:
    """Returns whether values [seeds], of which there are some, differ by rounding only."""
    return len(values) > 0 and bool(np.ptp(values) <= ROUNDING * max(1.0, float(np.max(np.abs(values)))))


def off(n: int, alpha: float) -> float:
    """Returns by how many steps the mean of n equal values may be off, either way, as ``equal_p`` has it.

    It is the larger of two ends: Student's, of values of which one is a step off, and that of the share of values a
    step off, of which there were none of n (Clopper and Pearson, 1934).
    """
    return max((1 - float(special.stdtrit(n - 1, alpha / 2))) / n, 1 - (alpha / 2) ** (1 / n))


def equal_p(distance: float, n: int, step: float) -> float:
    """Returns the two-sided p-value of a mean that lies at a distance from that of n equal values."""
    steps = distance / step
    one_off, share = float(special.stdtr(n - 1, 1 - n * steps)), max(0.0, 1 - steps) ** n
    return min(1.0, 2 * max(one_off, share, np.finfo(float).tiny))


def with_one_off(values: np.ndarray, step: float) -> np.ndarray:
    """Returns values [seeds], of which equal ones have one a step off, if it is known, for they show no spread."""
    values = np.array(values, float)
    if math.isfinite(step) and are_equal(values):
        values[0] += step
    return values


def effect_p(differences: np.ndarray, alpha: float = 1 - LEVEL, step: float = math.inf) -> float:
    """Returns the two-sided p-value of a mean of differences [seeds], to be judged at a level.

    It is that of sign flips, or Student's where the level is below what flips of few seeds resolve, as an early look's.
    The step is that of ``estimate``.
    """
    if alpha >= FINEST_LEVEL or len(differences) < 2:
        return sign_flip(differences)
    return _student_p(abs(float(np.mean(differences))), differences, step)


def nil_p(differences: np.ndarray, smallest: float, step: float = math.inf) -> float:
    """Returns the p-value of a mean of differences [seeds] that lies at ± the smallest effect, or beyond.

    It is twice that of two one-sided tests (Schuirmann, 1987), so that one comparison is as strict as its interval:
    significant at 5 % where Student's 95 % interval lies within. With fewer than six seeds nothing is. The step is that
    of ``estimate``.
    """
    if len(differences) < FEWEST_SEEDS:
        return 1.0
    return _student_p(smallest - abs(float(np.mean(differences))), differences, step)


def _student_p(distance: float, values: np.ndarray, step: float) -> float:
    """Returns the two-sided p-value of a mean at a distance from that of values [seeds]."""
    n = len(values)
    if are_equal(values):
        return equal_p(distance, n, step)
    return min(1.0, 2 * float(special.stdtr(n - 1, -distance / (float(np.std(values, ddof=1)) / math.sqrt(n)))))


def sign_flip(differences: np.ndarray) -> float:
    """Returns the two-sided p-value of a mean of differences [seeds] under flips of their signs (Fisher, 1935).

    All flips count. Those of up to 24 seeds are enumerated. The sums of more are counted on a grid (Pagano and
    Tritchler, 1983, "On obtaining permutation distributions in polynomial time"), and all that might be as far from
    zero are counted as such: p is never too small, and too large by about 1 % up to 256 seeds. Beyond it is that of a
    normal sum, whose tails are longer than those of sums of random signs.

    >>> sign_flip(np.array([1, 2, 1, 3, 2, 1, 2, 2])) == 2 / 2**8
    True
    """
    sizes, n = np.abs(np.asarray(differences, float)), len(differences)
    total = abs(float(np.sum(differences)))
    # Sums that differ by rounding only are equal, as many are where accuracies are counts of a few test images.
    rounding = ROUNDING * sizes.sum()
    if n < 2 or total <= rounding:
        return 1.0
    if n > _MANY_SEEDS:
        return max(2 * float(special.ndtr(-total / math.sqrt(float(sizes @ sizes)))), np.finfo(float).tiny)
    return (_enumerated if n <= _MOST_ENUMERATED else _counted)(sizes, total, rounding)


def _enumerated(sizes: np.ndarray, total: float, rounding: float) -> float:
    """Returns the probability that a sum with random signs is as far from zero; half of such sums lie above it."""
    lower, upper = (_sums(half) for half in np.array_split(sizes, 2))
    below = np.searchsorted(upper, total - rounding - lower)  # of the upper sums, for each of the lower
    return 2 * (len(lower) * len(upper) - int(below.sum())) / 2 ** len(sizes)


def _sums(sizes: np.ndarray) -> np.ndarray:
    """Returns the sums with all signs, in order: [2 ** sizes]."""
    sums = np.zeros(1)
    for size in sizes:
        sums = np.concatenate([sums - size, sums + size])
        sums.sort(kind="stable")  # which merges two runs that are in order
    return sums


def _counted(sizes: np.ndarray, total: float, rounding: float) -> float:
    """Returns an upper bound, close to ``_enumerated``, from sizes rounded to steps of a grid."""
    # So many steps that the sum of all roundings is small beside a sum's standard deviation.
    step = sizes.sum() / min(int(64 * len(sizes) ** 1.5), _FINEST_GRID)
    steps = np.sort(np.rint(sizes / step).astype(int))
    lost = np.abs(np.sort(sizes) - steps * step).sum()
    # By how much signs turn to minus, in how many of all ways: as far as counts, [steps + 1].
    furthest = math.floor(max(0.0, (int(steps.sum()) - (total - rounding - lost) / step) / 2))
    ways = np.zeros(furthest + 1)
    ways[0] = 1.0
    for size in steps[steps <= furthest]:
        ways[size:] += ways[: furthest + 1 - size]
    return min(1.0, max(2 * math.ldexp(float(ways.sum()), -len(sizes)), np.finfo(float).tiny))


def holm(p_values: Sequence[float]) -> list[float]:
    """Returns p-values adjusted for all of a family being looked at (Holm, 1979).

    >>> holm([0.01, 0.04, 0.03])
    [0.03, 0.06, 0.06]
    """
    order, m = np.argsort(p_values, kind="stable"), len(p_values)
    stepped = np.asarray(p_values, float)[order] * np.arange(m, 0, -1)
    adjusted = np.empty(m)
    adjusted[order] = np.minimum(1.0, np.maximum.accumulate(stepped))
    return adjusted.tolist()


def step_down(p_values: np.ndarray, others: Sequence[int]) -> np.ndarray:
    """Returns p-values [claims, comparisons] adjusted for all claims on all comparisons of a family.

    Of one comparison not all claims can be wrong to make: its effect is none, or it matters, but never both. So a claim
    is adjusted for as many as may all be wrong at once (Shaffer, 1986, "Modified sequentially rejective multiple test
    procedures"): one of each comparison of which not all claims were made already.

    Args:
      p_values: of each claim, as that there is an effect and that there is none that matters; NaN of one that is not
        tested.
      others: for each claim, comparisons of the family that are settled already, though not by this claim.
    """
    m, adjusted = p_values.shape[1], p_values.flatten()
    claims, counted = np.sum(~np.isnan(p_values), axis=0), np.repeat(np.asarray(others, int), m)
    made, n_whole, largest = np.zeros(m, int), 0, 0.0
    tested = np.flatnonzero(~np.isnan(adjusted))
    for place in tested[np.argsort((adjusted * (m + counted))[tested], kind="stable")]:
        largest = adjusted[place] = max(largest, min(1.0, adjusted[place] * (m - n_whole + counted[place])))
        made[place % m] += 1
        n_whole += made[place % m] == claims[place % m]
    return adjusted.reshape(p_values.shape)


def improvement(differences: np.ndarray, level: float = LEVEL) -> Estimate:
    """Returns the probability that a seed's difference is positive, ties counting half, with Wilson's interval (1927).

    See Agarwal et al. (2021), "Deep reinforcement learning at the edge of the statistical precipice".
    """
    share, n = float(np.mean((np.sign(differences) + 1) / 2)), len(differences)
    if level >= 1:
        return Estimate(share, 0.0, 1.0)
    z = special.ndtri((1 + level) / 2)
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
      almost only one, and its ratios are far too long. Where six seeds or more agree, the band is that of ``off``, by
      the smallest gap in all curves. Two seeds, and fewer than six whose curves agree, have no band: its ends are
      infinite.
    """
    values = np.asarray(values, float)
    n, mean = len(values), np.mean(values, axis=0)
    error = np.std(values, axis=0, ddof=1) / math.sqrt(n) if n > 2 else np.zeros_like(mean)
    varies = error > ROUNDING * np.maximum(1.0, np.abs(mean))
    of_equal = off(n, (1 - level) / max(1, mean.size)) * step_of(values.ravel()) if n >= FEWEST_SEEDS else math.inf
    if not varies.any():
        return mean, mean - of_equal, mean + of_equal
    error = np.where(varies, error, 0.0)
    weights, centred = bootstrap_weights(n), (values - mean)[:, varies]
    means = weights @ centred
    variances = np.maximum(weights @ centred**2 - means**2, 0) * n / (n - 1)
    with np.errstate(divide="ignore", invalid="ignore"):
        ratios = np.abs(means) / np.sqrt(variances / n)
    # A sample of one seed only, drawn n times, has no ratio.
    largest = np.max(np.where(np.isfinite(ratios), ratios, np.inf), axis=1)
    longest = special.stdtrit(n - 1, 1 - (1 - level) / (2 * varies.sum()))
    margin = min(np.quantile(largest[np.isfinite(largest)], level), longest) * error
    if n >= FEWEST_SEEDS:
        margin = np.where(varies, margin, of_equal)
    return mean, mean - margin, mean + margin


def verdict(
    difference: Estimate, p_value: float, n: int, smallest: float, alpha: float = 1 - LEVEL, p_nil: float = 0.0
) -> Verdict:
    """Returns the verdict of a comparison.

    ``no difference`` where the interval lies within the smallest effect that matters on both sides and ``p_nil``, the
    p-value of an effect that matters, is at most ``alpha``; ``helps`` or ``hurts`` where the interval leaves zero out,
    does not lie within, and the p-value is at most ``alpha``; else, or with fewer than six seeds, ``inconclusive``.
    """
    if n < FEWEST_SEEDS:
        return "inconclusive"
    if -smallest < difference.low and difference.high < smallest:
        return "no difference" if p_nil <= alpha else "inconclusive"
    if p_value <= alpha and difference.low > 0:
        return "helps"
    return "hurts" if p_value <= alpha and difference.high < 0 else "inconclusive"
