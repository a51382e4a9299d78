"""Targets as scikit-learn has them, to those of a dataset: rows without one among them."""

from typing import Any

import numpy as np
from sklearn.base import BaseEstimator
from sklearn.utils import check_array, check_consistent_length
from sklearn.utils.multiclass import check_classification_targets, type_of_target
from sklearn.utils.validation import column_or_1d, validate_data

from pretrain.data.labels import NONE


def check_given(estimator: BaseEstimator, X: Any, y: Any) -> None:
    """Checks that there are targets; raises ValueError in the words of scikit-learn."""
    if y is None:
        validate_data(estimator, X, y, skip_check_array=True)


def are_numbers(y: Any) -> bool:
    """Returns whether targets are numbers rather than classes."""
    targets = np.asarray(y)
    known = targets[~np.isnan(targets)] if targets.dtype.kind == "f" else targets
    return type_of_target(known).startswith("continuous")


def classes_of(X: Any, y: Any) -> tuple[np.ndarray, np.ndarray]:
    """Returns the classes of labels, and their numbers, ``NONE`` of rows without a label: [K] and [N]."""
    labels = column_or_1d(y, warn=True)
    check_consistent_length(X, labels)
    check_classification_targets(labels)
    missing = np.zeros(len(labels), bool)
    if labels.dtype.kind == "i" and set(np.unique(labels)) - {NONE, 1}:
        missing = labels == NONE
    classes, numbers = np.unique(labels[~missing], return_inverse=True)
    targets = np.full(len(labels), NONE)
    targets[~missing] = numbers
    return classes, targets


def numbers_of(X: Any, y: Any) -> np.ndarray:
    """Returns targets [N, L] float64, NaN where there are none."""
    targets = check_array(y, dtype=np.float64, ensure_2d=False, ensure_all_finite="allow-nan", input_name="y")
    check_consistent_length(X, targets)
    return targets.reshape(len(targets), -1)
