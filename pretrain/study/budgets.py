"""Gain against labels: its crossover, its worth in labels, and its size over all budgets."""

from collections.abc import Hashable, Sequence
from typing import Any, NamedTuple

import numpy as np

from pretrain.config.metrics import metric_of
from pretrain.study import statistics
from pretrain.study.arms import key
from pretrain.study.comparisons import Comparison
from pretrain.study.statistics import Estimate

LABELS = "finetune.labels"
_FEWEST_BUDGETS = 3
_RESAMPLES = 1999


class BudgetCurve(NamedTuple):
    """One comparison at every label budget."""

    field: str
    treatment: Any
    baseline: Any
    shared: dict[str, Any]  # swept fields besides the compared one and labels
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
    groups: dict[Hashable, list[Comparison]] = {}
    for each in compared:
        if isinstance(each.shared.get(LABELS), int):
            groups.setdefault(key({**each.shared, each.field: each.treatment, LABELS: None}), []).append(each)
    sized = [sorted(group, key=lambda each: each.shared[LABELS]) for group in groups.values()]
    paired = [group for group in sized if len({each.n for each in group}) == 1]  # no trial of a seed diverged
    return [_curve(group, level) for group in paired if len(group) >= _FEWEST_BUDGETS]


def crossover(labels: np.ndarray, gain: np.ndarray) -> np.ndarray:
    """Returns the labels at which gains [..., budgets] first change their sign: [...], NaN where they do not."""
    changes = np.sign(gain[..., :-1]) * np.sign(gain[..., 1:]) < 0
    place = np.argmax(changes, axis=-1)
    before, after = (np.take_along_axis(gain, place[..., None] + step, -1)[..., 0] for step in (0, 1))
    below, above = np.log(labels)[place], np.log(labels)[place + 1]
    with np.errstate(all="ignore"):
        return np.where(changes.any(axis=-1), np.exp(below + before / (before - after) * (above - below)), np.nan)


def equivalents(labels: np.ndarray, treatment: np.ndarray, baseline: np.ndarray) -> np.ndarray:
    """Returns with how many labels the baseline is as good as the treatment with each budget: [..., budgets].

    The baseline [..., budgets] counts as never falling with more labels. Infinity stands for more than the largest
    budget, zero for less than the smallest.
    """
    rising, logs = np.maximum.accumulate(baseline, axis=-1), np.log(labels)
    # As np.interp does for a single curve.
    place = np.sum(rising[..., None, :] <= treatment[..., None], axis=-1) - 1
    left, right = np.clip(place, 0, None), np.clip(place + 1, None, len(labels) - 1)
    low, high = (np.take_along_axis(rising, side, -1) for side in (left, right))
    with np.errstate(all="ignore"):
        between = (logs[right] - logs[left]) / (high - low) * (treatment - low) + logs[left]
    worth = np.exp(np.where(treatment == low, logs[left], between))
    return np.where(treatment > rising[..., -1:], np.inf, np.where(treatment < rising[..., :1], 0.0, worth))


def _curve(group: Sequence[Comparison], level: float) -> BudgetCurve:
    first, labels = group[0], np.array([each.shared[LABELS] for each in group])
    sign = 1 if metric_of(first.metric).higher_is_better else -1
    sides = [sign * np.stack([getattr(each, side) for each in group], axis=1) for side in ("treated", "untreated")]
    gains, levels = sides[0] - sides[1], [side.mean(axis=0) for side in sides]
    gain, low, high = statistics.band(gains, level)
    widths = np.diff(np.log(labels))
    weights = (np.append(widths, 0) + np.insert(widths, 0, 0)) / (2 * widths.sum())  # of the trapezoidal rule
    samples = [statistics.bootstrap_weights(first.n)[:_RESAMPLES] @ side for side in sides]  # [samples, budgets]
    centre, crossings = float(crossover(labels, gain)), crossover(labels, samples[0] - samples[1])
    crosses = ~np.isnan(crossings)
    ends = zip(*_ends(equivalents(labels, *samples), level), strict=True)
    return BudgetCurve(
        first.field,
        first.treatment,
        first.baseline,
        {name: value for name, value in first.shared.items() if name != LABELS},
        labels,
        first.n,
        (sign * levels[0], sign * levels[1]),
        gain,
        low,
        high,
        statistics.estimate(gains @ weights, level),
        None if np.isnan(centre) else Estimate(centre, *map(float, _ends(crossings[crosses], level))),
        float(crosses.mean()),
        [
            Estimate(float(worth), float(low), float(high))
            for worth, (low, high) in zip(equivalents(labels, *levels), ends, strict=True)
        ],
        level,
        first.metric,
    )


def _ends(samples: np.ndarray, level: float) -> np.ndarray:
    """Returns the ends of percentile intervals of samples [samples, ...], which may be infinite: [2, ...]."""
    return np.quantile(samples, [(1 - level) / 2, (1 + level) / 2], axis=0, method="inverted_cdf")
