"""How many seeds it takes: to conclude anything, to settle a comparison, to see an effect.

Numbers of seeds are those of normal differences (Julious, 2004, "Sample sizes for clinical trials with normal data"),
with the correction for an estimated deviation (Guenther, 1981, "Sample size formulas for normal theory t tests").
"""

import functools
import itertools
import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from scipy import optimize, special, stats

from pretrain.study.statistics import FEWEST_SEEDS, FINEST_LEVEL, LEVEL

POWER = 0.8
MOST_SEEDS = 1000  # a range that ends above has no end
# Of a range of seeds; 85 %, so that it holds the truth in 80 % of experiments whatever the truth is.
_CERTAINTY = 0.85
_QUANTILES = 24  # of mean and of deviation
_MOST = 1e8  # seeds
_LEAST = 1e-12  # deviation, in the place of none
_HALVINGS = 30
_MANY_FLIPS = 40  # seeds, whose p-values lie as dense as any


class SeedRange(NamedTuple):
    """How many seeds in all would settle a comparison, as far as its seeds so far can say."""

    low: int
    high: int | None  # None where it is more than a thousand, or has no bound

    def scaled(self, factor: float) -> "SeedRange":
        """Returns so many times the seeds, as where not all of them count."""
        return SeedRange(math.ceil(factor * self.low), self.high and math.ceil(factor * self.high))


def smallest_p(n: int) -> float:
    """Returns the smallest p-value that sign flips of so many seeds can give: all one way, of 2^n ways."""
    return min(1.0, 2.0 ** (1 - n))


def fewest_seeds(alpha: float, n_compared: int = 1) -> int:
    """Returns the fewest seeds with which one of so many comparisons can be significant at alpha, by count alone."""
    if alpha < FINEST_LEVEL:  # at which p-values are Student's
        return FEWEST_SEEDS
    return next(n for n in itertools.count(FEWEST_SEEDS) if smallest_p(n) * n_compared <= alpha)


def power(
    n: np.ndarray,
    mean: np.ndarray,
    deviation: np.ndarray,
    smallest: float,
    level: float = LEVEL,
    n_open: int = 1,
    of_rows: float = 0.0,
    distinguishes: bool = True,
) -> np.ndarray:
    """Returns the probability that so many seeds settle a comparison, by any verdict; arguments broadcast.

    That is, that they distinguish the mean from zero, unless ``distinguishes`` is false, or place it within ±
    ``smallest``, with a p-value that is small enough for the first of ``n_open`` comparisons. The deviation counts as
    known, and sums as normal. ``of_rows`` is the variance of the mean that no seed takes away, that of the test rows.
    """
    error, apart = np.sqrt(np.square(deviation) / n + of_rows), -special.ndtri((1 - level) / 2 / n_open)
    away, within = np.abs(mean) / error, smallest / error - apart
    placed = np.where(within > 0, special.ndtr(within - away) - special.ndtr(-within - away), 0.0)
    if not distinguishes:
        return placed
    # Beyond, every mean is far enough from zero or near enough to it, and some are both.
    return np.where(within >= apart, 1.0, special.ndtr(away - apart) + special.ndtr(-away - apart) + placed)


def seeds_needed(
    mean: np.ndarray,
    deviation: np.ndarray,
    smallest: float,
    level: float = LEVEL,
    n_open: int = 1,
    most: float = math.inf,
    of_rows: float = 0.0,
    by_flips: bool = True,
) -> np.ndarray:
    """Returns with how many seeds a comparison of this mean and deviation is settled with 80 % power.

    Mean and deviation broadcast; the result, of their shape, is infinite beyond a hundred million, and known only to
    be larger than ``most`` where it is. Verdicts that distinguish take as many seeds as their p-value needs by count
    alone, unless it is not one ``by_flips`` of signs.
    """
    fewest = fewest_seeds(1 - level, n_open) if by_flips else FEWEST_SEEDS
    mean, deviation = np.broadcast_arrays(mean, np.maximum(deviation, _LEAST))
    needed = _seeds_needed(mean, deviation, smallest, level, n_open, most, of_rows)
    short = needed < fewest
    placed = _seeds_needed(mean[short], deviation[short], smallest, level, n_open, fewest, of_rows, distinguishes=False)
    needed[short] = np.minimum(placed, fewest)
    return np.maximum(FEWEST_SEEDS, needed)


def _seeds_needed(
    mean: np.ndarray,
    deviation: np.ndarray,
    smallest: float,
    level: float,
    n_open: int,
    most: float,
    of_rows: float,
    distinguishes: bool = True,
) -> np.ndarray:
    """Returns the same without the fewest seeds that p-values need."""
    z = special.ndtri((1 - level) / 2 / n_open)
    low, high = np.zeros(mean.shape), np.full(mean.shape, math.log(_MOST))
    searched = np.ones(mean.shape, bool)
    for _ in range(_HALVINGS):
        middle = (low[searched] + high[searched]) / 2
        at = np.exp(middle), mean[searched], deviation[searched]
        enough = power(*at, smallest, level, n_open, of_rows, distinguishes) >= POWER
        low[searched] = np.where(enough, low[searched], middle)
        high[searched] = np.where(enough, middle, high[searched])
        at_least, at_most = np.ceil(np.exp(low) + z**2 / 2), np.ceil(np.exp(high) + z**2 / 2)
        searched = (at_least < at_most) & (at_least <= most)
        if not searched.any():
            break
    return np.where(high < math.log(_MOST), at_most, np.inf)


