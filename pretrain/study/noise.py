"""The noise floor of comparisons: how much seeds alone move them, and what that hides."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from pretrain.config.metrics import metric_of
from pretrain.study import power
from pretrain.study.comparisons import Comparison

_POINT = 0.01  # of a fraction; of other metrics such a part of the baseline
Range = tuple[float, float]  # the least and the most of several comparisons


class Noise(NamedTuple):
    """What seeds alone do to comparisons, in the metric's unit."""

    baseline: Range  # standard deviation of the baseline over seeds
    difference: Range  # of the difference of a seed
    n: int  # seeds, the fewest
    smallest: Range  # differences that so many seeds show with 80 % power; infinite where they are too few for any
    seeds: Range  # that show a point with 80 % power, or a part of the baseline
    is_paired: bool


def noise(compared: Sequence[Comparison], level: float, is_paired: bool = True) -> Noise | None:
    """Returns the noise of comparisons; None where none has two seeds, or no seed differs from another."""
    told = [each for each in compared if each.n > 1]
    deviations = np.array([_deviation(each, is_paired) for each in told])
    if not len(told) or not deviations.any():
        return None
    n = min(each.n for each in told)
    points = [
        _POINT * metric_of(each.metric)._replace(unit=None).effects_of(float(np.mean(each.untreated))) for each in told
    ]
    seeds = [
        float(power.seeds_needed(np.array(point), np.array(deviation), 0.0, level, len(compared)))
        for point, deviation in zip(points, deviations, strict=True)
    ]
    return Noise(
        _range([float(np.std(each.untreated, ddof=1)) for each in told]),
        _range(deviations),
        n,
        _range([power.smallest_seen(n, deviation, level, len(compared)) for deviation in deviations]),
        _range(seeds),
        is_paired,
    )


def _deviation(comparison: Comparison, is_paired: bool) -> float:
    sides = comparison.treated, comparison.untreated
    if is_paired:
        return float(np.std(sides[0] - sides[1], ddof=1))
    return float(np.sqrt(sum(np.var(side, ddof=1) for side in sides)))


def _range(values: Sequence[float] | np.ndarray) -> Range:
    return float(min(values)), float(max(values))
