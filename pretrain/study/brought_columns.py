"""Columns of a table that somebody brings, as numbers: conditions, keys and results."""

import re
from collections.abc import Mapping, Sequence
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
    if columns.is_text(by.type) and pc.any(pc.match_substring_regex(by, "[0-9]")).as_py():
        texts = by.to_pylist()
        order = np.array(sorted(range(len(texts)), key=lambda place: _by_count(texts[place])), int)
    n = len(values) - pc.sum(pc.is_null(by, nan_is_null=True)).as_py() if len(values) else 0
    number_of = np.full(len(values) + 1, n)
    number_of[order[:n]] = np.arange(n)
    codes = number_of[array.indices.fill_null(len(values)).to_numpy(zero_copy_only=False)]
    return Codes(codes, [*values.take(order[:n]).to_pylist(), *([None] if (codes == n).any() else [])])


def _by_count(text: str | None) -> tuple:
    """Returns a key by which the numbers in texts count, so that ``run_2`` is before ``run_10``; None is last."""
    if text is None:
        return (True,)
    parts = re.split(r"(\d+)", text)
    digits = [part.lstrip("0") for part in parts[1::2]]
    return False, [*zip(parts[::2], map(len, digits), digits, strict=False)], parts[-1], text


def keys_of(table: pa.Table, name: str, option: str, faults: Faults) -> Codes:
    """Returns a column as numbers of its values, or a fault of the option where these have several parts."""
    try:
        return codes_of(table[name])
    except (pa.ArrowException, NotImplementedError, TypeError, ValueError):
        remedy = f"is a column of {str(table[name].type).split('<')[0]}; write its values as texts or numbers"
        faults.append(ConfigError(option, name, remedy))
        return Codes(np.zeros(len(table), int), [None])


def parted(text: str, names: Sequence[str]) -> tuple[str, str]:
    """Returns column and value of ``COLUMN=VALUE``, either of which may have an equals sign."""
    ends = [place for place, sign in enumerate(text) if sign == "=" and text[:place] in names]
    end = ends[-1] if ends else text.find("=") % (len(text) + 1)
    return text[:end], text[end + 1 :]


def near(text: str, codes: Codes) -> str:
    """Returns values of a column in the place of one that it has not."""
    known = [str(label) for label in codes.labels if label is not None]
    return suggestion(text, known, f"the column has {some(known, 9)}")


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


def rows_where(table: pa.Table, conditions: Sequence[str], found: Mapping[str, Codes], faults: Faults) -> np.ndarray:
    """Returns the rows that have one of the values named of each column: [rows]."""
    wanted, names = dict[str, list[str]](), table.column_names
    for text in conditions:
        wanted.setdefault(parted(text, names)[0], []).append(text)
    kept = np.ones(len(table), bool)
    for name, texts in wanted.items():
        codes, any_of = found[name], np.zeros(len(table), bool)
        for text in texts:
            value = parted(text, names)[1]
            alike = [code for code, label in enumerate(codes.labels) if is_value(label, value)]
            if not alike:
                faults.append(ConfigError("where", text, f"names no row; {near(value, codes)}"))
            any_of |= np.isin(codes.of, alike)
        kept &= any_of
    return kept


def places_within(groups: np.ndarray) -> np.ndarray:
    """Returns the place of each item in its group, of groups one after another."""
    starts = np.flatnonzero(np.r_[True, groups[1:] != groups[:-1]])
    return np.arange(len(groups)) - np.repeat(starts, np.diff(np.r_[starts, len(groups)]))
