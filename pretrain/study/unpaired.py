"""Comparisons of arms whose seeds are no pairs, by Welch's test."""

import math
from collections.abc import Hashable, Mapping, Sequence
from typing import NamedTuple

import numpy as np
from scipy import special

from pretrain.config import StudyConfig
from pretrain.config.metrics import metric_of
from pretrain.study import failures, families, statistics
from pretrain.study.answer import Answer
from pretrain.study.arms import Arm
from pretrain.study.comparisons import Comparison, pairs_of, smallest_of
from pretrain.study.datasets import Effect
from pretrain.study.failures import Failures
from pretrain.study.power import seeds_to_settle
from pretrain.study.statistics import Estimate, Verdict

_INNER = 1e-9
_ROUNDING = 1e-7  # relative; tables of counts that are as probable but for it are so


class Sides(NamedTuple):
    """Results of two arms by seed, each arm's own."""

    all: tuple[np.ndarray, np.ndarray]  # [seeds] of treatment and baseline; those that diverged at chance, if known
    sound: tuple[np.ndarray, np.ndarray]  # [seeds] that did not fail
    failures: Failures


def judged(answer: Answer, study: StudyConfig, settled: Mapping[Hashable, Comparison] | None = None) -> Answer:
    """Returns an answer whose comparisons take the seeds of both arms for independent.

    Differences are those of means, with Welch's interval (1947); p is Welch's of the seeds that did not fail, of no
    effect and of one that matters, adjusted for all comparisons as those of pairs are, and for their rates of failure
    (Fisher's exact test) where these could be significant; the probability of improvement is over all pairs of seeds
    (Mann and Whitney, 1947). The fewer seeds of both arms count.
    """
    settled, alpha = settled or {}, 1 - answer.level
    found = [settled.get(each.identity, each) for each in answer.comparisons]
    still = [place for place, each in enumerate(found) if each.identity not in settled]
    sides = [sides_of(answer, found[place]) for place in still]
    own = [not found[place].is_exploratory for place in still]
    smallest = [smallest_of(answer.metric, side.all[1], study) for side in sides]
    tests = [_p_values(side, size) for side, size in zip(sides, smallest, strict=True)]
    rated = [place for place, side in enumerate(sides) if 0 < _smallest_p(side.failures) <= alpha]
    adjusted = families.adjusted(
        [effect for effect, _ in tests] + [sides[place].failures.p_value for place in rated],
        [nil for _, nil in tests] + [1.0] * len(rated),
        own + [own[place] for place in rated],
        [(not each.is_exploratory, each.failures.verdict) for each in found if each.identity in settled],
    )
    rates = dict(zip(rated, adjusted[len(sides) :], strict=True))
    n_open = max(1, sum(max(both) > alpha for both in adjusted[: len(sides)]))
    for number, place in enumerate(still):
        p_rates = rates[number][0] if number in rates else sides[number].failures.p_value
        found[place] = _compared(found[place], sides[number], adjusted[number], p_rates, smallest[number], n_open)
    return answer._replace(comparisons=found)


def n_claims(compared: Sequence[Comparison]) -> int:
    """Returns among how many p-values those of comparisons are judged: with their rates of failure."""
    return max(1, len(compared) + sum(0 < _smallest_p(each.failures) <= 1 - each.level for each in compared))


def sides_of(answer: Answer, comparison: Comparison) -> Sides:
    """Returns the results of a comparison's arms."""
    (pair,) = pairs_of([comparison], answer.arms)
    lost, other_lost = failures.failed(pair, answer.metric)
    whole, sound = zip(
        *(_values(arm, out, answer.metric) for arm, out in zip(pair, (lost, other_lost), strict=True)), strict=True
    )
    of, other_of = (len(arm.all_seeds) for arm in pair)
    found = failures.rates(lost, other_lost, of, np.ones(min(map(len, sound)), bool), other_of)
    return Sides(whole, sound, found._replace(p_value=fisher(len(lost), of, len(other_lost), other_of)))


