"""Penalties on codes against scipy, and against Jacobians by automatic differentiation."""

import jax
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import integrate, stats

from pretrain.learn import penalties
from pretrain.learn.layers import ACTIVATIONS

sparsity = jax.jit(penalties.sparsity, static_argnums=1)
divergence = jax.jit(penalties.divergence)


@pytest.mark.parametrize("activation", ["sigmoid", "tanh", "elu", "relu", "gelu", "identity"])
def test_the_contraction_is_the_norm_of_the_whole_jacobian(activation):
    rng = np.random.default_rng(0)
    kernel, inputs = (
        rng.normal(size=(5, 4)).astype(np.float32),
        rng.normal(size=(6, 5)).astype(np.float32),
    )
    layer = lambda x: ACTIVATIONS[activation](x @ kernel)
    jacobians = jax.jit(jax.vmap(jax.jacobian(layer)))(inputs)
    expected = np.mean(np.sum(np.square(jacobians), axis=(1, 2)))
    found = jax.jit(penalties.contraction, static_argnums=2)(inputs @ kernel, kernel, ACTIVATIONS[activation])
    np.testing.assert_allclose(found, expected, rtol=1e-4)


@given(st.floats(0.01, 0.99), st.lists(st.floats(0.01, 0.99), min_size=1, max_size=5))
@settings(deadline=None, max_examples=30)
def test_the_kl_term_is_scipys_and_nothing_at_its_target(target, rates):
    codes = np.asarray([rates, rates], np.float32)
    expected = sum(stats.entropy([target, 1 - target], [rate, 1 - rate]) for rate in rates)
    np.testing.assert_allclose(sparsity(codes, "kl", target), expected, rtol=1e-3, atol=1e-5)
    np.testing.assert_allclose(sparsity(np.full((2, 3), target, np.float32), "kl", target), 0, atol=1e-5)


def test_dead_and_saturated_units_have_a_finite_kl_term_and_gradient():
    slope = jax.jit(jax.value_and_grad(lambda codes: penalties.sparsity(codes, "kl", 0.05)))
    for codes in (np.zeros((3, 2), np.float32), np.ones((3, 2), np.float32)):
        found, gradient = slope(codes)
        assert np.isfinite(found) and found > 0 and np.isfinite(gradient).all()


@given(st.floats(-3, 3), st.floats(-3, 2))
@settings(deadline=None, max_examples=20)
def test_the_divergence_of_one_unit_is_its_integral(mean, log_variance):
    codes, standard = stats.norm(mean, np.exp(log_variance / 2)), stats.norm()
    integrand = lambda code: codes.pdf(code) * (codes.logpdf(code) - standard.logpdf(code))
    ends = mean - 12 * codes.std(), mean + 12 * codes.std()
    expected = integrate.quad(integrand, *ends, points=[mean])[0]
    found = divergence(np.float32([[mean]]), np.float32([[log_variance]]))
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)


def test_the_divergence_adds_over_units_and_is_nothing_of_standard_codes():
    means, log_variances = np.random.default_rng(0).normal(size=(2, 3, 4)).astype(np.float32)
    each = jax.jit(jax.vmap(jax.vmap(lambda mean, spread: penalties.divergence(mean[None, None], spread[None, None]))))
    expected = np.mean(np.sum(each(means, log_variances), axis=1))
    np.testing.assert_allclose(divergence(means, log_variances), expected, rtol=1e-5)
    assert divergence(np.zeros((3, 4), np.float32), np.zeros((3, 4), np.float32)) == 0
