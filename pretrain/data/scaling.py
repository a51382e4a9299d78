"""Inputs as an encoder reads them: without gaps and on one scale, fitted to the training rows."""

from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

import numpy as np

from pretrain.config.counts import counted, some
from pretrain.data.findings import Finding
from pretrain.data.inputs import blocks
from pretrain.data.moments import Moments, by_channel, moments_of

_CONSTANT = 1e-12  # deviation, relative to the largest value, below which a column counts as constant
_LEAST = float(np.sqrt(np.finfo(float).tiny))  # deviation, whose square is rounded below
NEVER = float(np.finfo(float).max)  # divisor that makes zeros, in float32, and that JSON can hold
_FAR = 10.0  # training deviations beyond the training range
_MOST_NAMED = 5
_BYTE_STEPS = 1e-4  # float32's greatest distance from a byte, in steps of a byte


class Column(NamedTuple):
    """A column of a table."""

    name: str
    category: str | None = None  # of a text, where 1 marks the rows that have it


class Scaling(NamedTuple):
    """How rows turn to an encoder's inputs; fitted to training rows, and kept for others."""

    method: str  # none, unit or standardise
    columns: tuple[str, ...]  # names of the values of a row, where they have any
    kept: np.ndarray  # [D] int, the values of a row that are read; empty if all are
    fill: np.ndarray  # [D] in the place of missing values; empty if none is missing
    marked: np.ndarray  # [M] int, values with a column of 0 and 1 that marks missing ones
    offset: np.ndarray  # [D] subtracted; empty if values stay as they are
    divisor: np.ndarray  # [D] of the difference
    padded: bool = False  # whether NaN follow the ends of series; they become negative zeros, and no other value does

    @property
    def is_identity(self) -> bool:
        """Whether values stay as they are; programs divide bytes by 255."""
        return not (len(self.kept) or len(self.fill) or len(self.offset) or self.padded)

    def applied(self, rows: np.ndarray) -> np.ndarray:
        """Returns rows [N, ...] flattened, as datasets hold them: [N, D'] float32, or uint8, which programs divide."""
        if self.is_identity:
            flat = rows.reshape(len(rows), -1)
            flat = flat if flat.dtype in (np.uint8, np.float32) else flat.astype(np.float32)
            negative = flat.dtype != np.uint8 and any((np.signbit(part) & (part == 0)).any() for part in blocks(flat))
            return flat + np.float32(0) if negative else flat  # negative zeros would be padding
        n_marked, start, made = len(self.marked), 0, None
        for block in blocks(rows):
            values = block.reshape(len(block), -1).astype(np.float64, copy=False)
            marks = np.isnan(values[:, self.marked])
            if len(self.fill):
                values = np.where(np.isnan(values), self.fill, values)
            if len(self.offset):
                values = (values - self.offset) / self.divisor
            if len(self.kept):
                values = values[:, self.kept]
            if made is None:
                made = np.empty((len(rows), values.shape[1] + n_marked), np.float32)
            made[start : start + len(block), : values.shape[1]] = values + 0.0
            made[start : start + len(block), values.shape[1] :] = marks
            if self.padded:
                part = made[start : start + len(block)]
                part[np.abs(part) < np.finfo(np.float32).tiny] = 0.0  # as XLA reads subnormal numbers, sign and all
                part[np.isnan(part)] = -0.0
            start += len(block)
        return made if made is not None else np.empty((0, 0), np.float32)

    def as_read(self, rows: np.ndarray) -> np.ndarray:
        """Returns rows [N, ...] flattened, as an encoder reads them: [N, D'] float32, bytes in [0, 1]."""
        made = self.applied(rows)
        return made.astype(np.float32) / np.float32(255) if made.dtype == np.uint8 else made


class FittedScaling(NamedTuple):
    """A scaling, with the interval of its outputs, notes, and findings on held-out values."""

    scaling: Scaling
    interval: tuple[float, float]  # of the training rows as an encoder reads them
    notes: tuple[str, ...]
    findings: tuple[Finding, ...] = ()


