"""Comparisons of arms whose seeds are no pairs, by Welch's test."""

import math
from collections.abc import Sequence

import numpy as np
from scipy import special

from pretrain.config import StudyConfig
from pretrain.config.metrics import metric_of
from pretrain.study import families, statistics
from pretrain.study.answer import Answer
from pretrain.study.arms import Arm, key, places, without_idle
from pretrain.study.comparisons import Comparison
from pretrain.study.datasets import Effect
from pretrain.study.power import seeds_to_settle
from pretrain.study.statistics import Estimate


def judged(answer: Answer, study: StudyConfig) -> Answer:
    """Returns an answer whose comparisons take the seeds of both arms for independent.

    Differences are those of means, with Welch's interval (1947); p is Welch's, adjusted for all comparisons (Holm); the
    probability of improvement is over all pairs of seeds (Mann and Whitney, 1947). The fewer seeds of both arms count.

    Args:
      answer: to the same question, of arms that are paired in some way.
      study: the question.
    """
    place_of = places(answer.arms)
    sides = [
        (_values(answer, place_of, each, "treatment"), _values(answer, place_of, each, "baseline"))
        for each in answer.comparisons
    ]
    tests = [welch(*side, level=answer.level) if min(map(len, side)) else None for side in sides]
    own = [not each.is_exploratory for each in answer.comparisons]
    p_values = families.adjusted([test[1] if test else 1.0 for test in tests], own)
    n_open = max(1, sum(p_value > 1 - answer.level for p_value in p_values))
    compared = [
        _compared(each, side, test[0], p_value, study, n_open) if test else each
        for each, side, test, p_value in zip(answer.comparisons, sides, tests, p_values, strict=True)
    ]
    return answer._replace(comparisons=compared)


def welch(treated: np.ndarray, untreated: np.ndarray, level: float = statistics.LEVEL) -> tuple[Estimate, float]:
    """Returns the difference of two means with its interval, and its two-sided p-value; of one value neither is known.

    Values that all agree within both arms show no spread: the interval is infinite below six, else of no length.
    """
    mean, parts = float(np.mean(treated) - np.mean(untreated)), _parts(treated, untreated)
    n = min(len(treated), len(untreated))
    if n < 2 or (not parts.sum() and n < statistics.FEWEST_SEEDS):
        return Estimate(mean, -math.inf, math.inf), 1.0
    if not parts.sum():
        return Estimate(mean, mean, mean), float(mean == 0)
    error, freedom = math.sqrt(parts.sum()), _freedom(parts, (treated, untreated))
    margin = -float(special.stdtrit(freedom, (1 - level) / 2)) * error
    return Estimate(mean, mean - margin, mean + margin), 2 * float(special.stdtr(freedom, -abs(mean) / error))


def effect(name: str, comparison: Comparison, sign: int, has_failed: bool) -> Effect:
    """Returns a dataset's effect by the values of both arms."""
    sides = comparison.treated, comparison.untreated
    parts = _parts(*sides) if min(map(len, sides)) > 1 else np.full(2, np.nan)
    means, medians = ([sign * float(middle(side)) for side in sides] for middle in (np.mean, np.median))
    freedom = _freedom(parts, sides) if parts.sum() else 1.0
    return Effect(name, means[0] - means[1], float(parts.sum()), freedom, medians[0] - medians[1], has_failed)


def _values(answer: Answer, place_of: dict, comparison: Comparison, side: str) -> np.ndarray:
    """Returns the results of one arm of a comparison that there are: [seeds]."""
    point = {**comparison.shared, comparison.field: getattr(comparison, side)}
    arm: Arm = answer.arms[place_of[key(without_idle(point))]]
    values = arm.results[answer.metric]
    return values[np.isfinite(values)]


def _compared(
    comparison: Comparison,
    sides: Sequence[np.ndarray],
    difference: Estimate,
    p_value: float,
    study: StudyConfig,
    n_open: int,
) -> Comparison:
    measure, level = metric_of(comparison.metric), comparison.level
    sign, n, widest = 1 if measure.higher_is_better else -1, min(map(len, sides)), measure.high - measure.low
    gain = difference if sign > 0 else Estimate(-difference.mean, -difference.high, -difference.low)
    smallest = study.smallest_effect * measure.effects_of(float(np.mean(sides[1])))
    verdict = statistics.verdict(gain, p_value, n, smallest, alpha=1 - level)
    if comparison.both_at_chance or comparison.n_diverged:
        verdict = "inconclusive"
    settle = None
    if verdict == "inconclusive" and n > 1 and not comparison.both_at_chance:
        # As many pairs with the same mean and error take as many seeds an arm.
        spread = np.linspace(-1, 1, n)
        pairs = gain.mean + spread / np.std(spread, ddof=1) * math.sqrt(n * float(_parts(*sides).sum()))
        settle = seeds_to_settle(pairs, smallest, level, n_open)
    ordered = np.sort(sides[1])
    wins = (np.searchsorted(ordered, sides[0], end) / len(ordered) for end in ("left", "right"))
    share = float(np.mean(list(wins)))
    return comparison._replace(
        n=n,
        treated=sides[0],
        untreated=sides[1],
        difference=difference.within(-widest, widest),
        improvement=Estimate(share if sign > 0 else 1 - share, 0.0, 1.0),
        p_value=p_value,
        verdict=verdict,
        seeds_to_settle=settle,
    )


def _parts(treated: np.ndarray, untreated: np.ndarray) -> np.ndarray:
    """Returns the variance of each mean."""
    return np.array([np.var(side, ddof=1) / len(side) for side in (treated, untreated)])


def _freedom(parts: np.ndarray, sides: Sequence[np.ndarray]) -> float:
    return float(parts.sum() ** 2 / np.sum(parts**2 / np.array([len(side) - 1 for side in sides])))
