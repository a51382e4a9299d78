"""Statistics, spectra and alignment of codes against NumPy in float64, and ridge against its normal equations."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pretrain.learn import codes
from pretrain.learn.model import standardised
from pretrain.learn.probes import ridge
from tests.learn.conftest import FIRST, run

sizes = st.tuples(st.integers(12, 40), st.integers(1, 6))
seeds = st.integers(0, 2**32 - 1)


def drawn(size, seed, offset=0.0):
    rng = np.random.default_rng(seed)
    return (rng.normal(size=size) @ rng.normal(size=(size[1], size[1])) + offset).astype(np.float32)


@settings(deadline=None, max_examples=20)
@given(st.integers(1, 2500), st.integers(0, 100), st.sampled_from([0.0, 30.0, -500.0]))
def test_standardised_codes_have_mean_0_and_deviation_1_however_far_from_zero_they_lie(n, seed, offset):
    values = np.random.default_rng(seed).normal(offset, [0.5, 3.0], (n + 1, 2)).astype(np.float32)
    found = jax.jit(lambda values: codes.code_statistics(lambda rows: rows, values))(values)
    exact = values.astype(np.float64)
    np.testing.assert_allclose(found["mean"], exact.mean(0), rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(1 / found["scale"], exact.std(0), rtol=2e-3)
    ours = np.asarray(standardised(jnp.asarray(values), found), np.float64)
    np.testing.assert_allclose(ours, (exact - exact.mean(0)) / exact.std(0), atol=2e-3 * max(1, abs(offset) / 30))


def test_a_unit_that_never_changes_is_centred_and_keeps_its_scale():
    values = np.stack([np.full(50, 7.0), np.arange(50)], axis=1).astype(np.float32)
    found = codes.code_statistics(lambda rows: rows, jnp.asarray(values))
    assert found["scale"][0] == 1 and found["mean"][0] == 7
    assert np.isfinite(standardised(jnp.asarray(values), found)).all()


def test_identity_statistics_change_no_bit():
    values = jnp.asarray(drawn((20, 3), 0))
    np.testing.assert_array_equal(standardised(values, codes.identity_statistics(3)), values)


@settings(deadline=None, max_examples=30)
@given(sizes, seeds)
def test_rank_and_condition_number_are_those_of_the_covariance(size, seed):
    values = drawn(size, seed, offset=5.0)
    exact = values.astype(np.float64)
    variances = np.linalg.eigvalsh(np.cov(exact.T).reshape(size[1], size[1]))[::-1]
    lengths = np.sqrt(np.maximum(variances, 0))
    shares = lengths[lengths > 0] / lengths.sum()
    spread = codes.spectrum(jnp.asarray(values))
    np.testing.assert_allclose(codes.effective_rank(spread), np.prod(shares**-shares), rtol=1e-3)
    if lengths[-1] > 1e-3 * lengths[0]:
        np.testing.assert_allclose(codes.condition_number(spread), lengths[0] / lengths[-1], rtol=1e-2)


def test_rank_and_condition_number_count_directions_with_spread_only():
    signs = np.array([[1, 1], [1, -1], [-1, 1], [-1, -1]], np.float32)
    for extra in (0, 1, 30):  # units that never change, and more units than images
        spread = codes.spectrum(jnp.asarray(np.hstack([signs, np.full((4, extra), 3, np.float32)])))
        np.testing.assert_allclose(codes.effective_rank(spread), 2, rtol=1e-5)
        np.testing.assert_allclose(codes.condition_number(spread), 1, rtol=1e-5)


def test_more_units_than_images_leave_a_condition_number_that_is_not_rounding():
    values = np.random.default_rng(0).normal(size=(60, 150))
    lengths = np.linalg.svd(values - values.mean(0), compute_uv=False)[:59]
    spread = codes.spectrum(jnp.asarray(values, jnp.float32))
    np.testing.assert_allclose(codes.condition_number(spread), lengths[0] / lengths[-1], rtol=1e-2)


def test_codes_that_are_all_the_same_have_no_rank():
    spread = codes.spectrum(jnp.ones((5, 3)))
    assert codes.effective_rank(spread) == 0 and np.isnan(codes.condition_number(spread))


@settings(deadline=None, max_examples=30)
@given(sizes, seeds)
def test_alignment_is_the_published_one_and_blind_to_rotation_scale_and_offset(size, seed):
    first, second = drawn(size, seed), drawn((size[0], 4), seed + 1)
    a, b = (values.astype(np.float64) - values.mean(0, dtype=np.float64) for values in (first, second))
    # Kornblith et al.'s equation 1: Gram matrices of the examples, centred.
    grams = a @ a.T, b @ b.T
    expected = np.sum(grams[0] * grams[1]) / np.linalg.norm(grams[0]) / np.linalg.norm(grams[1])
    np.testing.assert_allclose(codes.alignment(jnp.asarray(first), jnp.asarray(second)), expected, rtol=1e-3, atol=1e-5)
    rotation = np.linalg.qr(np.random.default_rng(seed).normal(size=(size[1], size[1])))[0]
    turned = jnp.asarray(3 * first @ rotation + 2, jnp.float32)
    np.testing.assert_allclose(codes.alignment(jnp.asarray(first), turned), 1, rtol=1e-3)


@settings(deadline=None, max_examples=30)
@given(sizes, seeds, st.sampled_from([1e-3, 0.01, 1.0]))
def test_ridge_solves_its_normal_equations(size, seed, penalty):
    values, labels = drawn(size, seed, offset=2.0), np.random.default_rng(seed).integers(0, 3, size[0])
    found = ridge(jnp.asarray(values), jnp.asarray(labels), 3, penalty)
    exact, targets = values.astype(np.float64), np.eye(3)[labels]
    # With the bias as one more column of ones, which alone is not penalised.
    columns = np.hstack([exact, np.ones((size[0], 1))])
    weight = penalty * exact.var(0).mean()
    penalties = weight * size[0] * np.diag([*[1.0] * size[1], 0.0])
    solution = np.linalg.solve(columns.T @ columns + penalties, columns.T @ targets)
    fitted = values @ np.asarray(found["kernel"]) + np.asarray(found["bias"])
    np.testing.assert_allclose(fitted, columns @ solution, rtol=2e-3, atol=2e-3)


def test_ridge_penalises_alike_at_every_scale_of_the_codes():
    values, labels = drawn((40, 5), 3), jnp.asarray(np.random.default_rng(3).integers(0, 3, 40))
    heads = [ridge(jnp.asarray(scale * values), labels, 3, 0.1) for scale in (1.0, 1000.0)]
    np.testing.assert_allclose(heads[0]["kernel"], 1000 * heads[1]["kernel"], rtol=1e-3, atol=1e-5)


def test_ridge_of_fewer_examples_than_units_is_finite_at_any_penalty():
    values = jnp.asarray(np.random.default_rng(0).normal(size=(10, 150)), jnp.float32)
    for penalty in (1e-2, 1e-7, 1e-12):
        head = ridge(values, jnp.arange(10) % 3, 3, penalty)
        assert all(np.isfinite(leaf).all() for leaf in head.values())
        assert np.array_equal(np.argmax(values @ head["kernel"] + head["bias"][None], axis=1), np.arange(10) % 3)


def test_ridge_of_codes_without_any_spread_tells_the_classes_shares():
    head = ridge(jnp.ones((4, 2)), jnp.asarray([0, 0, 0, 1]), 2, 0.01)
    np.testing.assert_allclose(head["kernel"], 0, atol=1e-6)
    np.testing.assert_allclose(head["bias"], [0.75, 0.25], rtol=1e-6)


@pytest.mark.parametrize("activation", ["relu", "sigmoid"])
def test_a_fitted_head_classifies_better_than_a_random_one(activation, phase, finetune, images):
    tuned = [
        run(finetune((9,), activation), images, choices={**FIRST, "head_init": head}, stops=[1])
        for head in ("random", "ridge")
    ]
    assert tuned[1].curves["pre_update_accuracy"][0] > tuned[0].curves["pre_update_accuracy"][0] + 0.2
