"""Targets from arrays of any form: classes, several labels of 0 and 1, or numbers."""

from collections.abc import Mapping
from typing import Literal, NamedTuple

import numpy as np

from pretrain.config.counts import counted, some, written
from pretrain.config.kinds import TaskKind
from pretrain.data import labels as classes_of
from pretrain.data import of_targets
from pretrain.data.findings import Finding, notes
from pretrain.data.labels import NONE

_LARGEST = 1e38  # of a number, about as float32 has it
_MOST_NAMED = 5
_QUANTILES = 10  # of numbers, in the place of classes where rows are drawn in proportion


class Targets(NamedTuple):
    """Targets of each split."""

    task: TaskKind
    values: dict[str, np.ndarray]  # by split: class numbers [N] int32, or labels or numbers [N, outputs]
    names: tuple[str, ...]  # of the outputs: classes, labels or numbers
    findings: list[Finding]
    faults: list[str]


def read(
    task: Literal["auto", TaskKind],
    given: Mapping[str, np.ndarray],
    called: Mapping[str, str],
    class_names: tuple[str, ...] = (),
) -> Targets:
    """Returns targets from arrays of any form.

    Args:
      task: as ``data.task``.
      given: by split, the training rows among them.
      called: the name of each at its source.
      class_names: where the source has them; targets are class numbers then.
    """
    arrays = {split: classes_of.without_objects(array) for split, array in given.items()}
    kind: TaskKind = "classification"
    if not (task == "auto" and class_names):
        kind = _apparent_task(arrays["train"]) if task == "auto" else task
    if kind == "classification":
        classes = classes_of.classes(arrays, called, class_names)
        found = notes(classes.notes)
        are_numbers = arrays["train"].dtype.kind in "iuf" and arrays["train"].size == len(arrays["train"])
        if task == "auto" and not (class_names or classes.faults) and are_numbers:
            found += of_targets.perhaps_quantities(called["train"], classes.labels["train"], classes.names)
        return Targets(kind, classes.labels, classes.names, found, classes.faults)
    read_split = _labels if kind == "multilabel" else _numbers
    try:
        values = {split: read_split(called[split], array) for split, array in arrays.items()}
        widths = {split: array.shape[1] for split, array in values.items()}
        if len(set(widths.values())) > 1:
            sizes = ", ".join(f"{width} in {called[split]}" for split, width in widths.items())
            raise ValueError(f"has targets of different numbers, {sizes}; give each row as many")
        _check_training(kind, called["train"], values["train"])
    except ValueError as fault:  # the first, for splits mostly share a fault
        return Targets(kind, {}, (), [], [str(fault)])
    found = notes([_note(kind, called["train"], values["train"])]) if task == "auto" else []
    known = [array[~is_missing(array)] for array in values.values()]
    if kind == "multilabel":
        found += of_targets.unknown(called["train"], arrays, known, task)
    else:
        found += of_targets.partly_known(called["train"], arrays)
    return Targets(kind, values, _names(called["train"], values["train"]), found, [])


def is_missing(targets: np.ndarray) -> np.ndarray:
    """Returns which rows have no target: [N] bool."""
    return targets == NONE if targets.ndim == 1 else np.isnan(targets).all(axis=1)


def strata(targets: np.ndarray) -> np.ndarray:
    """Returns the strata of rows, drawn in proportion: [N] int32, -1 of rows without a target.

    The strata are classes, combinations of labels that are there, or tenths of the first number's distribution.
    """
    if targets.ndim == 1:
        return targets
    missing, numbers = is_missing(targets), np.full(len(targets), NONE, np.int32)
    present = targets[~missing]
    if not len(present):
        return numbers
    if _are_labels(present) and present.shape[1] > 1:
        numbers[~missing] = np.unique(np.nan_to_num(present), axis=0, return_inverse=True)[1].ravel()
    else:
        edges = np.quantile(present[:, 0], np.linspace(0, 1, _QUANTILES + 1)[1:-1])
        numbers[~missing] = np.searchsorted(edges, present[:, 0])
    return numbers


def _apparent_task(array: np.ndarray) -> TaskKind:
    """Returns the most plausible task of training rows, by their targets."""
    if array.dtype.kind not in "buif" or not array.size:
        return "classification"
    if array.ndim == 2 and array.shape[1] > 1:
        present = array[~_without(array)]
        unknown = _are_unknown(present)
        if not np.isin(present[~unknown], (0, 1)).all() or _are_signs(present):
            return "regression"
        have_several = (np.where(unknown, 0, present).sum(axis=1) > 1).any()
        return "multilabel" if have_several or unknown.any() else "classification"
    values = array.ravel()
    present = values[~np.isnan(values)] if array.dtype.kind == "f" else values
    return "regression" if classes_of.are_quantities(present) else "classification"


