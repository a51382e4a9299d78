"""Keys by which rows are cut: numbers of groups, and ranks in time, from values of any form."""

import re
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Any

import numpy as np

NONE = -1  # of a row without a group or a time
ORDER = "order"  # in the place of a column or an array of times: rows are in order of time
_MISSING = {"", "nan", "nat", "none", "null", "na", "n/a", "<na>"}
_DATES = (
    *("%Y-%m-%d", "%Y/%m/%d", "%Y.%m.%d", "%Y%m%d", "%Y-%m", "%Y/%m"),
    *("%d.%m.%Y", "%d.%m.%y", "%d/%m/%Y", "%m/%d/%Y", "%d/%m/%y", "%m/%d/%y", "%d-%m-%Y", "%m-%d-%Y", "%m/%Y"),
    *("%d %b %Y", "%d %B %Y", "%d-%b-%Y", "%d-%b-%y", "%b %d, %Y", "%B %d, %Y", "%b %d %Y", "%B %d %Y"),
    *("%b %Y", "%B %Y", "%a, %d %b %Y", "%a %d %b %Y"),
)
_TIMES = ("", " %H:%M", " %H:%M:%S", " %H:%M:%S.%f", " %H:%M:%S %z", " %I:%M %p", " %I:%M:%S %p", "T%H:%M:%S")
_PERIOD = re.compile(r"(\d{4})[- ]?[QqWw](\d{1,2})")  # quarters and weeks


def of_column(values: Any) -> np.ndarray:
    """Returns a column of an Arrow table as NumPy has it, or as texts where NumPy has no type for it: [N]."""
    import pyarrow as pa

    kind = values.type
    is_whole = pa.types.is_integer(kind) and not values.null_count
    if is_whole or pa.types.is_floating(kind) or pa.types.is_timestamp(kind) or pa.types.is_date(kind):
        return values.to_numpy(zero_copy_only=False)
    return values.cast(pa.string()).to_numpy(zero_copy_only=False)


def of_array(array: np.ndarray, n_rows: int, read: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
    """Returns an array as ``read`` reads it, ``groups`` or ``times``: [N].

    Raises:
      ValueError: it has not a value for each of the training rows, or ``read`` cannot read it.
    """
    if array.ndim == 2 and array.shape[1] == 1:
        array = array[:, 0]
    if array.shape != (n_rows,):
        raise ValueError(f"is an array of {array.shape} beside {n_rows:,} training rows; give a value a row")
    return read(array)


def groups(values: np.ndarray) -> np.ndarray:
    """Returns values [N] of any type as numbers of groups: [N] int, ``NONE`` of missing ones."""
    texts, missing = _texts(values)
    numbers = np.unique(texts, return_inverse=True)[1].ravel()
    return np.where(missing, NONE, numbers)


def times(values: np.ndarray) -> np.ndarray:
    """Returns values [N], numbers, dates or texts of them, as ranks in time: [N] int, ``NONE`` of missing ones.

    Raises:
      ValueError: they are no times, or may be read in two ways.
    """
    if values.dtype.kind in "mM":
        missing = np.isnat(values)
        return _ranks(values.astype(values.dtype.kind + "8[ns]").astype(np.int64), missing)
    if values.dtype.kind in "biuf":
        return _ranks(values, np.isnan(values) if values.dtype.kind == "f" else np.zeros(len(values), bool))
    texts, missing = _texts(values)
    distinct, place = np.unique(texts[~missing], return_inverse=True)
    ranks = np.full(len(values), NONE)
    if len(distinct):
        ranks[~missing] = _parsed(distinct.tolist())[place.ravel()]
    return ranks


def _texts(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Returns values as texts [N], and which are missing."""
    texts = np.char.strip(np.array(["" if value is None else str(value) for value in values.tolist()], str))
    return texts, np.isin(np.char.lower(texts), list(_MISSING))


def _ranks(values: np.ndarray, missing: np.ndarray) -> np.ndarray:
    ranks = np.full(len(values), NONE)
    ranks[~missing] = np.unique(values[~missing], return_inverse=True)[1].ravel()
    return ranks


def _parsed(texts: Sequence[str]) -> np.ndarray:
    """Returns ranks in time of different texts, by the one form that all of them have."""
    found: dict[bytes, np.ndarray] = {}
    odd = texts[0]
    forms: list[Callable[[str], Any]] = [float, _of_period, lambda text: _moment(datetime.fromisoformat(text))]
    forms += [_of_form(date + time) for date in _DATES for time in _TIMES]
    for number, form in enumerate(forms):
        read = []
        try:
            for text in texts:
                read.append(form(text))
        except (ValueError, OverflowError):
            odd = texts[len(read)] if read else odd
            continue
        ranks = np.unique(np.array(read), axis=0, return_inverse=True)[1].ravel()
        found[ranks.tobytes()] = ranks
        if number < 3:
            break
    if len(found) > 1:
        raise ValueError(f"has dates such as {texts[0]!r}, which may be read in two ways; write YYYY-MM-DD")
    if not found:
        raise ValueError(f"has {odd!r}, which is no time or not in the form of the others; write YYYY-MM-DD")
    return next(iter(found.values()))


def _of_period(text: str) -> float:
    match = _PERIOD.fullmatch(text)
    if not match:
        raise ValueError(text)
    return 100 * int(match[1]) + int(match[2])


def _of_form(form: str) -> Callable[[str], float]:
    return lambda text: _moment(datetime.strptime(text, form))


def _moment(time: datetime) -> float:
    return (time if time.tzinfo else time.replace(tzinfo=UTC)).timestamp()
