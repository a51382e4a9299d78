"""Rows that stand in an order: overlapping windows of a series, or rows of one subject, place or time together."""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from pretrain.data.findings import Finding, Severity

_FEWEST_ROWS = 50
_MOST_PAIRS = 2000
_MOST_VALUES = 1 << 22  # of all pairs
_MOST_COLUMNS = 512
_ALIKE = 0.8  # squared distance of neighbours' ranks, relative to other rows', in three of four columns
_ERRORS = 4.0  # standard errors by which it is below 1
_SHORTEST = 20  # steps of a series
_FEWEST_STEPS = 16  # that two windows share, and at least a fifth
_SAME = 1e-3  # 1 less the correlation of steps that two windows share
_BY_CHANCE = 0.02  # of other rows are as near
_OVERLAPPING = 0.25  # of neighbours, beside at most a fifth of that of others
_REMEDY = "name their subject, recording or place by --data.group, or hold out the last rows by --data.time order"


class Order(NamedTuple):
    """How neighbouring rows are alike, as others of the same class are not."""

    alike: float = 1.0  # squared distance relative to others', in three of four columns
    shift: int = 0  # steps between neighbours that overlap; 0 if they do not
    overlapping: float = 0.0  # share of neighbours
    by_chance: float = 0.0  # share of other rows


def order(rows: np.ndarray, strata: np.ndarray) -> Order:
    """Returns the order of rows [N, ...], by pairs of neighbours and of random rows of the same classes."""
    neighbours, others = _pairs(strata, rows[:1].size)
    if len(neighbours) < _FEWEST_ROWS:
        return Order()
    shift, overlapping, by_chance = _overlap(rows, neighbours, others)
    return Order(_likeness(rows, neighbours, others), shift, overlapping, by_chance)


def findings(found: Order, is_drawn: bool) -> Iterator[Finding]:
    """Yields what an order does to held-out rows, which are drawn at random or are given."""
    drawn = "; held-out rows, drawn at random, stand between training rows that tell about them" if is_drawn else ""
    severity: Severity = "doubt" if is_drawn else "note"
    remedy = _REMEDY if is_drawn else ""
    if found.shift:
        shares = f"{found.overlapping:.0%} of neighbouring rows, and {found.by_chance:.0%} of random ones of a class,"
        line = f"{shares} have the same values {found.shift:,} steps apart, as windows of a series that overlap{drawn}"
        figures = {"shift": found.shift, "share": found.overlapping, "share_by_chance": found.by_chance}
        yield Finding("rows that overlap", line, severity, remedy, figures)
    elif found.alike < 1:
        line = (
            f"neighbouring rows are more alike than random ones of a class (squared distance × {found.alike:.2f}), "
            f"as rows in an order of time, subjects or places{drawn}"
        )
        yield Finding("rows in an order of time or subjects", line, severity, remedy, {"distance": found.alike})


