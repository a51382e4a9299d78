"""Targets as scikit-learn has them, to those of a dataset: rows without one among them."""

import numbers
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
    labels, _ = labelled(np.asarray(y).ravel())
    return type_of_target(labels).startswith("continuous")


def classes_of(X: Any, y: Any) -> tuple[np.ndarray, np.ndarray]:
    """Returns the classes of labels, and their numbers, ``NONE`` of rows without a label: [K] and [N].

    Raises:
      ValueError: labels are no classes, or no row has one.
    """
    labels, known = labelled(y)
    check_consistent_length(X, known)
    check_known(known)
    check_classification_targets(labels)
    targets = np.full(len(known), NONE)
    classes, targets[known] = np.unique(labels, return_inverse=True)
    return classes, targets


def labelled(y: Any, classes: np.ndarray | None = None) -> tuple[np.ndarray, np.ndarray]:
    """Returns the labels of rows that have one, and which these are: [M] and [N] bool.

    None, NaN, the missing values of pandas and empty texts are no label, nor is -1 among integers, unless it is one of
    the classes.

    Args:
      y: labels [N] or [N, 1].
      classes: that are known [K]; by default -1 is one where 1 is the only other.

    Raises:
      ValueError: labels are no texts and no numbers, or both.
    """
    kind = getattr(getattr(y, "dtype", None), "kind", "")  # integers of pandas are floats where some are missing
    labels = column_or_1d(np.array(y, object) if isinstance(y, list | tuple) else y, warn=True)
    known = ~is_empty(labels)
    given = labels[known]
    if given.dtype.kind == "O" and not all(isinstance(each, str) for each in given):
        if not all(isinstance(each, numbers.Real | np.bool_) for each in given):
            kinds = ", ".join(sorted({type(each).__name__ for each in given}))
            raise ValueError(f"y: has labels of unknown type, {kinds}; give texts alone, or numbers alone")
        given = np.array(given.tolist())
    elif kind in ("i", "u"):
        given = given.astype(np.int64 if kind == "i" else np.uint64)
    is_class = set(given.tolist()) <= {NONE, 1} if classes is None else NONE in classes.tolist()
    if given.dtype.kind == "i" and not is_class:
        known[known] = given != NONE
        given = given[given != NONE]
    return given, known


def numbers_of(X: Any, y: Any) -> np.ndarray:
    """Returns targets [N, L] float64, NaN where there are none."""
    given = np.asarray(y)
    if given.ndim and given.dtype.kind in "OU":
        y = np.where(is_empty(given), np.nan, given.astype(object))
    targets = check_array(y, dtype=np.float64, ensure_2d=False, ensure_all_finite="allow-nan", input_name="y")
    check_consistent_length(X, targets)
    return targets.reshape(len(targets), -1)


def are_known(targets: np.ndarray) -> np.ndarray:
    """Returns which rows have all of their numbers [N, L], or a class number [N]: [N] bool."""
    return targets != NONE if targets.ndim == 1 else ~np.isnan(targets).any(axis=1)


def check_known(known: np.ndarray) -> None:
    """Raises ValueError if no row [N] has a target."""
    if not known.any():
        raise ValueError("y: has no row with a target")


def is_empty(values: np.ndarray) -> np.ndarray:
    """Returns which values are None, NaN, missing ones of pandas or empty texts: of bool in the shape of values."""
    if values.dtype.kind == "f":
        return np.isnan(values)
    if values.dtype.kind not in "OUS":
        return np.zeros(values.shape, bool)
    empty = [_is_empty(each) for each in values.ravel().tolist()]
    return np.array(empty, bool).reshape(values.shape)


def _is_empty(value: Any) -> bool:
    if isinstance(value, str | bytes):
        return not value.strip()
    return value is None or not isinstance(same := value == value, bool | np.bool_) or not same
