"""Raw inputs: their types, shapes and values, and the faults of arrays that cannot be inputs."""

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from pretrain.config.counts import some

_BLOCK = 1 << 22  # numbers in memory at once
_CHANNELS = (1, 3, 4)  # of images, on any axis
_DEEP = 8  # from which on a side may be that of a volume
_MOST_NAMED = 5
_LARGEST = 1e38  # of a number, about as float32 has it


def blocks(array: np.ndarray) -> Iterator[np.ndarray]:
    """Yields an array of rows [N, ...] in blocks of rows that take little memory."""
    size = max(1, _BLOCK // max(1, array[:1].size))
    for start in range(0, len(array), size):
        yield array[start : start + size]


def faults(
    inputs: Mapping[str, np.ndarray], called: Mapping[str, str], columns: Any = None, form: str = "auto"
) -> Iterator[str]:
    """Yields the faults of a source's inputs, each with its remedy."""
    sound: dict[str, np.ndarray] = {}
    odd: dict[str, str] = {}
    for split, array in inputs.items():
        kind, fault = _of_kind(called[split], array, form)
        if kind:
            odd.setdefault(kind, fault)  # once, for splits mostly share a fault
        else:
            sound[split] = array
            yield from _of_values(called[split], array, columns, form)
    yield from odd.values()
    for split, array in sound.items():
        first = sound.get("train", array)
        if array.shape[1:] != first.shape[1:]:
            names = f"{called['train']} of {first.shape[1:]} but {called[split]} of {array.shape[1:]}"
            yield f"has {names} an example; bring them to one size"
        if (array.dtype == np.uint8) != (first.dtype == np.uint8):
            names = f"{called['train']} of {first.dtype} but {called[split]} of {array.dtype}"
            yield f"has {names}, which differ in scale; store both alike"


def _of_kind(name: str, array: np.ndarray, form: str) -> tuple[str, str]:
    """Returns the fault of an array's type or shape, in a word and in a line; nothing of a sound one."""
    if array.dtype.kind == "O":
        remedy = "as images that differ in size make; resize them, and save numbers"
        return "objects", f"has {name} of Python objects, {remedy}"
    if array.dtype.kind not in "buif":
        return "type", f"has {name} of {array.dtype}; inputs must be numbers: turn texts to columns of 0 and 1"
    if array.ndim not in (2, 3, 4, 5) or array.size == 0:
        shapes = "[N, columns], [N, steps, C], [N, H, W], [N, H, W, C] or [N, D, H, W, C]"
        return "shape", f"has {name} of {array.dtype} {array.shape}; they must be {shapes}, and not empty"
    if array.ndim == 4 and form in ("auto", "images") and _has_channels_first(array.shape[1:]):
        remedy = f"give np.moveaxis({name}, 1, -1), or --data.inputs volumes"
        fault = f"has {name} of {array.shape}, which look like [N, C, H, W]; they must be [N, H, W, C]"
        return "channels", f"{fault}: {remedy}"
    return "", ""


def _has_channels_first(shape: tuple[int, ...]) -> bool:
    first, height, width = shape
    return width not in _CHANNELS and (first in _CHANNELS or (first < height == width and first < _DEEP))


def _of_values(name: str, array: np.ndarray, columns: Any, form: str) -> Iterator[str]:
    """Yields the faults of an array's numbers; missing ones of columns are none, and others' are those of series."""
    if array.dtype.kind != "f":
        return
    n_missing = 0
    infinite, seen = (np.zeros(array.shape[1:], bool) for _ in range(2))
    for block in blocks(array):
        finite = np.abs(block) <= _LARGEST
        seen |= finite.any(axis=0)
        if not finite.all():
            n_missing += int(np.isnan(block).sum())
            infinite |= (~finite & ~np.isnan(block)).any(axis=0)
    if form in ("images", "volumes") or (infinite.any() and array.ndim > 2 and form != "columns"):
        if n_missing or infinite.any():
            yield f"has {name} with {n_missing:,} NaN or infinite values; an image must be whole: leave out those rows"
        return
    if form == "series" or (form == "auto" and array.ndim > 2):
        return
    if infinite.any():
        yield f"has infinite values in {_listed(infinite, name, columns)}, or beyond 1e38; replace them"
    if not seen.all():
        yield f"has no value at all in {_listed(~seen & ~infinite, name, columns)}; leave it out"


def _listed(where: np.ndarray, name: str, columns: Any) -> str:
    """Returns the columns that a mask [D] marks, in words."""
    places = np.flatnonzero(where)
    named = some([columns[place].name if columns else place for place in places], _MOST_NAMED)
    return f"column{'s' if len(places) > 1 else ''} {named} of {name}"