def seeds_to_settle(
    differences: np.ndarray,
    smallest: float,
    level: float = LEVEL,
    n_open: int = 1,
    of_rows: float = 0.0,
    by_flips: bool = True,
) -> SeedRange:
    """Returns how many seeds in all would settle a comparison of differences [seeds] with 80 % power.

    The range holds that number, which follows from the true mean and deviation, in 80 % of experiments. It is of the
    numbers that follow from all means and deviations, each with the confidence that the differences leave it: the
    deviation's by its chi-square distribution, the size of the mean's, given the deviation, by the distribution of the
    size of a normal mean (confidence distributions; Schweder and Hjort, 2002). That the mean is zero, which no number
    of seeds would distinguish, has a confidence of its own there.

    Args:
      differences: two seeds or more.
      smallest: the smallest effect that matters.
      n_open: comparisons that are not distinguished from zero yet.
      of_rows: variance of the mean that no seed takes away, as ``rows.Components`` has it.
      by_flips: whether p-values are those of flips of signs.
    """
    n, places = len(differences), (np.arange(_QUANTILES) + 0.5) / _QUANTILES
    deviation = float(np.std(differences, ddof=1)) * np.sqrt((n - 1) / special.chdtri(n - 1, places))[:, None]
    error = np.sqrt(np.maximum(deviation, _LEAST) ** 2 / n + of_rows)
    mean = error * _sizes(np.abs(np.mean(differences)) / error, places)
    needed = np.maximum(n + 1, seeds_needed(mean, deviation, smallest, level, n_open, MOST_SEEDS, of_rows, by_flips))
    tail = (1 - _CERTAINTY) / 2
    low, high = np.quantile(needed, [tail, 1 - tail], method="inverted_cdf")
    return SeedRange(int(min(low, MOST_SEEDS)), int(high) if high <= MOST_SEEDS else None)


def largest_error(mean: float, smallest: float, level: float = LEVEL, n_open: int = 1) -> float:
    """Returns the largest standard error with which a mean is settled with 80 % power, either way, as ``power`` has it.

    A mean between zero and the smallest effect that matters takes the smallest error.
    """
    tail = special.ndtri((1 - level) / 2 / n_open)
    distinguished = abs(mean) / (special.ndtri(POWER) - tail)
    placed = (smallest - abs(mean)) / (special.ndtri((1 + POWER) / 2) - tail)
    return float(max(distinguished, placed))


def _sizes(seen: np.ndarray, confidence: np.ndarray) -> np.ndarray:
    """Returns the sizes of a mean whose estimate exceeds that seen with so much confidence, in standard errors."""
    low = np.zeros(np.broadcast_shapes(seen.shape, confidence.shape))
    high = seen + 8
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        short = special.ndtr(middle - seen) + special.ndtr(-middle - seen) < confidence
        low, high = np.where(short, middle, low), np.where(short, high, middle)
    return low


def smallest_seen(n: int, deviation: float, level: float = LEVEL, n_compared: int = 1, of_rows: float = 0.0) -> float:
    """Returns the smallest mean that so many seeds distinguish from zero with 80 % power, in the deviation's unit.

    It is that of Student's test, by the noncentral distribution of its ratio, at the largest p-value that sign flips
    can reach below that of the first of ``n_compared`` comparisons; and where that is the smallest there is, no less
    than what makes all differences positive. It is infinite where there are too few seeds.
    """
    return _seen_of_pairs(n, level, n_compared) * math.sqrt(deviation**2 + n * of_rows)


@functools.lru_cache(64)
def _seen_of_pairs(n: int, level: float, n_compared: int) -> float:
    """Returns the smallest mean seen, in deviations."""
    alpha = (1 - level) / n_compared
    if n < fewest_seeds(1 - level, n_compared):
        return math.inf
    p_value = alpha
    if n < _MANY_FLIPS and smallest_p(n) <= alpha:
        p_value = math.floor(alpha / smallest_p(n) + 1e-9) * smallest_p(n)
    critical = special.stdtrit(n - 1, 1 - p_value / 2)
    seen = _ratio_seen(n - 1, float(critical)) / math.sqrt(n)
    of_signs = special.ndtri(POWER ** (1 / n)) if p_value < 2 * smallest_p(n) else 0.0
    return float(max(seen, of_signs))


def smallest_seen_apart(
    sizes: Sequence[int], deviations: Sequence[float], level: float = LEVEL, n_compared: int = 1
) -> float:
    """Returns the smallest difference of means that so many independent seeds of two arms show, by Welch's test."""
    parts = np.square(deviations) / sizes
    if min(sizes) < FEWEST_SEEDS or not parts.any():
        return math.inf
    freedom = float(parts.sum() ** 2 / np.sum(parts**2 / (np.array(sizes) - 1)))
    critical = -float(special.stdtrit(freedom, (1 - level) / n_compared / 2))
    return _ratio_seen(freedom, critical) * math.sqrt(parts.sum())


def _ratio_seen(freedom: float, critical: float) -> float:
    """Returns the mean, in standard errors, whose Student's ratio is beyond a value with 80 % power."""
    return float(
        optimize.brentq(lambda ratio: stats.nct.sf(critical, freedom, ratio) - POWER, 0.0, 10 * (1 + critical))
    )
