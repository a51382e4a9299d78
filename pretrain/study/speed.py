"""The faster of two arms, apart from the better one: updates to 90 % of the better arm's final result."""

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from pretrain.study import statistics
from pretrain.study.arms import Arm, by_seed, cut
from pretrain.study.curves import Curve, Curves
from pretrain.study.statistics import Estimate

SHARE = 0.9  # of the better arm's final result
_WIDEST = 1000.0  # times its lower end, the upper one of an interval that says something
_ACCURACY, _LOSS = "validation_accuracy", "validation_loss"


class Measure(NamedTuple):
    """A measure of learning on validation rows, during training and at its end; more is better."""

    name: str  # accuracy, or of numbers the explained part of their variance
    curves: Mapping[str, Curve]  # by trial
    ends: Callable[[Arm], np.ndarray]  # of an arm's trials, at the end of training: [trials]


def measure_of(results: Collection[str], curves: Curves) -> Measure | None:
    """Returns the measure of a run's networks, by the columns of its trials; None where training was not measured.

    Losses of numbers are squared errors where the training rows have variance 1.
    """
    if _ACCURACY in results and (accuracies := curves.of(_ACCURACY)):
        return Measure("accuracy", accuracies, lambda arm: arm.results[_ACCURACY])
    if "validation_r2" in results and curves.of(_LOSS):
        explained = {trial: (steps, 1 - losses) for trial, (steps, losses) in curves.of(_LOSS).items()}
        return Measure("explained variance", explained, lambda arm: 1 - arm.results[_LOSS])
    return None


class Speed(NamedTuple):
    """Updates that two arms make until they are as good as 90 % of the better one, seed by seed."""

    of: str  # name of the measure
    target: float  # fraction
    treated: np.ndarray  # [seeds]; infinite where it is not reached
    untreated: np.ndarray  # [seeds]
    ratio: Estimate | None  # of treated to untreated, geometric mean over seeds; None where a seed does not reach it
    p_value: float  # of a sign-flip test, adjusted for all comparisons: of the ratio's logarithm, or of its sign

    @property
    def is_settled(self) -> bool:
        """Whether the ratio has an interval that says anything."""
        if self.ratio is None or not np.isfinite(self.ratio.high):
            return False
        return self.ratio.high < _WIDEST * self.ratio.low or not self.ratio.low < 1 < self.ratio.high

    def learns(self, level: float) -> str:
        """Returns how the treatment learns: ``faster``, ``more slowly``, or ``not certain``."""
        if len(self.treated) < statistics.FEWEST_SEEDS or self.p_value > 1 - level + 1e-12:
            return "not certain"
        if self.ratio is None:
            return "faster" if np.sum(_signs(self.treated, self.untreated)) < 0 else "more slowly"
        return "faster" if self.ratio.high < 1 else "more slowly" if self.ratio.low > 1 else "not certain"


def speed(pair: Sequence[Arm], measure: Measure, level: float) -> Speed | None:
    """Returns how fast treatment and baseline learn; None where a trial has no curve, or neither arm learned."""
    shared = set(pair[0].units) & set(pair[1].units)
    sides = [cut(arm, shared) for arm in pair]
    if not shared or any(trial not in measure.curves for side in sides for trial in side.trial_ids):
        return None
    curves = []
    for side in sides:
        lines = [measure.curves[trial] for trial in side.trial_ids]
        most = max(lines, key=lambda curve: curve[0][-1])[0]  # one that stopped stays as it was
        values = np.array([np.interp(most, *curve) for curve in lines])
        curves.append((most, by_seed(values, side)))
    target = SHARE * max(float(np.mean(by_seed(measure.ends(side), side))) for side in sides)
    if not target > 0:
        return None
    treated, untreated = (np.array([updates_to(target, steps, values) for values in seeds]) for steps, seeds in curves)
    if not np.isfinite([treated, untreated]).all():
        return Speed(measure.name, target, treated, untreated, None, statistics.sign_flip(_signs(treated, untreated)))
    logs = np.log(treated) - np.log(untreated)
    ratio = Estimate(*np.exp(statistics.student(logs, level)).tolist())
    return Speed(measure.name, target, treated, untreated, ratio, statistics.sign_flip(logs))


def _signs(treated: np.ndarray, untreated: np.ndarray) -> np.ndarray:
    """Returns which side makes more updates in each seed: 1 the treatment, -1 the baseline, 0 neither: [seeds]."""
    return (treated > untreated).astype(float) - (treated < untreated)


def updates_to(target: float, steps: np.ndarray, values: np.ndarray) -> float:
    """Returns after how many updates a curve first reaches a target, linear between measurements; else infinity."""
    above = np.flatnonzero(values >= target)
    if not len(above):
        return np.inf
    place = above[0]
    if place == 0:
        return float(steps[0])
    (left, right), (low, high) = steps[place - 1 : place + 1], values[place - 1 : place + 1]
    return float(left + (right - left) * (target - low) / (high - low))
