"""Measures of stored predictions on held-out examples, by scikit-learn."""

import warnings
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from pretrain.store.store import Store


class Predictions(NamedTuple):
    """Predictions of a trial on a split, and the targets."""

    scores: np.ndarray  # [N, outputs], as ``tasks.Prediction``
    classes: np.ndarray | None  # [N] predicted class numbers
    targets: np.ndarray  # [N] class numbers, or labels or numbers [N, outputs] in their units


def measured(store: Store, ids: Sequence[str], columns: Collection[str]) -> dict[str, dict[str, float]]:
    """Returns measures of stored fine-tunings by their ids, each by a column's name as in ``test_auroc``.

    A measure without a value, such as AUROC on a split of one class, is left out.
    """
    values: dict[str, dict[str, float]] = {}
    by_split: dict[str, list[str]] = {}
    for name in columns:
        by_split.setdefault(name.partition("_")[0], []).append(name)
    for split, names in by_split.items():  # one after the other, as a store holds one pack of one split at a time
        for job in ids:
            stored = store.predictions(job, split)
            for name in names:
                value = _value(name.removeprefix(f"{split}_"), stored)
                if value is not None:
                    values.setdefault(job, {})[name] = value
    return values


def on_few(store: Store, job: str, metric: str, n: int | None, seed: int) -> float | None:
    """Returns a measure of a stored fine-tuning on some validation rows; None where it has no value.

    Args:
      store: where it is.
      job: its id.
      metric: the measure, without its split.
      n: the number of rows, drawn at random; None takes all, as does any number above theirs.
      seed: of the draw: all arms of a seed draw the same rows.
    """
    stored = store.predictions(job, "validation")
    if n is not None and n < len(stored["targets"]):
        rows = np.random.default_rng(seed).permutation(len(stored["targets"]))[:n]
        stored = {name: array[rows] for name, array in stored.items()}
    return _value(metric, stored)


def _value(metric: str, stored: Mapping[str, np.ndarray]) -> float | None:
    value = float(MEASURES[metric](Predictions(stored["scores"], stored.get("classes"), stored["targets"])))
    return value if np.isfinite(value) else None


def _accuracy(predicted: Predictions) -> float:
    if predicted.classes is not None:
        return float(np.mean(predicted.classes == predicted.targets))
    known = ~np.isnan(predicted.targets)
    return float(np.mean((predicted.scores > 0)[known] == (predicted.targets > 0)[known]))


def _balanced_accuracy(predicted: Predictions) -> float:
    from sklearn.metrics import balanced_accuracy_score

    with warnings.catch_warnings(action="ignore", category=UserWarning):  # of predicted classes that the split lacks
        return balanced_accuracy_score(predicted.targets, predicted.classes)


def _auroc(predicted: Predictions) -> float:
    """Returns the area under the ROC curve: of two classes; or its mean over labels, or classes against the rest."""
    from sklearn.metrics import roc_auc_score

    return _mean_over_outputs(roc_auc_score, predicted)


def _average_precision(predicted: Predictions) -> float:
    """Returns the average precision: of the second of two classes; or its mean over labels, or classes."""
    from sklearn.metrics import average_precision_score

    return _mean_over_outputs(average_precision_score, predicted)


def _mean_over_outputs(measure: Callable[[np.ndarray, np.ndarray], float], predicted: Predictions) -> float:
    """Returns a measure of scores [N] against truths [N], mean over outputs of which some rows are and others not."""
    scores = predicted.scores.astype(np.float64)
    if not np.isfinite(scores).all():
        return np.nan
    if predicted.targets.ndim == 1:
        numbers = list(range(scores.shape[1]))
        if len(numbers) == 2:  # by the second's score less the first's
            scores, numbers = (scores[:, 1:] - scores[:, :1]), [1]
        pairs = [(predicted.targets == number, score) for number, score in zip(numbers, scores.T, strict=True)]
    else:
        known = ~np.isnan(predicted.targets)
        columns = zip(predicted.targets.T > 0, scores.T, known.T, strict=True)
        pairs = [(truth[rows], score[rows]) for truth, score, rows in columns]
    values = [measure(truth, score) for truth, score in pairs if truth.any() and not truth.all()]
    return float(np.mean(values)) if values else np.nan


def _r2(predicted: Predictions) -> float:
    from sklearn.metrics import r2_score

    if not np.isfinite(predicted.scores).all() or len(predicted.targets) < 2:
        return np.nan
    return r2_score(predicted.targets, predicted.scores)


def _rmse(predicted: Predictions) -> float:
    return float(np.mean(np.sqrt(np.mean(np.square(predicted.scores - predicted.targets), axis=0))))


def _mae(predicted: Predictions) -> float:
    return float(np.mean(np.abs(predicted.scores - predicted.targets)))


# Of stored predictions; losses are measured in training.
MEASURES: dict[str, Callable[[Predictions], float]] = {
    "accuracy": _accuracy,
    "balanced_accuracy": _balanced_accuracy,
    "auroc": _auroc,
    "average_precision": _average_precision,
    "r2": _r2,
    "rmse": _rmse,
    "mae": _mae,
}
