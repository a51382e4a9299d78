"""Measures of predictions: the targets of each, its unit, and the better direction."""

import difflib
from collections.abc import Collection
from typing import Annotated, NamedTuple, get_args

from pydantic import AfterValidator

from pretrain.config.fields import ConfigError
from pretrain.config.kinds import TaskKind

AUTO = "auto"
# Columns of trials besides measures of predictions: the error of reconstruction, baselines, and the score that chooses
# settings of tuned arms.
RECONSTRUCTION = "pretrain_test_mse"
PRETRAINING_BEST = "pretrain_best_update"  # whose parameters are kept, where pretraining may end early
MAJORITY, VARIANCE, COMPONENTS = "test_majority_rate", "pretrain_test_variance", "pretrain_test_pca_mse"
MEAN = "pretrain_test_mean_mse"
TUNING_SCORE = "tuning_score"
BEFORE = ("before_training", "before_held_out", "before_noise")  # columns of stages: errors before the first update
CHANCE, MARGIN = "_chance", "_chance_margin"  # ends of names: the compared metric's level of chance, and its margin
OF_CHANCE = (CHANCE, MARGIN)
_SPLITS = ("test", "validation", "post")  # the last of curves, as in post_update_accuracy


class Metric(NamedTuple):
    """A measure of predictions."""

    tasks: tuple[str, ...]  # as in ``data.task``
    higher_is_better: bool = True
    is_fraction: bool = False  # of examples or labels, and so in percentage points
    low: float = float("-inf")  # the least value that it can have
    high: float = float("inf")


_CLASSES, _LABELS, _NUMBERS = get_args(TaskKind)
METRICS = {
    "accuracy": Metric((_CLASSES, _LABELS), is_fraction=True, low=0, high=1),
    "balanced_accuracy": Metric((_CLASSES,), is_fraction=True, low=0, high=1),
    "auroc": Metric((_CLASSES, _LABELS), low=0, high=1),
    "average_precision": Metric((_CLASSES, _LABELS), low=0, high=1),
    "loss": Metric((_CLASSES, _LABELS, _NUMBERS), higher_is_better=False, low=0),
    "r2": Metric((_NUMBERS,), high=1),
    "rmse": Metric((_NUMBERS,), higher_is_better=False, low=0),
    "mae": Metric((_NUMBERS,), higher_is_better=False, low=0),
}
# Metrics of every run; the first is compared by default.
USUAL = {
    _CLASSES: ("accuracy", "loss"),
    _LABELS: ("auroc", "accuracy", "loss"),
    _NUMBERS: ("r2", "rmse", "mae", "loss"),
}


def split_of(name: str) -> tuple[str, str]:
    """Returns a metric's split and the rest of its name; the split is the test's where the name has none."""
    split, _, rest = name.partition("_")
    return (split, rest) if split in _SPLITS else ("test", name)


def metric_of(name: str) -> Metric:
    """Returns the measure behind a name such as ``test_accuracy`` or ``validation_accuracy after batch 1``.

    One that has no name here is a number without bounds.
    """
    return METRICS.get(split_of(name.split()[0])[1].removeprefix("update_"), Metric(()))


def column(name: str) -> str:
    """Returns a metric's full name, as in tables: ``test_accuracy`` of ``accuracy``."""
    return "_".join(split_of(name))


def _checked(name: str) -> str:
    """Returns a metric's name, if it is one."""
    split, measure = split_of(name)
    if name != AUTO and (measure not in METRICS or split == "post"):
        near = difflib.get_close_matches(split_of(name.lower())[1], METRICS, 1)
        raise ValueError(f"is none of {', '.join(METRICS)}" + (f"; did you mean {near[0]!r}?" if near else ""))
    return name


MetricName = Annotated[str, AfterValidator(_checked)]


def check_metric(name: str, field: str = "study.metric") -> None:
    """Checks that a name is a metric's.

    Raises:
      ConfigError: it is not; the message names the field.
    """
    try:
        _checked(name)
    except ValueError as error:
        raise ConfigError(field, name, str(error)) from None


def check_task(name: str, tasks: Collection[str], field: str = "study.metric") -> None:
    """Checks that a metric measures predictions of such targets.

    Raises:
      ConfigError: it does not.
    """
    for task in tasks:
        if name != AUTO and task not in metric_of(name).tasks:
            fitting = ", ".join(each for each, metric in METRICS.items() if task in metric.tasks)
            raise ConfigError(field, name, f"is no measure of {task}; choose one of {fitting}")
