"""The form of a row, seen in training rows or given by ``data.inputs``: columns, a series, an image, a volume."""

from collections.abc import Mapping
from typing import Literal

import numpy as np

from pretrain.config.counts import counted
from pretrain.config.fields import ConfigError
from pretrain.data import series
from pretrain.data.scaling import as_bytes

Form = Literal["columns", "series", "images", "volumes"]
_RANKS = {"images": (2, 3), "volumes": (3, 4)}  # axes of rows of a form, with channels or without
_SHAPES = {"images": "[H, W] or [H, W, C]", "volumes": "[D, H, W] or [D, H, W, C]"}
_ROWS, _PAIRS = 500, 200  # rows, and pairs of positions, that are looked at
_FEWEST = 5  # positions along an axis that may be smooth
_SMOOTH = 0.1  # by how much neighbours correlate better than other positions
_CHANNELS = (1, 2, 3, 4)  # of an image or a volume
_DEEP = 8  # from which on sides of bytes are those of a volume
_DARK = 64  # below which no image of bytes ends


def form_of(
    rows: np.ndarray, asked: Literal["auto", "columns", "series", "images", "volumes"], padded: int = 0
) -> Form:
    """Returns the form of rows [N, ...].

    Unsigned numbers, and multiples of 1/255, are images, or volumes where three axes are 8 or more; of other numbers,
    those smooth along one axis are a series, along two an image, along three a volume, along none columns.

    Args:
      asked: as ``data.inputs``.
      padded: the axis along which series of unlike lengths end; 0 of others.

    Raises:
      ConfigError: rows cannot have that form, or look like images with their channels first.
    """
    n_axes = rows.ndim - 1
    if asked in _RANKS and n_axes not in _RANKS[asked]:
        raise ConfigError("data.inputs", asked, f"needs rows of {_SHAPES[asked]}; these are {_sides(rows)}")
    if asked != "auto":
        return asked
    if padded:
        return "series"
    if n_axes == 1:
        return "columns"
    if n_axes == 3 and 1 in rows.shape[1:3]:
        return "series"
    has_channels = rows.shape[-1] in _CHANNELS
    if rows.dtype.kind == "u" or as_bytes([rows[:_ROWS]]) is not None:
        is_deep = n_axes == 3 and not has_channels and min(rows.shape[1:]) >= _DEEP
        return "volumes" if is_deep or n_axes == 4 else "images"
    if n_axes > 2 and has_channels:
        return "images" if n_axes == 3 else "volumes"
    smooth = smooth_axes(rows)
    if n_axes == 3 and smooth == [2, 3]:
        remedy = "sees images with their channels first; give np.moveaxis(rows, 1, -1), or say volumes"
        raise ConfigError("data.inputs", "auto", remedy)
    if n_axes == 4 and len(smooth) > 1:
        return "volumes"
    return ("columns", "series", "images", "volumes")[len(smooth)]


def shaped(arrays: Mapping[str, np.ndarray], form: Form, padded: int = 0) -> dict[str, np.ndarray]:
    """Returns rows by split as they are scaled and read.

    Columns are [N, D], series [N, T, 1, C], images [N, H, W, C], volumes [N, D, H, W, C].

    Args:
      arrays: by split, the training rows among them.
      padded: as in ``form_of``.
    """
    train = arrays["train"]
    time = (padded or time_axis(train)) if form == "series" else 0
    return {split: as_form(array, form, time, train.ndim - 1) for split, array in arrays.items()}


def as_form(rows: np.ndarray, form: Form, time: int, n_axes: int) -> np.ndarray:
    """Returns rows [N, ...] as ``shaped`` does, given the axis of time of series, and how many axes a row has."""
    if form == "columns":
        return rows.reshape(len(rows), -1)
    if form == "series":
        return _series(rows, time)
    return rows[..., None] if n_axes == min(_RANKS[form]) else rows


def lines(form: Form, given: np.ndarray, read: np.ndarray, padded: int = 0) -> list[str]:
    """Returns what rows were read as, and how to say otherwise; nothing of columns, which can be nothing else."""
    said, shape = [], _sides(read)
    match form:
        case "columns" if given.ndim > 2:
            said = [f"rows of {_sides(given)} are read as columns ({_other('columns', given)})"]
        case "columns" if n_ending := series.n_ending(given):
            said = [
                f"{counted(n_ending, 'row')} end in NaN at unlike places, as padded series do, and are read as columns "
                "with missing values; if rows are series: --data.inputs series"
            ]
        case "series":
            steps, _, channels = read.shape[1:]
            turned = f", turned from {_sides(given)}" if (padded or time_axis(given)) != 1 else ""
            span, rest = f"{steps:,}", ""
            if padded:
                span = f"{series.lengths(read).min():,} to {series.lengths(read).max():,}"
                rest = "; what follows their ends is read as zeros, which no scale and no reconstruction counts"
            of = f"rows are series of {span} steps of {counted(channels, 'channel')}"
            said = [f"{of}{turned} ({_other(form, given)}){rest}"]
        case "images" if given.dtype != np.uint8:  # bytes are nothing else
            said = [f"rows are images of {shape} ({_other(form, given)})"]
        case "volumes":
            said = [f"rows are volumes of {shape}, the last the channels ({_other(form, given)})"]
    if given.dtype == np.uint8 and read.dtype != np.uint8:
        said.append(f"bytes end at {given.max()}, and are read as numbers (data.scaling unit divides them by 255)")
    return said


def _sides(rows: np.ndarray) -> str:
    return " × ".join(map(str, rows.shape[1:]))


def _other(form: Form, given: np.ndarray) -> str:
    """Returns how to say that rows have another form, of those that they can have."""
    forms: tuple[Form, ...] = ("columns", "series", "images", "volumes")
    can_be = [each for each in forms if each != form and given.ndim - 1 in _RANKS.get(each, (given.ndim - 1,))]
    return f"data.inputs: {', '.join(can_be)}"


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
