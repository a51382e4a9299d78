"""The form of a row, seen in training rows or given by ``data.inputs``: columns, a series, an image, a volume."""

from collections.abc import Mapping
from typing import Literal

import numpy as np

from pretrain.config.counts import counted
from pretrain.config.fields import ConfigError
from pretrain.data.scaling import as_bytes

Form = Literal["columns", "series", "images", "volumes"]
_ROWS, _PAIRS = 500, 200  # rows, and pairs of positions, that are looked at
_FEWEST = 5  # positions along an axis that may be smooth
_SMOOTH = 0.1  # by how much neighbours correlate better than other positions
_CHANNELS = (1, 2, 3, 4)  # of an image
_DARK = 64  # below which no image of bytes ends


def form_of(rows: np.ndarray, asked: Literal["auto", "columns", "series", "images"]) -> Form:
    """Returns the form of rows [N, ...].

    Unsigned numbers, and multiples of 1/255, of two or three axes are images, as are others smooth along two axes;
    numbers smooth along one are a series, along three a volume, along none columns.

    Args:
      rows: the training rows.
      asked: as ``data.inputs``.

    Raises:
      ConfigError: rows cannot have that form.
    """
    n_axes = rows.ndim - 1
    if asked == "images" and n_axes < 2:
        raise ConfigError("data.inputs", asked, "needs rows of [H, W] or [H, W, C]; these are columns")
    if asked != "auto":
        return asked
    if n_axes == 1:
        return "columns"
    if n_axes == 3 and 1 in rows.shape[1:3]:
        return "series"
    if rows.dtype.kind == "u" or as_bytes([rows[:_ROWS]]) is not None:
        return "volumes" if n_axes == 3 and rows.shape[-1] not in _CHANNELS and min(rows.shape[1:]) >= 8 else "images"
    if n_axes == 3 and rows.shape[-1] in _CHANNELS:
        return "images"
    smooth = smooth_axes(rows)
    return ("columns", "series", "images", "volumes")[len(smooth)]


def shaped(arrays: Mapping[str, np.ndarray], form: Form) -> dict[str, np.ndarray]:
    """Returns rows by split as they are scaled and read: [N, D], images as [N, H, W, C], series as [N, T, 1, C].

    Args:
      arrays: by split, the training rows among them.
      form: of the training rows.
    """
    if form == "columns":
        return {split: array.reshape(len(array), -1) for split, array in arrays.items()}
    if form == "series":
        time = time_axis(arrays["train"])
        return {split: _series(array, time) for split, array in arrays.items()}
    return {split: array[..., None] if array.ndim == 3 else array for split, array in arrays.items()}


def lines(form: Form, given: np.ndarray, read: np.ndarray) -> list[str]:
    """Returns what rows were read as, and how to say otherwise; nothing of columns, which can be nothing else.

    Args:
      form: of the rows.
      given: the training rows as their source has them [N, ...].
      read: the same as they are read.
    """
    said, shape = [], " × ".join(map(str, read.shape[1:]))
    match form:
        case "columns" if given.ndim > 2:
            said = [
                f"rows of {' × '.join(map(str, given.shape[1:]))} are read as columns (data.inputs: series, images)"
            ]
        case "series":
            steps, _, channels = read.shape[1:]
            said = [
                f"rows are series of {steps:,} steps of {counted(channels, 'channel')} (data.inputs: columns, images)"
            ]
        case "images" if given.dtype != np.uint8:  # bytes are nothing else
            said = [f"rows are images of {shape} (data.inputs: columns, series)"]
        case "volumes":
            said = [f"rows look like volumes, and are read as images of {shape}, the last the channels (data.inputs)"]
    if given.dtype == np.uint8 and read.dtype != np.uint8:
        said.append(f"bytes end at {given.max()}, and are read as numbers (data.scaling unit divides them by 255)")
    return said


def are_small(rows: np.ndarray) -> bool:
    """Returns whether bytes are small numbers rather than the brightness of images."""
    return rows.dtype == np.uint8 and rows[:_ROWS].max(initial=0) < _DARK and rows.max(initial=0) < _DARK


def time_axis(rows: np.ndarray) -> int:
    """Returns the axis of rows [N, ...] along which a series goes on: the smoothest, the first of equals."""
    gains = {axis: _gain(rows, axis) for axis in range(1, rows.ndim) if rows.shape[axis] > 1}
    return max(gains, key=lambda axis: (gains[axis], -axis)) if gains else 1


def smooth_axes(rows: np.ndarray) -> list[int]:
    """Returns the axes of rows [N, ...] along which neighbours are more alike than other positions are."""
    return [axis for axis in range(1, rows.ndim) if rows.shape[axis] >= _FEWEST and _gain(rows, axis) > _SMOOTH]


def _gain(rows: np.ndarray, axis: int) -> float:
    """Returns by how much neighbours along an axis correlate better than random pairs of positions do."""
    size = rows.shape[axis]
    if size < 3:
        return 0.0
    values = np.moveaxis(np.asarray(rows[:_ROWS], np.float64), axis, 1)
    values = (values - np.nanmean(values, axis=0)).reshape(len(values), size, -1)
    values = np.nan_to_num(np.moveaxis(values, 1, 0).reshape(size, -1))
    rng = np.random.default_rng(0)
    first = rng.integers(0, size - 1, _PAIRS)
    others = rng.integers(0, size, (2, _PAIRS))
    others = others[:, np.abs(others[0] - others[1]) > 1]
    return float(_correlation(values, first, first + 1) - _correlation(values, *others))


def _correlation(values: np.ndarray, first: np.ndarray, second: np.ndarray) -> float:
    """Returns the mean correlation of pairs of positions [positions, values]; 0 of constant ones."""
    if not len(first):
        return 0.0
    lengths = np.sqrt(np.sum(np.square(values), axis=1))
    products = np.einsum("ij,ij->i", values[first], values[second])
    norms = lengths[first] * lengths[second]
    return float(np.mean(np.divide(products, norms, out=np.zeros(len(first)), where=norms > 0)))


def _series(rows: np.ndarray, time: int) -> np.ndarray:
    """Returns series [N, ...] as [N, T, 1, C]."""
    moved = np.moveaxis(rows, time, 1)
    return moved.reshape(len(rows), moved.shape[1], 1, -1)
