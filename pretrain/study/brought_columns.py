"""Columns of a table that somebody brings, as numbers: conditions, keys and results."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pretrain.config.counts import some
from pretrain.config.fields import ConfigError, Faults
from pretrain.config.suggestions import suggestion
from pretrain.data import columns


class Codes(NamedTuple):
    """A column as numbers of its distinct values, in their order."""

    of: np.ndarray  # [rows]
    labels: list[Any]  # None of missing ones, last


def codes_of(column: Any) -> Codes:
    """Returns a column as numbers of its values."""
    array = column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
    array = pa.concat_arrays(array.chunks) if isinstance(array, pa.ChunkedArray) else array
    if not pa.types.is_dictionary(array.type):
        array = array.dictionary_encode()
    values = array.dictionary
    by = values if columns.are_numbers(values.type) else values.cast(pa.string())
    by = by.cast(pa.int8()) if pa.types.is_boolean(by.type) else by
    order = pc.array_sort_indices(by).to_numpy()  # NaN and null last
    n = len(values) - pc.sum(pc.is_null(by, nan_is_null=True)).as_py() if len(values) else 0
    number_of = np.full(len(values) + 1, n)
    number_of[order[:n]] = np.arange(n)
    codes = number_of[array.indices.fill_null(len(values)).to_numpy(zero_copy_only=False)]
    return Codes(codes, [*values.take(order[:n]).to_pylist(), *([None] if (codes == n).any() else [])])


def is_value(label: Any, text: str) -> bool:
    """Returns whether a value is the one that a condition names."""
    if label is None:
        return False
    try:
        return str(label) == text or (isinstance(label, int | float) and float(text) == label)
    except ValueError:
        return False


def numbers_of(table: pa.Table, name: str, faults: Faults) -> np.ndarray:
    """Returns a column of numbers, NaN where one is missing or infinite: [rows]."""
    column = table[name]
    if columns.are_numbers(column.type) or pa.types.is_null(column.type):
        numbers = columns.numbers_of(column)
        return np.where(np.isfinite(numbers), numbers, np.nan)
    if not columns.is_text(column.type):
        faults.append(ConfigError("value", name, f"is a column of {column.type}; give one of numbers"))
        return np.full(len(table), np.nan)
    texts = columns.texts_of(column)
    odd = [text for text in texts.distinct if text and not columns.is_mark(text) and not _is_number(text)]
    if odd:
        row = int(np.flatnonzero(texts.codes == texts.distinct.index(odd[0]))[0]) + 1
        more = f", nor are {len(odd) - 1:,} others" if odd[1:] else ""
        remedy = f"in row {row:,} of column {name!r} is no number{more}; leave failed seeds empty, or NaN"
        faults.append(ConfigError("value", odd[0], remedy))
        return np.full(len(table), np.nan)
    numbers = np.array([float(text) if columns.is_number(text) else np.nan for text in texts.distinct])[texts.codes]
    return np.where(np.isfinite(numbers), numbers, np.nan)


def _is_number(text: str) -> bool:
    """Returns whether a text is a number, or one that training has left behind: infinity."""
    return columns.is_number(text) or text.lower().lstrip("+-") in ("inf", "infinity")


def together(columns: Sequence[Codes], place: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Returns several columns at some rows as numbers of their combinations, in order, and a row [numbers] of each."""
    whole = np.zeros(len(place), np.int64)
    for codes in columns:
        whole = whole * len(codes.labels) + codes.of[place]
        if codes is not columns[-1]:
            _, whole = np.unique(whole, return_inverse=True)  # so that no product grows too large
    _, first, numbers = np.unique(whole, return_index=True, return_inverse=True)
    return numbers, place[first]


def labels_at(columns: Sequence[Codes], row: int) -> tuple:
    """Returns the values of columns in a row."""
    return tuple(codes.labels[codes.of[row]] for codes in columns)


def rows_where(table: pa.Table, conditions: Sequence[str], faults: Faults) -> np.ndarray:
    """Returns the rows that have one of the values named of each column: [rows]."""
    kept = np.ones(len(table), bool)
    for name in dict.fromkeys(text.partition("=")[0] for text in conditions):
        codes, any_of = codes_of(table[name]), np.zeros(len(table), bool)
        for text in (text for text in conditions if text.partition("=")[0] == name):
            wanted = [code for code, label in enumerate(codes.labels) if is_value(label, text.partition("=")[2])]
            if not wanted:
                known = [str(label) for label in codes.labels if label is not None]
                near = suggestion(text.partition("=")[2], known, f"the column has {some(known, 9)}")
                faults.append(ConfigError("where", text, f"names no row; {near}"))
            any_of |= np.isin(codes.of, wanted)
        kept &= any_of
    return kept


def places_within(groups: np.ndarray) -> np.ndarray:
    """Returns the place of each item in its group, of groups one after another."""
    starts = np.flatnonzero(np.r_[True, groups[1:] != groups[:-1]])
    return np.arange(len(groups)) - np.repeat(starts, np.diff(np.r_[starts, len(groups)]))
