"""Targets from arrays of any form: classes, several labels of 0 and 1, or numbers."""

from collections.abc import Mapping
from typing import Literal, NamedTuple

import numpy as np

from pretrain.config.kinds import TaskKind
from pretrain.data import labels as classes_of
from pretrain.data.labels import NONE

_QUANTILES = 10  # of numbers, in the place of classes where rows are drawn in proportion


class Targets(NamedTuple):
    """Targets of each split."""

    task: TaskKind
    values: dict[str, np.ndarray]  # by split: class numbers [N] int32, or labels or numbers [N, outputs] float32
    names: tuple[str, ...]  # of the outputs: classes, labels or numbers
    notes: list[str]
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
        return Targets(kind, classes.labels, classes.names, classes.notes, classes.faults)
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
    notes = [_note(kind, called["train"], values["train"])] if task == "auto" else []
    n_partly = sum(map(_n_partly_known, arrays.values()))
    if n_partly:
        notes.append(f"{n_partly:,} rows lack some of their {called['train']}, and count as rows without any")
    return Targets(kind, values, _names(called["train"], values["train"]), notes, [])


def is_missing(targets: np.ndarray) -> np.ndarray:
    """Returns which rows have no target: [N] bool."""
    return targets == NONE if targets.ndim == 1 else np.isnan(targets).any(axis=1)


def strata(targets: np.ndarray) -> np.ndarray:
    """Returns the strata of rows, drawn in proportion: [N] int32, -1 of rows without a target.

    The strata are classes, combinations of labels, or tenths of the first number's distribution.
    """
    if targets.ndim == 1:
        return targets
    missing, numbers = is_missing(targets), np.full(len(targets), NONE, np.int32)
    present = targets[~missing]
    if not len(present):
        return numbers
    if np.isin(present, (0, 1)).all() and present.shape[1] > 1:
        numbers[~missing] = np.unique(present, axis=0, return_inverse=True)[1].ravel()
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
        if not np.isin(present, (0, 1)).all():
            return "regression"
        return "multilabel" if (present.sum(axis=1) > 1).any() else "classification"
    values = array.ravel()
    present = values[~np.isnan(values)] if array.dtype.kind == "f" else values
    return "regression" if classes_of.are_quantities(present) else "classification"


def _without(array: np.ndarray) -> np.ndarray:
    """Returns which rows [N, L] have no target, but NaN or -1."""
    missing = np.isnan(array).any(axis=1) if array.dtype.kind == "f" else np.zeros(len(array), bool)
    return missing | (array == NONE).all(axis=1) if array.dtype.kind in "if" else missing


def _n_partly_known(array: np.ndarray) -> int:
    """Returns the number of rows [N, L] that lack some of their targets, and have others."""
    if array.dtype.kind != "f" or array.ndim != 2:
        return 0
    lacking = np.isnan(array)
    return int((lacking.any(axis=1) & ~lacking.all(axis=1)).sum())


def _labels(name: str, array: np.ndarray) -> np.ndarray:
    """Returns labels [N, L] of 0 and 1, NaN in rows without; raises ValueError with a fault."""
    if array.dtype.kind not in "buif" or array.ndim not in (1, 2) or not array.size:
        raise ValueError(f"has {name} of {array.dtype} {array.shape}; several labels are [N, labels] of 0 and 1")
    rows = array.reshape(len(array), -1)
    missing = _without(rows)
    if not np.isin(rows[~missing], (0, 1)).all():
        odd = next(value for value in rows[~missing].ravel().tolist() if value not in (0, 1))
        raise ValueError(f"has {name} such as {odd:g}; several labels are each 0 or 1, and a row without is NaN")
    values = rows.astype(np.float32)
    values[missing] = np.nan
    return values


def _numbers(name: str, array: np.ndarray) -> np.ndarray:
    """Returns numbers [N, L], NaN in rows without; raises ValueError with a fault."""
    if array.dtype.kind not in "buif" or array.ndim not in (1, 2) or not array.size:
        raise ValueError(f"has {name} of {array.dtype} {array.shape}; a regression needs numbers, [N] or [N, L]")
    values = array.reshape(len(array), -1).astype(np.float64)
    if np.isinf(values).any():
        raise ValueError(f"has infinite {name}; replace them, or leave them empty")
    return values


def _check_training(task: TaskKind, name: str, values: np.ndarray) -> None:
    """Checks that training rows have different targets; raises ValueError with a fault."""
    present = values[~is_missing(values)]
    if not len(present):
        raise ValueError(f"has no {name} but missing ones; fine-tuning needs rows with a target")
    constant = [str(place) for place in np.flatnonzero((present == present[0]).all(axis=0))]
    if task == "regression" and constant:
        where = f" in column {', '.join(constant)}" if values.shape[1] > 1 else ""
        value = f"{present[0, int(constant[0])]:g}"
        raise ValueError(f"has {name} of one value only{where}, {value}; there is nothing to predict")
    if task == "multilabel" and len(constant) == values.shape[1]:
        raise ValueError(f"has the same {name} in every row; there is nothing to predict")


def _note(task: TaskKind, name: str, values: np.ndarray) -> str:
    present = values[~is_missing(values)]
    if task == "multilabel":
        mean = present.sum(axis=1).mean()
        return f"{name} are several labels a row, {mean:.2g} of {values.shape[1]} on average: multilabel (data.task)"
    low, high = present.min(), present.max()
    return f"{name} are numbers between {low:.6g} and {high:.6g}: regression (data.task)"


def _names(name: str, values: np.ndarray) -> tuple[str, ...]:
    n = values.shape[1]
    return (name,) if n == 1 else tuple(f"{name} {number}" for number in range(n))
