"""Chance: the value of each metric where the same is predicted of every example, and the luck of the test rows."""

from typing import NamedTuple

import numpy as np

from pretrain.config.kinds import TaskKind
from pretrain.config.metrics import OWN, metric_of
from pretrain.runs.measures import Predictions, own_values


class Chance(NamedTuple):
    """The level of chance of a metric on some rows."""

    level: float
    margin: float  # two standard errors of the rows; a result within it may be luck


def chance(metric: str, task: TaskKind, targets: np.ndarray, n_outputs: int) -> Chance | None:
    """Returns the level of chance of a metric; None where these rows leave it none.

    It is of accuracy the share of the most frequent class, of balanced accuracy 1 over the classes that there are, of
    AUROC 0.5, of average precision the share of positives, of a loss of classes or labels their entropy, of R² 0, of
    other measures of numbers the error of their mean, or median, and of a metric of the user's own its value where
    shares of classes or labels, or the mean of numbers, are predicted of every row.

    The margin is at most half the way to a perfect result. Random order has a higher average precision than constant
    predictions, by its mean and two deviations. Numbers predicted without any relation to the truth reach an R² of
    4 / n by two standard errors, whatever their spread, and logits a gain of 2 / n nats.

    Args:
      metric: without its split.
      task: of the targets.
      targets: class numbers [N]; or labels [N, outputs], NaN where unknown, or numbers, for a loss standardised.
      n_outputs: classes, labels or numbers.
    """
    if metric in OWN:
        return _of_own(metric, task, targets, n_outputs)
    if task == "regression":
        return _of_numbers(metric, np.asarray(targets, float))
    if task == "multilabel":
        return _of_labels(metric, np.asarray(targets, float))
    if metric in ("accuracy", "balanced_accuracy", "loss"):
        return _of_classes(metric, np.bincount(targets))
    labels = (targets[:, None] == np.arange(n_outputs)).astype(float)
    return _of_labels(metric, labels[:, 1:] if n_outputs == 2 else labels)


def _of_own(metric: str, task: TaskKind, targets: np.ndarray, n_outputs: int) -> Chance | None:
    """Returns the level of a metric of the user's own, whose margin is known where it is a mean over rows."""
    n, classes = len(targets), None
    if task == "classification":
        rates = np.bincount(targets, minlength=n_outputs) / n
        scores = np.log(np.maximum(rates, 0.5 / n))
        classes = np.full(n, rates.argmax(), np.int32)
    elif task == "multilabel":
        rates = np.clip(np.nanmean(targets, axis=0), 0.5 / n, 1 - 0.5 / n)
        scores = np.log(rates / (1 - rates))
    else:
        scores = np.mean(targets, axis=0)
    if not OWN[metric].function:
        return None
    values = own_values(metric, Predictions(np.tile(scores, (n, 1)), classes, targets))
    margin = 2 * np.std(values) / np.sqrt(n) if values.ndim else 0.0
    return _chance(metric, np.mean(values), margin) if np.isfinite(np.mean(values)) else None


def _chance(metric: str, level: float, margin: float) -> Chance:
    measure = metric_of(metric)
    best = measure.high if measure.higher_is_better else measure.low
    return Chance(float(level), float(min(margin, abs(best - level) / 2)))


def _of_classes(metric: str, counts: np.ndarray) -> Chance:
    counts = counts[counts > 0]
    n, rates = counts.sum(), counts / counts.sum()
    if metric == "loss":
        return _chance(metric, -np.sum(rates * np.log(rates)), 2 / n)
    if metric == "accuracy":
        rate = rates.max()
        return _chance(metric, rate, 2 * np.sqrt(rate * (1 - rate) / n))
    rate = 1 / len(counts)
    return _chance(metric, rate, 2 * rate * np.sqrt(np.sum(rate * (1 - rate) / counts)))


def _of_labels(metric: str, labels: np.ndarray) -> Chance | None:
    """Returns the level of labels [N, outputs]: of ranks mean over outputs of both values, else over known labels."""
    known, positive = np.sum(~np.isnan(labels), axis=0), np.nansum(labels, axis=0)
    is_ranked = metric in ("auroc", "average_precision")
    kept = (positive > 0) & (positive < known) if is_ranked else known > 0
    if not kept.any():
        return None
    known, positive = known[kept], positive[kept]
    rates = positive / known
    errors = np.sqrt(rates * (1 - rates) / known)
    if metric == "auroc":
        return _chance(metric, 0.5, 2 * np.mean(np.sqrt((known + 1) / (12 * positive * (known - positive)))))
    if is_ranked:
        of_luck = [_of_random_ranks(int(n), int(n_positive)) for n, n_positive in zip(known, positive, strict=True)]
        mean, deviation = np.mean(of_luck, axis=0)
        return _chance(metric, np.mean(rates), mean - np.mean(rates) + 2 * deviation)
    if metric == "accuracy":
        return _chance(metric, *np.average([np.maximum(rates, 1 - rates), 2 * errors], axis=1, weights=known))
    both = np.array([rates, 1 - rates])
    entropies = -np.sum(both * np.log(both, where=both > 0, out=np.zeros_like(both)), axis=0)
    return _chance(metric, np.average(entropies, weights=known), 2 / len(labels))


def _of_random_ranks(n: int, n_positive: int) -> tuple[float, float]:
    """Returns the mean and the deviation of the average precision of n rows in random order.

    It is the sum over places k of I_k (I_1 + … + I_k) / k over the number of positives, where I_k is 1 if the row
    at k is one; m different places hold positives alone with a probability that is known (Bestgen, 2015, has the mean).
    """
    one, two, three, four = np.cumprod((n_positive - np.arange(4)) / np.maximum(n - np.arange(4), 1))
    k = np.arange(1.0, n + 1)
    mean = np.sum((one + (k - 1) * two) / k) / n_positive
    same = np.sum((one + 3 * (k - 1) * two + (k - 1) * (k - 2) * three) / k**2)
    below = np.cumsum(1 / k) - 1 / k  # the sum of 1 / j over j < k
    pairs = np.sum((below * (2 * two + (k - 2) * three) + (k - 1 - below) * (3 * three + (k - 3) * four)) / k)
    return mean, np.sqrt(max((same + 2 * pairs) / n_positive**2 - mean**2, 0))


def _of_numbers(metric: str, numbers: np.ndarray) -> Chance:
    explained = min(4 / len(numbers), 0.5)  # of the variance, by luck
    if metric == "r2":
        return Chance(0.0, explained)
    if metric == "loss":
        level, margin = np.mean(np.var(numbers, axis=0)), explained
    elif metric == "rmse":
        level, margin = np.mean(np.std(numbers, axis=0)), 1 - np.sqrt(1 - explained)
    else:
        level, margin = np.mean(np.abs(numbers - np.median(numbers, axis=0))), 1 - np.sqrt(1 - explained)
    return Chance(float(level), float(level * margin))