def _pairs(strata: np.ndarray, size: int) -> tuple[np.ndarray, np.ndarray]:
    """Returns pairs of neighbouring rows, and pairs of random rows of the same classes: [n, 2] each."""
    rng, n = np.random.default_rng(0), len(strata)
    if n < _FEWEST_ROWS:
        return np.zeros((0, 2), int), np.zeros((0, 2), int)
    most = int(np.clip(_MOST_VALUES // max(1, size), 2 * _FEWEST_ROWS, _MOST_PAIRS))
    first = np.sort(rng.permutation(n - 1)[:most])
    by_class = np.argsort(strata, kind="stable")
    start, end = (np.searchsorted(strata[by_class], strata[first + 1], side=side) for side in ("left", "right"))
    partner = by_class[rng.integers(start, end)]
    far = np.abs(partner - first) > 1
    return np.stack([first, first + 1], axis=1)[far], np.stack([first, partner], axis=1)[far]


def _likeness(rows: np.ndarray, neighbours: np.ndarray, others: np.ndarray) -> float:
    """Returns neighbours' squared distance relative to others', of ranks, in three of four columns; 1 of no order."""
    from scipy.stats import rankdata

    n, pairs = len(neighbours), np.concatenate([neighbours, others])
    used, place = np.unique(pairs, return_inverse=True)
    place = place.reshape(pairs.shape)
    size = rows[:1].size
    columns = np.random.default_rng(0).permutation(size)[:_MOST_COLUMNS]
    values = rows[used].reshape(len(used), -1)[:, columns].astype(np.float64)
    varies = np.nanmax(values, axis=0, initial=-np.inf) > np.nanmin(values, axis=0, initial=np.inf)
    if not varies.any():
        return 1.0
    ranks = rankdata(np.nan_to_num(values[:, varies], nan=-np.inf, neginf=-np.inf), axis=0)
    squares = np.square(ranks[place[:, 0]] - ranks[place[:, 1]])
    near, far = squares[:n].mean(axis=0), squares[n:].mean(axis=0)
    ratios = near[far > 0] / far[far > 0]
    alike = float(np.quantile(ratios, 0.75, method="higher")) if len(ratios) else 1.0
    return alike if alike <= _ALIKE and (1 - alike) * np.sqrt(n) / 2 >= _ERRORS else 1.0


def _overlap(rows: np.ndarray, neighbours: np.ndarray, others: np.ndarray) -> tuple[int, float, float]:
    """Returns the shift at which neighbours overlap, and the shares of neighbours and of others that do."""
    for axis in range(1, min(rows.ndim, 3)):
        if rows.shape[axis] < _SHORTEST:
            continue
        nearest, shifts = _nearest(rows, neighbours, axis)
        by_chance, _ = _nearest(rows, others, axis)
        limit = min(_SAME, float(np.quantile(by_chance, _BY_CHANCE)))
        shares = float((nearest <= limit).mean()), float((by_chance <= limit).mean())
        if shares[0] >= max(_OVERLAPPING, 5 * shares[1]):
            return int(np.median(np.abs(shifts[nearest <= limit]))), *shares
    return 0, 0.0, 0.0


def _nearest(rows: np.ndarray, pairs: np.ndarray, axis: int) -> tuple[np.ndarray, np.ndarray]:
    """Returns 1 less the largest correlation of two rows over all shifts along an axis, and that shift: [n] each."""
    used, place = np.unique(pairs, return_inverse=True)
    values = np.moveaxis(rows[used].astype(np.float64), axis, -1)
    values = values.reshape(len(used), -1, rows.shape[axis])[:, :_FEWEST_STEPS]  # [rows, channels, steps]
    values = np.nan_to_num(values - np.nan_to_num(values).mean(axis=(0, 2), keepdims=True))
    first, second = (values[place.reshape(pairs.shape)[:, side]] for side in (0, 1))
    best, shifts = np.full(len(pairs), -1.0), np.zeros(len(pairs), int)
    for sign, earlier, later in ((1, first, second), (-1, second, first)):
        found = _correlations(earlier, later)
        place_of = found.argmax(axis=1)
        largest = found[np.arange(len(found)), place_of]
        shifts = np.where(largest > best, sign * (place_of + 1), shifts)
        best = np.maximum(best, largest)
    return 1 - best, shifts


def _correlations(earlier: np.ndarray, later: np.ndarray) -> np.ndarray:
    """Returns correlations of the end of one row and the start of another, mean over channels: [n, shifts from 1].

    Args:
      earlier: [n, channels, steps].
      later: likewise.
    """
    steps = earlier.shape[-1]
    shifts = np.arange(1, steps - max(_FEWEST_STEPS, steps // 5) + 1)
    spectra = (np.fft.rfft(each, 2 * steps) for each in (earlier, later))
    products = np.fft.irfft(next(spectra) * np.conj(next(spectra)), 2 * steps)[..., shifts]
    n = steps - shifts

    def sums(values: np.ndarray) -> np.ndarray:  # of the first n
        return np.cumsum(values, axis=-1)[..., n - 1]

    ends, starts = earlier[..., ::-1], later
    covariance = products - sums(ends) * sums(starts) / n
    variances = [sums(np.square(each)) - np.square(sums(each)) / n for each in (ends, starts)]
    least = 1e-6 * np.square(np.concatenate([earlier, later])).mean() * n
    varies = (variances[0] > least) & (variances[1] > least)
    scale = np.sqrt(np.where(varies, variances[0] * variances[1], 1))
    return np.where(varies, covariance / scale, 0).mean(axis=1)