def welch(treated: np.ndarray, untreated: np.ndarray, level: float = statistics.LEVEL) -> tuple[Estimate, float]:
    """Returns the difference of two means with its interval, and its two-sided p-value; of one value neither is known.

    Values that all agree within both arms show no spread: the interval is infinite below six, else as that of paired
    differences that agree.
    """
    n = min(len(treated), len(untreated))
    if not n:
        return Estimate(math.nan, -math.inf, math.inf), 1.0
    mean = float(np.mean(treated) - np.mean(untreated))
    parts = _parts((treated, untreated))
    if n < 2 or (not parts.sum() and n < statistics.FEWEST_SEEDS):
        return Estimate(mean, -math.inf, math.inf), 1.0
    if not parts.sum():
        step = statistics.step_of(treated, untreated)
        margin = statistics.off(n, 1 - level) * step
        return Estimate(mean, mean - margin, mean + margin), statistics.equal_p(abs(mean), n, step)
    error, freedom = math.sqrt(parts.sum()), _freedom(parts, (treated, untreated))
    margin = -float(special.stdtrit(freedom, (1 - level) / 2)) * error
    return Estimate(mean, mean - margin, mean + margin), 2 * float(special.stdtr(freedom, -abs(mean) / error))


def fisher(k: int, n: int, other_k: int, other_n: int) -> float:
    """Returns the two-sided p-value of equal rates of k of n and of others: the share of tables as improbable."""
    total, least = k + other_k, max(0, k + other_k - other_n)
    counts = np.arange(least, min(total, n) + 1)
    sizes = special.gammaln(counts + 1) + special.gammaln(n - counts + 1)
    sizes += special.gammaln(total - counts + 1) + special.gammaln(other_n - total + counts + 1)
    chances = np.exp(sizes.min() - sizes)
    return float(min(1.0, chances[chances <= chances[k - least] * (1 + _ROUNDING)].sum() / chances.sum()))


def improvement(treated: np.ndarray, untreated: np.ndarray, level: float = statistics.LEVEL) -> Estimate:
    """Returns the probability that a seed of one arm is above one of the other, ties counting half, with its interval.

    The interval is that of a score, by the variance of normal values (Newcombe, 2006, "Confidence intervals for an
    effect size measure based on the Mann-Whitney statistic", part 2, method 5); without values it has no ends.
    """
    from scipy import optimize  # takes a fifth of a second, and pairs need it not

    n, m = len(treated), len(untreated)
    if not n or not m:
        return Estimate(math.nan, -math.inf, math.inf)
    ordered = np.sort(untreated)
    share = float(np.mean([np.searchsorted(ordered, treated, end) / m for end in ("left", "right")]))
    if level >= 1:
        return Estimate(share, 0.0, 1.0)
    z, more = float(special.ndtri((1 + level) / 2)), (n + m) / 2 - 1
    inner = min(max(share, _INNER), 1 - _INNER)  # for at 0 and 1 no value has a variance

    def beyond(true: float) -> float:
        variance = true * (1 - true) * (1 + more * (1 - true) / (2 - true) + more * true / (1 + true)) / (n * m)
        return (share - true) ** 2 - z**2 * variance

    low, high = (optimize.brentq(beyond, *sorted((inner, end))) if share != end else end for end in (0.0, 1.0))
    return Estimate(share, float(low), float(high))


def effect(name: str, sides: Sides, sign: int) -> Effect:
    """Returns a dataset's effect by the values of both arms."""
    values = sides.sound if min(map(len, sides.sound)) else sides.all
    if min(map(len, values)) < 2:
        return Effect(name, math.nan, math.nan, math.nan, math.nan, has_failed=True)
    parts = _parts(values)
    means, medians = ([sign * float(middle(side)) for side in values] for middle in (np.mean, np.median))
    freedom = _freedom(parts, values) if parts.sum() else 1.0
    gains = means[0] - means[1], medians[0] - medians[1]
    return Effect(name, gains[0], float(parts.sum()), freedom, gains[1], sides.failures.any)


def _values(arm: Arm, lost: set[int], metric: str) -> tuple[np.ndarray, np.ndarray]:
    """Returns an arm's results, and those of the seeds that did not fail."""
    full = failures.whole(arm, metric)
    values, seeds = full.results[metric], np.array(full.seeds, int)
    is_known = np.isfinite(values)
    return values[is_known], values[is_known & ~np.isin(seeds, list(lost))]


