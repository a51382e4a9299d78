"""Labels as they come, turned to class numbers: numbers or texts, [N], [N, 1] or one-hot, some of them missing."""

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
    """Class numbers of each split, and what they stand for."""

    labels: dict[str, np.ndarray]  # [N] int32, by split; ``NONE`` without a label
    names: tuple[str, ...]
    notes: list[str]
    faults: list[str]


class _Read(NamedTuple):
    """Labels of one split, flattened."""

    values: np.ndarray  # [N] int64 or str
    missing: np.ndarray  # [N] bool
    fault: tuple[str, str] = ("", "")  # what is wrong, in a word and in a line


def classes(labels: Mapping[str, np.ndarray], called: Mapping[str, str], names: tuple[str, ...] = ()) -> Classes:
    """Returns class numbers from labels of any form.

    Args:
      labels: by split, the training rows among them.
      called: what each is called where it comes from.
      names: of the classes, where the source has them; labels are class numbers then.
    """
    read = {split: _read(called[split], array) for split, array in labels.items()}
    found = list(dict(each.fault for each in reversed(read.values()) if each.fault[0]).values())  # once each
    if not found and len({each.values.dtype.kind for each in read.values() if not each.missing.all()}) > 1:
        found.append(f"has numbers in some of {_listed(called.values())} and texts in others; write all alike")
    if found:
        return Classes({}, (), [], found)
    known = {split: np.unique(each.values[~each.missing]) for split, each in read.items()}
    present = [values for values in known.values() if len(values)]
    values = np.unique(np.concatenate(present)) if present else np.zeros(0, np.int64)
    found += _faults(labels, read, known, values, called)
    notes: list[str] = []
    if names and len(values) and values[-1] >= len(names):
        found.append(f"has class numbers up to {values[-1]} for {len(names)} classes")
    if names:
        values = np.arange(len(names))
    elif values.dtype.kind == "i" and len(values) and values[-1] != len(values) - 1:
        notes.append(f"{len(values)} classes, numbered {_spans(values)} and named so: classification (data.task)")
    elif values.dtype.kind == "U" and len(values):
        notes.append(f"{len(values)} classes: {some(values.tolist(), _MOST_NAMED)}")
    if found:
        return Classes({}, (), notes, found)
    numbers = {
        split: np.where(each.missing, NONE, np.searchsorted(values, each.values)).astype(np.int32)
        if not each.missing.all()
        else np.full(len(each.values), NONE, np.int32)
        for split, each in read.items()
    }
    is_bool = all(array.dtype.kind == "b" for array in labels.values())
    return Classes(numbers, names or tuple(str(bool(value) if is_bool else value) for value in values), notes, [])


def _read(name: str, array: np.ndarray) -> _Read:
    """Returns labels as one value a row, and which are missing."""
    none = np.zeros(0, np.int64), np.zeros(0, bool)
    if array.size == 0 or array.dtype.kind not in "buifUS":
        remedy = "they must be numbers or texts, a row each"
        return _Read(*none, ("type", f"has {name} of {array.dtype} {array.shape}; {remedy}"))
    if array.ndim == 2 and array.shape[1] == 1:
        array = array[:, 0]
    if array.ndim == 2 and array.dtype.kind in "buif":
        whole = np.where(np.isnan(array), 0, array) if array.dtype.kind == "f" else array
        if not (np.isin(whole, (0, 1)).all() and (whole.sum(axis=1) <= 1).all()):
            remedy = "rows must be one-hot, a single 1 in each; give one class a row"
            return _Read(*none, ("one-hot", f"has {name} of {array.dtype} {array.shape}, but {remedy}"))
        return _Read(whole.argmax(axis=1).astype(np.int64), whole.sum(axis=1) == 0)
    if array.ndim != 1:
        remedy = "they must be [N], [N, 1] or one-hot"
        return _Read(*none, ("shape", f"has {name} of {array.dtype} {array.shape}; {remedy}"))
    if array.dtype.kind in "US":
        values = np.char.strip(array.astype(str))
        return _Read(values, values == "")
    missing = np.isnan(array) if array.dtype.kind == "f" else np.zeros(len(array), bool)
    if array.dtype.kind == "f" and (array[~missing] != np.rint(array[~missing])).any():
        example = array[~missing][array[~missing] != np.rint(array[~missing])][0]
        return _Read(*none, ("fractions", f"has {name} such as {example:g}; classes must be whole numbers or texts"))
    if len(array[~missing]) and float(np.abs(array[~missing].astype(float)).max()) >= 2**62:
        return _Read(*none, ("size", f"has {name} beyond 64 bits; number the classes from 0"))
    values = np.full(len(array), NONE, np.int64)
    values[~missing] = array[~missing]
    if values.min() < NONE:
        remedy = "class numbers are 0 or more, and -1 stands for no label"
        return _Read(*none, ("sign", f"has {name} between {values.min()} and {values.max()}; {remedy}"))
    return _Read(values, values == NONE)


