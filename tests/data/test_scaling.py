"""Scales are fitted to training rows, and do to others what they do to those."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from pretrain.data.scaling import as_bytes, fit
from tests.data import sources
from tests.experiments import thorough

TABLES = hnp.arrays(np.float64, st.tuples(st.integers(2, 30), st.integers(1, 6)), elements=st.floats(-1e6, 1e6))


@thorough
@given(TABLES)
def test_standardised_columns_have_mean_0_and_deviation_1_or_are_constant(rows):
    found = fit([rows], [], "standardise", ())
    made = found.scaling.applied(rows).astype(float)
    np.testing.assert_allclose(made.mean(axis=0), 0, atol=1e-3)
    largest = np.abs(rows).max(axis=0)
    varies = rows.std(axis=0) > np.maximum(1e-6 * largest, 1e-150)  # whose square is rounded below
    np.testing.assert_allclose(made.std(axis=0)[varies], 1, atol=1e-3)
    assert (np.abs(made[:, rows.std(axis=0) == 0]) < 1e-3 * (1 + largest.max())).all()
    low, high = found.interval
    assert abs(made.min() - low) <= 1e-3 * (1 + abs(low)) and abs(made.max() - high) <= 1e-3 * (1 + abs(high))


@thorough
@given(TABLES)
def test_unit_columns_lie_between_0_and_1(rows):
    made = fit([rows], [], "unit", ()).scaling.applied(rows)
    assert made.min() >= 0 and made.max() <= 1


def test_pools_count_and_held_out_rows_do_not():
    rows, _ = sources.columns()
    parts = rows[:200], rows[200:300], rows[300:]
    alone, both = fit(parts[:1], parts[2:], "standardise", ()), fit(parts[:2], parts[2:], "standardise", ())
    np.testing.assert_allclose(both.scaling.offset, rows[:300].mean(axis=0))
    np.testing.assert_allclose(both.scaling.divisor, rows[:300].std(axis=0))
    np.testing.assert_allclose(alone.scaling.offset, rows[:200].mean(axis=0))


def test_values_far_from_zero_keep_their_deviation():
    rows = 1e9 + np.random.default_rng(0).normal(size=(1000, 2))
    made = fit([rows], [], "standardise", ()).scaling.applied(rows)
    np.testing.assert_allclose(made.std(axis=0), 1, atol=1e-4)


@pytest.mark.parametrize(
    ("rows", "method"),
    [
        (np.array([[0.0, 1.0], [0.5, 0.2]]), "none"),
        (np.array([[0.0, 1.0], [0.5, 1.2]]), "standardise"),
        (np.array([[0, 100], [50, 12]], np.int32), "standardise"),
        (np.array([[0, 100], [50, 12]], np.uint8), "unit"),
    ],
)
def test_without_a_choice_the_scale_is_that_of_the_values(rows, method):
    assert fit([rows], [], "auto", ()).scaling.method == method


def test_floats_are_bytes_where_all_of_them_are():
    images = np.arange(256, dtype=np.uint8).reshape(1, 16, 16)
    for made in (images / 255, (images / 255).astype(np.float32), images.astype(np.float32) / np.float32(255)):
        (found,) = as_bytes([made])
        np.testing.assert_array_equal(found, images)
    odd = images / 255
    odd[0, 3, 3] += 1e-3
    assert as_bytes([images / 255, odd]) is None and as_bytes([images]) is None
    assert as_bytes([np.full((1, 2), np.nan)]) is None