def _without(array: np.ndarray) -> np.ndarray:
    """Returns which rows [N, L] have no target, but NaN or -1."""
    missing = np.isnan(array).any(axis=1) if array.dtype.kind == "f" else np.zeros(len(array), bool)
    return missing | (array == NONE).all(axis=1) if array.dtype.kind in "if" else missing


def _are_unknown(labels: np.ndarray) -> np.ndarray:
    """Returns which labels [N, L] are NaN or -1, or 255 or 65,535, as -1 becomes in arrays without a sign."""
    if labels.dtype.kind == "u":
        return labels == (np.iinfo(labels.dtype).max if labels.dtype.itemsize <= 2 else 2)
    return np.isnan(labels) | (labels == NONE) if labels.dtype.kind == "f" else labels == NONE


def _are_signs(labels: np.ndarray) -> bool:
    """Returns whether labels are 1 and -1 alone, where -1 may say that a label is not there."""
    return labels.dtype.kind in "if" and bool((labels == NONE).any() and not (labels == 0).any())


def _are_labels(targets: np.ndarray) -> bool:
    """Returns whether targets [N, L] are 0, 1 or NaN."""
    return bool((np.isin(targets, (0, 1)) | np.isnan(targets)).all())


def _labels(name: str, array: np.ndarray) -> np.ndarray:
    """Returns labels [N, L] of 0 and 1, NaN where unknown; raises ValueError with a fault."""
    if array.dtype.kind not in "buif" or array.ndim not in (1, 2) or not array.size:
        raise ValueError(f"has {name} of {_content(array)}; several labels are [N, labels] of 0 and 1")
    rows = array.reshape(len(array), -1)
    unknown = _are_unknown(rows)
    if rows.dtype.kind == "u" and unknown.any():
        largest, remedy = rows.max(), "store labels with a sign: labels.astype(int), before they are made -1"
        raise ValueError(
            f"has {int(unknown.sum()):,} {name} of {largest} beside 0 and 1; if it is -1, unknown, {remedy}"
        )
    if not np.isin(rows[~unknown], (0, 1)).all():
        odd = next(value for value in rows[~unknown].ravel().tolist() if value not in (0, 1))
        raise ValueError(f"has {name} such as {written(odd)}; several labels are each 0 or 1, and NaN or -1 if unknown")
    return np.where(unknown, np.float32(np.nan), rows.astype(np.float32))


def _numbers(name: str, array: np.ndarray) -> np.ndarray:
    """Returns numbers [N, L], all NaN in rows without some of them; raises ValueError with a fault."""
    if array.dtype.kind not in "buif" or array.ndim not in (1, 2) or not array.size:
        raise ValueError(f"has {name} of {_content(array)}; a regression needs numbers, [N] or [N, L]")
    values = array.reshape(len(array), -1).astype(np.float64)
    if (np.abs(values) > _LARGEST).any():
        raise ValueError(f"has infinite {name}, or beyond 1e38; replace them, or leave them empty")
    values[np.isnan(values).any(axis=1)] = np.nan
    return values


def _content(array: np.ndarray) -> str:
    """Returns what targets are that are no numbers: some of their texts, or their type and shape."""
    if array.dtype.kind not in "US" or not array.size:
        return f"{array.dtype} {array.shape}"
    texts = np.unique(array.astype(str)).tolist()
    return f"{counted(len(texts), 'text')}: {some(list(map(repr, texts)), _MOST_NAMED)}"


def _check_training(task: TaskKind, name: str, values: np.ndarray) -> None:
    """Checks that training rows have different targets; raises ValueError with a fault."""
    present = values[~is_missing(values)]
    if not len(present):
        raise ValueError(f"has no {name} but missing ones; fine-tuning needs rows with a target")
    some_value = np.nanmax(np.vstack([present, np.full_like(present[:1], -np.inf)]), axis=0)
    constant = [str(place) for place in np.flatnonzero(((present == some_value) | np.isnan(present)).all(axis=0))]
    if task == "regression" and constant:
        where = f" in column {', '.join(constant)}" if values.shape[1] > 1 else ""
        value = written(present[0, int(constant[0])])
        raise ValueError(f"has {name} of one value only{where}, {value}; there is nothing to predict")
    if task == "multilabel" and len(constant) == values.shape[1]:
        raise ValueError(f"has the same {name} in every row; there is nothing to predict")


def _note(task: TaskKind, name: str, values: np.ndarray) -> str:
    present = values[~is_missing(values)]
    if task == "multilabel":
        mean = np.nansum(present, axis=1).mean()
        return f"{name} are several labels a row, {mean:.2g} of {values.shape[1]} on average: multilabel (data.task)"
    low, high = present.min(), present.max()
    return f"{name} are numbers between {written(low)} and {written(high)}: regression (data.task)"


def _names(name: str, values: np.ndarray) -> tuple[str, ...]:
    n = values.shape[1]
    return (name,) if n == 1 else tuple(f"{name} {number}" for number in range(n))
