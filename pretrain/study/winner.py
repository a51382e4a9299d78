"""The arm that is best on validation rows, and how good it is: luck that made it the best is taken off again."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from pretrain.config.metrics import metric_of, split_of
from pretrain.study import failures, statistics
from pretrain.study.arms import Arm, by_seed, distinct
from pretrain.study.statistics import Estimate

_DRAWS = 400
_SEED = 0


class Winner(NamedTuple):
    """The best of some arms on validation rows."""

    arm: Arm
    test: Estimate  # its mean on test rows, corrected for having been chosen
    n_arms: int  # that it was chosen among


def winner(run: Sequence[Arm], metric: str, level: float = statistics.LEVEL) -> Winner | None:
    """Returns the arm that is best on validation rows; None where there is none."""
    measure = split_of(metric)[1]
    names = [f"{split}_{measure}" for split in ("validation", "test")]
    arms = [arm for arm in distinct(run) if all(np.isfinite(arm.results[name]).any() for name in names)]
    if not arms:
        return None
    whole = [failures.whole(arm, metric) for arm in arms]
    seeds = sorted({seed for arm in whole for seed in arm.seeds})
    sides = []
    for name in names:
        values = np.full((len(seeds), len(arms)), np.nan)
        for column, arm in enumerate(whole):
            rows = np.searchsorted(seeds, list(dict.fromkeys(arm.seeds)))
            values[rows, column] = by_seed(arm.results[name], arm)
        sides.append(values)
    place, test = chosen(sides[0], sides[1], level, metric_of(metric).higher_is_better)
    return Winner(arms[place], test.within(metric_of(metric).low, metric_of(metric).high), len(arms))


def chosen(
    validation: np.ndarray, test: np.ndarray, level: float = statistics.LEVEL, higher_is_better: bool = True
) -> tuple[int, Estimate]:
    """Returns the place of the arm that is best on validation rows, and its corrected mean on test rows.

    Of arms that are as good as each other the one that had luck is chosen, and what it tests at is too good: by as much
    as arms that are chosen by samples of seeds are better on these than on all seeds (the bootstrap's optimism; Efron,
    1983, "Estimating the error rate of a prediction rule"). The interval is the union of that with the correction and
    that without.

    Args:
      validation: values [seeds, arms], NaN where an arm lacks a seed.
      test: alike.
      higher_is_better: whether more is better.
    """
    sign = 1 if higher_is_better else -1
    draws = np.random.default_rng(_SEED).multinomial(len(test), np.full(len(test), 1 / len(test)), _DRAWS)
    everything = np.ones((1, len(test)))
    place = int(_best(sign * _means(everything, validation))[0])
    drawn = _best(sign * _means(draws, validation))
    gained = _means(draws, test)[np.arange(_DRAWS), drawn] - _means(everything, test)[0, drawn]
    measured = gained[np.isfinite(gained)]
    optimism = float(measured.mean()) if len(measured) and test.shape[1] > 1 else 0.0
    values = test[:, place]
    plain = statistics.estimate(values[np.isfinite(values)], level)
    ends = (plain.low, plain.low - optimism), (plain.high, plain.high - optimism)
    return place, Estimate(plain.mean - optimism, min(ends[0]), max(ends[1]))


def _means(draws: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Returns means of values [seeds, arms] over draws [draws, seeds], by how often each has a seed: [draws, arms]."""
    finite = np.isfinite(values)
    with np.errstate(invalid="ignore"):
        return (draws @ np.where(finite, values, 0.0)) / (draws @ finite)


def _best(means: np.ndarray) -> np.ndarray:
    """Returns the place of the largest of means [draws, arms]; the first where none is known."""
    return np.argmax(np.where(np.isfinite(means), means, -np.inf), axis=1)
