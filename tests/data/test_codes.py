"""Codes that are written as numbers are named, and quantities are not."""

import numpy as np
import pytest

from pretrain.data import codes
from pretrain.data.scaling import Column

N = 3000
RNG = np.random.default_rng(0)
CODE, GOOD = RNG.integers(0, 12, N), np.array([0, 1, 0, 0, 1, 1, 0, 0, 1, 0, 1, 1])
YES = (RNG.random(N) < np.where(GOOD[CODE], 0.9, 0.1)).astype(np.int32)
LEVELS = RNG.normal(size=40)
MANY = RNG.integers(0, 40, N)


def named(values, labels, task="classification"):
    """The columns that are named of values beside noise of whole numbers."""
    inputs, columns = np.column_stack([RNG.integers(0, 9, N), values]), (Column("noise"), Column("a"))
    found = list(codes.found(inputs, labels, task, columns, "y"))
    assert all(each.severity == "doubt" and each.remedy.endswith("--data.categories a") for each in found)
    return [name for each in found for name in each.figures["columns"]]


@pytest.mark.parametrize(
    ("values", "labels", "task"),
    [
        (CODE, YES, "classification"),
        (10 * CODE + 100, YES, "classification"),
        (np.where(RNG.random(N) < 0.1, np.nan, CODE), YES, "classification"),
        (CODE, np.where(RNG.random(N) < 0.3, -1, YES), "classification"),
        (MANY, (LEVELS[MANY] + RNG.normal(size=N))[:, None], "regression"),
        (CODE, np.column_stack([RNG.random(N) < 0.5, YES]).astype(np.float32), "multilabel"),
        (CODE, np.where(YES, 2, RNG.integers(0, 2, N)), "classification"),
    ],
)
def test_values_in_no_order_are_named(values, labels, task):
    assert named(values, labels, task) == ["a"]


@pytest.mark.parametrize(
    ("values", "labels", "task"),
    [
        (CODE, (CODE + 4 * RNG.normal(size=N) > 6).astype(int), "classification"),  # a trend
        (MANY, (np.square(MANY - 20) / 50 + RNG.normal(size=N))[:, None], "regression"),  # a bend
        (MANY, (np.sin(MANY / 4) + RNG.normal(size=N))[:, None], "regression"),
        (CODE, RNG.integers(0, 3, N), "classification"),  # nothing
        (CODE + 0.5, YES, "classification"),  # fractions
        (CODE % 3, YES, "classification"),  # few
        (RNG.integers(0, 5000, N), YES, "classification"),  # many
        (CODE, np.zeros(N, int), "classification"),
    ],
)
def test_quantities_are_not(values, labels, task):
    assert named(values, labels, task) == []


def test_columns_without_any_relation_are_seldom_named():
    inputs = RNG.integers(0, 30, (1000, 300)).astype(float)
    found = codes.found(inputs, RNG.integers(0, 2, 1000), "classification", [Column(str(i)) for i in range(300)], "y")
    assert not list(found)
