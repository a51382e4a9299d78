"""Gain against labels: its crossover, its worth in labels, and its size over all budgets.

Everything is taken seed by seed, from the pairs that there are at each budget; the gain at each also for new rows.
Between budgets, results are linear in the logarithm of labels, so that every place between them has a sample of seeds,
too: those of both budgets.
"""

import math
from collections.abc import Hashable, Sequence
from typing import Any, NamedTuple

import numpy as np
from scipy import special

from pretrain.config.metrics import metric_of
from pretrain.study import statistics
from pretrain.study.arms import key
from pretrain.study.comparisons import Comparison
from pretrain.study.rows import for_new_rows, interval
from pretrain.study.statistics import FEWEST_SEEDS, Estimate

LABELS = "finetune.labels"
_FEWEST_BUDGETS = 3
_PLACES = 401
_LARGE = 1e6  # standard errors


class BudgetCurve(NamedTuple):
    """One comparison at every label budget."""

    field: str
    treatment: Any
    baseline: Any
    shared: dict[str, Any]  # swept fields besides the compared one and labels
    labels: np.ndarray  # [budgets], ascending
    n: np.ndarray  # [budgets], seeds
    levels: tuple[np.ndarray, np.ndarray]  # means of treatment and baseline [budgets]
    gain: np.ndarray  # [budgets], by how much the treatment is better, and the simultaneous band around it
    low: np.ndarray
    high: np.ndarray
    new_low: np.ndarray  # [budgets], the same for new rows (Bonferroni); NaN where these are not known
    new_high: np.ndarray
    area: Estimate  # the gain's mean over the logarithm of labels
    signs: np.ndarray  # [budgets], of the gain where it is certain, for all budgets at once, else 0
    crossover: Estimate | None  # labels where the gain changes its sign; None where that is not certain
    equivalents: list[Estimate]  # labels with which the baseline is as good, for each budget
    utility: list[Estimate]  # labels that the baseline needs over labels used, less one, for each budget
    level: float = statistics.LEVEL  # of the band and the intervals
    metric: str = "test_accuracy"  # in whose unit levels and gain are

    @property
    def ends(self) -> tuple[np.ndarray, np.ndarray]:
        """The ends of the gain's intervals at all budgets: for new rows, where they are known, else over seeds."""
        return np.fmin(self.low, self.new_low), np.fmax(self.high, self.new_high)


def budget_curves(compared: Sequence[Comparison], level: float = statistics.LEVEL) -> list[BudgetCurve]:
    """Returns the gain against labels where both arms train, if they do at three budgets or more.

    A budget at which they failed counts where six seeds are left.
    """
    groups: dict[Hashable, list[Comparison]] = {}
    counted = [each for each in compared if isinstance(labels := each.shared.get(LABELS), int) and labels > 0]
    for each in map(_sound, counted):
        if each.n >= max(1, min(FEWEST_SEEDS, len(each.failures.both_train))):
            groups.setdefault(key({**each.shared, each.field: each.treatment, LABELS: None}), []).append(each)
    sized = [sorted(group, key=lambda each: each.shared[LABELS]) for group in groups.values()]
    return [_curve(group, level) for group in sized if len(group) >= _FEWEST_BUDGETS]


def certain_signs(gains: np.ndarray, level: float = statistics.LEVEL) -> np.ndarray:
    """Returns the signs of the mean gains [budgets] that are certain for all budgets at once (Bonferroni), else 0.

    Args:
      gains: [seeds, budgets], NaN where a seed has none.
      level: the probability that no sign is wrong.
    """
    means, ratios, n = _ratios(gains, statistics.step_of(gains[np.isfinite(gains)]))
    certain = np.abs(ratios) > _quantile(n, 1 - (1 - level) / gains.shape[1])
    return np.where(certain, np.sign(means), 0).astype(int)


