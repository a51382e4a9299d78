"""Series of unlike lengths: arrays with NaN after the end of each, or lists of arrays."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from pretrain.config.counts import counted
from pretrain.data.inputs import blocks

_PLACES = 4  # where rows end, from which on they are hardly rows whose last columns are missing


def padding_axis(rows: np.ndarray) -> int:
    """Returns the axis of rows [N, ...] along which NaN follow the end of each series; 0 if none is NaN.

    Raises:
      ValueError: NaN lie elsewhere, or in whole rows; the message says where.
    """
    if rows.dtype.kind != "f" or not any(np.isnan(block).any() for block in blocks(rows)):
        return 0
    axes = [axis for axis in range(1, rows.ndim) if all(_has_end(block, axis).all() for block in blocks(rows))]
    if not axes:
        gaps = [sum(int((~_has_end(block, axis)).sum()) for block in blocks(rows)) for axis in range(1, rows.ndim)]
        of = f"NaN or infinite values amid {counted(min(gaps), 'row')}"
        raise ValueError(
            f"{of}; an image must be whole, and a series until its end: fill gaps, or leave out those rows"
        )
    if any(np.isnan(block.reshape(len(block), -1)).all(axis=1).any() for block in blocks(rows)):
        raise ValueError("rows without any value; leave them out")
    return axes[0]


def _has_end(rows: np.ndarray, axis: int) -> np.ndarray:
    """Returns whether all values after the first NaN along an axis, in all channels, are NaN: [N] bool."""
    missing = np.moveaxis(np.isnan(rows), axis, 1).reshape(len(rows), rows.shape[axis], -1)
    steps = missing.all(axis=2)
    return (missing.any(axis=2) == steps).all(axis=1) & (steps[:, 1:] >= steps[:, :-1]).all(axis=1)


def n_ending(rows: np.ndarray) -> int:
    """Returns how many rows [N, T] end in NaN, if these follow the end of each, at several places; else 0."""
    try:
        if rows.ndim != 2 or not padding_axis(rows):
            return 0
    except ValueError:
        return 0
    present = lengths(rows[:, :, None, None])
    return int((present < rows.shape[1]).sum()) if len(np.unique(present)) >= _PLACES else 0


def lengths(rows: np.ndarray) -> np.ndarray:
    """Returns the lengths of series [N, T, 1, C]: [N] (steps)."""
    return np.concatenate([(~np.isnan(block[:, :, 0, 0])).sum(axis=1) for block in blocks(rows)])


def together(values: Mapping[str, Any]) -> dict[str, Any]:
    """Returns lists of series of unlike lengths as arrays with NaN after their ends, all as long as the longest.

    Series are [T], [T, C] or [C, T]; what is no such list stays as it is.
    """
    found = {name: series for name, value in values.items() if (series := _series(value)) is not None}
    longest = max((max(each.shape[axis] for each in series) for series, axis in found.values()), default=0)
    return {**values, **{name: _padded(series, axis, longest) for name, (series, axis) in found.items()}}


def _series(value: Any) -> tuple[list[np.ndarray], int] | None:
    """Returns the series of a list and the axis in which alone they differ; None of other values."""
    is_list = isinstance(value, list | tuple) or (isinstance(value, np.ndarray) and value.dtype.kind == "O")
    if not is_list or not len(value) or not all(isinstance(each, Sequence | np.ndarray) for each in value):
        return None
    try:
        series = [np.asarray(each) for each in value]
    except ValueError:
        return None
    ranks, kinds = {each.ndim for each in series}, {each.dtype.kind for each in series}
    if len(ranks) > 1 or not ranks <= {1, 2} or not kinds <= set("buif") or not all(each.size for each in series):
        return None
    unlike = [axis for axis in range(series[0].ndim) if len({each.shape[axis] for each in series}) > 1]
    return (series, unlike[0]) if len(unlike) == 1 else None


def _padded(series: Sequence[np.ndarray], axis: int, longest: int) -> np.ndarray:
    """Returns series as an array [N, ...], NaN after the end of each; those without channels get one."""
    shape = [*series[0].shape]
    shape[axis] = longest
    made = np.full((len(series), *shape), np.nan, np.result_type(np.float32, *{each.dtype for each in series}))
    for row, each in zip(made, series, strict=True):
        np.moveaxis(row, axis, 0)[: each.shape[axis]] = np.moveaxis(each, axis, 0)
    return made[..., None] if made.ndim == 2 else made
