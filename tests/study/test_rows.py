"""Variance components and intervals for new rows, against the analysis of variance, definitions, and known truths."""

import numpy as np
import pytest

from pretrain.study.rows import Components, components, for_new_rows, interval
from pretrain.study.statistics import student


def table(rng, n=8, rows=60, seeds=0.1, of_rows=0.3, residual=1.0):
    """Differences [seeds, rows] of known deviations."""
    effects = rng.normal(0, seeds, (n, 1)), rng.normal(0, of_rows, (1, rows)), rng.normal(0, residual, (n, rows))
    return sum(effects) + 2


def test_components_are_those_of_the_analysis_of_variance():
    values = table(np.random.default_rng(0))
    n, rows = values.shape
    by_seed, by_row = values.mean(axis=1), values.mean(axis=0)
    residuals = values - by_seed[:, None] - by_row + values.mean()
    residual = np.sum(residuals**2) / (n - 1) / (rows - 1)
    found = components(values)
    assert found[:3] == (n, rows, n * rows)
    expected = (by_seed.var(ddof=1) - residual / rows, by_row.var(ddof=1) - residual / n, residual)
    np.testing.assert_allclose(found[3:6], expected, rtol=1e-10)
    np.testing.assert_allclose(found[6:8], (1 / rows, 1 / n / rows))
    a, b, c = by_seed.var(ddof=1) / n, by_row.var(ddof=1) / rows, residual / n / rows
    variance = max(a + b - c, a, b)
    freedom = variance**2 / (a**2 / (n - 1) + b**2 / (rows - 1) + c**2 / (n - 1) / (rows - 1))
    on_new = for_new_rows(by_seed, found)
    np.testing.assert_allclose(on_new, (values.mean(), variance**0.5, freedom), rtol=1e-10)


def test_components_of_own_splits_are_right_on_average():
    rng, found = np.random.default_rng(0), []
    for _ in range(300):
        values = table(rng, rows=150, seeds=0.2, of_rows=0.5)
        found.append(components(np.where(np.argsort(rng.random(values.shape), axis=1) < 60, values, np.nan))[3:6])
    errors = np.std(found, axis=0) / 300**0.5
    assert np.all(np.abs(np.mean(found, axis=0) - (0.04, 0.25, 1.0)) < 4 * errors)


def test_the_variance_of_rows_that_no_two_seeds_share_is_none_and_the_interval_at_least_students():
    values = np.full((6, 60), np.nan)
    for seed in range(6):
        values[seed, seed * 10 : seed * 10 + 10] = np.random.default_rng(seed).normal(0.3, 1, 10)
    means = np.nanmean(values, axis=1)
    parts = components(values)
    assert parts.row_variance == pytest.approx(0)
    sure = parts._replace(seed_variance=0.0, residual_variance=0.0)
    np.testing.assert_allclose(for_new_rows(means, sure).estimate(), student(means), rtol=1e-10)
    assert for_new_rows(means, parts).estimate().high >= student(means).high


def test_groups_are_units_and_rows_of_none_are_left_out():
    values = table(np.random.default_rng(1))
    groups = np.repeat(np.arange(15), 4)
    alike = components(values.reshape(8, 15, 4).mean(axis=2))
    np.testing.assert_allclose(components(values, groups)[:8], alike[:8], rtol=1e-10)
    unseen = np.concatenate([values, np.full((8, 3), np.nan)], axis=1)
    np.testing.assert_allclose(components(unseen)[:8], components(values)[:8], rtol=1e-10)


def test_an_interval_holds_that_over_seeds_and_no_variance_is_below_that_of_independent_cells():
    means = np.array([0.03, 0.03, 0.0, 0.03, 0.03, 0.03, 0.0, 0.03])
    parts = Components(8, 125, 240, -0.001, -0.009, 0.043, 0.0098, 1 / 240)
    found = for_new_rows(means, parts)
    assert found.error == pytest.approx((0.033 / 240) ** 0.5)
    whole = interval(found, student(means))
    assert whole.low < student(means).low and whole.high > student(means).high
    assert found.p_apart() > 0.05 > for_new_rows(means, parts._replace(seed_variance=-0.05)).p_apart()


def test_arms_that_no_row_separates_may_differ_on_one_in_as_many():
    nothing = np.zeros((8, 50))
    found = for_new_rows(nothing.mean(axis=1), components(nothing))
    assert (found.mean, found.error, found.p_apart()) == (0, 1 / 50, 1)
    assert found.p_within(0.005) > 0.5 > for_new_rows(np.zeros(8), components(np.zeros((8, 10_000)))).p_within(0.005)


def test_p_values_are_those_of_intervals_that_just_reach_a_bound():
    found = for_new_rows(
        table(np.random.default_rng(2)).mean(axis=1) - 1.9, components(table(np.random.default_rng(2)))
    )
    assert found.estimate(1 - found.p_apart()).low == pytest.approx(0, abs=1e-9)
    inside = found.estimate(1 - found.p_within(0.5))
    assert max(abs(inside.low), abs(inside.high)) == pytest.approx(0.5)
