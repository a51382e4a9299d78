"""Measures of stored predictions on held-out examples, by scikit-learn or files of the user's."""

import warnings
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from pretrain.config.fields import ConfigError
from pretrain.config.metrics import AUTO, OWN, split_of
from pretrain.config.own_code import blamed
from pretrain.config.paths import path_of
from pretrain.data import Dataset
from pretrain.store.store import Store

_FEW = 1000  # rows for which predictions are drawn


class Predictions(NamedTuple):
    """Predictions of a trial on a split, and the targets."""

    scores: np.ndarray  # [N, outputs], as ``tasks.Prediction``
    classes: np.ndarray | None  # [N] predicted class numbers
    targets: np.ndarray  # [N] class numbers, or labels, NaN where unknown, or numbers [N, outputs] in their units


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
    predicted = Predictions(stored["scores"], stored.get("classes"), stored["targets"])
    value = float(MEASURES[metric](predicted) if metric in MEASURES else np.mean(own_values(metric, predicted)))
    return value if np.isfinite(value) else None


def own_values(name: str, predicted: Predictions, of: str = "") -> np.ndarray:
    """Returns a metric of the user's own: of each row [N], or of all []; NaN of scores that are not finite.

    Args:
      name: of its function.
      predicted: predictions.
      of: words on these, for an error.

    Raises:
      ConfigError: its file was not read, or its function fails, or returns anything else.
    """
    function, facts, word = OWN[name]
    if not function:
        raise ConfigError("study.metric", name, "is of a file that was not read; launch its run again")
    if not np.isfinite(predicted.scores).all():
        return np.array(np.nan)
    with blamed("study.metric", word, path_of("study.metric", word.rpartition(":")[0])):
        values = np.asarray(function(predicted), np.float64)
    n = len(predicted.targets)
    if values.shape not in ((), (n,)):
        remedy = f"returns shape {values.shape} of {n:,} rows; return a value of each, or one number"
        raise ConfigError("study.metric", word, remedy)
    if not facts.low <= (mean := np.mean(values)) <= facts.high and np.isfinite(mean):
        remedy = f"returns {mean:.4g}{of}, where low is {facts.low:g} and high {facts.high:g}; state them as they are"
        raise ConfigError("study.metric", word, remedy)
    return values


def check(metric: str, datasets: Collection[Dataset]) -> None:
    """Checks that a metric of the user's own, as of ``study.metric``, measures predictions drawn for validation rows.

    Raises:
      ConfigError: it fails, or has no value.
    """
    name = split_of(metric)[1]
    if metric == AUTO or name not in OWN:
        return
    for dataset in datasets:
        labels = dataset.validation.labels[:_FEW]
        targets = dataset.units.restored(labels) if dataset.units else labels
        draws = np.random.default_rng(0).normal(size=(len(targets), len(dataset.output_names))).astype(np.float32)
        predicted = Predictions(targets + draws if dataset.task == "regression" else draws, None, targets)
        if dataset.task == "classification":
            chances = draws - np.log(np.sum(np.exp(draws), axis=1, keepdims=True))
            predicted = Predictions(chances, draws.argmax(axis=1).astype(np.int32), targets)
        drawn = f" for predictions drawn at random for {len(targets):,} rows of {dataset.task}"
        if not np.isfinite(np.mean(own_values(name, predicted, drawn))):
            raise ConfigError("study.metric", metric, f"returns NaN, or infinity,{drawn}; return numbers")


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
