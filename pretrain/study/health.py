"""Arms that are broken: trials that diverged or collapsed, networks at chance, codes that are constant, and so on."""

from collections.abc import Callable
from functools import partial
from typing import Literal, NamedTuple

import numpy as np
import pyarrow as pa

from pretrain.config.metrics import COMPONENTS, MAJORITY, RECONSTRUCTION, VARIANCE, split_of
from pretrain.study.arms import Arm, trial_values

Kind = Literal["diverged", "collapsed", "at chance", "reconstruction", "components", "constant units"]
_MARGIN = 0.01  # over what predicting the same of all examples comes to, below which an arm is at chance
_EXPLAINED = 0.01  # of the inputs' variance, below which a reconstruction is no better than their mean
_WORSE = 1.05  # times the error of principal components, beyond which a reconstruction is worse, if by so much of
# the variance as above, too: what has hardly any error cannot be much worse than another such
_CONSTANT = 0.5  # of the units, from which on codes count as constant
_CHANCE = {"auroc": 0.5, "r2": 0.0}


class Finding(NamedTuple):
    """A fault of an arm."""

    arm: Arm
    kind: Kind
    n: int  # trials that it is true of
    of: int  # trials of the arm
    value: float = np.nan  # of the arm, mean over trials: the result, the part of variance, or the share of units
    baseline: float = np.nan  # what the value is compared with: chance, or the components' part; NaN of other kinds
    stage: str = ""  # in which most trials diverged

    @property
    def is_whole(self) -> bool:
        """Whether it is true of every trial."""
        return self.n == self.of


def findings(trials: pa.Table, arms: list[Arm], metric: str = "test_accuracy") -> list[Finding]:
    """Returns the faults of each arm, arm by arm; consequences of the first are left out.

    Args:
      trials: a run's table of trials.
      arms: its arms.
      metric: that is compared, as a column's name, by which an arm may be at chance.
    """
    found = []
    for arm in arms:
        n = len(arm.trial_ids) + arm.n_diverged
        if arm.n_diverged:
            found.append(Finding(arm, "diverged", arm.n_diverged, n, stage=_failed_stage(trials, arm)))
        if not arm.trial_ids:
            continue
        if arm.n_collapsed:
            found.append(Finding(arm, "collapsed", arm.n_collapsed, n))
        elif chance := _at_chance(trials, arm, n, metric):
            found.append(chance)
        found += [*_reconstruction(trials, arm, n), *_constant_units(trials, arm, n)]
    return found


def unexplained(trials: pa.Table, error: str = RECONSTRUCTION) -> np.ndarray:
    """Returns the part of the test inputs' variance that each pretraining leaves: [trials that measured it].

    Args:
      trials: a run's table of trials.
      error: column of the error, of pretraining or of principal components.
    """
    shares = _shares(trials, lambda name: np.array(trials[name].to_pylist(), float), error)
    return shares[np.isfinite(shares)]


def _shares(trials: pa.Table, values_of: Callable[[str], np.ndarray], error: str = RECONSTRUCTION) -> np.ndarray:
    names = (error, VARIANCE)
    if not set(names) <= set(trials.column_names):
        return np.zeros(0)
    errors, variance = map(values_of, names)
    return errors / np.where(variance > 0, variance, np.nan)


def _failed_stage(trials: pa.Table, arm: Arm) -> str:
    """Returns the stage in which most of an arm's trials diverged."""
    if "failed_stage" not in trials.column_names:
        return ""
    rows = trials.select([*arm.point, "failed_stage"]).to_pylist()
    stages = [row.pop("failed_stage") for row in rows]
    mine = [stage for row, stage in zip(rows, stages, strict=True) if stage and row == arm.point]
    return max(sorted(set(mine)), key=mine.count, default="")


def _at_chance(trials: pa.Table, arm: Arm, n: int, metric: str) -> Finding | None:
    """Returns whether an arm predicts no better than the most frequent class, or the mean, does."""
    what = split_of(metric)[1]
    if what == "accuracy" and MAJORITY in trials.column_names:
        chance = float(np.mean(trial_values(trials, arm, MAJORITY)))
    elif what in _CHANCE:
        chance = _CHANCE[what]
    else:
        return None
    values = trial_values(trials, arm, metric)
    if not np.mean(values) <= chance + _MARGIN:  # nor where it was not measured
        return None
    return Finding(arm, "at chance", int(np.sum(values <= chance + _MARGIN)), n, float(np.mean(values)), chance)


def _reconstruction(trials: pa.Table, arm: Arm, n: int) -> list[Finding]:
    """Returns whether pretraining reconstructs no better than the mean, or than principal components, of its inputs."""
    values_of = partial(trial_values, trials, arm)
    shares, linear = _shares(trials, values_of), _shares(trials, values_of, COMPONENTS)
    n_bad = int(np.sum(shares > 1 - _EXPLAINED))
    if 2 * n_bad > len(shares):
        return [Finding(arm, "reconstruction", n_bad, n, float(np.mean(shares)))]
    is_linear = "pca" in (arm.point.get("finetune.encoder_init"), arm.point.get("pretrain.method.kind"))
    if is_linear or not len(linear):
        return []
    n_bad = int(np.sum(shares > np.maximum(_WORSE * linear, linear + _EXPLAINED)))
    if 2 * n_bad > len(shares):
        return [Finding(arm, "components", n_bad, n, float(np.mean(shares)), float(np.mean(linear)))]
    return []


def _constant_units(trials: pa.Table, arm: Arm, n: int) -> list[Finding]:
    """Returns whether most of an arm's codes are the same for all examples, as those of dead or saturated units are."""
    if "constant_units" not in trials.column_names:
        return []
    shares = trial_values(trials, arm, "constant_units")
    n_bad = int(np.sum(shares >= _CONSTANT))
    return [Finding(arm, "constant units", n_bad, n, float(np.mean(shares)))] if 2 * n_bad > len(shares) else []
