"""Class numbers from labels of any form: numbers or texts, [N], [N, 1] or one-hot, some of them missing."""

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from pretrain.config.counts import some

NONE = -1  # class number of a row without a label
_MOST_NAMED = 8
_FEWEST_ROWS = 2  # a class, below which labels are quantities
_FEW_ROWS = 10  # a number, below which numbers with gaps are quantities
_FEW = 20  # classes are classes, however few the rows
_LARGEST = (255, 65535)  # which -1 becomes in arrays without a sign


class Classes(NamedTuple):
    """Class numbers of each split, and the classes' names."""

    labels: dict[str, np.ndarray]  # [N] int32, by split; ``NONE`` without a label
    names: tuple[str, ...]
    notes: list[str]
    faults: list[str]


class _Flat(NamedTuple):
    """Labels of one split, flattened."""

    values: np.ndarray  # [N] int64 or str
    missing: np.ndarray  # [N] bool
    fault: tuple[str, str] = ("", "")  # in a word and in a line


def classes(labels: Mapping[str, np.ndarray], called: Mapping[str, str], names: tuple[str, ...]) -> Classes:
    """Returns class numbers from labels of any form.

    Args:
      labels: by split, the training rows among them.
      called: the name of each at its source.
      names: of the classes, where the source has them; labels are class numbers then.
    """
    flat = {split: _flattened(called[split], array) for split, array in labels.items()}
    faults = list(dict(each.fault for each in reversed(flat.values()) if each.fault[0]).values())  # once each
    if not faults and len({each.values.dtype.kind for each in flat.values() if not each.missing.all()}) > 1:
        faults.append(f"has numbers in some of {', '.join(called.values())} and texts in others; write all alike")
    if faults:
        return Classes({}, (), [], faults)
    distinct = {split: np.unique(each.values[~each.missing]) for split, each in flat.items()}
    present = [values for values in distinct.values() if len(values)]
    values = np.unique(np.concatenate(present)) if present else np.zeros(0, np.int64)
    faults += _faults(labels, flat, distinct, values, called)
    notes: list[str] = []
    if names and len(values) and values[-1] >= len(names):
        faults.append(f"has class numbers up to {values[-1]} for {len(names)} classes")
    if names:
        values = np.arange(len(names))
    elif values.dtype.kind == "i" and len(values) and values[-1] != len(values) - 1:
        notes.append(f"{len(values)} classes, numbered {_spans(values)} and named so: classification (data.task)")
    elif values.dtype.kind == "U" and len(values):
        notes.append(f"{len(values)} classes: {some(values.tolist(), _MOST_NAMED)}")
    if faults:
        return Classes({}, (), notes, faults)
    numbers = {split: np.full(len(each.values), NONE, np.int32) for split, each in flat.items()}
    for split, each in flat.items():
        if not each.missing.all():  # else values may be texts, in the place of numbers
            numbers[split][~each.missing] = np.searchsorted(values, each.values[~each.missing])
    is_bool = all(array.dtype.kind == "b" for array in labels.values())
    return Classes(numbers, names or tuple(str(bool(value) if is_bool else value) for value in values), notes, [])


def _flattened(name: str, array: np.ndarray) -> _Flat:
    """Returns labels as one value a row, and which are missing."""
    none = np.zeros(0, np.int64), np.zeros(0, bool)
    if array.size == 0 or array.dtype.kind not in "buifUS":
        remedy = "they must be numbers or texts, a row each"
        return _Flat(*none, ("type", f"has {name} of {array.dtype} {array.shape}; {remedy}"))
    if array.ndim == 2 and array.shape[1] == 1:
        array = array[:, 0]
    if array.ndim == 2 and array.dtype.kind in "buif":
        without = np.isnan(array) | (array == NONE).all(axis=1, keepdims=True)
        whole = np.where(without, 0, array)
        if not (np.isin(whole, (0, 1)).all() and (whole.sum(axis=1) <= 1).all()):
            remedy = "rows must be one-hot, a single 1 in each; give one class a row"
            return _Flat(*none, ("one-hot", f"has {name} of {array.dtype} {array.shape}, but {remedy}"))
        return _Flat(whole.argmax(axis=1).astype(np.int64), whole.sum(axis=1) == 0)
    if array.ndim != 1:
        remedy = "they must be [N], [N, 1] or one-hot"
        return _Flat(*none, ("shape", f"has {name} of {array.dtype} {array.shape}; {remedy}"))
    if array.dtype.kind in "US":
        values = np.char.strip(array.astype(str))
        return _Flat(values, values == "")
    missing = np.isnan(array) if array.dtype.kind == "f" else np.zeros(len(array), bool)
    present = array[~missing]
    fractions = present[present != np.rint(present)] if array.dtype.kind == "f" else present[:0]
    if len(fractions):
        remedy = "classes must be whole numbers or texts"
        return _Flat(*none, ("fractions", f"has {name} such as {fractions[0]:g}; {remedy}"))
    if len(present) and float(np.abs(present.astype(float)).max()) >= 2**62:
        return _Flat(*none, ("size", f"has {name} beyond 64 bits; number the classes from 0"))
    values = np.full(len(array), NONE, np.int64)
    values[~missing] = present
    if values.min() < NONE:
        remedy = "class numbers are 0 or more, and -1 stands for no label"
        return _Flat(*none, ("sign", f"has {name} between {values.min()} and {values.max()}; {remedy}"))
    return _Flat(values, values == NONE)


