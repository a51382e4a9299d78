"""Crossovers and label equivalents, by hand."""

import numpy as np
import pytest

from pretrain.study.budgets import crossover, equivalents

LABELS = np.array([10, 100, 1000])


@pytest.mark.parametrize(
    ("gain", "expected"),
    [
        ([0.2, 0.1, -0.1], 10**2.5),
        ([0.3, -0.1, -0.2], 10**1.75),
        ([-0.1, 0.1, 0.2], 10**1.5),
        ([0.1, 0.2, 0.3], np.nan),
        ([0.0, 0.0, 0.0], np.nan),
    ],
)
def test_the_crossover_is_interpolated_in_the_logarithm_of_labels(gain, expected):
    assert crossover(LABELS, np.array(gain)) == pytest.approx(expected, nan_ok=True)


def test_equivalents_are_the_labels_with_which_the_baseline_is_as_good():
    baseline = np.array([0.5, 0.7, 0.9])
    found = equivalents(LABELS, np.array([0.6, 0.95, 0.4]), baseline)
    assert found[0] == pytest.approx(10**1.5) and found[1] == np.inf and found[2] == 0


def test_a_baseline_that_falls_counts_as_level():
    assert equivalents(LABELS, np.array([0.8, 0.8, 0.8]), np.array([0.5, 0.9, 0.7]))[0] == pytest.approx(10**1.75)
