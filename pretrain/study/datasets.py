"""Several datasets: what is true of these on average, of most like them, and how much their effects differ."""

import functools
import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
from scipy import special

from pretrain.study.statistics import LEVEL, Estimate, with_one_off

FEWEST_DATASETS = 6  # with fewer, no sign test can be significant at 5 %
_FEWEST_SPREAD = 3  # datasets
_MOST_SPREAD = 1e6  # times the datasets' largest distance, beyond which no spread is sought


class Effect(NamedTuple):
    """How much better the treatment is on one dataset, mean over seeds."""

    name: str
    mean: float
    variance: float  # of the mean; NaN of one seed
    freedom: float  # degrees of freedom of the variance
    median: float  # over seeds
    has_failed: bool = False  # a seed of one arm, at least, or both arms are at chance
    verdict: str = "inconclusive"  # on this dataset alone, on new rows where that is known
    difference: Estimate | None = None  # treatment less baseline, with its interval; None where nothing is compared


class Most(NamedTuple):
    """A sign test of the median over all datasets like these."""

    up: int  # datasets whose median gain is positive
    down: int
    of: int  # datasets, those that failed among them
    p_value: float  # two-sided
    claim: str  # gain, loss, or nothing


class Group(NamedTuple):
    """A treatment on several datasets, at one setting of all else."""

    treatment: Any
    setting: dict[str, Any]  # other conditions
    effects: list[Effect]  # gains: positive where the treatment is better
    fixed: Estimate | None  # mean difference over the datasets on which no arm fails; None where there are none
    most: Most
    spread: Estimate | None  # of true effects; of three datasets on
    field: str = ""  # that is compared
    baseline: Any = None  # its value
    is_exploratory: bool = False  # not of the question's own family
    is_relative: bool = False  # effects are parts of each dataset's baseline, as of errors whose units differ
    is_for_new_rows: bool = False  # variances are over seeds and rows

    @property
    def sound(self) -> list[Effect]:
        """Effects on the datasets on which no arm fails."""
        return [each for each in self.effects if not each.has_failed]

    @property
    def failed(self) -> list[str]:
        """Names of the datasets on which an arm fails."""
        return [each.name for each in self.effects if each.has_failed]


def group(
    treatment: Any, setting: dict[str, Any], effects: Sequence[Effect], level: float, n_groups: int = 1, sign: int = 1
) -> Group:
    """Returns all statements on a treatment's effects.

    Args:
      effects: one a dataset.
      level: of intervals.
      n_groups: of which this is one, so that each claims by its share of what may be wrong.
      sign: of the metric, -1 where lower is better.
    """
    sound = [each for each in effects if not each.has_failed]
    mean = fixed(sound, level) if sound else None
    if mean and sign < 0:
        mean = Estimate(-mean.mean, -mean.high, -mean.low)
    differ = spread(sound, level) if len(sound) >= _FEWEST_SPREAD else None
    return Group(treatment, setting, list(effects), mean, most(effects, (1 - level) / n_groups), differ)


def lost(name: str) -> Effect:
    """Returns the effect on a dataset on which no seed has both arms."""
    return Effect(name, math.nan, math.nan, math.nan, math.nan, has_failed=True)


def of_pairs(name: str, gains: np.ndarray, has_failed: bool = False, step: float = math.inf) -> Effect:
    """Returns a dataset's effect by its paired gains [seeds]; NaN is what so few seeds leave unknown.

    Gains that agree vary as if one were off by a step, as ``statistics.step_of``.
    """
    n = len(gains)
    variance = float(np.var(with_one_off(gains, step), ddof=1)) / n if n > 1 else math.nan
    mean, median = (float(np.mean(gains)), float(np.median(gains))) if n else (math.nan, math.nan)
    return Effect(name, mean, variance, n - 1, median, has_failed)


