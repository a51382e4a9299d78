"""Moments of rows, value by value or channel by channel, in one pass and in double precision."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from pretrain.data.inputs import blocks


class Moments(NamedTuple):
    """Moments of training rows, value by value: [D]."""

    mean: np.ndarray
    deviation: np.ndarray
    low: np.ndarray
    high: np.ndarray
    has_missing: np.ndarray
    present: np.ndarray  # numbers that are not missing


def moments_of(training: Sequence[np.ndarray]) -> Moments:
    """Returns the moments of training rows, in one pass and in double precision."""
    size = training[0][0].size
    pivot = np.zeros(size)
    total, squares, count = np.zeros(size), np.zeros(size), np.zeros(size)
    low, high = np.full(size, np.inf), np.full(size, -np.inf)
    n_rows = 0
    for array in training:
        for block in blocks(array):
            values = block.reshape(len(block), -1).astype(np.float64)
            present = ~np.isnan(values)
            whole = bool(present.all())
            if not n_rows:  # squares of values far from zero would leave no variance
                pivot = np.where(present.any(axis=0), _mean(values, present, whole), 0)
            n_rows += len(block)
            offsets = values - pivot
            if not whole:
                offsets = np.where(present, offsets, 0)
            total += offsets.sum(axis=0)
            squares += np.einsum("ij,ij->j", offsets, offsets)
            count += len(block) if whole else present.sum(axis=0)
            low, high = np.fmin(low, np.fmin.reduce(values)), np.fmax(high, np.fmax.reduce(values))
    n, seen = np.maximum(count, 1), count > 0
    low, high = np.where(seen, low, 0), np.where(seen, high, 0)
    variance = np.maximum(squares / n - np.square(total / n), 0)
    return Moments(pivot + total / n, np.sqrt(variance), low, high, count < n_rows, count)


def _mean(values: np.ndarray, present: np.ndarray, whole: bool) -> np.ndarray:
    if whole:
        return values.mean(axis=0)
    return np.where(present, values, 0).sum(axis=0) / np.maximum(present.sum(axis=0), 1)


def by_channel(moments: Moments, n_channels: int) -> Moments:
    """Returns the moments of images' channels, as each of their pixels has them: [D]."""
    pixels = (-1, n_channels)
    mean, deviation, low, high = (each.reshape(pixels) for each in moments[:4])
    if moments.has_missing.any():  # of series of unlike lengths, of which later steps have fewer numbers
        weights = moments.present.reshape(pixels) / np.maximum(moments.present.reshape(pixels).sum(axis=0), 1)
        middle = (weights * mean).sum(axis=0)
        spread = np.sqrt((weights * (np.square(deviation) + np.square(mean - middle))).sum(axis=0))
        low, high = np.where(weights > 0, low, np.inf), np.where(weights > 0, high, -np.inf)
    else:
        middle = mean.mean(axis=0)
        spread = np.sqrt((np.square(deviation) + np.square(mean - middle)).mean(axis=0))
    middle, spread, least, most = (
        np.tile(each, len(mean)) for each in (middle, spread, low.min(axis=0), high.max(axis=0))
    )
    return Moments(middle, spread, least, most, moments.has_missing, moments.present)
