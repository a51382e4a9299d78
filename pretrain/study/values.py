"""Values that somebody brings: what they measure, by their name or as stated, and the unit that they are in."""

import math
from typing import NamedTuple

import numpy as np

from pretrain.config.counts import written
from pretrain.config.fields import ConfigError
from pretrain.config.metrics import METRICS, Metric

DIRECTIONS = ("higher", "lower")
_SHARE, _ERROR = Metric((), low=0, high=1), Metric((), higher_is_better=False, low=0)
_FRACTION = _SHARE._replace(is_fraction=True)
# Of measures that runs do not have, and other names of those that they have.
_OTHERS = {
    **dict.fromkeys(("error", "error_rate", "err"), _FRACTION._replace(higher_is_better=False)),
    **dict.fromkeys(("success", "success_rate", "win_rate"), _FRACTION),
    **dict.fromkeys(("f1", "f1_score", "precision", "recall", "dice", "iou", "map"), _SHARE),
    **dict.fromkeys(("mse", "nll", "cross_entropy", "perplexity", "ppl", "brier", "ece", "wer", "fid"), _ERROR),
}
_SAME = {
    **dict.fromkeys(("acc", "top1", "correct", "is_correct", "hit"), "accuracy"),
    **{"auc": "auroc", "roc_auc": "auroc", "ap": "average_precision", "balanced_acc": "balanced_accuracy"},
    **{"r2_score": "r2", "bce": "loss"},
}
_SPLITS = ("test", "val", "valid", "validation", "eval")  # beginnings that say nothing of the measure
_CHANCE = {"auroc": 0.5, "r2": 0.0}
_LARGEST = 1e150  # value, beyond which squares are infinite


class Value(NamedTuple):
    """What values measure."""

    name: str  # as of a column of trials
    metric: Metric
    scale: float  # by which values are divided: 100 of percent
    chance: float | None  # where everything is predicted alike, in the metric's unit
    by_name: bool  # whether nobody said the direction


def of(
    name: str,
    numbers: np.ndarray,
    direction: str | None = None,
    bounds: tuple[float, float] | None = None,
    chance: float | None = None,
    groups: np.ndarray | None = None,
) -> Value:
    """Returns what values measure, by their name but for what is stated.

    Args:
      name: of the values.
      numbers: [rows], NaN where one is missing.
      direction: of ``DIRECTIONS``.
      bounds: least and largest possible value, in the values' unit.
      chance: value where everything is predicted alike, in the values' unit.
      groups: number [rows] of the arm and condition of each value.

    Raises:
      ConfigError: the direction or the bounds are none, values or chance lie outside, or some values are percent and
        others may not be.
    """
    measure = measure_of(name)
    metric = METRICS.get(measure) or _OTHERS.get(measure) or Metric(())
    by_name = direction is None
    if direction is not None:
        if direction not in DIRECTIONS:
            raise ConfigError("direction", direction, f"is none; give {' or '.join(DIRECTIONS)}")
        metric = metric._replace(higher_is_better=direction == "higher")
    finite = numbers[np.isfinite(numbers)]
    if len(large := finite[np.abs(finite) > _LARGEST]):
        remedy = f"of {name} is too large to be squared; divide all values by a power of ten"
        raise ConfigError("value", written(float(large[0])), remedy)
    scale, are_percent = 1.0, bool(len(finite)) and 1 < finite.max() <= 100 and finite.min() >= 0
    if (metric.low, metric.high) == (0, 1) and (bounds == (0, 100) or (not bounds and are_percent)):
        if not bounds:
            _check_unit(name, numbers, groups)
        scale, bounds = 100.0, (0.0, 100.0)
    if bounds:
        if not bounds[0] < bounds[1]:
            given = f"{bounds[0]:g} {bounds[1]:g}"
            raise ConfigError("bounds", given, "are none; give the least value, then the largest")
        metric = metric._replace(low=bounds[0] / scale, high=bounds[1] / scale)
    low, high = metric.low * scale, metric.high * scale
    outside = finite[(finite < low) | (finite > high)]
    if len(outside):
        ends = f"{written(low)} and {written(high)}" if np.isfinite([low, high]).all() else f"{written(low)} at least"
        ends = ends if np.isfinite(low) else f"{written(high)} at most"
        remedy = f"lies outside of {ends}; correct it, or give --bounds LOW HIGH"
        raise ConfigError("value", written(float(outside[0])), f"of {name} {remedy}")
    if chance is not None and not (math.isfinite(chance) and low <= chance <= high):
        ends = f"{written(low)} to {written(high)}, as {name} is" if np.isfinite([low, high]).any() else "numbers"
        raise ConfigError("chance", chance, f"is no value of {ends}; give that of one prediction for all examples")
    if chance is not None and chance == (high if metric.higher_is_better else low):
        raise ConfigError("chance", chance, f"is the best {name} that there is; give that of one prediction for all")
    level = _CHANCE.get(measure) if chance is None else chance / scale
    return Value(f"test_{measure}", metric, scale, level, by_name)


def check_small(name: str, numbers: np.ndarray) -> None:
    """Checks that variances of values, where some differ from 0, do."""
    largest = float(np.max(np.abs(numbers[np.isfinite(numbers)]), initial=0.0))
    if 0 < largest < 1 / _LARGEST:
        remedy = f"of {name} is too small to be squared, as all are; multiply all values by a power of ten"
        raise ConfigError("value", written(largest), remedy)


def measure_of(name: str) -> str:
    """Returns what values measure, by the name of their column."""
    measure = "_".join(name.lower().split())
    start, _, rest = measure.partition("_")
    measure = rest if start in _SPLITS and rest else measure
    return _SAME.get(measure, measure)


def _check_unit(name: str, numbers: np.ndarray, groups: np.ndarray | None) -> None:
    """Checks that no value beside percent may be a fraction: one that lies between 0 and 1, or a whole arm up to 1."""
    small = (numbers > 0) & (numbers <= 1)
    odd = small & (numbers < 1)
    if groups is not None:
        largest = np.zeros(groups.max() + 1)
        np.maximum.at(largest, groups, np.nan_to_num(numbers))
        odd |= small & (largest[groups] <= 1)
    if odd.any():
        remedy = f"of {name} may be a fraction, and {written(float(np.nanmax(numbers)))} percent; correct it, or give"
        raise ConfigError("value", written(float(numbers[odd][0])), f"{remedy} --bounds LOW HIGH, 0 100 of percent")


def in_words(value: Value, name: str) -> str:
    """Returns how values are read, in a sentence."""
    metric = value.metric
    better = f"{'higher' if metric.higher_is_better else 'lower'} is better"
    source = "by its name" if value.by_name and metric != Metric(()) else "as given"
    if value.by_name and metric == Metric((), low=metric.low, high=metric.high):
        source = "for want of a known name; --direction lower turns it"
    ends = ""
    if np.isfinite([metric.low, metric.high]).all():
        ends = f", {written(metric.low * value.scale)} to {written(metric.high * value.scale)}"
    unit = " (percent)" if value.scale == 100 else ""
    return f"{name}: {better}{ends}{unit}, {source}."
