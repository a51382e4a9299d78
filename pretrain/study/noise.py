"""The noise floor of comparisons: how much seeds alone move them, and what that hides."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from pretrain.config.metrics import metric_of
from pretrain.study import power

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


def noise(sides: Sequence[tuple[np.ndarray, np.ndarray]], metric: str, level: float, is_paired: bool) -> Noise | None:
    """Returns the noise of comparisons; None where none has two seeds, or no seed differs from another.

    Args:
      sides: results [seeds] of treatment and baseline of each, of seeds that did not fail.
      metric: that is compared.
      level: of the intervals.
      is_paired: whether the seeds of both are pairs.
    """
    told = [pair for pair in sides if min(map(len, pair)) > 1]
    deviations = np.array([_deviation(pair, is_paired) for pair in told])
    if not deviations.any():
        return None
    n, unit = min(min(map(len, pair)) for pair in told), metric_of(metric)._replace(unit=None)
    points = np.array([_POINT * unit.effects_of(float(np.mean(untreated))) for _, untreated in told])
    return Noise(
        _range([float(np.std(untreated, ddof=1)) for _, untreated in told]),
        _range(deviations),
        n,
        _range([power.smallest_seen(n, deviation, level, len(sides)) for deviation in deviations]),
        _range(power.seeds_needed(points, deviations, 0.0, level, len(sides), power.MOST_SEEDS)),
        is_paired,
    )


def _deviation(pair: tuple[np.ndarray, np.ndarray], is_paired: bool) -> float:
    if is_paired:
        return float(np.std(pair[0] - pair[1], ddof=1))
    return float(np.sqrt(sum(np.var(side, ddof=1) for side in pair)))


def _range(values: Sequence[float] | np.ndarray) -> Range:
    return float(min(values)), float(max(values))