def without_objects(array: np.ndarray) -> np.ndarray:
    """Returns an array of objects, if these are texts or numbers, None or NaN, in their type; others unchanged."""
    if array.dtype.kind != "O":
        return array
    flat = [None if value is None or value != value else value for value in array.ravel().tolist()]
    kinds = {type(value) for value in flat if value is not None}
    if kinds == {str}:
        return np.array(["" if value is None else value for value in flat]).reshape(array.shape)
    if kinds and kinds <= {int, float, bool}:
        return np.array([np.nan if value is None else value for value in flat], float).reshape(array.shape)
    return array


def are_quantities(values: np.ndarray) -> bool:
    """Returns whether numbers [N] are quantities rather than classes.

    Quantities are not all whole, or many of them differ and hardly any occurs twice; with gaps, which class numbers
    seldom have, few rows of each are enough.
    """
    if values.dtype.kind == "f" and (values != np.rint(values)).any():
        return True
    if values.dtype.kind not in "iuf" or not len(values):
        return False
    distinct = np.unique(values)
    n, has_gaps = len(distinct), distinct[-1].item() - distinct[0].item() >= len(distinct)
    return are_many(n, len(values)) or (has_gaps and are_many(n, len(values), _FEW_ROWS))


def are_many(n_different: int, n_rows: int, fewest: int = _FEWEST_ROWS) -> bool:
    """Returns whether labels are so many that their classes would have fewer rows than ``fewest`` on average."""
    return n_different > _FEW and n_rows < fewest * n_different


def _faults(
    labels: Mapping[str, np.ndarray],
    flat: Mapping[str, _Flat],
    distinct: Mapping[str, np.ndarray],
    values: np.ndarray,
    called: Mapping[str, str],
) -> list[str]:
    """Returns the faults of labels that could be read."""
    name, trained, n = called["train"], distinct["train"], len(distinct["train"])
    n_rows = int((~flat["train"].missing).sum())
    if not n_rows:
        return [f"has no {name} but missing ones; fine-tuning needs rows with a label"]
    faults = []
    if n == 1:
        hint = "; if -1 is a class, number the classes from 0" if (flat["train"].values == NONE).any() else ""
        faults.append(f"has {name} of one class only, {trained[0]}; a classifier needs two{hint}")
    if are_many(n, n_rows):
        faults.append(f"has {n:,} different {name} in {n_rows:,} rows, as quantities or names have; give classes")
    largest = values[-1] if values.dtype.kind == "i" else None
    isolated = largest in _LARGEST and n > 1 and largest == trained[-1] and trained[-2] != largest - 1
    if isolated and labels["train"].dtype.kind == "u" and largest not in distinct.get("test", ()):
        n_largest = int((flat["train"].values == largest).sum())
        remedy = "if it is -1, no label, store labels with a sign: labels.astype(int), before they are made -1"
        faults.append(f"has {n_largest:,} {name} of {largest}, a class that no test row has; {remedy}")
    return faults


def _spans(values: np.ndarray) -> str:
    """Returns whole numbers in words, runs of them as in 1–10."""
    runs = np.split(values, np.flatnonzero(np.diff(values) != 1) + 1)
    spans = [f"{run[0]}" if len(run) == 1 else f"{run[0]}–{run[-1]}" for run in runs]
    return ", ".join(spans if len(spans) <= _MOST_NAMED else [*spans[:_MOST_NAMED], "…"])