def without_objects(array: np.ndarray) -> np.ndarray:
    """Returns texts or numbers, some of them None or NaN, in a type of their own; others as they are."""
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

    They are where some are not whole, or where many differ and hardly any occurs twice; with gaps between them, which
    class numbers seldom have, few rows of each are enough.
    """
    if values.dtype.kind == "f" and (values != np.rint(values)).any():
        return True
    if values.dtype.kind not in "iuf" or not len(values):
        return False
    known = np.unique(values)
    has_gaps = known[-1] - known[0] >= len(known)
    return are_many(len(known), len(values)) or (has_gaps and are_many(len(known), len(values), _FEW_ROWS))


def are_many(n_different: int, n_rows: int, fewest: int = _FEWEST_ROWS) -> bool:
    """Returns whether there are so many different labels that classes of them would have fewer rows on average."""
    return n_different > _FEW and n_rows < fewest * n_different


def _faults(
    labels: Mapping[str, np.ndarray],
    read: Mapping[str, _Read],
    known: Mapping[str, np.ndarray],
    values: np.ndarray,
    called: Mapping[str, str],
) -> list[str]:
    """Returns the faults of labels that could be read."""
    name, own, array = called["train"], known["train"], labels["train"]
    n_rows = int((~read["train"].missing).sum())
    if not n_rows:
        return [f"has no {name} but missing ones; fine-tuning needs rows with a label"]
    found = []
    if len(own) == 1:
        hint = "; if -1 is a class, number the classes from 0" if (read["train"].values == NONE).any() else ""
        found.append(f"has {name} of one class only, {own[0]}; a classifier needs two{hint}")
    if are_many(len(own), n_rows):
        found.append(f"has {len(own):,} different {name} in {n_rows:,} rows, as quantities or names have; give classes")
    largest = values[-1] if values.dtype.kind == "i" else None
    isolated = largest in _LARGEST and len(own) > 1 and largest == own[-1] and own[-2] != largest - 1
    if isolated and array.dtype.kind == "u" and largest not in known.get("test", ()):
        n = int((read["train"].values == largest).sum())
        remedy = "if it is -1, no label, store labels with a sign: labels.astype(int), before they are made -1"
        found.append(f"has {n:,} {name} of {largest}, a class that no test row has; {remedy}")
    return found


def _spans(values: np.ndarray) -> str:
    """Returns whole numbers in words, runs of them as in 1–10."""
    runs = np.split(values, np.flatnonzero(np.diff(values) != 1) + 1)
    spans = [f"{run[0]}" if len(run) == 1 else f"{run[0]}–{run[-1]}" for run in runs]
    return ", ".join(spans if len(spans) <= _MOST_NAMED else [*spans[:_MOST_NAMED], "…"])


def _listed(names) -> str:
    return ", ".join(names)
