"""Penalties on codes against scipy, and against Jacobians by automatic differentiation."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import integrate, stats

from pretrain.learn import penalties
from pretrain.learn.layers import ACTIVATIONS


@pytest.mark.parametrize("activation", ["sigmoid", "tanh", "elu", "relu", "gelu", "identity"])
def test_the_contraction_is_the_norm_of_the_whole_jacobian(activation):
    rng = np.random.default_rng(0)
    kernel, inputs = (
        jnp.asarray(rng.normal(size=(5, 4)), jnp.float32),
        jnp.asarray(rng.normal(size=(6, 5)), jnp.float32),
    )
    layer = lambda x: ACTIVATIONS[activation](x @ kernel)
    jacobians = jax.vmap(jax.jacobian(layer))(inputs)
    expected = jnp.mean(jnp.sum(jnp.square(jacobians), axis=(1, 2)))
    found = penalties.contraction(inputs @ kernel, kernel, ACTIVATIONS[activation])
    np.testing.assert_allclose(found, expected, rtol=1e-4)


@given(st.floats(0.01, 0.99), st.lists(st.floats(0.01, 0.99), min_size=1, max_size=5))
@settings(deadline=None, max_examples=30)
def test_the_kl_term_is_scipys_and_nothing_at_its_target(target, rates):
    codes = jnp.asarray([rates, rates], jnp.float32)
    expected = sum(stats.entropy([target, 1 - target], [rate, 1 - rate]) for rate in rates)
    np.testing.assert_allclose(penalties.sparsity(codes, "kl", target), expected, rtol=1e-3, atol=1e-5)
    np.testing.assert_allclose(penalties.sparsity(jnp.full((2, 3), target), "kl", target), 0, atol=1e-5)


def test_dead_and_saturated_units_have_a_finite_kl_term_and_gradient():
    for codes in (jnp.zeros((3, 2)), jnp.ones((3, 2))):
        found, gradient = jax.value_and_grad(lambda codes: penalties.sparsity(codes, "kl", 0.05))(codes)
        assert np.isfinite(found) and found > 0 and np.isfinite(gradient).all()


@given(st.floats(-3, 3), st.floats(-3, 2))
@settings(deadline=None, max_examples=20)
def test_the_divergence_of_one_unit_is_its_integral(mean, log_variance):
    codes, standard = stats.norm(mean, np.exp(log_variance / 2)), stats.norm()
    integrand = lambda code: codes.pdf(code) * (codes.logpdf(code) - standard.logpdf(code))
    ends = mean - 12 * codes.std(), mean + 12 * codes.std()
    expected = integrate.quad(integrand, *ends, points=[mean])[0]
    found = penalties.divergence(jnp.array([[mean]]), jnp.array([[log_variance]]))
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)


def test_the_divergence_adds_over_units_and_is_nothing_of_standard_codes():
    means, log_variances = jnp.asarray(np.random.default_rng(0).normal(size=(2, 3, 4)), jnp.float32)
    each = jax.vmap(jax.vmap(lambda mean, spread: penalties.divergence(mean[None, None], spread[None, None])))
    expected = jnp.mean(jnp.sum(each(means, log_variances), axis=1))
    np.testing.assert_allclose(penalties.divergence(means, log_variances), expected, rtol=1e-5)
    assert penalties.divergence(jnp.zeros((3, 4)), jnp.zeros((3, 4))) == 0