def crossover(labels: np.ndarray, gains: np.ndarray, level: float = statistics.LEVEL) -> Estimate | None:
    """Returns the labels at which the gain changes its sign; None unless some two budgets certainly differ in it.

    The interval holds the places between these budgets at which Student's test leaves a gain of zero open (Fieller,
    1954, "Some problems in interval estimation", by inversion).

    Args:
      labels: [budgets], ascending.
      gains: [seeds, budgets], NaN where a seed has none.
    """
    signs = certain_signs(gains, level)
    certain = np.flatnonzero(signs)
    changes = np.flatnonzero(np.diff(signs[certain]))
    if not len(changes):
        return None
    first, last = certain[changes[0]], certain[changes[0] + 1]
    means = np.nanmean(gains[:, first : last + 1], axis=0)
    before = int(np.flatnonzero(np.sign(means[:-1]) != np.sign(means[1:]))[0])
    step = means[before] / (means[before] - means[before + 1])
    logs = np.log(labels)
    centre = logs[first + before] + step * (logs[first + before + 1] - logs[first + before])
    inside = _open_places(logs, gains, level, logs[first], logs[last])
    return Estimate(*map(math.exp, (centre, min([centre, *inside]), max([centre, *inside]))))


def equivalent(
    labels: np.ndarray, treated: np.ndarray, baseline: np.ndarray, level: float = statistics.LEVEL
) -> Estimate:
    """Returns with how many labels the baseline is as good as a treatment, with an interval by inversion, too.

    Infinity stands for more than the largest budget, zero for less than the smallest. In the estimate, the baseline
    counts as never falling with more labels; in the interval, it does as it does.

    Args:
      labels: [budgets], ascending.
      treated: [seeds], with one budget.
      baseline: [seeds, budgets]; both NaN where a seed has none.
    """
    logs, rising = np.log(labels), np.maximum.accumulate(np.nanmean(baseline, axis=0))
    worth, ends = np.nanmean(treated), (rising[0], rising[-1])
    if ends[0] <= worth <= ends[1]:
        place = np.searchsorted(rising, worth, "right") - 1
        after = min(place + 1, len(logs) - 1)
        between = 0.0 if worth == rising[place] else (worth - rising[place]) / (rising[after] - rising[place])
        centre = float(logs[place] + between * (logs[after] - logs[place]))
    else:
        centre = math.inf if worth > ends[1] else -math.inf
    inside = [centre, *_open_places(logs, treated[:, None] - baseline, level, logs[0], logs[-1])]
    low, high = min(inside), max(inside)
    open_ended = (-math.inf if low <= logs[0] else low, math.inf if high >= logs[-1] else high)
    return Estimate(*(math.exp(end) if end < math.inf else math.inf for end in (centre, *open_ended)))


