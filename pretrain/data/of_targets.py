"""Findings about targets: unknown labels, labels that no test row has, and numbers that were read as classes."""

from collections.abc import Mapping, Sequence

import numpy as np

from pretrain.config.counts import counted, some
from pretrain.data.findings import Finding, notes
from pretrain.data.labels import NONE

_MOST_NAMED = 5
_FEWEST, _MANY = 5, 20  # whole numbers, from which on their counts have an order, and above which classes are many
_FEW_ROWS = 10  # of each of many numbers
_ORDERS, _LEVEL = 2000, 0.05  # random ones of counts, and the share of them that is as smooth
_SURE = 3.0  # standard deviations of chi-squared


def partly_known(name: str, arrays: Mapping[str, np.ndarray]) -> list[Finding]:
    """Returns how many rows [N, L] lack some of their numbers, and have others."""
    n = 0
    for array in arrays.values():
        if array.dtype.kind == "f" and array.ndim == 2:
            lacking = np.isnan(array)
            n += int((lacking.any(axis=1) & ~lacking.all(axis=1)).sum())
    return notes([f"{n:,} rows lack some of their {name}, and count as rows without any"] if n else [])


def unknown(name: str, arrays: Mapping[str, np.ndarray], known: Sequence[np.ndarray], task: str) -> list[Finding]:
    """Returns how many labels are unknown in rows that have others."""
    n, of = sum(int(np.isnan(array).sum()) for array in known), sum(array.size for array in known)
    if not n:
        return []
    has_minus_one = any((array == NONE).any() for array in arrays.values())
    mark = "−1" if has_minus_one else "NaN"
    line = f"{n:,} of {of:,} {name} are {mark}, unknown: no loss and no measure counts them"
    figures = {"unknown": n, "of": of}
    if has_minus_one and task == "auto":
        remedy = "if -1, 0 and 1 are down, none and up: --data.task regression"
        return [Finding("targets of −1 read as unknown labels", line, "doubt", remedy, figures)]
    return [Finding("reading", line, figures=figures)]


def without_positive(test: np.ndarray, names: Sequence[str]) -> list[Finding]:
    """Returns the labels that AUROC leaves out, as no test row [N, labels] has them, or all have."""
    found = []
    for value, kind in ((1, "labels without a positive test row"), (0, "labels without a negative test row")):
        lacking = np.flatnonzero(~(test == value).any(axis=0))
        if len(lacking):
            named = some([names[place] for place in lacking.tolist()], _MOST_NAMED)
            count = counted(len(lacking), "label is", "labels are")
            line = f"{count} {'1' if value else '0'} in no test row, and have no part in AUROC: {named}"
            found.append(Finding(kind, line, "doubt", figures={"labels": len(lacking), "of": len(names)}))
    return found


def perhaps_quantities(name: str, labels: np.ndarray, names: Sequence[str]) -> list[Finding]:
    """Returns whether whole numbers, read as classes, are as frequent as their neighbours, or of many and few each."""
    counts = np.bincount(labels[labels != NONE], minlength=len(names))
    counts = counts[np.flatnonzero(counts)[0] : np.flatnonzero(counts)[-1] + 1]
    n, is_large = len(counts), len(counts) > _MANY
    if n < _FEWEST or not (_vary_smoothly(counts) or (is_large and counts.sum() < _FEW_ROWS * n)):
        return []
    line = f"{name} are whole numbers, {names[0]} to {names[-1]}, read as {len(names)} classes"
    remedy, figures = "if these are quantities: --data.task regression", {"classes": len(names)}
    return [Finding("numbers read as classes", line, "doubt" if is_large else "note", remedy, figures)]


def _vary_smoothly(counts: np.ndarray) -> bool:
    """Returns whether counts have one peak, or neighbours more alike than in a random order; not if they are flat."""
    expected = counts.mean()
    if np.square(counts - expected).sum() / expected <= len(counts) - 1 + _SURE * np.sqrt(2 * (len(counts) - 1)):
        return False  # chi-squared, against flat counts
    steps = np.sign(np.diff(counts))
    if (np.diff(steps[steps != 0]) <= 0).all():  # they rise to a peak, and fall
        return True
    orders = np.random.default_rng(0).permuted(np.tile(counts.astype(float), (_ORDERS, 1)), axis=1)
    roughness = np.square(np.diff(orders, axis=1)).sum(axis=1)
    return bool(np.mean(roughness <= np.square(np.diff(counts.astype(float))).sum()) <= _LEVEL)
