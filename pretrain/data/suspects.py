"""Columns of a table that are hardly measurements: numbers in the place of missing ones, and numbers of rows."""

import re
import shlex
from collections.abc import Collection, Iterator, Sequence

import numpy as np

from pretrain.config.counts import counted, some
from pretrain.data.findings import Finding
from pretrain.data.scaling import Column

_NINES = re.compile(r"-?9{2,}(\.9*0*)?")  # in the place of missing numbers, by custom
_HUGE = 1e20  # from which on a number is no measurement but a format's fill value
_FEWEST, _APART = 2, 2.0  # rows with a placeholder, and its distance from the rest, in ranges of the rest
_FEWEST_ROWS, _DENSE = 50, 1.2  # of row numbers, and their range by the number of rows
_IDS = re.compile(r"(?i:(^|[_\W])(id|ids|uuid|key|index|idx|number|nr|no|row)$|^unnamed)|(?<=[a-z])I[dD]$")
_MOST_NAMED = 5


def found(inputs: np.ndarray, columns: Sequence[Column], known: Collection[str] = ()) -> Iterator[Finding]:
    """Yields the columns of numbers with likely placeholders of missing ones, and those that likely number the rows.

    Inputs are training rows [N, D] before they are scaled; known columns number the rows already.
    """
    if inputs.dtype.itemsize == 1 or not len(inputs):
        return  # bytes, or categories alone
    names = [column.name for column in columns] or [f"column {place}" for place in range(inputs.shape[1])]
    are_numbers = [column.category is None for column in columns] or [True] * len(names)
    placeholders: dict[str, float] = {}
    rows_of: dict[str, int] = {}
    ids = []
    for place in np.flatnonzero(are_numbers).tolist():
        values, name = inputs[:, place], names[place]
        placeholder = _placeholder(values)
        if placeholder is not None:
            placeholders[name], rows_of[name] = placeholder, int((values == placeholder).sum())
        elif name not in known and _are_ids(values, name):
            ids.append(name)
    if placeholders:
        listed = [f"{name} ({number:g} in {counted(rows_of[name], 'row')})" for name, number in placeholders.items()]
        line = f"numbers far from all others of their column are read as they are: {some(listed, _MOST_NAMED)}"
        marks = dict.fromkeys(f"{number:g}" for number in placeholders.values())
        way = f"--data.missing {' '.join(marks)}" if columns else "write NaN"
        remedy = f"if they stand for missing ones: {way}"
        yield Finding("numbers in the place of missing ones", line, "doubt", remedy, {"rows": rows_of})
    if ids:
        line = f"whole numbers that differ in every row are inputs: {some(ids, _MOST_NAMED)}"
        way = f"--data.drop {shlex.join(ids[:_MOST_NAMED])}" if columns else "leave them out of the array"
        yield Finding("row numbers among the inputs", line, "note", f"if they number rows: {way}", {"columns": ids})


def _placeholder(values: np.ndarray) -> float | None:
    """Returns the least or largest of values [N] if several rows have it, it is of nines or huge, and far from all."""
    if not any(map(_is_custom, (np.fmin.reduce(values), np.fmax.reduce(values)))):
        return None
    distinct, counts = np.unique(values[~np.isnan(values)].astype(np.float64), return_counts=True)
    if len(distinct) < 3:
        return None
    for end, rest, count in ((distinct[0], distinct[1:], counts[0]), (distinct[-1], distinct[:-1], counts[-1])):
        gap = min(abs(end - rest[0]), abs(end - rest[-1]))
        if _is_custom(end) and count >= _FEWEST and gap >= _APART * (rest[-1] - rest[0]):
            return float(end)
    return None


def _is_custom(number: float) -> bool:
    return bool(_NINES.fullmatch(f"{number:.10g}")) or abs(number) >= _HUGE


def _are_ids(values: np.ndarray, name: str) -> bool:
    """Returns whether values [N] are whole numbers, each once, that are dense or have the name of ids."""
    first = values[:_FEWEST_ROWS]
    if len(first) < _FEWEST_ROWS or (first != np.rint(first)).any() or len(np.unique(first)) < len(first):
        return False
    if (values != np.rint(values)).any() or len(np.unique(values)) < len(values):
        return False
    return float(values.max()) - float(values.min()) < _DENSE * len(values) or bool(_IDS.search(name))