def fixed(effects: Sequence[Effect], level: float = LEVEL) -> Estimate:
    """Returns the mean over these datasets, each counted alike, with an interval over their seeds.

    Degrees of freedom are Satterthwaite's (1946), of a sum of variances that are estimated one by one.
    """
    mean, n = float(np.mean([each.mean for each in effects])), len(effects)
    parts = np.array([each.variance for each in effects])
    if not np.isfinite(parts).all() or not parts.sum():
        return Estimate(mean, -math.inf, math.inf)
    freedom = parts.sum() ** 2 / np.sum(parts**2 / np.array([each.freedom for each in effects]))
    margin = -float(special.stdtrit(freedom, (1 - level) / 2)) * math.sqrt(parts.sum()) / n
    return Estimate(mean, mean - margin, mean + margin)


def most(effects: Sequence[Effect], alpha: float = 1 - LEVEL) -> Most:
    """Returns whether most datasets like these gain or lose, by the sign test of their medians.

    A mean over datasets has no such test: where one in five gains much and the others lose, it is wrong too often. A
    dataset on which an arm fails, or whose median is zero, counts against both claims; from six datasets on one is
    made.
    """
    sound = [each for each in effects if not each.has_failed]
    up, down, n = sum(each.median > 0 for each in sound), sum(each.median < 0 for each in sound), len(effects)
    extreme = max(up, down)
    p_value = min(1.0, 2 * float(special.bdtrc(extreme - 1, n, 0.5))) if extreme else 1.0
    is_claimed = n >= FEWEST_DATASETS and p_value <= alpha
    return Most(up, down, n, p_value, ("gain" if up > down else "loss") if is_claimed else "")


def spread(effects: Sequence[Effect], level: float = LEVEL) -> Estimate:
    """Returns the standard deviation of true effects over datasets, with its interval.

    It is Paule and Mandel's (1982), at which the weighted squares of the effects' distances are as large as expected;
    the interval holds all values at which they are neither too large nor too small (Q-profile; Viechtbauer, 2007). The
    variances of means are themselves estimated, from few seeds, so that squares are larger and have longer tails: a
    scaled chi-square distribution stands for theirs.
    """
    from scipy import optimize  # takes a fifth of a second, and no answer without datasets needs it

    means, parts = (np.array([getattr(each, name) for each in effects]) for name in ("mean", "variance"))
    n, freedom = len(effects), np.array([each.freedom for each in effects], float)
    if n < 2 or not np.isfinite(parts).all() or (freedom <= 0).any():
        return Estimate(math.nan, 0.0, math.inf)
    parts = np.maximum(parts, np.finfo(float).tiny ** 0.5)

    def squares(variance: float) -> float:
        weights = 1 / (parts + variance)
        return float(np.sum(weights * (means - np.sum(weights * means) / weights.sum()) ** 2))

    def solved(excess: Callable[[float], float]) -> float:
        """Returns the spread at which a falling function is zero; none where it is negative from the first."""
        most = (_MOST_SPREAD * max(float(np.ptp(means)), math.sqrt(float(parts.max())))) ** 2
        if excess(0.0) <= 0:
            return 0.0
        return math.sqrt(optimize.brentq(excess, 0.0, most)) if excess(most) < 0 else math.inf

    def expected(variance: float, quantile: float | None = None) -> float:
        """Returns the mean or a quantile of the squares, each by how much of its variance is estimated."""
        share = parts / (parts + variance)
        larger = 1 + 2 * float(np.mean(share**2 / freedom))  # to first order, as of 1 over an estimated variance
        if quantile is None:
            return (n - 1) * larger
        longer = 1 + 6 * float(np.mean(share**2 / freedom))
        return larger * longer * float(special.chdtri((n - 1) / longer, 1 - quantile))

    middle, low, high = (
        solved(functools.partial(lambda quantile, variance: squares(variance) - expected(variance, quantile), quantile))
        for quantile in (None, (1 + level) / 2, (1 - level) / 2)
    )
    return Estimate(middle, low, high)
