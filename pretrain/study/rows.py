"""Variance of a paired difference over seeds and rows, and its interval for new rows like those of the test.

An interval over seeds is about the rows at hand: another sample of rows moves a mean that no number of seeds moves.
The difference of seed s on row j is taken as a mean and independent effects of the seed, of the row and of both
(Searle, Casella and McCulloch, 1992, "Variance components", 5 and 4.2), whose variances are estimated from all cells.
"""

import math
from typing import NamedTuple

import numpy as np
from scipy import special

from pretrain.study.statistics import LEVEL, Estimate


class Components(NamedTuple):
    """Variance components of a difference over seeds and rows, or groups of rows, and the weights of its mean."""

    n: int  # seeds
    rows: int  # different ones, or groups of them
    cells: int  # pairs of a seed and a row; n times rows where all seeds have the same rows
    seed_variance: float  # may be below 0, as that of rows may
    row_variance: float
    residual_variance: float
    row_weight: float  # sum over rows of squared weights: 1 / rows where all seeds have the same
    cell_weight: float  # sum over cells
    is_grouped: bool = False

    @property
    def is_balanced(self) -> bool:
        """Whether all seeds have the same rows."""
        return self.cells == self.n * self.rows

    @property
    def of_rows(self) -> float:
        """The part of the mean's variance that more seeds leave, if these rows stay.

        Where no row separates the arms, one in as many may all the same.
        """
        if not any((self.seed_variance, self.row_variance, self.residual_variance)):
            return 1 / self.rows**2
        return max(self.row_variance, 0) / self.rows


def components(differences: np.ndarray, groups: np.ndarray | None = None) -> Components:
    """Returns the variance components of differences by Henderson's method I (1953), in O(cells).

    Where all seeds have the same rows they are those of the analysis of variance.

    Args:
      differences: [seeds, rows] of a score that is a mean over rows, or of a metric plus its influences; NaN where a
        row is no test row of a seed. Two seeds at least.
      groups: [rows] number of each row's group, where rows come in groups, which are then what is new.
    """
    values = np.asarray(differences, float)
    values = values - np.mean(np.nanmean(values, axis=1))
    if groups is not None:
        values = _by_group(values, groups)
    is_held = ~np.isnan(values)
    kept = is_held.any(axis=0)
    held, values = is_held[:, kept], np.where(is_held, values, 0.0)[:, kept]
    n_of_seed, n_of_row = held.sum(axis=1), held.sum(axis=0)
    n, rows, cells = len(values), held.shape[1], int(held.sum())
    by_seed, by_row = values.sum(axis=1), values.sum(axis=0)
    squares = float(np.sum(np.square(values)))
    of_seeds, of_rows = float(np.sum(by_seed**2 / n_of_seed)), float(np.sum(by_row**2 / n_of_row))
    between = of_seeds - float(by_seed.sum()) ** 2 / cells
    # Within seeds rows and residuals vary, within rows seeds and residuals, and between seeds all three.
    row_residual = (squares - of_seeds) / (cells - n) if cells > n else 0.0
    seed_residual = (squares - of_rows) / (cells - rows) if cells > rows else 0.0
    of_seed, of_row = cells - np.sum(n_of_seed**2) / cells, n - np.sum(n_of_row**2) / cells
    # between = of_seed * s + of_row * e + (n - 1) * r, with s = seed_residual - r and e = row_residual - r
    rest = n - 1 - of_seed - of_row
    residual = (between - of_seed * seed_residual - of_row * row_residual) / rest
    if cells == rows:  # no row is of two seeds, whose differences are independent then
        residual = row_residual
        seed_residual = residual + (between - (n - 1) * residual) / of_seed
    return Components(
        n,
        rows,
        cells,
        float(seed_residual - residual),
        float(row_residual - residual),
        float(residual),
        float(np.sum(np.square((1 / n_of_seed) @ held))) / n**2,
        float(np.sum(1 / n_of_seed)) / n**2,
        groups is not None,
    )


def _by_group(values: np.ndarray, groups: np.ndarray) -> np.ndarray:
    """Returns the parts of groups in the means of centred values [seeds, rows]: [seeds, groups], with these means."""
    _, number = np.unique(groups, return_inverse=True)
    parts = []
    for row in values:
        held = ~np.isnan(row)
        sums, counts = (np.bincount(number[held], each, number.max() + 1) for each in (row[held], None))
        parts.append(np.where(counts > 0, sums * np.count_nonzero(counts) / held.sum(), np.nan))
    return np.array(parts)


class ForNewRows(NamedTuple):
    """A mean difference for new rows, and new seeds."""

    mean: float
    error: float  # standard
    freedom: float  # degrees, of Student's distribution

    def estimate(self, level: float = LEVEL) -> Estimate:
        """Returns the mean with its interval."""
        margin = -float(special.stdtrit(self.freedom, (1 - level) / 2)) * self.error
        return Estimate(self.mean, self.mean - margin, self.mean + margin)

    def p_apart(self) -> float:
        """Returns the two-sided p-value of a mean of zero."""
        return min(1.0, 2 * self._below(-abs(self.mean)))

    def p_within(self, smallest: float) -> float:
        """Returns twice the p-value of a mean that is not within ± the smallest effect: two one-sided tests."""
        return min(1.0, 2 * self._below(abs(self.mean) - smallest))

    def _below(self, distance: float) -> float:
        return float(special.stdtr(self.freedom, distance / self.error))


def for_new_rows(differences: np.ndarray, parts: Components) -> ForNewRows:
    """Returns the mean of differences [seeds] as one for new rows.

    Its variance is the sum of its components, and at least that of cells that are all independent, that over seeds
    alone, or, where all seeds have the same rows, over rows alone: components below 0 are luck. Degrees of freedom are
    Satterthwaite's (1946), and at least those of seeds. Where no row separates the arms, one in as many may all the
    same.
    """
    n, rows = parts.n, parts.rows
    seeds = float(np.var(differences, ddof=1)) / n
    parted = (parts.seed_variance, parts.row_variance, parts.residual_variance)
    variance = float(np.dot(parted, (1 / n, parts.row_weight, parts.cell_weight)))
    variance = max(variance, seeds, sum(parted) * parts.cell_weight)
    freedom = n - 1.0
    if parts.is_balanced and rows > 1:
        residual = parts.residual_variance / (n * rows)
        alone = parts.row_variance / rows + residual
        variance = max(variance, alone)
        spread = seeds**2 / (n - 1) + alone**2 / (rows - 1) + residual**2 / ((n - 1) * (rows - 1))
        freedom = max(freedom, variance**2 / spread) if spread > 0 else freedom
    return ForNewRows(float(np.mean(differences)), math.sqrt(variance) or 1 / rows, freedom)


def interval(gains: ForNewRows, over_seeds: Estimate, level: float = LEVEL) -> Estimate:
    """Returns a mean with its interval for new rows, which is no shorter than that over seeds on either side."""
    found = gains.estimate(level)
    return Estimate(over_seeds.mean, min(found.low, over_seeds.low), max(found.high, over_seeds.high))