def fit(
    training: Sequence[np.ndarray],
    held_out: Sequence[np.ndarray],
    method: str,
    columns: tuple[Column, ...],
    padded: bool = False,
) -> FittedScaling:
    """Returns the scaling of a source; a value of which all training rows have the same becomes zero in all rows.

    Args:
      training: rows to fit it to [N, ...], labelled or not.
      held_out: other rows for it.
      method: as in ``data.scaling``.
      columns: of a table; none of arrays.
      padded: whether rows are series of unlike lengths, with NaN after their ends.
    """
    first, is_chosen = training[0], method != "auto"
    if first.dtype == np.uint8 and method in ("auto", "unit"):
        none, no_values = np.zeros(0, int), np.zeros(0)
        return FittedScaling(Scaling("unit", (), none, no_values, none, no_values, no_values), (0.0, 1.0), ())
    moments = moments_of(training)
    notes: list[str] = []
    is_numeric = np.array([column.category is None for column in columns] or [True] * first[0].size)
    missing = moments.has_missing.copy()
    for array in held_out:
        if array.dtype.kind == "f":
            missing |= np.isnan(array.reshape(len(array), -1)).any(axis=0)
    if method == "auto":
        lies_within = not columns and moments.low.min() >= 0 and moments.high.max() <= 1
        method = "none" if lies_within else "standardise"
    # A category of no training row has no weight that training could move: its rows have 0 in every category.
    kept = np.flatnonzero(is_numeric | (moments.high > 0))
    unseen = len(is_numeric) - len(kept)
    shared = by_channel(moments, first.shape[-1]) if first.ndim > 2 else moments
    beyond = _beyond(shared, held_out)
    spread = shared.deviation if method == "standardise" else shared.high - shared.low
    constant = spread <= np.maximum(_CONSTANT * np.maximum(np.abs(shared.low), np.abs(shared.high)), _LEAST)
    if method == "none":  # values that lie in [0, 1] everywhere stay as they are
        constant &= (beyond > 0) & (not is_chosen)
    offset, divisor = (np.zeros(0) for _ in range(2))
    if method != "none" or constant.any():
        start, scale = (shared.mean, spread) if method == "standardise" else (shared.low, spread)
        is_scaled = is_numeric & (method != "none") & ~constant
        offset = np.where(constant, shared.mean, np.where(is_scaled, start, 0.0))
        divisor = np.where(constant, NEVER, np.where(is_scaled, scale, 1.0))
    scaling = Scaling(
        method,
        tuple(column.name if column.category is None else f"{column.name}={column.category}" for column in columns),
        kept if unseen else np.zeros(0, int),
        moments.mean if missing.any() else np.zeros(0),
        np.flatnonzero(moments.has_missing),
        offset,
        divisor,
    )
    if padded:
        scaling = scaling._replace(fill=np.zeros(0), marked=np.zeros(0, int), padded=True)
    elif missing.any():
        named = _named(missing, scaling.columns)
        marks = f", and marked in {counted(len(scaling.marked), 'column')} besides" if len(scaling.marked) else ""
        notes.append(f"missing values of {named} are the training mean{marks}")
    if unseen:
        notes.append(f"{counted(unseen, 'category', 'categories')} of no training row: read as none of those known")
    is_zero = constant & (is_numeric | (moments.high > 0))
    if is_zero.any():
        named = _named(is_zero, scaling.columns)
        notes.append(f"column {named} has one value in all training rows, and becomes zero in all rows")
    ends = np.array([shared.low, shared.high]) if padded else np.array([moments.low, moments.high])
    if len(offset):
        ends = (ends - offset) / divisor
    bounds = float(ends.min()), float(ends.max())
    far = np.where(is_numeric, beyond, 0)
    findings = [*_of_far(far * ~constant, scaling.columns), *_of_changed(far * constant, scaling.columns)]
    return FittedScaling(scaling, bounds, tuple(notes), tuple(findings))


def _named(where: np.ndarray, names: Sequence[str]) -> str:
    """Returns the columns that a mask [D] marks, in words: names of a table's, numbers from 0 of others'."""
    places = np.flatnonzero(where)
    return some([names[int(place)] if names else place for place in places], _MOST_NAMED)


def _beyond(moments: Moments, held_out: Sequence[np.ndarray]) -> np.ndarray:
    """Returns, value by value, how many held-out rows lie far beyond the training range: [D]."""
    beyond = np.zeros(len(moments.low), int)
    reach = np.maximum(_FAR * moments.deviation, _CONSTANT * np.maximum(np.abs(moments.low), np.abs(moments.high)))
    low, high = moments.low - reach, moments.high + reach
    for array in held_out:
        for block in blocks(array):
            values = block.reshape(len(block), -1)
            beyond += ((values < low) | (values > high)).sum(axis=0)
    return beyond


def _of_far(beyond: np.ndarray, names: Sequence[str]) -> Iterator[Finding]:
    if beyond.any():
        line = (
            f"held-out values lie more than {_FAR:.0f} deviations beyond the training rows': {_counts(beyond, names)}"
        )
        remedy = "mend them, or leave out the column or the rows"
        figures = {"columns": int((beyond > 0).sum()), "values": int(beyond.sum())}
        yield Finding("held-out values far beyond the training rows", line, "doubt", remedy, figures)


def _of_changed(beyond: np.ndarray, names: Sequence[str]) -> Iterator[Finding]:
    if beyond.any():
        line = "held-out rows have other values, read as zero, in columns of one value in all training rows"
        figures = {"columns": int((beyond > 0).sum()), "values": int(beyond.sum())}
        yield Finding("columns that vary in held-out rows alone", f"{line}: {_counts(beyond, names)}", figures=figures)


def _counts(rows: np.ndarray, names: Sequence[str]) -> str:
    """Returns counts of rows [D] in words, the largest first."""
    places = [int(place) for place in np.argsort(-rows, kind="stable") if rows[place]]
    counts = [f"{counted(int(rows[place]), 'row')} in column {names[place] if names else place}" for place in places]
    return some(counts, _MOST_NAMED)


def as_bytes(arrays: Iterable[np.ndarray]) -> list[np.ndarray] | None:
    """Returns arrays as bytes, if all values are multiples of 1/255 between 0 and 1; else None.

    So images as bytes and as floats give the same results, and take a quarter of the memory.
    """
    made = []
    for array in arrays:
        if array.dtype.kind not in "fb":
            return None
        as_bytes, start = np.empty(array.shape, np.uint8), 0
        for block in blocks(array):
            steps = block.astype(np.float64) * 255
            if not (steps.min() >= 0 and steps.max() <= 255):  # NaN is neither
                return None
            nearest = np.rint(steps)
            if np.abs(steps - nearest).max() > _BYTE_STEPS:
                return None
            as_bytes[start : start + len(block)] = nearest
            start += len(block)
        made.append(as_bytes)
    return made
