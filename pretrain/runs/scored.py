"""Scores of single rows, which need no JAX to be read."""

from typing import NamedTuple

import numpy as np


class RowScores(NamedTuple):
    """A trial's result, row by row."""

    values: np.ndarray  # [N] float32 influences, of mean zero
    places: np.ndarray  # [N] of the rows in the source, by which trials have rows in common
    groups: np.ndarray | None  # [N] of the rows, where they come in groups
    targets: np.ndarray  # [N, ...], by which rows of different data differ
