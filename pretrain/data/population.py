"""Whether rows without a label are of another population than those with one: Kolmogorov and Smirnov, by column."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from pretrain.config.counts import counted, some

_MOST_ROWS = 2000  # of each side that are compared
_MOST_COLUMNS = 256
_LEVEL = 1e-3  # of all columns together
_EFFECT = 0.3  # least distance of two distribution functions, which a shift by three quarters of a deviation has
_MOST_NAMED = 3


class Difference(NamedTuple):
    """How the columns of two sets of rows differ."""

    columns: tuple[int, ...]  # that differ, the most different first
    compared: int
    statistic: float  # the largest distance of two distribution functions
    p: float  # of that, times the number of columns

    def described(self, names: Sequence[str]) -> str:
        """Returns it in words, with the names of columns where they have any."""
        named = some([names[place] if names else place for place in self.columns], _MOST_NAMED)
        p = f"p = {self.p:.2g}" if self.p > 0 else "p < 1e-300"
        return (
            f"{len(self.columns):,} of {counted(self.compared, 'column')} differ by Kolmogorov–Smirnov "
            f"(column {named}; D up to {self.statistic:.2f}, {p} after Bonferroni)"
        )


def difference(one: Sequence[np.ndarray], other: Sequence[np.ndarray]) -> Difference | None:
    """Returns how the populations of two sets of rows differ, or None if they hardly do.

    Rows and columns are drawn at random where there are many. A column differs if its p value, times the number of
    columns, and its distance both pass their bounds: of many rows, trivial differences are significant.
    """
    from scipy import stats

    rng = np.random.default_rng(0)
    size = one[0][0].size
    places = np.arange(size) if size <= _MOST_COLUMNS else np.sort(rng.choice(size, _MOST_COLUMNS, replace=False))
    samples = [_sample(arrays, rng)[:, places] for arrays in (one, other)]
    found = []
    for column, place in enumerate(places):
        values = [sample[:, column][~np.isnan(sample[:, column])] for sample in samples]
        if all(map(len, values)):
            tested = stats.ks_2samp(*values, method="asymp")
            p = min(1.0, float(tested.pvalue) * len(places))
            found.append((float(tested.statistic), p, int(place)))
    apart = sorted((each for each in found if each[0] >= _EFFECT and each[1] < _LEVEL), key=lambda each: -each[0])
    if not apart:
        return None
    return Difference(tuple(place for *_, place in apart), len(found), *apart[0][:2])


def _sample(arrays: Sequence[np.ndarray], rng: np.random.Generator) -> np.ndarray:
    """Returns a random draw of rows, flattened: [at most ``_MOST_ROWS``, D] float64."""
    ends = np.cumsum([len(array) for array in arrays])
    drawn = np.sort(rng.choice(ends[-1], min(ends[-1], _MOST_ROWS), replace=False))
    parts = [
        array[drawn[(drawn >= end - len(array)) & (drawn < end)] - (end - len(array))]
        for array, end in zip(arrays, ends, strict=True)
    ]
    return np.concatenate([part.reshape(len(part), -1).astype(np.float64) for part in parts])
