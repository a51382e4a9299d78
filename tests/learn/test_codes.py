"""Statistics, spectra, alignment, whitening and components of codes against NumPy in float64."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pretrain.learn import codes

standardised = jax.jit(codes.standardised)
effective_rank, condition_number = jax.jit(codes.effective_rank), jax.jit(codes.condition_number)
whitening = jax.jit(lambda values: codes.whitening(lambda rows: rows, values))
components = jax.jit(lambda values: codes.principal_components(lambda rows: rows, values, 3))

sizes = st.sampled_from([(12, 1), (13, 6), (40, 4)])  # of which each is compiled once
statistics = jax.jit(lambda values: codes.code_statistics(lambda rows: rows, values))
alignment, spectrum = jax.jit(codes.alignment), jax.jit(codes.spectrum)
seeds = st.integers(0, 2**32 - 1)


def drawn(size, seed, offset=0.0):
    rng = np.random.default_rng(seed)
    return (rng.normal(size=size) @ rng.normal(size=(size[1], size[1])) + offset).astype(np.float32)


@settings(deadline=None, max_examples=20)
@given(st.sampled_from([1, 2, 37, 2500]), st.integers(0, 100), st.sampled_from([0.0, 30.0, -500.0]))
def test_standardised_codes_have_mean_0_and_deviation_1_however_far_from_zero_they_lie(n, seed, offset):
    values = np.random.default_rng(seed).normal(offset, [0.5, 3.0], (n + 1, 2)).astype(np.float32)
    found = statistics(values)
    exact = values.astype(np.float64)
    np.testing.assert_allclose(found["mean"], exact.mean(0), rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(1 / found["scale"], exact.std(0), rtol=2e-3)
    ours = np.asarray(standardised(values, found), np.float64)
    np.testing.assert_allclose(ours, (exact - exact.mean(0)) / exact.std(0), atol=2e-3 * max(1, abs(offset) / 30))


def test_a_unit_that_never_changes_is_centred_and_keeps_its_scale():
    values = np.stack([np.full(50, 7.0), np.arange(50)], axis=1).astype(np.float32)
    found = statistics(values)
    assert found["scale"][0] == 1 and found["mean"][0] == 7
    assert np.isfinite(standardised(values, found)).all()


def test_identity_statistics_change_no_bit():
    values = jnp.asarray(drawn((20, 3), 0))
    for whitens in (False, True):
        np.testing.assert_array_equal(standardised(values, codes.identity_statistics(3, whitens)), values)


@pytest.mark.parametrize("n", [1, 4999, 5000, 5001, 10003])
def test_codes_in_blocks_are_those_of_all_images_at_once(n):
    images = np.random.default_rng(n).integers(0, 255, (n, 2, 3, 1)).astype(np.float32)
    for encode in (lambda rows: rows * 2 + 1, lambda rows: rows.sum(axis=(1, 2))):
        found = jax.jit(lambda images, encode=encode: codes.in_blocks(encode, images))(images)
        np.testing.assert_array_equal(found, encode(images))


def test_statistics_of_codes_that_are_images_are_those_of_their_values_in_a_row():
    images = np.random.default_rng(0).normal(3, 2, (1234, 3, 2, 2)).astype(np.float32)
    for measure in (statistics, whitening):
        ours, theirs = map(measure, (images, images.reshape(1234, 12)))
        assert ours["mean"].shape == (12,)
        jax.tree.map(np.testing.assert_array_equal, ours, theirs)


@settings(deadline=None, max_examples=30)
@given(sizes, seeds)
def test_rank_and_condition_number_are_those_of_the_covariance(size, seed):
    values = drawn(size, seed, offset=5.0)
    exact = values.astype(np.float64)
    variances = np.linalg.eigvalsh(np.cov(exact.T).reshape(size[1], size[1]))[::-1]
    lengths = np.sqrt(np.maximum(variances, 0))
    shares = lengths[lengths > 0] / lengths.sum()
    spread = spectrum(values)
    np.testing.assert_allclose(effective_rank(spread), np.prod(shares**-shares), rtol=1e-3)
    if lengths[-1] > 1e-3 * lengths[0]:
        np.testing.assert_allclose(condition_number(spread), lengths[0] / lengths[-1], rtol=1e-2)


def test_rank_and_condition_number_count_directions_with_spread_only():
    signs = np.array([[1, 1], [1, -1], [-1, 1], [-1, -1]], np.float32)
    for extra in (0, 1, 30):  # units that never change, and more units than images
        spread = spectrum(jnp.asarray(np.hstack([signs, np.full((4, extra), 3, np.float32)])))
        np.testing.assert_allclose(effective_rank(spread), 2, rtol=1e-5)
        np.testing.assert_allclose(condition_number(spread), 1, rtol=1e-5)


def test_more_units_than_images_leave_a_condition_number_that_is_not_rounding():
    values = np.random.default_rng(0).normal(size=(60, 150))
    lengths = np.linalg.svd(values - values.mean(0), compute_uv=False)[:59]
    spread = spectrum(jnp.asarray(values, jnp.float32))
    np.testing.assert_allclose(condition_number(spread), lengths[0] / lengths[-1], rtol=1e-2)


def test_codes_that_are_all_the_same_have_no_rank():
    spread = spectrum(jnp.ones((5, 3)))
    assert effective_rank(spread) == 0 and np.isnan(condition_number(spread))


@settings(deadline=None, max_examples=30)
@given(sizes, seeds)
def test_alignment_is_the_published_one_and_blind_to_rotation_scale_and_offset(size, seed):
    first, second = drawn(size, seed), drawn((size[0], 4), seed + 1)
    a, b = (values.astype(np.float64) - values.mean(0, dtype=np.float64) for values in (first, second))
    # Kornblith et al.'s equation 1: Gram matrices of the examples, centred.
    grams = a @ a.T, b @ b.T
    expected = np.sum(grams[0] * grams[1]) / np.linalg.norm(grams[0]) / np.linalg.norm(grams[1])
    np.testing.assert_allclose(alignment(first, second), expected, rtol=1e-3, atol=1e-5)
    rotation = np.linalg.qr(np.random.default_rng(seed).normal(size=(size[1], size[1])))[0]
    turned = jnp.asarray(3 * first @ rotation + 2, jnp.float32)
    np.testing.assert_allclose(alignment(first, turned), 1, rtol=1e-3)


# Whitening and principal components.


@settings(deadline=None, max_examples=8)
@given(seeds, st.sampled_from([60, 2003]), st.sampled_from([0.0, 50.0]))
def test_whitened_codes_have_the_unit_matrix_as_covariance_and_turn_least(seed, n, offset):
    values = drawn((n, 4), seed, offset)
    exact = values.astype(np.float64)
    spread = np.cov(exact.T, bias=True)
    variances, directions = np.linalg.eigh(spread)
    found = whitening(values)
    np.testing.assert_allclose(found["mean"], exact.mean(0), rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(found["kernel"], found["kernel"].T, rtol=1e-3, atol=1e-3)
    if variances[0] > 1e-3 * variances[-1]:
        white = np.asarray(standardised(values, found), np.float64)
        np.testing.assert_allclose(np.cov(white.T, bias=True), np.eye(4), atol=2e-2)
        np.testing.assert_allclose(white.mean(0), 0, atol=2e-2)
        root = directions / np.sqrt(variances) @ directions.T  # of all that whiten, the nearest to the codes
        np.testing.assert_allclose(found["kernel"], root, atol=1e-2 * np.abs(root).max())


def test_directions_without_spread_are_not_stretched_without_bound():
    values = drawn((50, 2), 0)
    flat = np.hstack([values, values[:, :1], np.full((50, 1), 3, np.float32)])
    found = whitening(flat)
    longest = np.linalg.eigvalsh(np.cov(flat.T.astype(np.float64), bias=True))[-1]
    assert np.linalg.norm(found["kernel"], 2) < 1.01 * 1e3 / np.sqrt(longest)
    white = np.asarray(standardised(flat, found), np.float64)
    # Two directions have spread.
    np.testing.assert_allclose(np.linalg.eigvalsh(np.cov(white.T, bias=True)), [0, 0, 1, 1], atol=1e-2)
    constant = whitening(np.ones((5, 2), np.float32))
    assert np.isfinite(constant["kernel"]).all()


@settings(deadline=None, max_examples=8)
@given(seeds, st.sampled_from([30, 2003]), st.sampled_from([0.0, 50.0]))
def test_principal_components_are_the_singular_vectors_of_centred_codes(seed, n, offset):
    rng = np.random.default_rng(seed)
    axes = np.linalg.qr(rng.normal(size=(5, 5)))[0]
    values = (rng.normal(size=(n, 5)) * [8, 4, 2, 1, 0.5] @ axes + offset).astype(np.float32)
    found = components(values)
    exact = values.astype(np.float64)
    directions = np.linalg.svd(exact - exact.mean(0))[2][:3] if n < 100 else np.linalg.eigh(np.cov(exact.T))[1].T[::-1]
    kernel = np.asarray(found["kernel"], np.float64)
    np.testing.assert_allclose(np.abs(np.sum(kernel * directions[:3].T, axis=0)), 1, atol=2e-3)
    np.testing.assert_allclose(kernel.T @ kernel, np.eye(3), atol=1e-5)
    assert (kernel[np.argmax(np.abs(kernel), axis=0), range(3)] > 0).all()
    np.testing.assert_allclose(found["mean"], exact.mean(0), rtol=1e-4, atol=1e-4)
    sums = exact @ kernel + np.asarray(found["bias"], np.float64)
    np.testing.assert_allclose(sums.mean(0), 0, atol=1e-2)
    assert (np.diff(sums.std(0)) < 0).all()