def _p_values(sides: Sides, smallest: float) -> tuple[float, float]:
    """Returns the p-values of no effect, and twice that of one that matters (Schuirmann, 1987)."""
    parts = _parts(sides.sound)
    if min(map(len, sides.sound)) < statistics.FEWEST_SEEDS:
        return welch(*sides.sound)[1], 1.0
    beyond = abs(float(np.mean(sides.sound[0]) - np.mean(sides.sound[1]))) - smallest
    if not parts.sum():
        n, step = min(map(len, sides.sound)), statistics.step_of(*sides.sound)
        return welch(*sides.sound)[1], statistics.equal_p(-beyond, n, step)
    nil = special.stdtr(_freedom(parts, sides.sound), beyond / math.sqrt(parts.sum()))
    return welch(*sides.sound)[1], min(1.0, 2 * float(nil))


def _smallest_p(found: Failures) -> float:
    """Returns the smallest p-value that rates of so many failures could have; 0 where there are none."""
    k, (of, other_of) = found.treated + found.untreated, found.sizes
    most = min(k, of), k - min(k, other_of)  # of the treatment, all that there can be, and all but those
    return min(fisher(each, of, k - each, other_of) for each in most) if k else 0.0


def _compared(
    comparison: Comparison,
    sides: Sides,
    p_values: tuple[float, float],
    p_rates: float,
    smallest: float,
    n_open: int,
) -> Comparison:
    measure, level, found = metric_of(comparison.metric), comparison.level, sides.failures
    sign, widest = 1 if measure.higher_is_better else -1, measure.high - measure.low
    verdict: Verdict = "inconclusive"
    n, where_both, settle = min(map(len, sides.sound)), None, None
    if n:
        where_both = welch(*sides.sound, level=level)[0]
        gain = where_both if sign > 0 else Estimate(-where_both.mean, -where_both.high, -where_both.low)
        verdict = statistics.verdict(gain, p_values[0], n, smallest, 1 - level, p_values[1])
        where_both = where_both.within(-widest, widest)
    error = math.sqrt(_parts(sides.sound).sum()) or statistics.step_of(*sides.sound) / max(n, 1)
    if verdict == "inconclusive" and n > 1 and not comparison.both_at_chance and math.isfinite(error):
        # As many pairs with the same mean and error take as many seeds an arm.
        spread = np.linspace(-1, 1, n)
        pairs = gain.mean + spread / np.std(spread, ddof=1) * math.sqrt(n) * error
        settle = seeds_to_settle(pairs, smallest, level, n_open, by_flips=False)
    if (verdict, found.more_often) in (("helps", 1), ("hurts", -1)):
        verdict = "inconclusive"
    of_all: Verdict = "inconclusive" if comparison.both_at_chance else "unstable" if found.any else verdict
    return comparison._replace(
        n=min(map(len, sides.all)),
        treated=sides.all[0],
        untreated=sides.all[1],
        difference=welch(*sides.all, level=level)[0].within(-widest, widest),
        improvement=improvement(*(sides.all if sign > 0 else sides.all[::-1]), level),
        p_value=p_values[0],
        p_nil=p_values[1],
        verdict=of_all,
        seeds_to_settle=settle,
        failures=found._replace(p_value=p_rates, difference=where_both, verdict=verdict),
        seeds=(),
    )


def _parts(sides: Sequence[np.ndarray]) -> np.ndarray:
    """Returns the variance of each mean; of values that agree, where the other arm's do not, as of one a step off."""
    vary = [np.ptp(side) > statistics.ROUNDING * np.max(np.abs(side)) if len(side) > 1 else False for side in sides]
    parts = np.array(
        [np.var(side, ddof=1) / len(side) if varies else 0.0 for side, varies in zip(sides, vary, strict=True)]
    )
    lengths = np.array([max(len(side), 1) for side in sides])
    return np.where(parts == 0, np.square(statistics.step_of(*sides) / lengths), parts) if parts.any() else parts


def _freedom(parts: np.ndarray, sides: Sequence[np.ndarray]) -> float:
    return float(parts.sum() ** 2 / np.sum(parts**2 / np.array([len(side) - 1 for side in sides])))
