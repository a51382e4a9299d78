"""When to stop pretraining: its error and its gain by its epochs, and which of the two chooses better."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import pyarrow as pa

from pretrain.config.metrics import metric_of, split_of
from pretrain.study import statistics
from pretrain.study.arms import Arm, by_seed, cut, trial_values
from pretrain.study.comparisons import Comparison
from pretrain.study.statistics import Estimate

FIELDS = ("pretrain.epochs", "pretrain.end_to_end_epochs")
ERROR = "pretrain_validation_mse"
_FEWEST = 3  # numbers of epochs


class EpochCurve(NamedTuple):
    """One arm of pretraining at every number of epochs."""

    field: str
    setting: dict[str, object]  # the other swept fields
    epochs: np.ndarray  # [epochs], ascending
    seeds: int  # that all have
    errors: np.ndarray  # [epochs], of reconstructing validation images, mean over seeds
    results: np.ndarray  # [epochs], of the metric, mean over seeds
    gains: list[Estimate] | None  # against the baseline of the comparisons; None where epochs are compared themselves
    by_error: np.ndarray  # [seeds], epochs with the lowest error
    by_validation: np.ndarray  # [seeds], epochs that are best on validation rows
    change: Estimate  # of the metric by choosing by the error rather than by validation
    p_value: float  # of the change, by a sign-flip test
    metric: str  # in whose unit accuracies, gains and change are


def epoch_curves(
    trials: pa.Table, found: Sequence[Arm], compared: Sequence[Comparison], metric: str, level: float
) -> list[EpochCurve]:
    """Returns results by epochs of pretraining, where three numbers or more of them are swept.

    The fewest epochs are chosen of those that are equally good.

    Args:
      trials: a run's table of trials.
      found: its arms.
      compared: its comparisons.
      metric: the result that is compared.
      level: of the intervals.
    """
    columns = (ERROR, f"validation_{split_of(metric)[1]}", metric)
    if not set(columns) <= set(trials.column_names):
        return []
    curves = []
    for field in FIELDS:
        groups: dict[str, list[Arm]] = {}
        for arm in found:
            rest = {name: value for name, value in arm.point.items() if name != field}
            known = (trial_values(trials, arm, name) for name in columns)
            if field in arm.point and arm.trial_ids and all(np.isfinite(values).all() for values in known):
                groups.setdefault(repr(rest), []).append(arm)
        for group in groups.values():
            if len({arm.point[field] for arm in group}) >= _FEWEST:
                curves += _curve(field, trials, group, compared, columns, level)
    return curves


def _curve(
    field: str,
    trials: pa.Table,
    group: Sequence[Arm],
    compared: Sequence[Comparison],
    columns: tuple[str, str, str],
    level: float,
) -> list[EpochCurve]:
    """Returns the curve of arms that differ in their epochs, if they have a seed in common.

    Args:
      field: of epochs.
      trials: a run's table of trials.
      group: the arms.
      compared: the run's comparisons.
      columns: of the error, and of the metric on validation rows and on those that are compared.
      level: of the intervals.
    """
    shared = set.intersection(*(set(arm.units) for arm in group))
    if not shared:
        return []
    group = sorted((cut(arm, shared) for arm in group), key=lambda arm: arm.point[field])
    epochs = np.array([arm.point[field] for arm in group])
    metric = columns[-1]
    errors, validations, values = (
        np.array([by_seed(trial_values(trials, arm, name), arm) for arm in group]) for name in columns
    )
    sign = 1 if metric_of(metric).higher_is_better else -1
    chosen = np.argmin(errors, axis=0), np.argmax(sign * validations, axis=0)
    lanes = np.arange(values.shape[1])
    changes = values[chosen[0], lanes] - values[chosen[1], lanes]
    setting = {name: value for name, value in group[0].point.items() if name != field}
    gains = [_gain(arm, compared) for arm in group]
    return [
        EpochCurve(
            field,
            setting,
            epochs,
            values.shape[1],
            errors.mean(axis=1),
            values.mean(axis=1),
            None if None in gains else gains,
            epochs[chosen[0]],
            epochs[chosen[1]],
            statistics.estimate(changes, level),
            statistics.sign_flip(changes),
            metric,
        )
    ]


def _gain(arm: Arm, compared: Sequence[Comparison]) -> Estimate | None:
    """Returns an arm's difference from the baseline that it is compared with, unless that differs in epochs."""
    pairs = (one for one in compared if one.field not in FIELDS)
    return next((one.difference for one in pairs if {**one.shared, one.field: one.treatment} == arm.point), None)
