"""The noise floor of comparisons: how much seeds alone move them, and what that hides."""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from pretrain.config.metrics import metric_of
from pretrain.study import power, statistics

_POINT = 0.01  # of a fraction; of other metrics such a part of the baseline
Range = tuple[float, float]  # the least and the most of several comparisons


class Noise(NamedTuple):
    """What seeds alone do to comparisons, in the metric's unit."""

    baseline: Range  # standard deviation of the baseline over seeds
    difference: Range  # of the difference of a seed
    n: int  # seeds, the fewest
    smallest: Range  # differences that so many seeds show with 80 % power; infinite where they are too few for any
    seeds: Range | None  # that show a point with 80 % power, or a part of the baseline; None where that is 0
    is_paired: bool


def noise(
    sides: Sequence[tuple[np.ndarray, np.ndarray]], metric: str, level: float, is_paired: bool, n_claims: int = 1
) -> Noise | None:
    """Returns the noise of comparisons; None where none has two seeds, or no seed differs from another.

    Args:
      sides: results [seeds] of treatment and baseline of each, of seeds that did not fail.
      is_paired: whether the seeds of both are pairs.
      n_claims: among which each is judged.
    """
    known = [pair for pair in sides if min(map(len, pair)) > 1]
    deviations = np.array([_deviation(pair, is_paired) for pair in known])
    if not deviations.any():
        return None
    n, unit = min(min(map(len, pair)) for pair in known), metric_of(metric)._replace(unit=None)
    points = np.array([_POINT * unit.effects_of(float(np.mean(untreated))) for _, untreated in known])
    needed = power.seeds_needed(points, deviations, 0.0, level, n_claims, power.MOST_SEEDS, by_flips=is_paired)
    return Noise(
        _range([_std(untreated) for _, untreated in known]),
        _range(deviations),
        n,
        _range(
            [
                _seen(pair, deviation, level, is_paired, n_claims)
                for pair, deviation in zip(known, deviations, strict=True)
            ]
        ),
        _range(needed) if points.all() else None,
        is_paired,
    )


def _std(values: np.ndarray, size: float = 0.0) -> float:
    """Returns the standard deviation over seeds: none of values that are the same but for rounding at their size."""
    is_none = np.ptp(values) <= statistics.ROUNDING * (size or np.max(np.abs(values)))
    return 0.0 if is_none else float(np.std(values, ddof=1))


def _deviation(pair: tuple[np.ndarray, np.ndarray], is_paired: bool) -> float:
    if is_paired:
        return _std(pair[0] - pair[1], float(np.max(np.abs(pair))))
    return math.hypot(*map(_std, pair))


def _seen(pair: tuple[np.ndarray, np.ndarray], deviation: float, level: float, is_paired: bool, n_claims: int) -> float:
    """Returns the smallest difference that a comparison shows; of one without noise, which shows none, nothing."""
    if not deviation:
        return math.inf
    if is_paired:
        return power.smallest_seen(len(pair[0]), deviation, level, n_claims)
    return power.smallest_seen_apart([len(side) for side in pair], [_std(side) for side in pair], level, n_claims)


def _range(values: Sequence[float] | np.ndarray) -> Range:
    return float(min(values)), float(max(values))
