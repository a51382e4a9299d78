"""Held-out series that share steps with training series at another place, as windows of one recording do."""

from collections.abc import Iterator

import numpy as np

from pretrain.data.findings import Finding

_STEPS = 16  # that two windows share, of which half differ from each other
_SHORTEST = 20  # steps of a series
_MOST_STEPS = 1 << 21  # of training rows
_MOST_ROWS = 1000  # held out
_PLACES = 4  # of a held-out row that are looked for
_MOST_CHANNELS = 4
_LEAST = 0.01  # of the held-out rows


def find(train: np.ndarray, test: np.ndarray) -> Iterator[Finding]:
    """Yields a finding if test rows share steps with training rows at another place.

    Rows [N, ...] are compared before they are scaled, to the bit of float32. Bytes are images, whose parts may be alike
    anywhere, and are left out.
    """
    if train.dtype == np.uint8:
        return
    rng = np.random.default_rng(0)
    for axis in range(1, min(train.ndim, 3)):
        n_steps = train.shape[axis]
        if n_steps < _SHORTEST:
            continue
        given, held_out = (
            _steps(array[np.sort(rng.permutation(len(array))[:most])], axis)
            for array, most in ((train, max(1, _MOST_STEPS // n_steps)), (test, _MOST_ROWS))
        )
        known = _segments(given, np.arange(n_steps - _STEPS + 1))
        places = np.unique(np.linspace(0, n_steps - _STEPS, _PLACES).astype(int))
        own = _segments(held_out, places)
        order = np.argsort(known, axis=None)
        ordered = known.ravel()[order]
        place = np.minimum(np.searchsorted(ordered, own), len(ordered) - 1)
        elsewhere = order[place] % known.shape[1] != places
        shares = ((ordered[place] == own) & _vary(held_out, places) & elsewhere).any(axis=1)
        if shares.mean() >= _LEAST:
            n, of = int(shares.sum()), len(shares)
            line = (
                f"{n:,} of {of:,} test rows have {_STEPS} steps of a training row at another place, as windows of one "
                "series that overlap, which flatters every arm"
            )
            remedy = "cut whole recordings apart: name them by --data.group, or hold out the last rows by --data.time"
            yield Finding("test rows that overlap with training rows", line, "doubt", remedy, {"rows": n, "of": of})
            return


def _steps(rows: np.ndarray, axis: int) -> np.ndarray:
    """Returns rows as float32 with their steps last: [n, at most ``_MOST_CHANNELS``, steps]."""
    values = np.moveaxis(rows, axis, -1).reshape(len(rows), -1, rows.shape[axis])[:, :_MOST_CHANNELS]
    return values.astype(np.float32) + np.float32(0)  # -0. is 0.


def _segments(values: np.ndarray, places: np.ndarray) -> np.ndarray:
    """Returns 64 bits of the steps from some places on: [n, places]."""
    shape = (_STEPS, values.shape[1])
    odd = np.random.default_rng(1).integers(1 << 62, size=shape, dtype=np.uint64) * np.uint64(2) + np.uint64(1)
    bits, keys = values.view(np.uint32), np.zeros((len(values), len(places)), np.uint64)
    for step in range(_STEPS):
        for channel in range(values.shape[1]):
            mixed = (bits[:, channel, places + step] + np.uint64(1)) * odd[step, channel]
            keys += mixed ^ (mixed >> np.uint64(29))  # or numbers of few bits would meet in sums
    return keys


def _vary(values: np.ndarray, places: np.ndarray) -> np.ndarray:
    """Returns whether half of the steps from some places on differ from each other, in some channel: [n, places]."""
    ordered = np.sort(values[:, :, places[:, None] + np.arange(_STEPS)], axis=-1)
    n_different = 1 + (np.diff(ordered, axis=-1) > 0).sum(axis=-1)
    return (n_different >= _STEPS // 2).any(axis=1)
