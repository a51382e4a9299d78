"""Influence of each row on a measure of predictions: by how much the measure would change with more rows like it.

A measure's error over samples of rows is that of the mean of its influence values (Hampel, 1974, "The influence curve
and its role in robust estimation"), which are a mean's own scores, less the mean. Each has mean zero over the rows.
"""

from collections.abc import Callable

import numpy as np

from pretrain.config.kinds import TaskKind
from pretrain.config.metrics import OWN
from pretrain.runs.measures import Predictions, own_values


def influence(measure: str, task: TaskKind, predicted: Predictions, deviation: np.ndarray | None) -> np.ndarray | None:
    """Returns the influence of each row on a measure: [N] float64; None where it has no value.

    None, too, of one of the user's own that is one number rather than a mean of values of rows.

    Args:
      measure: without its split.
      predicted: on all rows of the split.
      deviation: [outputs] of numbers, by which their loss is standardised.
    """
    scores = predicted.scores.astype(np.float64)
    if not np.isfinite(scores).all():
        return None
    predicted = predicted._replace(scores=scores)
    with np.errstate(divide="ignore", invalid="ignore"):
        if measure in OWN:
            own = own_values(measure, predicted) if OWN[measure].function else np.array(np.nan)
            values = _centred(own) if own.ndim else None
        elif task == "regression":
            values = _of_numbers(measure, predicted, deviation)
        elif measure in ("auroc", "average_precision"):
            values = _mean_over_outputs(_auroc if measure == "auroc" else _average_precision, predicted)
        elif task == "multilabel":
            values = _of_labels(measure, predicted)
        else:
            values = _of_classes(measure, predicted)
    return values if values is not None and np.isfinite(values).all() else None


def _centred(values: np.ndarray) -> np.ndarray:
    return values - np.mean(values)


def _of_sample(values: np.ndarray, counts: np.ndarray | int) -> np.ndarray:
    """Returns values less the mean of a class of so many rows, scaled so that their variance there is unbiased."""
    return values * np.sqrt(counts / np.maximum(np.subtract(counts, 1), 1))


def _of_classes(measure: str, predicted: Predictions) -> np.ndarray | None:
    """Returns influences on accuracy, balanced accuracy (of each class on its own recall) or loss of classes."""
    targets, n = predicted.targets, len(predicted.targets)
    if measure == "loss":
        return _centred(-predicted.scores[np.arange(n), targets])
    if predicted.classes is None:
        return None
    hits = (predicted.classes == targets).astype(np.float64)
    if measure == "accuracy":
        return _centred(hits)
    _, number, counts = np.unique(targets, return_inverse=True, return_counts=True)
    recalls = np.bincount(number, hits) / counts
    return n / (len(counts) * counts[number]) * _of_sample(hits - recalls[number], counts[number])


def _of_labels(measure: str, predicted: Predictions) -> np.ndarray:
    """Returns influences on accuracy or loss over all known labels: a ratio, as rows may lack some."""
    known, truth, logits = ~np.isnan(predicted.targets), predicted.targets > 0, predicted.scores
    each = (logits > 0) == truth if measure == "accuracy" else np.logaddexp(0, np.where(truth, -logits, logits))
    sums, counts = np.sum(each * known, axis=1), known.sum(axis=1)
    return (sums - sums.sum() / counts.sum() * counts) / np.mean(counts)


def _of_numbers(measure: str, predicted: Predictions, deviation: np.ndarray | None) -> np.ndarray | None:
    """Returns influences on R², errors or standardised loss of numbers, mean over outputs."""
    targets = predicted.targets.astype(np.float64)
    errors = predicted.scores - targets
    squares = np.square(errors)
    if measure == "mae":
        values = np.abs(errors)
    elif measure == "rmse":
        mean = squares.mean(axis=0)
        values = np.divide(squares - mean, 2 * np.sqrt(mean), out=np.zeros_like(squares), where=mean > 0)
    elif measure == "r2":
        distances, left = np.square(targets - targets.mean(axis=0)), squares.mean(axis=0)
        variance = distances.mean(axis=0)
        values = left * distances / variance**2 - squares / variance
    elif deviation is not None:
        values = squares / np.square(deviation)
    else:
        return None
    return _centred(values.mean(axis=1))


def _mean_over_outputs(
    of_one: Callable[[np.ndarray, np.ndarray], np.ndarray], predicted: Predictions
) -> np.ndarray | None:
    """Returns influences on a measure of ranks, mean over the outputs that ``measures`` takes it of."""
    scores, targets, n = predicted.scores, predicted.targets, len(predicted.targets)
    if targets.ndim == 1:
        numbers = list(range(scores.shape[1]))
        if len(numbers) == 2:
            scores, numbers = scores[:, 1:] - scores[:, :1], [1]
        labels = (targets[:, None] == numbers).astype(np.float64)
    else:
        labels = targets.astype(np.float64)
    found = []
    for label, score in zip(labels.T, scores.T, strict=True):
        known = ~np.isnan(label)
        truth = label[known] > 0
        if truth.any() and not truth.all():
            values = np.zeros(n)
            values[known] = n / known.sum() * of_one(truth, score[known])
            found.append(values)
    return np.mean(found, axis=0) if found else None


def _auroc(truth: np.ndarray, scores: np.ndarray) -> np.ndarray:
    """Returns influences on the area under the ROC curve (DeLong, DeLong and Clarke-Pearson, 1988).

    Of a positive it is the part of the negatives below it, of a negative that of the positives above, less the area.
    """

    def below(values: np.ndarray, others: np.ndarray) -> np.ndarray:
        others = np.sort(others)
        return (np.searchsorted(others, values, "left") + np.searchsorted(others, values, "right")) / 2 / len(others)

    n, values = len(truth), np.empty(len(truth))
    placed = below(scores[truth], scores[~truth])
    values[truth] = n / truth.sum() * _of_sample(placed - placed.mean(), truth.sum())
    placed = 1 - below(scores[~truth], scores[truth])
    values[~truth] = n / (~truth).sum() * _of_sample(placed - placed.mean(), (~truth).sum())
    return values


def _average_precision(truth: np.ndarray, scores: np.ndarray) -> np.ndarray:
    """Returns influences on average precision by leaving each row out, in O(N log N).

    A row that is left out lowers the counts of its own threshold and of all below.
    """
    n, positives = len(truth), int(truth.sum())
    _, place = np.unique(-scores, return_inverse=True)
    hits = np.bincount(place, truth)  # by threshold, the highest first
    above, called = np.cumsum(hits), np.cumsum(np.bincount(place))
    whole = np.sum(hits * above / called) / positives
    before = np.concatenate([[0.0], np.cumsum(hits * above / called)])[place]  # of higher thresholds

    def rest(lost: float) -> np.ndarray:
        """Returns the sum from each threshold on where all of them have one row less, a positive or not."""
        terms = np.divide(hits * (above - lost), called - 1, out=np.zeros(len(hits)), where=called > 1)
        return np.cumsum(terms[::-1])[::-1][place]

    own = np.divide(above[place] - 1, called[place] - 1, out=np.zeros(n), where=called[place] > 1)
    without = np.where(
        truth,
        (before + rest(1) - own) / max(positives - 1, 1),
        (before + rest(0)) / positives,
    )
    return _centred((n - 1) * (whole - without))
