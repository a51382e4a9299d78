"""Columns of a table that are codes written as numbers: their order says nothing of the target, their values do."""

from collections.abc import Iterator, Sequence

import numpy as np

from pretrain.config.counts import some
from pretrain.config.kinds import TaskKind
from pretrain.data.findings import Finding
from pretrain.data.labels import NONE
from pretrain.data.scaling import Column

_MOST_ROWS, _MOST_OUTPUTS, _MOST_NAMED = 20_000, 5, 5
_FEWEST, _MOST, _ROWS_EACH = 5, 200, 5  # values of a column, and rows of each on average
_SURE = 1e-4  # chance, at which the values of a column that says nothing differ
_ROUGH = 0.5  # squared difference of neighbours' means, relative to one of values at random


def found(
    inputs: np.ndarray, labels: np.ndarray, task: TaskKind, columns: Sequence[Column], target: str
) -> Iterator[Finding]:
    """Yields the columns of whole numbers that predict the target by their values, and not in their order.

    Inputs are training rows [N, D] before they are scaled.
    """
    known = np.flatnonzero(labels != NONE if task == "classification" else ~np.isnan(labels).any(axis=1))
    rows = known if len(known) <= _MOST_ROWS else np.random.default_rng(0).permutation(known)[:_MOST_ROWS]
    truths = labels[rows]
    if task == "classification":
        truths = truths[:, None] == np.unique(truths)[:_MOST_OUTPUTS]
    truths = truths[:, :_MOST_OUTPUTS].astype(np.float64)
    named = []
    for place, column in enumerate(columns):
        values = inputs[rows, place]
        values, kept = values[~np.isnan(values)], ~np.isnan(values)
        if column.category is None and len(values) and (values == np.rint(values)).all():
            distinct, places, counts = np.unique(values, return_inverse=True, return_counts=True)
            n = len(distinct)
            if _FEWEST <= n <= _MOST and len(values) >= _ROWS_EACH * n:
                named += [column.name] * any(_are_codes(truth[kept], places, counts) for truth in truths.T)
    if named:
        line = f"whole numbers that predict {target} by their values, not in their order: {some(named, _MOST_NAMED)}"
        remedy = f"if these are codes: --data.categories {' '.join(named[:_MOST_NAMED])}"
        yield Finding("codes read as numbers", line, "doubt", remedy, {"columns": named})


def _are_codes(truth: np.ndarray, places: np.ndarray, counts: np.ndarray) -> bool:
    """Returns whether the means of a target [N] differ from value to value, and no less between neighbours."""
    from scipy import stats

    n = len(counts)
    means = np.bincount(places, truth, n) / counts
    between = float((counts * np.square(means - truth.mean())).sum())
    within = float(np.square(truth - means[places]).sum())
    if between <= 0 or within <= 0:
        return False  # a constant target, or one that is given away
    chance = stats.f.sf(between / (n - 1) / (within / (len(truth) - n)), n - 1, len(truth) - n)
    weights = counts[1:] * counts[:-1] / (counts[1:] + counts[:-1])
    rough = (weights * np.square(np.diff(means))).sum() / weights.sum()
    pairs = np.square(means[:, None] - means)
    of_pairs = counts[:, None] * counts / (counts[:, None] + counts)
    np.fill_diagonal(of_pairs, 0)
    return bool(chance < _SURE and rough > _ROUGH * (of_pairs * pairs).sum() / of_pairs.sum())
