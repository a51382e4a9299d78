"""Scales are fitted to training rows, and do to others what they do to those."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from pretrain.data.scaling import Column, as_bytes, fit
from pretrain.learn.layers import scaled
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


def test_rows_are_read_as_the_encoder_reads_them():
    pixels = np.arange(256, dtype=np.uint8).reshape(8, 8, 4)
    for rows in (pixels, pixels / 255, drawn_columns()):
        (held,) = as_bytes([rows]) or [rows]
        scaling = fit([held], [], "auto", ()).scaling
        made = scaling.as_read(held)
        assert made.dtype == np.float32 and made.shape == (len(rows), rows[0].size)
        np.testing.assert_array_equal(made, scaled(scaling.applied(held)))
    np.testing.assert_allclose(fit([pixels], [], "auto", ()).scaling.as_read(pixels), pixels.reshape(8, 32) / 255)


def drawn_columns():
    return sources.columns()[0]


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


def far(found):
    return {each.kind: each for each in found.findings}


@pytest.mark.parametrize("method", ["auto", "standardise", "unit"])
@pytest.mark.parametrize("value", [0.0, 3.7, -1e6, 0.1])
def test_a_column_of_one_value_in_training_rows_is_zero_in_all(method, value):
    rng = np.random.default_rng(0)
    rows, held = (
        np.c_[rng.normal(size=(100, 3)), np.full(100, value)],
        np.c_[rng.normal(size=(50, 3)), np.full(50, value)],
    )
    held[-1, 3] = 9999
    found = fit([rows], [held[:20], held[20:]], method, ())
    for part in (rows, held):
        made = found.scaling.applied(part)
        assert made.shape[1] == 4 and not made[:, 3].any() and made[:, :3].any(axis=0).all()
    changed = far(found)["columns that vary in held-out rows alone"]
    assert changed.severity == "note" and changed.figures == {"columns": 1, "values": 1}
    assert changed.sentence.endswith("1 row in column 3")
    assert found.notes == ("column 3 has one value in all training rows, and becomes zero in all rows",)
    # Others are as they are without it.
    np.testing.assert_array_equal(made[:, :3], fit([rows[:, :3]], [], method, ()).scaling.applied(held[:, :3]))


def test_a_constant_column_beside_shares_is_zero_where_held_out_rows_leave_their_range():
    rows = np.c_[np.random.default_rng(0).random((100, 2)), np.ones(100)]
    held = rows.copy()
    assert fit([rows], [held], "auto", ()).scaling.is_identity
    held[3, 2] = 400
    found = fit([rows], [held], "auto", ())
    assert found.scaling.method == "none" and not found.scaling.applied(held)[:, 2].any()
    np.testing.assert_array_equal(found.scaling.applied(held)[:, :2], rows[:, :2].astype(np.float32))
    (chosen,) = fit([rows], [held], "none", ()).findings  # stays as it is, and is a doubt
    assert (fit([rows], [held], "none", ()).scaling.is_identity, chosen.severity) == (True, "doubt")


def test_a_constant_column_keeps_the_mark_of_missing_values():
    rows = np.c_[np.arange(10.0), np.full(10, 5.0)]
    rows[::3, 1] = np.nan
    made = fit([rows], [], "standardise", ()).scaling.applied(rows)
    assert made.shape == (10, 3) and not made[:, 1].any()
    np.testing.assert_array_equal(made[:, 2], np.isnan(rows[:, 1]))
    held = rows.copy()
    rows[:, 1] = np.nan  # of a cut that leaves the training rows none
    found = fit([rows], [held], "unit", ())
    assert np.isfinite(found.scaling.applied(held)).all() and np.isfinite(found.interval).all()


def test_categories_of_one_value_are_zero_too():
    columns = (Column("x"), Column("kind", "a"), Column("kind", "b"))
    rows = np.c_[np.arange(9.0), np.ones(9), np.zeros(9)]
    found = fit([rows], [], "standardise", columns)
    assert found.scaling.applied(rows).shape == (9, 2) and not found.scaling.applied(rows)[:, 1].any()
    assert any("column kind=a has one value" in note for note in found.notes)


@thorough
@given(st.integers(0, 2**32), st.integers(0, 5))
def test_values_far_beyond_the_training_range_are_counted_by_column(seed, n):
    rng = np.random.default_rng(seed)
    rows, held = rng.normal(5, 2, (200, 6)), rng.normal(5, 2, (100, 6))
    held[:n, 2], held[:1, 4] = rows[:, 2].max() + 10.1 * rows[:, 2].std(), rows[:, 4].min() - 9.9 * rows[:, 4].std()
    found = far(fit([rows], [held], "standardise", tuple(map(Column, "abcdef"))))
    assert bool(found) == bool(n)
    if n:
        (finding,) = found.values()
        assert (
            finding.figures == {"columns": 1, "values": n} and f"{n} row{'s' * (n > 1)} in column c" in finding.sentence
        )


def test_pixels_are_far_beyond_the_range_of_their_channel():
    rng = np.random.default_rng(0)
    images, held = rng.normal(size=(50, 4, 4, 2)), rng.normal(size=(20, 4, 4, 2))
    assert not fit([images], [held], "standardise", ()).findings
    images[:, 0, 0, 1] = 7.0  # constant, in a channel that varies
    made = fit([images], [], "standardise", ()).scaling.applied(images)
    pixel = made.reshape(-1, 4, 4, 2)[:, 0, 0, 1]
    assert pixel.min() == pixel.max() > 2
    images[..., 1] = 3.0
    held[0, 1, 1, 1] = 900
    found = fit([images], [held], "standardise", ())
    assert not found.scaling.applied(held).reshape(-1, 4, 4, 2)[..., 1].any() and found.findings
