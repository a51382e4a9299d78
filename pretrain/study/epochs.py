"""When to stop pretraining: its error and its gain by its epochs, and which of the two chooses better."""

import math
from collections.abc import Hashable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from pretrain.config.metrics import metric_of, split_of
from pretrain.study import statistics
from pretrain.study.arms import Arm, by_seed, cut, key
from pretrain.study.comparisons import Comparison
from pretrain.study.statistics import Estimate

FIELDS = ("pretrain.epochs", "pretrain.end_to_end_epochs", "pretrain.updates")
ERROR = "pretrain_validation_mse"
_FEWEST = 3  # numbers of epochs
_IS_LOSS = "pretrain_loss"  # among an arm's results, where its errors are losses


class EpochCurve(NamedTuple):
    """One arm of pretraining at every number of epochs."""

    field: str
    setting: dict[str, Any]  # the other swept fields
    epochs: np.ndarray  # [epochs], ascending
    seeds: int  # that all have
    errors: np.ndarray  # [epochs], of pretraining on validation rows, mean over seeds
    results: np.ndarray  # [epochs], of the metric, mean over seeds
    gains: list[Estimate] | None  # against the baseline of the comparisons; None where epochs are compared themselves
    by_error: np.ndarray  # [seeds], epochs with the lowest error
    by_validation: np.ndarray  # [seeds], epochs that are best on validation rows
    change: Estimate  # of the metric by choosing by the error rather than by validation
    p_value: float  # of the change, by a sign-flip test
    metric: str  # in whose unit accuracies, gains and change are
    error: str = "reconstruction error"  # name of the errors


def epoch_curves(
    arms: Sequence[Arm],
    compared: Sequence[Comparison],
    metric: str,
    level: float,
    losses: Mapping[str, float] | None = None,
) -> list[EpochCurve]:
    """Returns results by epochs of pretraining, where three numbers or more of them are swept.

    The fewest epochs are chosen of those that are equally good.

    Args:
      compared: its comparisons, from which gains are taken unless epochs are compared themselves.
      losses: of pretraining at its end, by trial, for methods that reconstruct nothing.
    """
    columns = (ERROR, f"validation_{split_of(metric)[1]}", metric)
    swept = [arm for arm in arms if any(field in arm.point for field in FIELDS)]
    measured = [arm for arm in (with_errors(arm, losses or {}) for arm in swept) if is_measured(arm, columns)]
    gains = {
        key({**comparison.shared, comparison.field: comparison.treatment}): comparison.difference
        for comparison in compared
        if comparison.field not in FIELDS
    }
    curves = []
    for field in FIELDS:
        groups: dict[Hashable, list[Arm]] = {}
        for arm in measured:
            if field in arm.point:
                setting = {name: value for name, value in arm.point.items() if name != field}
                groups.setdefault(key(setting), []).append(arm)
        for group in groups.values():
            units = set.intersection(*(set(arm.units) for arm in group))
            if units and len({arm.point[field] for arm in group}) >= _FEWEST:
                whole = sorted((cut(arm, units) for arm in group), key=lambda arm: arm.point[field])
                curves.append(_curve(field, whole, gains, columns, level))
    return curves


def with_errors(arm: Arm, losses: Mapping[str, float]) -> Arm:
    """Returns an arm whose pretraining has errors: those of reconstruction, or else its losses."""
    if np.isfinite(arm.results.get(ERROR, np.array([np.nan]))).all():
        return arm
    errors = np.array([losses.get(trial, math.nan) for trial in arm.trial_ids])
    return arm._replace(results={**arm.results, ERROR: errors, _IS_LOSS: np.ones(len(errors))})


def error_name(arms: Sequence[Arm]) -> str:
    """Returns the name of the errors of arms that ``with_errors`` gave."""
    return "validation loss" if any(_IS_LOSS in arm.results for arm in arms) else "reconstruction error"


def is_measured(arm: Arm, columns: Sequence[str]) -> bool:
    """Returns whether an arm has trials, and all columns are known of each."""
    results = arm.results
    return bool(arm.trial_ids) and all(name in results and np.isfinite(results[name]).all() for name in columns)


def _curve(
    field: str,
    arms: Sequence[Arm],
    gains: Mapping[Hashable, Estimate],
    columns: tuple[str, str, str],
    level: float,
) -> EpochCurve:
    """Returns the curve of arms of the same seeds, in the order of their epochs; gains are by the arm's point."""
    epochs = np.array([arm.point[field] for arm in arms])
    errors, validations, values = (np.array([by_seed(arm.results[name], arm) for arm in arms]) for name in columns)
    metric = columns[-1]
    sign = 1 if metric_of(metric).higher_is_better else -1
    by_error, by_validation = np.argmin(errors, axis=0), np.argmax(sign * validations, axis=0)
    seeds = np.arange(values.shape[1])
    changes = values[by_error, seeds] - values[by_validation, seeds]
    gains_of_arms = [gains[key(arm.point)] for arm in arms if key(arm.point) in gains]
    return EpochCurve(
        field,
        {name: value for name, value in arms[0].point.items() if name != field},
        epochs,
        len(seeds),
        errors.mean(axis=1),
        values.mean(axis=1),
        gains_of_arms if len(gains_of_arms) == len(arms) else None,
        epochs[by_error],
        epochs[by_validation],
        statistics.estimate(changes, level, statistics.step_of(values.ravel())),
        statistics.sign_flip(changes),
        metric,
        error_name(arms),
    )