def _ratios(values: np.ndarray, step: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Returns means of values [seeds, places], what they are in standard errors, and how many values each has.

    Where all seeds agree, it is as if one of them were a step nearer to zero.
    """
    n = np.sum(np.isfinite(values), axis=0)
    with np.errstate(all="ignore"):
        means = np.nansum(values, axis=0) / n
        errors = np.sqrt(np.nansum((values - means) ** 2, axis=0) / (n - 1) / n)
        one_off = np.sign(means) * np.maximum(n * np.abs(means) / step - 1, 0.0)
        ratios = np.where(errors <= statistics.ROUNDING * np.abs(means), one_off, means / errors)
    ratios[(n < FEWEST_SEEDS) | (np.abs(means) <= statistics.ROUNDING) | np.isnan(ratios)] = 0.0
    return means, ratios, n


def _quantile(n: np.ndarray, level: float | np.ndarray) -> np.ndarray:
    """Returns Student's quantiles of intervals of a level, for so many seeds; those of too few are of no use."""
    return special.stdtrit(np.maximum(n - 1, 1), (1 + level) / 2)


def _open_places(logs: np.ndarray, gains: np.ndarray, level: float, low: float, high: float) -> np.ndarray:
    """Returns logarithms of labels between two at which a gain of zero is open, the ends of such stretches included."""
    places = np.linspace(logs[0], logs[-1], _PLACES)
    before = np.clip(np.searchsorted(logs, places, "right") - 1, 0, len(logs) - 2)
    share = (places - logs[before]) / (logs[before + 1] - logs[before])
    # A place at a budget is of that budget's seeds, whatever the next has.
    left, right = np.where(share < 1, gains[:, before], 0.0), np.where(share > 0, gains[:, before + 1], 0.0)
    _, ratios, n = _ratios((1 - share) * left + share * right, statistics.step_of(gains[np.isfinite(gains)]))
    ratios, margins = np.clip(ratios, -_LARGE, _LARGE), _quantile(n, level)
    found = [places[np.abs(ratios) <= margins]]
    for excess in (ratios - margins, ratios + margins):  # whose zeros, between places, are where intervals end
        before = np.flatnonzero(excess[:-1] * excess[1:] < 0)
        step = excess[before] / (excess[before] - excess[before + 1])
        found.append(places[before] + step * (places[before + 1] - places[before]))
    inside = np.concatenate(found)
    return inside[(inside >= low) & (inside <= high)]


def _by_seed(values: Sequence[np.ndarray], seeds: Sequence[Sequence[int]]) -> np.ndarray:
    """Returns values of budgets, each of its own seeds, as one array [seeds, budgets], NaN where a seed has none."""
    rows = {seed: row for row, seed in enumerate(sorted({seed for each in seeds for seed in each}))}
    result = np.full((len(rows), len(values)), np.nan)
    for column, (each, of) in enumerate(zip(values, seeds, strict=True)):
        result[[rows[seed] for seed in of], column] = each
    return result


def _filled(gains: np.ndarray) -> np.ndarray:
    """Returns gains [seeds, budgets] with means in the place of none, and deviations so large that errors stay."""
    n, means = np.sum(np.isfinite(gains), axis=0), np.nanmean(gains, axis=0)
    scale = np.sqrt(len(gains) * max(len(gains) - 1, 1) / (n * np.maximum(n - 1, 1)))
    return means + np.where(np.isfinite(gains), scale * (gains - means), 0.0)


def _sound(comparison: Comparison) -> Comparison:
    """Returns a comparison of the seeds in which both arms train."""
    kept = comparison.failures.both_train
    seeds = tuple(seed for seed, is_kept in zip(comparison.seeds, kept, strict=True) if is_kept)
    return comparison._replace(
        n=len(seeds), seeds=seeds, treated=comparison.treated[kept], untreated=comparison.untreated[kept]
    )


def _curve(group: Sequence[Comparison], level: float) -> BudgetCurve:
    first, labels = group[0], np.array([each.shared[LABELS] for each in group])
    sign = 1 if metric_of(first.metric).higher_is_better else -1
    seeds = [each.seeds for each in group]
    treated, untreated = (
        sign * _by_seed([getattr(each, side) for each in group], seeds) for side in ("treated", "untreated")
    )
    gains, levels = treated - untreated, [np.nanmean(side, axis=0) for side in (treated, untreated)]
    filled = _filled(gains)
    gain, low, high = statistics.band(filled, level)
    new = np.full((2, len(group)), np.nan)
    for place, each in enumerate(group):
        if each.rows:
            on_new = for_new_rows(gains[np.isfinite(gains[:, place]), place], each.rows)
            of_seeds = Estimate(gain[place], low[place], high[place])
            new[:, place] = interval(on_new, of_seeds, 1 - (1 - level) / len(group))[1:]
    widths = np.diff(np.log(labels))
    weights = (np.append(widths, 0) + np.insert(widths, 0, 0)) / (2 * widths.sum())  # of the trapezoidal rule
    worths = [equivalent(labels, column, untreated, level) for column in treated.T]
    return BudgetCurve(
        first.field,
        first.treatment,
        first.baseline,
        {name: value for name, value in first.shared.items() if name != LABELS},
        labels,
        np.array([each.n for each in group]),
        (sign * levels[0], sign * levels[1]),
        gain,
        low,
        high,
        new[0],
        new[1],
        statistics.estimate(filled @ weights, level),
        certain_signs(gains, level),
        crossover(labels, gains, level),
        worths,
        [Estimate(*(end / int(used) - 1 for end in worth)) for worth, used in zip(worths, labels, strict=True)],
        level,
        first.metric,
    )
