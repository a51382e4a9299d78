"""Gain against labels: where it ends, what it is worth in labels, and how large it is over all budgets."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from pretrain.config.metrics import metric_of
from pretrain.study import statistics
from pretrain.study.comparisons import Comparison
from pretrain.study.statistics import Estimate

LABELS = "finetune.labels"
_FEWEST_BUDGETS = 3
_RESAMPLES = 1999


class BudgetCurve(NamedTuple):
    """One comparison at every label budget."""

    field: str
    treatment: object
    baseline: object
    shared: dict[str, object]  # swept fields besides the compared one and labels
    labels: np.ndarray  # [budgets], ascending
    n: int  # seeds that all budgets have
    levels: tuple[np.ndarray, np.ndarray]  # means of treatment and baseline [budgets]
    gain: np.ndarray  # [budgets], by how much the treatment is better, and the simultaneous band around it
    low: np.ndarray
    high: np.ndarray
    area: Estimate  # the gain's mean over the logarithm of labels
    crossover: Estimate | None  # labels where the gain first changes its sign; None where it never does
    crossing: float  # share of bootstrap samples in which it does
    equivalents: list[Estimate]  # labels with which the baseline is as good, for each budget
    level: float = statistics.LEVEL  # of the band and the intervals
    metric: str = "test_accuracy"  # in whose unit levels and gain are


def budget_curves(compared: Sequence[Comparison], level: float = statistics.LEVEL) -> list[BudgetCurve]:
    """Returns the gain against labels, where comparisons were made at three budgets or more.

    Bootstrap samples are of seeds, each with all of its budgets. Between budgets, accuracies are interpolated linearly
    in the logarithm of labels.
    """
    groups: dict[str, list[Comparison]] = {}
    for one in compared:
        if isinstance(one.shared.get(LABELS), int):
            rest = {name: value for name, value in one.shared.items() if name != LABELS}
            groups.setdefault(repr((one.treatment, rest)), []).append(one)
    sized = [sorted(group, key=lambda one: one.shared[LABELS]) for group in groups.values()]
    return [_curve(group, level) for group in sized if len(group) >= _FEWEST_BUDGETS and _paired(group)]


def crossover(labels: np.ndarray, gain: np.ndarray) -> float:
    """Returns the labels at which a gain [budgets] first changes its sign; NaN where it does not."""
    changes = np.flatnonzero(np.sign(gain[:-1]) * np.sign(gain[1:]) < 0)
    if not len(changes):
        return np.nan
    at = changes[0]
    share = gain[at] / (gain[at] - gain[at + 1])
    below, above = np.log(labels[at : at + 2])
    return float(np.exp(below + share * (above - below)))


def equivalents(labels: np.ndarray, treatment: np.ndarray, baseline: np.ndarray) -> np.ndarray:
    """Returns with how many labels the baseline is as good as the treatment with each budget: [budgets].

    The baseline [budgets] counts as never falling with more labels. Infinity stands for more than the largest budget,
    zero for less than the smallest.
    """
    rising = np.maximum.accumulate(baseline)
    found = np.exp(np.interp(treatment, rising, np.log(labels)))
    return np.where(treatment > rising[-1], np.inf, np.where(treatment < rising[0], 0.0, found))


def _paired(group: Sequence[Comparison]) -> bool:
    """Returns whether every budget has the same number of seeds; what diverged at one leaves no curve of the others."""
    return len({one.n for one in group}) == 1


def _curve(group: Sequence[Comparison], level: float) -> BudgetCurve:
    labels = np.array([one.shared[LABELS] for one in group])
    metric = group[0].metric
    sign = 1 if metric_of(metric).higher_is_better else -1
    sides = [sign * np.stack([getattr(one, side) for one in group], axis=1) for side in ("treated", "untreated")]
    gains, n = sides[0] - sides[1], group[0].n
    gain, low, high = statistics.band(gains, level)
    widths = np.diff(np.log(labels))
    weights = (np.append(widths, 0) + np.insert(widths, 0, 0)) / (2 * widths.sum())  # of the trapezoidal rule
    drawn = np.random.default_rng(0).multinomial(n, np.full(n, 1 / n), _RESAMPLES) / n
    means = [drawn @ side for side in sides]
    crossings = np.array([crossover(labels, sample) for sample in means[0] - means[1]])
    worth = np.array([equivalents(labels, *pair) for pair in zip(*means, strict=True)])
    levels = tuple(side.mean(axis=0) for side in sides)
    centre, crossed = crossover(labels, gain), ~np.isnan(crossings)
    rest = {name: value for name, value in group[0].shared.items() if name != LABELS}
    return BudgetCurve(
        group[0].field,
        group[0].treatment,
        group[0].baseline,
        rest,
        labels,
        n,
        (sign * levels[0], sign * levels[1]),
        gain,
        low,
        high,
        statistics.estimate(gains @ weights, level),
        None if np.isnan(centre) else Estimate(centre, *_ends(crossings[crossed], level)),
        float(crossed.mean()),
        [
            Estimate(float(value), *_ends(column, level))
            for value, column in zip(equivalents(labels, *levels), worth.T, strict=True)
        ],
        level,
        metric,
    )


def _ends(samples: np.ndarray, level: float) -> tuple[float, float]:
    """Returns the ends of a percentile interval; samples may be infinite."""
    low, high = np.quantile(samples, [(1 - level) / 2, (1 + level) / 2], method="inverted_cdf")
    return float(low), float(high)
